//! Where faults happen: how each begins and how it ends.

use std::process::Child;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng;
use rand::seq::IndexedRandom as _;
use roger::client::{Options, Session};

use crate::faults::Fault;
use crate::proxy::{Proxy, Weather};
use crate::support::fleet::Fleet;
use crate::support::mariadb::MariaDb;

/// By how much clocks jump, ahead or behind.
const HOUR_S: i64 = 3_600;

/// The fleet, what lies between it and radios, and who radios are.
pub struct Ground {
    pub fleet: Fleet,
    pub proxies: Vec<Proxy>,
    /// How each radio opened its first session, with nothing in its memory but who it is.
    pub identities: Vec<Options>,
}

/// A fault that is under way: what is to be undone at its end.
pub enum UnderWay {
    /// Nothing: it had an end of its own, or supervisord makes one.
    Over,
    /// A program stands still.
    ProgramStopped(String),
    /// There is no supervisord, and so no program.
    SupervisordKilled,
    /// A clock is wrong.
    ClockWrong(String),
    /// The server of Redis at a port is dead, or about to die.
    ServerKilled(u16),
    /// It stands still.
    ServerStopped(u16),
    /// It works on the script of a client.
    ServerBusy(u16, Child),
    /// It has no memory left.
    ServerFull(u16),
    /// The sentinels are dead, but for the one of a number.
    SentinelsKilled(usize),
    /// The sentinel of a number stands still.
    SentinelStopped(usize),
    /// The server of a number in the SQL pair is dead.
    SqlKilled(usize),
    /// It stands still.
    SqlStopped(usize),
    /// It takes no writes, and was the primary.
    SqlReadOnly(usize),
    /// The network to the edge of a number is bad.
    NetworkBad(usize),
    /// Somebody has the identity of a radio.
    TwinThere(Session),
}

impl Ground {
    /// The name of a program that a fault may happen to.
    fn program(&self, fault: Fault, random: &mut impl Rng) -> String {
        match fault {
            Fault::KillEdge | Fault::FreezeEdge | Fault::ClockOfEdge => format!("edge-{}", random.random_range(0..self.proxies.len())),
            Fault::KillDelivery | Fault::FreezeDelivery | Fault::ClockOfDelivery => format!("delivery-{}", random.random_range(0..2)),
            Fault::KillOffline | Fault::FreezeOffline | Fault::ClockOfOffline => format!("offline-{}", random.random_range(0..2)),
            _ => "directory".to_owned(),
        }
    }

    /// Sends a signal to a program.
    fn signal(&self, name: &str, signal: Signal) {
        if !self.fleet.supervisord.as_ref().unwrap().signal(name, signal) {
            eprint!(" [{name} does not run]");
        }
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

    /// Waits for what a fault needs and an earlier one may have left otherwise; whether it is there.
    pub async fn is_ready_for(&mut self, fault: Fault) -> bool {
        !fault.needs_replicas() || self.is_whole().await
    }

    /// Begins a fault; when it has an end of its own, at the end of it.
    pub async fn begin(&mut self, fault: Fault, random: &mut impl Rng) -> UnderWay {
        match fault {
            Fault::KillEdge | Fault::KillDelivery | Fault::KillOffline | Fault::KillDirectory => {
                self.signal(&self.program(fault, random), Signal::SIGKILL);
                UnderWay::Over
            }
            Fault::FreezeEdge | Fault::FreezeDelivery | Fault::FreezeOffline => {
                let name = self.program(fault, random);
                self.signal(&name, Signal::SIGSTOP);
                UnderWay::ProgramStopped(name)
            }
            Fault::KillSupervisord => {
                self.fleet.supervisord.as_mut().unwrap().kill();
                UnderWay::SupervisordKilled
            }
            Fault::ClockOfEdge | Fault::ClockOfDelivery | Fault::ClockOfOffline => self.turn_clock(self.program(fault, random), random),
            Fault::ClockOfPrimary => self.turn_clock(self.clock_of(self.primary(random)), random),
            Fault::KillPrimary | Fault::FreezePrimary | Fault::BusyPrimary | Fault::NoRoom | Fault::RedisFull => {
                let port = self.primary(random);
                self.hurt(port, fault)
            }
            Fault::KillReplica | Fault::FreezeReplica | Fault::ClusterFailover => {
                let port = self.replica(random);
                self.hurt(port, fault)
            }
            Fault::EmptyRedis => {
                self.empty();
                UnderWay::Over
            }
            Fault::MoveSlots => {
                self.move_slots(random).await;
                UnderWay::Over
            }
            Fault::SwitchPlanned => {
                self.command(&["redis", "switch", "--yes"]).await;
                UnderWay::Over
            }
            Fault::SwitchUnplanned => {
                drop(self.fleet.sentinels.as_ref().unwrap().try_cli(&["SENTINEL", "FAILOVER", "roger"]));
                UnderWay::Over
            }
            Fault::KillSentinels => self.kill_sentinels(random.random_range(0..3)),
            Fault::FreezeSentinel => {
                let number = random.random_range(0..3);
                self.fleet.sentinels.as_mut().unwrap().process(number).signal(Signal::SIGSTOP);
                UnderWay::SentinelStopped(number)
            }
            Fault::KillSql => {
                let number = random.random_range(0..2);
                self.sql(number).stop();
                UnderWay::SqlKilled(number)
            }
            Fault::FreezeSql => {
                let number = random.random_range(0..2);
                self.sql(number).signal(Signal::SIGSTOP);
                UnderWay::SqlStopped(number)
            }
            Fault::SqlReadOnly => {
                // The standby is so all the time.
                let number = usize::from(self.sql(0).ask("mysql", "SELECT CAST(@@read_only AS CHAR)").await == "1");
                self.sql(number).admin("SET GLOBAL read_only = 1").await;
                UnderWay::SqlReadOnly(number)
            }
            Fault::SwitchSql => {
                self.command(&["sql", "switch"]).await;
                UnderWay::Over
            }
            Fault::CutNetwork => self.worsen(Weather::Cut, random),
            Fault::SilentNetwork => self.worsen(Weather::Silent, random),
            Fault::AcknowledgementsLost => self.worsen(Weather::DownOnly, random),
            Fault::ReceiptsLost => self.worsen(Weather::UpOnly, random),
            Fault::SlowNetwork => self.worsen(Weather::Slow(Duration::from_millis(random.random_range(20..300))), random),
            Fault::Twin => {
                let mut options = self.identities.choose(random).unwrap().clone();
                options.edges.rotate_left(random.random_range(0..self.proxies.len()));
                // It stores and acknowledges nothing of what it hears, and says nothing.
                UnderWay::TwinThere(Session::open_with(options, |_| {}).unwrap())
            }
        }
    }

    fn turn_clock(&self, name: String, random: &mut impl Rng) -> UnderWay {
        self.fleet.set_clock(&name, if random.random() { HOUR_S } else { -HOUR_S });
        UnderWay::ClockWrong(name)
    }

    fn worsen(&self, weather: Weather, random: &mut impl Rng) -> UnderWay {
        let number = random.random_range(0..self.proxies.len());
        self.proxies[number].set(weather);
        UnderWay::NetworkBad(number)
    }

    /// Ends a fault: servers that were killed are started again, and what stood still goes on.
    pub async fn end(&mut self, fault: UnderWay) {
        match fault {
            UnderWay::Over => {}
            UnderWay::ProgramStopped(name) => self.signal(&name, Signal::SIGCONT),
            UnderWay::SupervisordKilled => self.fleet.supervisord.as_mut().unwrap().restart(),
            UnderWay::ClockWrong(name) => self.fleet.set_clock(&name, 0),
            UnderWay::ServerKilled(port) => self.redis(port).restart(),
            UnderWay::ServerStopped(port) => self.redis(port).signal(Signal::SIGCONT),
            UnderWay::ServerBusy(port, script) => self.end_script(port, script).await,
            UnderWay::ServerFull(port) => drop(self.redis(port).try_cli(&["CONFIG", "SET", "maxmemory", "0"])),
            UnderWay::SentinelsKilled(number) => self.restart_sentinels(number),
            UnderWay::SentinelStopped(number) => self.fleet.sentinels.as_mut().unwrap().process(number).signal(Signal::SIGCONT),
            UnderWay::SqlKilled(number) => self.sql(number).resume(),
            UnderWay::SqlStopped(number) => self.sql(number).signal(Signal::SIGCONT),
            UnderWay::SqlReadOnly(number) => self.sql(number).admin("SET GLOBAL read_only = 0").await,
            UnderWay::NetworkBad(number) => self.proxies[number].set(Weather::Fine),
            UnderWay::TwinThere(twin) => drop(twin.close().await),
        }
    }
}
