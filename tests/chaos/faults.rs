//! The faults: how each begins and how it ends.

use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng;

use crate::proxy::{Proxy, Weather};
use crate::support::fleet::Fleet;
use crate::support::mariadb::MariaDb;
use crate::support::redis::Redis;

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    KillEdge,
    FreezeEdge,
    KillDelivery,
    FreezeDelivery,
    KillOffline,
    FreezeOffline,
    KillDirectory,
    KillPrimary,
    FreezePrimary,
    KillReplica,
    FreezeReplica,
    KillSentinels,
    FreezeSentinel,
    SwitchPlanned,
    SwitchUnplanned,
    RedisFull,
    KillSql,
    FreezeSql,
    SqlReadOnly,
    SwitchSql,
    CutNetwork,
    SilentNetwork,
    ReceiptsLost,
    SlowNetwork,
}

/// Of everything but the number of a program, which is chosen.
pub const ALL: [Fault; 24] = [
    Fault::KillEdge,
    Fault::FreezeEdge,
    Fault::KillDelivery,
    Fault::FreezeDelivery,
    Fault::KillOffline,
    Fault::FreezeOffline,
    Fault::KillDirectory,
    Fault::KillPrimary,
    Fault::FreezePrimary,
    Fault::KillReplica,
    Fault::FreezeReplica,
    Fault::KillSentinels,
    Fault::FreezeSentinel,
    Fault::SwitchPlanned,
    Fault::SwitchUnplanned,
    Fault::RedisFull,
    Fault::KillSql,
    Fault::FreezeSql,
    Fault::SqlReadOnly,
    Fault::SwitchSql,
    Fault::CutNetwork,
    Fault::SilentNetwork,
    Fault::ReceiptsLost,
    Fault::SlowNetwork,
];

impl Fault {
    /// What the verdict calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillEdge => "an edge is killed",
            Self::FreezeEdge => "an edge stands still",
            Self::KillDelivery => "a delivery program is killed",
            Self::FreezeDelivery => "a delivery program stands still",
            Self::KillOffline => "an offline program is killed",
            Self::FreezeOffline => "an offline program stands still",
            Self::KillDirectory => "the directory is killed",
            Self::KillPrimary => "the primary of Redis is killed",
            Self::FreezePrimary => "the primary of Redis stands still",
            Self::KillReplica => "the replica of Redis is killed",
            Self::FreezeReplica => "the replica of Redis stands still",
            Self::KillSentinels => "two of three sentinels are killed",
            Self::FreezeSentinel => "a sentinel stands still",
            Self::SwitchPlanned => "roger redis switch",
            Self::SwitchUnplanned => "SENTINEL FAILOVER",
            Self::RedisFull => "Redis reaches its maxmemory",
            Self::KillSql => "a server of the SQL pair is killed",
            Self::FreezeSql => "a server of the SQL pair stands still",
            Self::SqlReadOnly => "the SQL primary takes no writes",
            Self::SwitchSql => "roger sql switch",
            Self::CutNetwork => "the network to an edge is cut",
            Self::SilentNetwork => "the network to an edge carries nothing and says nothing",
            Self::ReceiptsLost => "nothing comes up to an edge, what comes down does",
            Self::SlowNetwork => "the network to an edge is slow",
        }
    }

    /// What it happens to: two faults at a time are never of the same thing.
    fn victim(self) -> u8 {
        match self {
            Self::KillEdge | Self::FreezeEdge => 0,
            Self::KillDelivery | Self::FreezeDelivery => 1,
            Self::KillOffline | Self::FreezeOffline => 2,
            Self::KillDirectory => 3,
            Self::KillPrimary | Self::FreezePrimary | Self::SwitchPlanned | Self::SwitchUnplanned | Self::RedisFull => 4,
            Self::KillReplica | Self::FreezeReplica => 5,
            Self::KillSentinels | Self::FreezeSentinel => 6,
            Self::KillSql | Self::FreezeSql | Self::SqlReadOnly | Self::SwitchSql => 7,
            Self::CutNetwork | Self::SilentNetwork | Self::ReceiptsLost | Self::SlowNetwork => 8,
        }
    }

    /// Whether the two can happen at the same time.
    pub fn goes_with(self, other: Self) -> bool {
        self.victim() != other.victim()
    }
}

/// Where faults happen.
pub struct Ground {
    pub fleet: Fleet,
    pub proxies: Vec<Proxy>,
}

/// A fault that is under way.
#[derive(Debug)]
pub struct UnderWay {
    pub fault: Fault,
    /// Which program, server or network.
    which: usize,
}

impl Ground {
    fn redis(&mut self, port: u16) -> &mut Redis {
        let sentinels = self.fleet.sentinels.as_mut().unwrap();
        match sentinels.replicas.iter_mut().find(|replica| replica.port() == port) {
            Some(replica) => replica,
            None => &mut self.fleet.redis,
        }
    }

    /// The port of the primary as living sentinels say.
    fn primary(&self) -> u16 {
        let sentinels = self.fleet.sentinels.as_ref().unwrap();
        sentinels.says().unwrap_or_else(|| self.fleet.redis.port())
    }

    fn replica(&self) -> u16 {
        let (primary, first) = (self.primary(), self.fleet.redis.port());
        if primary == first { self.fleet.sentinels.as_ref().unwrap().replicas[0].port() } else { first }
    }

    fn sql(&self, which: usize) -> &MariaDb {
        let server = if which == 0 { &self.fleet.mariadb } else { &self.fleet.standby };
        server.as_ref().unwrap()
    }

    /// Runs a command of `roger` to its end. Where the other fault makes it impossible it is refused, and nothing happens.
    async fn command(&self, args: &[&str]) {
        let mut command = self.fleet.command(args);
        let answer = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        if !answer.status.success() {
            let why = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
            eprint!(" [roger {}: {}]", args.join(" "), why.lines().next().unwrap_or_default());
        }
    }

    /// Begins a fault; when it has an end of its own, at the end of it.
    pub async fn begin(&mut self, fault: Fault, random: &mut impl Rng) -> UnderWay {
        let edges = self.proxies.len();
        let mut which = 0;
        match fault {
            Fault::KillEdge | Fault::FreezeEdge => {
                which = random.random_range(0..edges);
                self.hit(&format!("edge-{which}"), fault == Fault::KillEdge);
            }
            Fault::KillDelivery | Fault::FreezeDelivery => {
                which = random.random_range(0..2);
                self.hit(&format!("delivery-{which}"), fault == Fault::KillDelivery);
            }
            Fault::KillOffline | Fault::FreezeOffline => {
                which = random.random_range(0..2);
                self.hit(&format!("offline-{which}"), fault == Fault::KillOffline);
            }
            Fault::KillDirectory => self.hit("directory", true),
            Fault::KillPrimary => {
                which = self.primary().into();
                self.redis(which as u16).kill();
            }
            Fault::FreezePrimary => {
                which = self.primary().into();
                self.redis(which as u16).signal(Signal::SIGSTOP);
            }
            Fault::KillReplica => {
                which = self.replica().into();
                self.redis(which as u16).kill();
            }
            Fault::FreezeReplica => {
                which = self.replica().into();
                self.redis(which as u16).signal(Signal::SIGSTOP);
            }
            Fault::KillSentinels => {
                which = random.random_range(0..3);
                let sentinels = self.fleet.sentinels.as_mut().unwrap();
                (0..3).filter(|number| *number != which).for_each(|number| sentinels.process(number).kill());
            }
            Fault::FreezeSentinel => {
                which = random.random_range(0..3);
                self.fleet.sentinels.as_mut().unwrap().process(which).signal(Signal::SIGSTOP);
            }
            Fault::SwitchPlanned => self.command(&["redis", "switch", "--yes"]).await,
            Fault::SwitchUnplanned => drop(self.fleet.sentinels.as_ref().unwrap().try_cli(&["SENTINEL", "FAILOVER", "roger"])),
            Fault::RedisFull => {
                which = self.primary().into();
                drop(self.redis(which as u16).try_cli(&["CONFIG", "SET", "maxmemory", "1mb"]));
            }
            Fault::KillSql => {
                which = random.random_range(0..2);
                self.sql(which).stop();
            }
            Fault::FreezeSql => {
                which = random.random_range(0..2);
                self.sql(which).signal(Signal::SIGSTOP);
            }
            Fault::SqlReadOnly => {
                // The standby is so all the time.
                which = usize::from(self.sql(0).ask("mysql", "SELECT CAST(@@read_only AS CHAR)").await == "1");
                self.sql(which).admin("SET GLOBAL read_only = 1").await;
            }
            Fault::SwitchSql => self.command(&["sql", "switch"]).await,
            Fault::CutNetwork | Fault::SilentNetwork | Fault::ReceiptsLost | Fault::SlowNetwork => {
                which = random.random_range(0..edges);
                let slow = Weather::Slow(Duration::from_millis(random.random_range(20..300)));
                self.proxies[which].set(match fault {
                    Fault::CutNetwork => Weather::Cut,
                    Fault::SilentNetwork => Weather::Silent,
                    Fault::ReceiptsLost => Weather::DownOnly,
                    _ => slow,
                });
            }
        }
        UnderWay { fault, which }
    }

    fn hit(&mut self, name: &str, kill: bool) {
        if kill {
            self.fleet.kill9(name);
        } else {
            self.fleet.stop(name);
        }
    }

    /// Ends a fault: what was killed is started again, what stood still goes on.
    pub async fn end(&mut self, UnderWay { fault, which }: UnderWay) {
        match fault {
            Fault::KillEdge => self.fleet.relaunch(&format!("edge-{which}")),
            Fault::FreezeEdge => self.fleet.cont(&format!("edge-{which}")),
            Fault::KillDelivery => self.fleet.relaunch(&format!("delivery-{which}")),
            Fault::FreezeDelivery => self.fleet.cont(&format!("delivery-{which}")),
            Fault::KillOffline => self.fleet.relaunch(&format!("offline-{which}")),
            Fault::FreezeOffline => self.fleet.cont(&format!("offline-{which}")),
            Fault::KillDirectory => self.fleet.relaunch("directory"),
            Fault::KillPrimary | Fault::KillReplica => self.redis(which as u16).restart(),
            Fault::FreezePrimary | Fault::FreezeReplica => self.redis(which as u16).signal(Signal::SIGCONT),
            Fault::KillSentinels => {
                let sentinels = self.fleet.sentinels.as_mut().unwrap();
                (0..3).filter(|number| *number != which).for_each(|number| sentinels.restart(number));
            }
            Fault::FreezeSentinel => self.fleet.sentinels.as_mut().unwrap().process(which).signal(Signal::SIGCONT),
            Fault::SwitchPlanned | Fault::SwitchUnplanned | Fault::SwitchSql => {}
            Fault::RedisFull => drop(self.redis(which as u16).try_cli(&["CONFIG", "SET", "maxmemory", "0"])),
            Fault::KillSql => self.sql(which).resume(),
            Fault::FreezeSql => self.sql(which).signal(Signal::SIGCONT),
            Fault::SqlReadOnly => self.sql(which).admin("SET GLOBAL read_only = 0").await,
            Fault::CutNetwork | Fault::SilentNetwork | Fault::ReceiptsLost | Fault::SlowNetwork => self.proxies[which].set(Weather::Fine),
        }
    }
}
