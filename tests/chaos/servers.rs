//! The servers of Redis in a fleet: which of them is what at the moment, and what is done to them alone.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng;
use rand::seq::IndexedRandom as _;
use roger::broker::keys;
use tokio::time::{Instant, sleep};

use crate::faults::Fault;
use crate::ground::{Ground, UnderWay};
use crate::support::fleet::SHARDS;
use crate::support::redis::Redis;

/// What is left to an append-only file that has no room.
const ROOM_BYTES: u64 = 4_096;
/// How long a script may take to be ended.
const SCRIPT_ENDED_WITHIN: Duration = Duration::from_secs(10);
/// Of how many of them the slots move at a time.
const MOVED: usize = 4;
/// How long the move of one slot may take, with all that comes in between.
const MOVED_WITHIN: Duration = Duration::from_secs(60);
/// How long is waited for replicas to follow their primaries, after an earlier fault.
const WHOLE_WITHIN: Duration = Duration::from_secs(20);

/// Whether a server does what it was told; what it says otherwise.
pub fn agreed(said: Option<String>) -> Result<(), String> {
    match said.as_deref() {
        Some("OK") => Ok(()),
        Some(said) => Err(said.lines().next().unwrap_or_default().to_owned()),
        None => Err("no answer".to_owned()),
    }
}

impl Ground {
    /// The server at a port.
    pub fn redis(&mut self, port: u16) -> &mut Redis {
        let replicas = self.fleet.sentinels.iter_mut().flat_map(|sentinels| &mut sentinels.replicas);
        let cluster = self.fleet.cluster.iter_mut().flat_map(|cluster| cluster.primaries.iter_mut().chain(&mut cluster.replicas));
        replicas.chain(cluster).find(|server| server.port() == port).unwrap_or(&mut self.fleet.redis)
    }

    /// The ports of all primaries, as sentinels or servers say that live.
    pub fn primaries(&self) -> Vec<u16> {
        let said = match (&self.fleet.sentinels, &self.fleet.cluster) {
            (Some(sentinels), _) => sentinels.says().into_iter().collect(),
            (None, Some(cluster)) => cluster.primaries_now(),
            (None, None) => Vec::new(),
        };
        if said.is_empty() { vec![self.fleet.redis.port()] } else { said }
    }

    /// The port of a primary.
    pub fn primary(&self, random: &mut impl Rng) -> u16 {
        *self.primaries().choose(random).unwrap()
    }

    /// The port of a replica.
    pub fn replica(&self, random: &mut impl Rng) -> u16 {
        if let Some(cluster) = &self.fleet.cluster {
            return cluster.replicas_now().choose(random).copied().unwrap_or(cluster.replicas[0].port());
        }
        let (primary, first) = (self.primary(random), self.fleet.redis.port());
        if primary == first { self.fleet.sentinels.as_ref().unwrap().replicas[0].port() } else { first }
    }

    /// What the clock of a server under sentinels is called.
    pub fn clock_of(&self, port: u16) -> String {
        if port == self.fleet.redis.port() { "redis".to_owned() } else { "replica-0".to_owned() }
    }

    /// Waits for a while until every server is there and replicas have caught up; whether they have.
    pub async fn is_whole(&mut self) -> bool {
        let begun = Instant::now();
        loop {
            let whole = match &self.fleet.cluster {
                Some(cluster) => cluster.is_whole(),
                None => {
                    let primary = self.primaries()[0];
                    self.redis(primary).try_cli(&["INFO", "replication"]).is_some_and(|said| said.contains("state=online"))
                }
            };
            if whole || begun.elapsed() > WHOLE_WITHIN {
                return whole;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Begins a fault of the server at a port.
    pub fn hurt(&mut self, port: u16, fault: Fault) -> UnderWay {
        let server = self.redis(port);
        match fault {
            Fault::KillPrimary | Fault::KillReplica => {
                server.kill();
                UnderWay::ServerKilled(port)
            }
            Fault::NoRoom => {
                server.leave_room(ROOM_BYTES);
                UnderWay::ServerKilled(port)
            }
            Fault::BusyPrimary => {
                // So that it says so and can be told to end the script, where it would be silent for seconds.
                let answer = agreed(server.try_cli(&["CONFIG", "SET", "busy-reply-threshold", "100"]));
                if let Err(why) = answer {
                    return UnderWay::Refused(why);
                }
                let mut endless = Command::new("redis-cli");
                endless.args(["-p", &port.to_string(), "EVAL", "while true do end", "0"]);
                UnderWay::ServerBusy(port, endless.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
            }
            Fault::RedisFull => {
                let answer = agreed(server.try_cli(&["CONFIG", "SET", "maxmemory", "1mb"]));
                if answer.is_err() {
                    // Without an answer it may be done later all the same: then this comes behind it.
                    drop(server.try_cli(&["CONFIG", "SET", "maxmemory", "0"]));
                }
                UnderWay::ServerFull(port).unless_refused(answer)
            }
            Fault::ClusterFailover => UnderWay::Over.unless_refused(agreed(server.try_cli(&["CLUSTER", "FAILOVER"]))),
            _ => {
                server.signal(Signal::SIGSTOP);
                UnderWay::ServerStopped(port)
            }
        }
    }

    /// Ends what keeps a server busy, unless a sentinel has done so before.
    pub async fn end_script(&mut self, port: u16, mut script: Child) {
        let begun = Instant::now();
        while script.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < SCRIPT_ENDED_WITHIN, "the script does not end");
            drop(self.redis(port).try_cli(&["SCRIPT", "KILL"]));
            sleep(Duration::from_millis(50)).await;
        }
        drop(self.redis(port).try_cli(&["CONFIG", "SET", "busy-reply-threshold", "5000"]));
    }

    /// Kills all sentinels but one.
    pub fn kill_sentinels(&mut self, but: usize) -> UnderWay {
        let sentinels = self.fleet.sentinels.as_mut().unwrap();
        (0..3).filter(|number| *number != but).for_each(|number| sentinels.process(number).kill());
        UnderWay::SentinelsKilled(but)
    }

    /// Starts them again.
    pub fn restart_sentinels(&mut self, but: usize) {
        let sentinels = self.fleet.sentinels.as_mut().unwrap();
        (0..3).filter(|number| *number != but).for_each(|number| sentinels.restart(number));
    }

    /// Empties every primary; why not, when none was.
    pub fn empty(&mut self) -> Result<(), String> {
        let answers: Vec<_> = self.primaries().into_iter().map(|port| agreed(self.redis(port).try_cli(&["FLUSHALL"]))).collect();
        let emptied = answers.iter().any(Result::is_ok);
        let refused = answers.into_iter().find_map(Result::err).filter(|_| !emptied);
        refused.map_or(Ok(()), Err)
    }

    /// Moves the slots of some shards to other primaries of the cluster, key by key. A move that a failover breaks off goes on when every server
    /// is there again.
    pub async fn move_slots(&mut self, random: &mut impl Rng) {
        for shard in rand::seq::index::sample(random, SHARDS as usize, MOVED) {
            let begun = Instant::now();
            loop {
                let to = self.primary(random);
                let Some(cluster) = &self.fleet.cluster else { return };
                let Err(why) = cluster.try_move_slot(&keys::log(shard as u32), to) else { break };
                assert!(begun.elapsed() < MOVED_WITHIN, "shard {shard} does not move: {why}");
                eprint!(" [a move breaks off: {why}]");
                self.is_whole().await;
            }
        }
    }
}
