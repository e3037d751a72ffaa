//! The files of `supervisor/` under a real supervisord, with stand-ins for the programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::process::{Process, Program, run};
use crate::support::{ports, wait_until};

/// Says what it was started with, becomes ready, and stops when asked.
const STAND_IN: &str = "#!/bin/sh\necho pid=$$ $* ready >&2\ntrap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n";

/// What stands in `supervisor`, by the names of its binaries.
const PROGRAMS: [&str; 8] = ["directory", "gateway", "delivery", "offline", "sos", "gps", "janus", "edge"];

struct Supervisor {
    process: Process,
    folder: tempfile::TempDir,
}

impl Supervisor {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("roger-sup-").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["bin", "log", "conf.d", "redis"] {
            fs::create_dir(at(name)).unwrap();
        }
        for program in PROGRAMS {
            let path = at("bin").join(program);
            fs::write(&path, STAND_IN).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sms-listener"), at("bin/sms-listener")).unwrap();
        fs::write(at("roger.toml"), format!("[listener]\ndir = {:?}\n", at("listener"))).unwrap();
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("supervisor");
        std::os::unix::fs::symlink(ours.join("demo/redis.conf"), at("conf.d/redis.conf")).unwrap();
        fs::write(at("ctl.conf"), format!("[supervisorctl]\nserverurl=unix://{}\n", at("supervisor.sock").display())).unwrap();
        let text = |name: &str| at(name).display().to_string();
        let program = Program {
            name: "supervisord".to_owned(),
            executable: "supervisord".into(),
            package: "supervisor",
            // Not every machine lets us open 65,536 files.
            args: ["-a", "256", "-c", ours.join("supervisord.conf").to_str().unwrap()].map(str::to_owned).to_vec(),
            env: [
                ("ROGER_HOME", folder.path().display().to_string()),
                ("ROGER_BIN", text("bin")),
                ("ROGER_CONFIG", text("roger.toml")),
                ("ROGER_EDGES", "127.0.0.1:770".to_owned()),
                ("DEMO_REDIS_PORT", ports::free().to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec(),
            log: at("supervisord.out"),
            show: vec![at("log/edge-0.log"), at("log/redis.log")],
        };
        let supervisor = Self { process: Process::start(program), folder };
        // Two edges, two listeners, and Redis.
        let count = PROGRAMS.len() + 4;
        wait_until("all programs run", || supervisor.status().matches(" RUNNING ").count() == count);
        supervisor
    }

    fn status(&self) -> String {
        let socket = self.folder.path().join("supervisor.sock");
        if socket.exists() { self.control("status") } else { String::new() }
    }

    fn control(&self, verb: &str) -> String {
        let conf = self.folder.path().join("ctl.conf");
        // Its exit code says whether all run, which `run` would take for a failure.
        run("supervisor", "sh", &["-c", &format!("supervisorctl -c {} {verb} || true", conf.display())])
    }

    fn log(&self, program: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("log/{program}.log"))).unwrap_or_default()
    }

    fn pids(&self) -> Vec<u32> {
        let line_pid = |line: &str| line.split_once("pid ")?.1.split_once(',')?.0.parse().ok();
        self.status().lines().filter_map(line_pid).collect()
    }
}

fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_killed_program_is_started_again_and_none_outlives_supervisord() {
    let mut supervisor = Supervisor::start();
    for number in 0..2 {
        let log = || supervisor.log(&format!("edge-{number}"));
        let expected =
            format!("--config {}/roger.toml --name edge-{number} --listen 127.0.0.1:770{number} ready", supervisor.folder.path().display());
        wait_until(&expected, || log().contains(&expected));
    }
    let socket = fs::metadata(supervisor.folder.path().join("supervisor.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o700);

    supervisor.control("signal KILL roger:delivery");
    wait_until("delivery was started again", || supervisor.log("delivery").matches("ready").count() == 2);

    let pids = supervisor.pids();
    assert!(pids.len() >= 5 && pids.iter().all(|pid| runs(*pid)), "{pids:?}");
    // Only supervisord itself: the programs have process groups of their own.
    supervisor.process.kill();
    wait_until("no program is left", || !pids.iter().any(|pid| runs(*pid)));
}

#[test]
fn all_stop_when_supervisord_is_asked_to() {
    let mut supervisor = Supervisor::start();
    let pids = supervisor.pids();
    supervisor.process.signal(Signal::SIGTERM);
    assert!(supervisor.process.wait().success());
    assert!(!pids.iter().any(|pid| runs(*pid)));
    let said = supervisor.process.log();
    assert!(!said.contains("killing"), "one did not stop by itself: {said}");
}
