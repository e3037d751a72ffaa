//! A Redis Cluster: primaries that share the slots, with replicas or without.

use std::time::Instant;

use super::redis::{Appendfsync, Redis};
use super::sentinel::{cli_within, try_cli};
use super::{PATIENCE, pause, ports, wait_until};

/// After so long without an answer a server counts as failing. Milliseconds.
const NODE_TIMEOUT_MS: &str = "1500";
/// How many slots there are.
const SLOTS: usize = 16_384;

/// The servers besides the first primary.
#[derive(Debug)]
pub struct Cluster {
    /// Further primaries.
    pub primaries: Vec<Redis>,
    /// Those that follow a primary at first: of the first primary, of the second, and so on, then a second one of each.
    pub replicas: Vec<Redis>,
    first: u16,
}

/// What makes a server one of a cluster.
pub fn args() -> Vec<String> {
    let bus = ports::free().to_string();
    let args = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", NODE_TIMEOUT_MS];
    args.into_iter().chain(["--cluster-config-file", "nodes.conf"]).map(str::to_owned).collect()
}

fn start(appendfsync: Appendfsync) -> Redis {
    let args = args();
    Redis::start_with(appendfsync, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The id of a server in its cluster.
fn id(server: &Redis) -> String {
    server.cli(&["CLUSTER", "MYID"])
}

/// The ports of a server, as CLUSTER MEET wants them.
fn places(server: &Redis) -> [String; 2] {
    let bus = server.cli(&["CONFIG", "GET", "cluster-port"]);
    [server.port().to_string(), bus.lines().nth(1).unwrap().to_owned()]
}

impl Cluster {
    /// Makes a cluster of a first primary, started with [`args`], and others; each gets so many replicas. Waits until all agree.
    #[track_caller]
    pub fn over(first: &Redis, primaries: usize, replicas: usize, appendfsync: Appendfsync) -> Self {
        let others: Vec<Redis> = (1..primaries).map(|_| start(appendfsync)).collect();
        let followers: Vec<Redis> = (0..primaries * replicas).map(|_| start(appendfsync)).collect();
        let cluster = Self { primaries: others, replicas: followers, first: first.port() };
        let all: Vec<&Redis> = std::iter::once(first).chain(&cluster.primaries).collect();
        for (number, server) in all.iter().enumerate() {
            assert_eq!(server.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]), "OK");
            let (from, to) = (number * SLOTS / primaries, (number + 1) * SLOTS / primaries - 1);
            assert_eq!(server.cli(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]), "OK");
        }
        for server in all.iter().skip(1).copied().chain(&cluster.replicas) {
            let [port, bus] = places(server);
            assert_eq!(first.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]), "OK");
        }
        let count = all.len() + cluster.replicas.len();
        let everybody = || all.iter().copied().chain(&cluster.replicas);
        let has_met = |line: &&str| {
            let fields: Vec<&str> = line.split(' ').collect();
            // While two shake hands they know each other under names of the moment.
            fields.get(7) == Some(&"connected") && !fields[2].contains("handshake")
        };
        let knows = |server: &Redis| server.cli(&["CLUSTER", "NODES"]).lines().filter(has_met).count() == count;
        wait_until("the servers of the cluster know each other", || everybody().all(knows));
        for (number, replica) in cluster.replicas.iter().enumerate() {
            assert_eq!(replica.cli(&["CLUSTER", "REPLICATE", &id(all[number % primaries])]), "OK");
        }
        let agrees = |server: &Redis| {
            let follows = !server.cli(&["INFO", "replication"]).contains("master_link_status:down");
            follows && server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        };
        wait_until("the cluster is whole", || everybody().all(agrees));
        let followed = |server: &&Redis| server.cli(&["INFO", "replication"]).contains(&format!("connected_slaves:{replicas}"));
        wait_until("every primary has its replicas", || all.iter().all(followed));
        cluster
    }

    /// `redis-cluster://127.0.0.1:<port>,…` of its first three primaries.
    pub fn url(&self) -> String {
        let ports = std::iter::once(self.first).chain(self.primaries.iter().map(Redis::port)).take(3);
        format!("redis-cluster://{}", ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(","))
    }

    /// The port of the server that has the slot of a key, as a server says that answers.
    #[track_caller]
    pub fn port_of(&self, asked: &Redis, key: &str) -> u16 {
        let slot: u16 = asked.cli(&["CLUSTER", "KEYSLOT", key]).parse().unwrap();
        owner(&asked.cli(&["CLUSTER", "NODES"]), slot).unwrap_or_else(|| panic!("nobody has slot {slot}"))
    }

    /// The ports of the servers that have slots, as one says that answers; without those that it takes for dead.
    pub fn primaries_now(&self) -> Vec<u16> {
        self.members().into_iter().filter(|(_, has_slots)| *has_slots).map(|(port, _)| port).collect()
    }

    /// The ports of the servers that follow one, said in the same way.
    pub fn replicas_now(&self) -> Vec<u16> {
        self.members().into_iter().filter(|(_, has_slots)| !has_slots).map(|(port, _)| port).collect()
    }

    fn ports(&self) -> impl Iterator<Item = u16> {
        std::iter::once(self.first).chain(self.primaries.iter().chain(&self.replicas).map(Redis::port))
    }

    fn members(&self) -> Vec<(u16, bool)> {
        let said = self.ports().find_map(|port| try_cli(port, &["CLUSTER", "NODES"])).unwrap_or_default();
        let lives = |line: &&str| line.split(' ').nth(2).is_some_and(|flags| !flags.contains("fail") && !flags.contains("noaddr"));
        said.lines().filter(lives).filter_map(|line| Some((port(line)?, line.split(' ').nth(8).is_some()))).collect()
    }

    /// Whether every server answers, and every replica has caught up.
    pub fn is_whole(&self) -> bool {
        let says = |port| try_cli(port, &["INFO", "replication"]).unwrap_or_default();
        let said: Vec<String> = self.ports().map(says).collect();
        let count = |text: &str| said.iter().filter(|said| said.contains(text)).count();
        count("role:master") == self.primaries.len() + 1 && count("master_link_status:up") == self.replicas.len()
    }

    /// Moves the slot of a key to another server, key by key, as `redis-cli --cluster reshard` does.
    #[track_caller]
    pub fn move_slot(&self, key: &str, to: u16) {
        let begun = Instant::now();
        // One that stood still for a moment is taken for dead by the others.
        while let Err(why) = self.try_move_slot(key, to) {
            assert!(begun.elapsed() < PATIENCE, "{key} does not move to {to}: {why}");
            pause();
        }
    }

    /// As [`Cluster::move_slot`]. Where an earlier move broke off, it goes on: what both have is as who answers for it has it.
    ///
    /// # Errors
    /// What a server said instead; the slot may be between two servers then.
    pub fn try_move_slot(&self, key: &str, to: u16) -> Result<(), String> {
        let slot = ask(to, &["CLUSTER", "KEYSLOT", key])?;
        let said_by = |port| ask(port, &["CLUSTER", "NODES"]).ok().and_then(|nodes| owner(&nodes, slot.parse().unwrap()));
        let said_by_itself = said_by(to);
        if said_by_itself == Some(to) {
            return Ok(());
        }
        let from = self.primaries_now().into_iter().filter(|port| *port != to).find_map(said_by).ok_or("nobody has the slot")?;
        if said_by_itself != Some(from) {
            // Who was to get the slot of a primary that died takes it for nobody's, and the cluster for down.
            let id = ask(from, &["CLUSTER", "MYID"])?;
            expect(to, &["CLUSTER", "SETSLOT", &slot, "NODE", &id], &["OK"])?;
        }
        Self::begin_move(from, to, &slot)?;
        loop {
            let keys = ask(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "1"])?;
            if keys.is_empty() {
                break;
            }
            Self::move_key(from, to, &keys)?;
        }
        // Who takes it first, or it would belong to nobody for a moment.
        let others = self.primaries_now().into_iter().filter(|port| *port != to);
        let id = ask(to, &["CLUSTER", "MYID"])?;
        std::iter::once(to).chain(others).try_for_each(|port| expect(port, &["CLUSTER", "SETSLOT", &slot, "NODE", &id], &["OK"]))
    }

    /// The slot is being moved: keys that are not here any more are at the other.
    ///
    /// # Errors
    /// What a server said instead.
    pub fn begin_move(from: u16, to: u16, slot: &str) -> Result<(), String> {
        let (source, target) = (ask(from, &["CLUSTER", "MYID"])?, ask(to, &["CLUSTER", "MYID"])?);
        expect(to, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &source], &["OK"])?;
        expect(from, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &target], &["OK"])
    }

    /// Moves one key of a slot that is being moved.
    ///
    /// # Errors
    /// What the server said instead.
    pub fn move_key(from: u16, to: u16, key: &str) -> Result<(), String> {
        expect(from, &["MIGRATE", "127.0.0.1", &to.to_string(), key, "0", "10000", "REPLACE"], &["OK", "NOKEY"])
    }
}

fn ask(port: u16, args: &[&str]) -> Result<String, String> {
    cli_within(5, port, args).ok_or_else(|| format!("{port} does not answer {}", args.join(" ")))
}

fn expect(port: u16, args: &[&str], answers: &[&str]) -> Result<(), String> {
    let said = ask(port, args)?;
    if answers.contains(&said.as_str()) { Ok(()) } else { Err(format!("{port} answers {}: {said}", args.join(" "))) }
}

/// The port of who claims a slot in an answer to CLUSTER NODES.
fn owner(nodes: &str, slot: u16) -> Option<u16> {
    let claims = |line: &&str| {
        let mut ranges = line.split(' ').skip(8).filter(|text| !text.starts_with('['));
        line.contains("master")
            && ranges.any(|range| {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                (from.parse().unwrap()..=to.parse::<u16>().unwrap()).contains(&slot)
            })
    };
    port(nodes.lines().find(claims)?)
}

/// The port of a server in its line of an answer to CLUSTER NODES.
fn port(line: &str) -> Option<u16> {
    line.split(' ').nth(1)?.split('@').next()?.rsplit(':').next()?.parse().ok()
}
