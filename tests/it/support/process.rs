//! A program under test: its own process group, its output in a file, its end with the test.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{PATIENCE, clocks, wait_for, wait_until};

/// The lines of a log that a failing test shows.
const TAIL_LINES: usize = 40;

/// Waits until SIGSTOP, which was sent to a process, holds all its threads: until then they work on.
#[track_caller]
pub fn wait_until_stopped(pid: u32) {
    let stopped = |stat: String| stat.contains(") T ") || stat.contains(") Z ");
    wait_until(&format!("all threads of process {pid} are stopped"), || {
        // What has ended meanwhile does nothing either.
        let Ok(mut threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
        threads.all(|thread| thread.and_then(|thread| fs::read_to_string(thread.path().join("stat"))).map_or(true, stopped))
    });
}

/// How to start a program.
#[derive(Clone, Debug)]
pub struct Program {
    /// For messages and the name of the log.
    pub name: String,
    /// A path, or a name to find in PATH.
    pub executable: PathBuf,
    /// The Debian package that has it; empty for our own.
    pub package: &'static str,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Where stdout and stderr go, behind what is already there. Its folder is where the program works: Janus leaves things there, and so does
    /// the kernel of a program that crashes.
    pub log: PathBuf,
    /// What else a failing test should show: configuration files, the server's own log.
    pub show: Vec<PathBuf>,
}

/// A running program. Dropping it kills its whole process group; when the test is failing, it is shown first.
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    /// Where in the log this run began.
    begin: u64,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts the program.
    #[track_caller]
    pub fn start(program: Program) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(&program.log).unwrap();
        let begin = log.metadata().unwrap().len();
        let mut command = dying_with_us(&program.executable);
        command.args(&program.args).envs(program.env.iter().cloned()).current_dir(program.log.parent().unwrap());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        let child = match spawn(command) {
            Ok(child) => child,
            Err(error) => panic!("cannot start {}: {error}{}", program.executable.display(), hint(program.package)),
        };
        Self { program, child, begin, ended: None }
    }

    /// Its process id, which is also that of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the program and its children. After SIGSTOP the program does nothing any more.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            killpg(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
            if signal == Signal::SIGSTOP {
                wait_until_stopped(self.pid());
            }
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            let _gone = killpg(Pid::from_raw(i32::try_from(self.pid()).unwrap()), Signal::SIGKILL);
            self.ended = self.child.wait().ok();
        }
        clocks::clear(&self.program.env, self.pid());
    }

    /// SIGTERM, and waits for it to end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.program.name);
        wait_for(&what, PATIENCE, || self.ended())
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// What this run has written so far.
    pub fn log(&self) -> String {
        let mut bytes = Vec::new();
        let mut file = File::open(&self.program.log).unwrap();
        file.seek(SeekFrom::Start(self.begin)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until this run has written `text`. Panics at once when it ended before that.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str) {
        self.wait_for_log_within(text, PATIENCE);
    }

    /// As [`Process::wait_for_log`], with a patience of one's own.
    #[track_caller]
    pub fn wait_for_log_within(&mut self, text: &str, patience: Duration) {
        let what = format!("{text:?} in the log of {}", self.program.name);
        wait_for(&what, patience, || {
            // Looked at first, so that what it wrote before its end is seen.
            let ended = self.ended();
            if self.log().contains(text) {
                return Some(());
            }
            assert!(ended.is_none(), "{} ended with {ended:?} without {text:?} in its log", self.program.name);
            None
        });
    }

    /// The program it was started from, to start it again.
    pub fn program(&self) -> &Program {
        &self.program
    }

    fn show(&self) {
        let Program { name, executable, args, env, log, show, .. } = &self.program;
        eprintln!("---- {name}: {} {}", executable.display(), args.join(" "));
        for (variable, value) in env {
            eprintln!("     {variable}={value}");
        }
        eprintln!("     pid {}, {}", self.pid(), self.ended.map_or("running".to_owned(), |status| status.to_string()));
        for path in show.iter().chain([log]) {
            show_tail(path);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.ended = self.ended.or_else(|| self.child.try_wait().ok().flatten());
            self.show();
        }
        self.kill();
    }
}

/// Runs a program to its end and returns its standard output; panics with everything when it fails.
#[track_caller]
pub fn run(package: &str, executable: &str, args: &[&str]) -> String {
    let output = match Command::new(executable).args(args).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => panic!("cannot start {executable}: {error}{}", hint(package)),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{executable} {args:?} ended with {}\n{out}{err}", output.status);
    out
}

fn hint(package: &str) -> String {
    if package.is_empty() { String::new() } else { format!("; it is in the Debian package {package}: scripts/setup installs it") }
}

fn show_tail(path: &Path) {
    let Ok(bytes) = fs::read(path) else { return eprintln!("     {}: not there", path.display()) };
    let text = String::from_utf8_lossy(&bytes);
    let skipped = text.lines().count().saturating_sub(TAIL_LINES);
    eprintln!("     {}:{}", path.display(), if skipped > 0 { " (the end)" } else { "" });
    for line in text.lines().skip(skipped) {
        eprintln!("     | {line}");
    }
}

/// A command whose program is killed by the kernel when this test program dies, however it dies.
fn dying_with_us(executable: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(find(executable));
    command
}

/// setpriv would report a missing program only by its exit code.
fn find(executable: &Path) -> PathBuf {
    if executable.components().count() > 1 {
        return executable.to_owned();
    }
    // Servers live in sbin, which not every PATH has.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found = path.split(':').map(|folder| Path::new(folder).join(executable)).find(|path| path.is_file());
    found.unwrap_or_else(|| executable.to_owned())
}

type Request = (Command, Sender<std::io::Result<Child>>);

/// Programs are started by one thread that lives as long as the test program: the kernel counts the death of the starting *thread*.
static STARTER: LazyLock<Mutex<Sender<Request>>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel::<Request>();
    std::thread::spawn(move || {
        for (mut command, reply) in receiver {
            let _caller_gone = reply.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

fn spawn(command: Command) -> std::io::Result<Child> {
    let executable = command.get_args().nth(3).map(PathBuf::from).unwrap_or_default();
    if !executable.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no such program"));
    }
    let (sender, receiver) = mpsc::channel();
    STARTER.lock().unwrap().send((command, sender)).unwrap();
    receiver.recv().unwrap()
}
