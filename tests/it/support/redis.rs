//! A private Redis, with the durability of production unless a test says otherwise.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::process::{Process, Program, run};
use super::{ports, wait_until};

const PACKAGE: &str = "redis-server";

/// When Redis writes its log through to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Appendfsync {
    /// Before it answers.
    #[default]
    Always,
    /// About once a second.
    Everysec,
    /// When the kernel likes; written before it answers.
    No,
}

impl Appendfsync {
    fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Everysec => "everysec",
            Self::No => "no",
        }
    }
}

/// A redis-server on a free port, with its data in a temporary folder.
#[derive(Debug)]
pub struct Redis {
    folder: TempDir,
    port: u16,
    process: Process,
}

impl Redis {
    /// Starts one with appendfsync always, and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(Appendfsync::Always, &[])
    }

    /// Starts one with further arguments, as `["--maxmemory", "10mb"]`, and waits until it answers.
    pub fn start_with(appendfsync: Appendfsync, args: &[&str]) -> Self {
        Self::start_in(appendfsync, args, Vec::new())
    }

    /// As [`Redis::start_with`], in an environment.
    pub fn start_in(appendfsync: Appendfsync, args: &[&str], env: Vec<(String, String)>) -> Self {
        let folder = tempfile::Builder::new().prefix("roger-redis-").tempdir().unwrap();
        let port = ports::free();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let port_text = port.to_string();
        let (dir, socket) = (folder.path().display().to_string(), at("redis.sock"));
        let fixed = ["--port", &port_text, "--bind", "127.0.0.1", "--unixsocket", &socket, "--unixsocketperm", "700", "--dir", &dir];
        let durable = ["--appendonly", "yes", "--appendfsync", appendfsync.as_str(), "--save", "", "--maxmemory-policy", "noeviction"];
        // In a file, where sentinels write down whom the server follows by now.
        let config = folder.path().join("redis.conf");
        std::fs::write(&config, configuration(fixed.iter().chain(&durable).chain(args).copied())).unwrap();
        let program = Program {
            name: format!("redis:{port}"),
            executable: "redis-server".into(),
            package: PACKAGE,
            args: vec![config.display().to_string()],
            env,
            log: folder.path().join("redis.log"),
            show: Vec::new(),
        };
        let mut redis = Self { port, process: Process::start(program), folder };
        redis.wait_until_ready();
        redis
    }

    /// `redis://127.0.0.1:<port>/0`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data, socket and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder().join("redis.sock")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGKILL; the data stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and waits for its end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate()
    }

    /// Starts it again on the same port and data, and waits until it answers; kills it first when it runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = Process::start(self.process.program().clone());
        self.wait_until_ready();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Starts it again and waits until it has ended of itself; what it wrote.
    #[track_caller]
    pub fn does_not_start(&mut self) -> String {
        self.process.kill();
        self.process = Process::start(self.process.program().clone());
        self.process.wait();
        self.process.log()
    }

    /// Whether it has ended of itself.
    pub fn ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn stop(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// SIGCONT, after [`Redis::stop`].
    pub fn cont(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// The file that it appends to.
    pub fn appendonly(&self) -> PathBuf {
        let files = std::fs::read_dir(self.folder().join("appendonlydir")).unwrap().map(|file| file.unwrap().path());
        files.max_by_key(|path| path.display().to_string().ends_with(".incr.aof")).unwrap()
    }

    /// Leaves room for so many more bytes in that file: it ends where they are not enough, and has room again when it is started again.
    #[track_caller]
    pub fn leave_room(&self, more: u64) {
        let room = std::fs::metadata(self.appendonly()).unwrap().len() + more;
        run("util-linux", "prlimit", &["--pid", &self.pid().to_string(), &format!("--fsize={room}")]);
    }

    /// Empties it.
    #[track_caller]
    pub fn flushall(&self) {
        assert_eq!(self.cli(&["FLUSHALL"]), "OK");
    }

    /// What `redis-cli` prints, without the last line end.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> String {
        let socket = self.socket();
        let all: Vec<&str> = ["-s", socket.to_str().unwrap()].iter().chain(args).copied().collect();
        run("redis-tools", "redis-cli", &all).trim_end().to_owned()
    }

    /// As [`Redis::cli`]; `None` when there is no answer within a second.
    pub fn try_cli(&self, args: &[&str]) -> Option<String> {
        super::sentinel::try_cli(self.port, args)
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let (port, process) = (self.port, &mut self.process);
        wait_until("Redis answers", || {
            assert!(process.ended().is_none(), "redis-server ended at once");
            answers(port)
        });
    }
}

/// Arguments as lines of a configuration file.
fn configuration<'a>(args: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for arg in args {
        match arg.strip_prefix("--") {
            Some(name) => text += &format!("\n{name}"),
            None => text += &format!(" {arg:?}"),
        }
    }
    text + "\n"
}

/// Whether it answers PING; while it loads its data it answers otherwise.
fn answers(port: u16) -> bool {
    let attempt = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG")
    };
    attempt().unwrap_or(false)
}
