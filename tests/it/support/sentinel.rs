//! Redis under Sentinel: a primary, replicas, and three sentinels that promote one of them.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::process::{Process, Program, run};
use super::redis::{Appendfsync, Redis};
use super::{ports, wait_until};

/// What the sentinels call the primary.
pub const SERVICE: &str = "roger";
/// How many sentinels there are.
const SENTINELS: usize = 3;
/// After so long without an answer a sentinel takes a server for dead: more than a busy machine stands still. Milliseconds.
const DOWN_AFTER_MS: u32 = 2_000;

/// The servers besides the first primary.
#[derive(Debug)]
pub struct Sentinels {
    processes: Vec<(u16, Process)>,
    /// Those that follow the primary at first.
    pub replicas: Vec<Redis>,
    folder: TempDir,
}

impl Sentinels {
    /// Gives a primary replicas, each with an environment, and starts sentinels that watch over them. Waits until these know each other and all
    /// replicas.
    #[track_caller]
    pub fn over(primary: &Redis, replicas: Vec<Vec<(String, String)>>, appendfsync: Appendfsync) -> Self {
        let folder = tempfile::Builder::new().prefix("roger-sentinel-").tempdir().unwrap();
        let of = primary.port().to_string();
        let follow = |env| Redis::start_in(appendfsync, &["--replicaof", "127.0.0.1", &of], env);
        let replicas: Vec<Redis> = replicas.into_iter().map(follow).collect();
        let processes = (0..SENTINELS).map(|number| start(&folder, number, &of)).collect();
        let sentinels = Self { processes, replicas, folder };
        wait_until("the sentinels know everybody", || sentinels.all_know_everybody());
        sentinels
    }

    fn all_know_everybody(&self) -> bool {
        let wanted = [("num-slaves", self.replicas.len()), ("num-other-sentinels", SENTINELS - 1)];
        let caught_up = self.replicas.iter().all(|replica| replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
        let knows = |port: &u16| {
            let said = try_cli(*port, &["SENTINEL", "MASTER", SERVICE]).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let says = |(name, count): &(&str, usize)| lines.windows(2).any(|pair| pair[0] == *name && pair[1] == count.to_string());
            wanted.iter().all(says)
        };
        caught_up && self.processes.iter().all(|(port, _)| knows(port))
    }

    /// `redis-sentinel://127.0.0.1:<port>,…/0#roger`.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.processes.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        format!("redis-sentinel://{}/0#{SERVICE}", hosts.join(","))
    }

    /// The ports of the sentinels.
    pub fn ports(&self) -> Vec<u16> {
        self.processes.iter().map(|(port, _)| *port).collect()
    }

    /// Makes a replica the primary without a word to the old one, which goes on as one, too.
    #[track_caller]
    pub fn proclaim(&self, replica: usize) {
        let (replica, all) = (&self.replicas[replica], 0..SENTINELS);
        all.clone().for_each(|sentinel| drop(self.cli(sentinel, &["SENTINEL", "REMOVE", SERVICE])));
        assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
        let port = replica.port().to_string();
        all.for_each(|sentinel| drop(self.cli(sentinel, &["SENTINEL", "MONITOR", SERVICE, "127.0.0.1", &port, "2"])));
    }

    /// The port of what a sentinel calls the primary.
    #[track_caller]
    pub fn primary(&self, sentinel: usize) -> u16 {
        let said = cli(self.processes[sentinel].0, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
        said.lines().nth(1).and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no address: {said}"))
    }

    /// Asks a sentinel something.
    #[track_caller]
    pub fn cli(&self, sentinel: usize, args: &[&str]) -> String {
        cli(self.processes[sentinel].0, args)
    }

    /// As [`Sentinels::cli`], of the first sentinel that answers; `None` when none does.
    pub fn try_cli(&self, args: &[&str]) -> Option<String> {
        self.processes.iter().find_map(|(port, _)| try_cli(*port, args))
    }

    /// The port of the primary, as the first sentinel says that answers.
    pub fn says(&self) -> Option<u16> {
        let said = self.try_cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE])?;
        said.lines().nth(1)?.parse().ok()
    }

    /// Starts a sentinel again with what it wrote down; kills it first when it runs.
    #[track_caller]
    pub fn restart(&mut self, sentinel: usize) {
        let process = &mut self.processes[sentinel].1;
        process.kill();
        *process = Process::start(process.program().clone());
    }

    /// Has a sentinel take another server for the primary, in the epoch that it knows: it is stopped, and finds that written down.
    #[track_caller]
    pub fn mislead(&mut self, sentinel: usize, port: u16) {
        self.processes[sentinel].1.kill();
        let config = self.folder.path().join(sentinel.to_string()).join("sentinel.conf");
        let before = format!("sentinel monitor {SERVICE} 127.0.0.1 {} 2", self.primary((sentinel + 1) % SENTINELS));
        let known = fs::read_to_string(&config).unwrap();
        assert!(known.contains(&before), "{known}");
        let lines = known.lines().filter(|line| !line.starts_with("sentinel known-replica"));
        let lines =
            lines.map(|line| if line == before { format!("sentinel monitor {SERVICE} 127.0.0.1 {port} 2") } else { line.to_owned() });
        fs::write(&config, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
        self.restart(sentinel);
    }

    /// A sentinel as a process.
    pub fn process(&mut self, sentinel: usize) -> &mut Process {
        &mut self.processes[sentinel].1
    }

    /// The replica that became the primary, if one did.
    pub fn promoted(&self) -> Option<&Redis> {
        let port = self.primary(0);
        self.replicas.iter().find(|replica| replica.port() == port)
    }
}

fn start(folder: &TempDir, number: usize, of: &str) -> (u16, Process) {
    let (port, at) = (ports::free(), folder.path().join(number.to_string()));
    fs::create_dir(&at).unwrap();
    let config = at.join("sentinel.conf");
    // Sentinels write into it.
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {SERVICE} 127.0.0.1 {of} 2\nsentinel down-after-milliseconds {SERVICE} \
         {DOWN_AFTER_MS}\nsentinel failover-timeout {SERVICE} 6000\n",
        at.display()
    );
    fs::write(&config, text).unwrap();
    let program = Program {
        name: format!("sentinel:{port}"),
        executable: "redis-server".into(),
        package: "redis-server",
        args: vec![config.display().to_string(), "--sentinel".to_owned()],
        env: Vec::new(),
        log: at.join("sentinel.log"),
        show: Vec::new(),
    };
    (port, Process::start(program))
}

/// What redis-cli prints; `None` when there is no answer within a second.
pub fn try_cli(port: u16, args: &[&str]) -> Option<String> {
    cli_within(1, port, args)
}

/// What redis-cli prints; `None` when there is no answer within so many seconds.
pub fn cli_within(seconds: u32, port: u16, args: &[&str]) -> Option<String> {
    let (seconds, port) = (seconds.to_string(), port.to_string());
    let output = Command::new("timeout").args([&seconds, "redis-cli", "-p", &port]).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[track_caller]
fn cli(port: u16, args: &[&str]) -> String {
    let port = port.to_string();
    let all: Vec<&str> = ["-p", &port].iter().chain(args).copied().collect();
    run("redis-tools", "redis-cli", &all).trim_end().to_owned()
}
