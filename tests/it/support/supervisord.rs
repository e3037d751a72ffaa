//! The programs of a fleet under a real supervisord, by the rules of the files in `supervisor/`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::process::{Process, Program};
use super::{clocks, wait_until};

/// Lines that supervisord needs of a program are those of its file but for these, which name one of many.
const OWN: [&str; 5] = ["command=", "process_name=", "numprocs=", "stdout_logfile=", "[program:"];

/// A supervisord and what it runs. Programs of it that end are started again by it and by nobody else.
#[derive(Debug)]
pub struct Supervisord {
    process: Process,
    programs: Vec<Program>,
    log: PathBuf,
}

impl Supervisord {
    /// Starts one that works in a folder, with programs of ours.
    #[track_caller]
    pub fn start(folder: &Path, programs: Vec<Program>) -> Self {
        let at = |name: &str| folder.join(name).display().to_string();
        let (conf, log) = (at("supervisord.conf"), folder.join("supervisord.log"));
        let own = format!(
            "[supervisord]\nnodaemon=true\nlogfile={}\nlogfile_maxbytes=0\npidfile={}\nchildlogdir={}\n",
            log.display(),
            at("supervisord.pid"),
            folder.display()
        );
        let sections: Vec<String> = programs.iter().map(section).collect();
        fs::write(&conf, own + &sections.concat()).unwrap();
        let program = Program {
            name: "supervisord".to_owned(),
            executable: "supervisord".into(),
            package: "supervisor",
            // Not every machine lets us open 65,536 files.
            args: ["-a", "256", "-c", &conf].map(str::to_owned).to_vec(),
            env: Vec::new(),
            log: folder.join("supervisord.out"),
            show: programs.iter().map(|program| program.log.clone()).collect(),
        };
        Self { process: Process::start(program), programs, log }
    }

    /// Waits until each program has made progress, since the first start.
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        for program in &self.programs {
            let ready = || fs::read_to_string(&program.log).is_ok_and(|log| log.contains(": ready"));
            wait_until(&format!("{} is ready under supervisord", program.name), ready);
        }
    }

    /// Sends a signal to a program and its children; false when it does not run.
    #[track_caller]
    pub fn signal(&self, name: &str, signal: Signal) -> bool {
        let program = self.programs.iter().find(|program| program.name == name).unwrap_or_else(|| panic!("no program {name}"));
        let Some(pid) = self.pid(program) else { return false };
        let sent = killpg(Pid::from_raw(pid), signal).is_ok();
        if signal == Signal::SIGKILL {
            clocks::clear(&program.env, pid as u32);
        }
        sent
    }

    /// SIGKILL to supervisord; the kernel sees to it that none of its programs goes on.
    pub fn kill(&mut self) {
        let pids: Vec<Option<i32>> = self.programs.iter().map(|program| self.pid(program)).collect();
        self.process.kill();
        for (program, pid) in self.programs.iter().zip(pids) {
            if let Some(pid) = pid {
                clocks::clear(&program.env, pid as u32);
            }
        }
    }

    /// Starts it again, and it its programs, without waiting for them; kills it first when it runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        self.process = Process::start(self.process.program().clone());
    }

    /// The process id of a program that runs, by what supervisord says of the last one that it started.
    fn pid(&self, program: &Program) -> Option<i32> {
        let log = fs::read_to_string(&self.log).ok()?;
        let said = format!("spawned: '{}' with pid ", program.name);
        let pid = log.lines().rev().find_map(|line| line.split_once(&said)?.1.parse().ok())?;
        // The number may be that of another process by now.
        let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        (executable.display().to_string().trim_end_matches(" (deleted)") == program.executable.to_str()?).then_some(pid)
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program as a section: as its file has it, with its own name, command, environment and log.
fn section(program: &Program) -> String {
    let Program { name, executable, args, env, log, .. } = program;
    let kind = executable.file_name().unwrap().to_str().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("supervisor/{kind}.conf"));
    let text = fs::read_to_string(&file).unwrap();
    let rules = text.lines().filter(|line| !line.starts_with(';') && !OWN.iter().any(|own| line.starts_with(own)));
    let env: Vec<String> = env.iter().map(|(variable, value)| format!("{variable}={value:?}")).collect();
    let mut section = format!("\n[program:{name}]\n");
    writeln!(section, "command=setpriv --pdeathsig KILL -- {} {}", executable.display(), args.join(" ")).unwrap();
    writeln!(section, "environment={}\nstdout_logfile={}", env.join(","), log.display()).unwrap();
    for rule in rules {
        writeln!(section, "{rule}").unwrap();
    }
    section
}
