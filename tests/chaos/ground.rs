//! Where faults happen: how each begins and how it ends.

use std::process::Child;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng;
use rand::seq::IndexedRandom as _;
use roger::client::{Options, Session};

use crate::faults::Fault;
use crate::proxy::{Proxy, Weather};
use crate::servers::agreed;
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
    /// Nothing, because nothing happened: why it was refused, in a line.
    Refused(String),
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
    /// It is the primary and takes no writes; what `read_only` was before.
    SqlReadOnly(usize, String),
    /// The network to the edge of a number is bad.
    NetworkBad(usize),
    /// Somebody has the identity of a radio.
    TwinThere(Session),
}

impl UnderWay {
    /// This, unless what began it was refused.
    pub fn unless_refused(self, answer: Result<(), String>) -> Self {
        match answer {
            Ok(()) => self,
            Err(why) => Self::Refused(why),
        }
    }
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

    /// Sends a signal to a program, which has to run.
    fn signal(&self, name: &str, signal: Signal) -> Result<(), String> {
        let runs = self.fleet.supervisord.as_ref().unwrap().signal(name, signal);
        if runs { Ok(()) } else { Err(format!("{name} does not run")) }
    }

    fn sql(&self, which: usize) -> &MariaDb {
        let server = if which == 0 { &self.fleet.mariadb } else { &self.fleet.standby };
        server.as_ref().unwrap()
    }

    /// Runs a command of `roger` to its end; what it printed. Where the other fault makes it impossible it is refused, and nothing happens.
    async fn command(&self, args: &[&str]) -> Result<Vec<u8>, String> {
        let mut command = self.fleet.command(args);
        let answer = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        if answer.status.success() {
            return Ok(answer.stdout);
        }
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        // Before it fails it may tell of steps that it took.
        let why = said.lines().find(|line| line.starts_with("roger: ")).or(said.lines().next());
        Err(why.map_or_else(|| answer.status.to_string(), str::to_owned))
    }

    /// The number of the SQL primary. Whether a server takes writes says nothing of that: a standby that was started again does.
    async fn sql_primary(&self) -> Result<usize, String> {
        let status: serde_json::Value = serde_json::from_slice(&self.command(&["--json", "sql", "status"]).await?).unwrap();
        let is_primary = |number: &usize| status["servers"][*number]["role"] == "primary";
        (0..2).find(is_primary).ok_or_else(|| format!("no server says that it is the primary: {status}"))
    }

    /// Has the SQL primary take no writes.
    async fn refuse_writes(&self) -> UnderWay {
        let number = match self.sql_primary().await {
            Ok(number) => number,
            Err(why) => return UnderWay::Refused(why),
        };
        let before = self.sql(number).ask("mysql", "SELECT CAST(@@global.read_only AS CHAR)").await;
        self.sql(number).admin("SET GLOBAL read_only = ON").await;
        UnderWay::SqlReadOnly(number, before)
    }

    /// Waits for what a fault needs and an earlier one may have left otherwise; whether it is there.
    pub async fn is_ready_for(&mut self, fault: Fault) -> bool {
        !fault.needs_replicas() || self.is_whole().await
    }

    /// Begins a fault; when it has an end of its own, at the end of it.
    pub async fn begin(&mut self, fault: Fault, random: &mut impl Rng) -> UnderWay {
        match fault {
            Fault::KillEdge | Fault::KillDelivery | Fault::KillOffline | Fault::KillDirectory => {
                UnderWay::Over.unless_refused(self.signal(&self.program(fault, random), Signal::SIGKILL))
            }
            Fault::FreezeEdge | Fault::FreezeDelivery | Fault::FreezeOffline => {
                let name = self.program(fault, random);
                let signalled = self.signal(&name, Signal::SIGSTOP);
                UnderWay::ProgramStopped(name).unless_refused(signalled)
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
            Fault::EmptyRedis => UnderWay::Over.unless_refused(self.empty()),
            Fault::MoveSlots => {
                self.move_slots(random).await;
                UnderWay::Over
            }
            Fault::SwitchPlanned => UnderWay::Over.unless_refused(self.command(&["redis", "switch", "--yes"]).await.map(drop)),
            Fault::SwitchUnplanned => {
                let said = self.fleet.sentinels.as_ref().unwrap().try_cli(&["SENTINEL", "FAILOVER", "roger"]);
                UnderWay::Over.unless_refused(agreed(said))
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
            Fault::SqlReadOnly => self.refuse_writes().await,
            Fault::SwitchSql => UnderWay::Over.unless_refused(self.command(&["sql", "switch"]).await.map(drop)),
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
            UnderWay::Over | UnderWay::Refused(_) => {}
            UnderWay::ProgramStopped(name) => {
                if let Err(why) = self.signal(&name, Signal::SIGCONT) {
                    eprint!(" [{why}]");
                }
            }
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
            UnderWay::SqlReadOnly(number, before) => self.sql(number).admin(&format!("SET GLOBAL read_only = {before}")).await,
            UnderWay::NetworkBad(number) => self.proxies[number].set(Weather::Fine),
            UnderWay::TwinThere(twin) => drop(twin.close().await),
        }
    }
}
