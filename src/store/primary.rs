//! Which of two servers of MariaDB is the primary, and the connections to it.
//!
//! The configuration names the two servers and not their roles. The one row of `sql_primary`, which is replicated, names the primary by its
//! server id, with an epoch that rises with each promotion. A server is used only while the row on it names itself and its epoch is the
//! highest that anybody has seen: this process, the other server, or Redis, where every program notes what it knows. So a standby that comes
//! up writable, and an old primary that comes back, get nothing.
//!
//! All connections belong to a generation, made with one server at one epoch. Each transaction looks at the row before anything else. What
//! says that the server is gone or was demoted ends the generation, and the next operation looks at both servers again.

mod choice;
mod standby;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{Error, Options, error};
use crate::retry::ErrorClass;
use choice::choose;

/// How often a process compares its epoch with what Redis says.
const AGREE_EVERY: Duration = Duration::from_secs(1);
/// MariaDB: there is no such table.
const NO_SUCH_TABLE: u16 = 1146;

/// What a server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) read_only: bool,
    /// `@@server_id`.
    pub(super) server: i64,
    /// Epoch and primary of its row; `None` before the tables are there.
    pub(super) row: Option<(u64, i64)>,
}

impl Look {
    pub(super) fn epoch(&self) -> u64 {
        self.row.map_or(0, |(epoch, _)| epoch)
    }
}

/// One server of the pair.
#[derive(Clone)]
pub(super) struct Server {
    /// `host:port`.
    pub(super) name: String,
    pub(super) connect: MySqlConnectOptions,
}

impl Server {
    pub(super) fn new(url: &str) -> Result<Self, Error> {
        let connect: MySqlConnectOptions = url.parse().map_err(|source| Error::Url { source })?;
        let name = format!("{}:{}", connect.get_host(), connect.get_port());
        Ok(Self { name, connect: connect.charset("utf8mb4").collation("utf8mb4_bin") })
    }
}

/// Connections to one server at one epoch.
pub(super) struct Generation {
    pub(super) pool: MySqlPool,
    /// That of the row when it was made; 0 when there were no tables.
    pub(super) epoch: u64,
    /// Whether the row must name the server.
    pub(super) named: bool,
    /// A connection broke while nobody used it, or a new one found another epoch: something happened to the server.
    lost: Arc<AtomicBool>,
    server: Server,
}

/// Why no server is used.
#[derive(Clone, Debug)]
struct Refusal {
    at: Instant,
    seen: String,
    class: ErrorClass,
}

pub(super) struct Primary {
    servers: Vec<Server>,
    connections_max: u32,
    acquire_timeout: Duration,
    /// How far the standby may be behind to be read from; `None`: it is not.
    standby_lag_max: Option<Duration>,
    standby: tokio::sync::Mutex<Option<standby::Standby>>,
    /// The highest epoch seen anywhere.
    known: AtomicU64,
    /// That of the last generation, which is what this process vouches for.
    accepted: AtomicU64,
    /// Redis has said an epoch.
    heard: AtomicBool,
    /// Whether Redis is being asked for the first time.
    asking: tokio::sync::watch::Sender<bool>,
    current: Mutex<Option<Arc<Generation>>>,
    /// One looks, the others wait, and are told what it saw.
    looking: tokio::sync::Mutex<Option<Refusal>>,
}

impl Primary {
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let servers = [Some(&options.url), options.standby_url.as_ref()].into_iter().flatten().map(|url| Server::new(url));
        Ok(Self {
            servers: servers.collect::<Result<_, Error>>()?,
            connections_max: options.connections_max,
            acquire_timeout: options.acquire_timeout,
            standby_lag_max: options.standby_lag_max,
            standby: tokio::sync::Mutex::default(),
            known: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            heard: AtomicBool::new(false),
            asking: tokio::sync::watch::Sender::new(false),
            current: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        })
    }

    /// How long a server has to say what it is.
    fn look_timeout(&self) -> Duration {
        self.acquire_timeout * 3 / 4
    }

    /// The highest epoch seen; 0 for none.
    fn known(&self) -> u64 {
        self.known.load(Ordering::Acquire)
    }

    /// From now on nothing below `epoch` is used.
    pub(super) fn require(&self, epoch: u64) {
        if epoch == 0 {
            return;
        }
        self.known.fetch_max(epoch, Ordering::AcqRel);
        self.heard.store(true, Ordering::Release);
        let current = self.slot().clone();
        if let Some(old) = current.filter(|generation| generation.epoch < self.known()) {
            self.discard(&old, "a newer primary is known");
        }
    }

    /// Ends a generation: nobody gets a connection of it any more, and those in use close when they come back.
    pub(super) fn discard(&self, generation: &Arc<Generation>, why: &str) {
        let taken = {
            let mut slot = self.slot();
            if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, generation)) { slot.take() } else { None }
        };
        if let Some(old) = taken {
            metrics::counter!("roger_sql_given_up_total").increment(1);
            tracing::warn!(server = old.server.name, epoch = old.epoch, why, "the connections to the database are given up");
            tokio::spawn(async move { old.pool.close().await });
        }
    }

    /// The connections to the primary, which is looked for when it is not known.
    pub(super) async fn generation(&self, operation: &str) -> Result<Arc<Generation>, Error> {
        let current = || self.slot().clone().filter(|generation| generation.epoch >= self.known());
        if let Some(generation) = current() {
            return Ok(generation);
        }
        let asked = Instant::now();
        let mut refusal = self.looking.lock().await;
        if let Some(generation) = current() {
            return Ok(generation);
        }
        if let Some(Refusal { seen, class, .. }) = refusal.as_ref().filter(|refusal| refusal.at > asked) {
            return Err(Error::NoPrimary { operation: operation.to_owned(), seen: seen.clone(), class: *class });
        }
        if self.servers.len() > 1 {
            // While one of them is away, all depends on what Redis says.
            let mut asking = self.asking.subscribe();
            let _late = tokio::time::timeout(self.look_timeout(), asking.wait_for(|asking| !asking)).await;
        }
        let looks = futures_util::future::join_all(self.servers.iter().map(|server| look_at(server, self.look_timeout()))).await;
        for look in looks.iter().flatten() {
            self.known.fetch_max(look.epoch(), Ordering::AcqRel);
        }
        let answers: Vec<Option<Look>> = looks.iter().map(|look| look.as_ref().ok().copied()).collect();
        match choose(&answers, self.known(), self.heard.load(Ordering::Acquire)) {
            Ok(at) => {
                *refusal = None;
                let look = answers.get(at).copied().flatten();
                let (Some(server), Some(look)) = (self.servers.get(at), look) else { unreachable!("one of those that answered is chosen") };
                let generation = Arc::new(self.open(server.clone(), &look));
                tracing::info!(
                    server = server.name,
                    epoch = look.epoch(),
                    read_only = look.read_only,
                    "this is the primary of the database"
                );
                self.accepted.store(look.epoch(), Ordering::Release);
                metrics::gauge!("roger_sql_epoch").set(look.epoch() as f64);
                *self.slot() = Some(generation.clone());
                Ok(generation)
            }
            Err(doubt) => {
                let seen = self.servers.iter().zip(&looks).map(|(server, look)| match look {
                    Ok(look) => format!("{} {}", server.name, choice::describe(look)),
                    Err(error) => format!("{}: {error}", server.name),
                });
                let seen = format!("{doubt}: {}", seen.collect::<Vec<_>>().join("; "));
                let classes: Vec<ErrorClass> = looks.iter().filter_map(|look| look.as_ref().err().map(error::class_of_driver)).collect();
                let all = |class| classes.len() == looks.len() && classes.iter().all(|found| *found == class);
                let class = match classes.first() {
                    Some(first) if all(*first) => *first,
                    _ => ErrorClass::Transient,
                };
                *refusal = Some(Refusal { at: Instant::now(), seen: seen.clone(), class });
                match (self.servers.len(), looks.into_iter().next()) {
                    (1, Some(Err(source))) => Err(Error::Unreachable { operation: operation.to_owned(), open: 0, idle: 0, source }),
                    _ => Err(Error::NoPrimary { operation: operation.to_owned(), seen, class }),
                }
            }
        }
    }

    fn open(&self, server: Server, look: &Look) -> Generation {
        let (epoch, named) = (look.epoch(), self.servers.len() > 1);
        let lost = Arc::new(AtomicBool::new(false));
        let (changed, broken) = (lost.clone(), lost.clone());
        let pool = MySqlPoolOptions::new().acquire_timeout(self.acquire_timeout).max_connections(self.connections_max);
        let pool = pool.after_connect(move |connection, _| {
            let changed = changed.clone();
            Box::pin(async move {
                // No gap locks, and a row that was waited for is read as its writer left it.
                sqlx::Executor::execute(&mut *connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                // The same address may have become another server, or a later one.
                let found = look_over(connection).await?.epoch();
                changed.fetch_or(found != epoch && epoch > 0, Ordering::AcqRel);
                Ok(())
            })
        });
        // As the pool's own test, which keeps it to itself when one fails.
        let pool = pool.test_before_acquire(false).before_acquire(move |connection, _| {
            let broken = broken.clone();
            Box::pin(async move {
                let answered = connection.ping().await;
                broken.fetch_or(answered.is_err(), Ordering::AcqRel);
                answered.map(|()| true)
            })
        });
        Generation { pool: pool.connect_lazy_with(server.connect.clone()), epoch, named, lost, server }
    }

    pub(super) async fn close(&self) {
        let current = self.slot().take();
        if let Some(generation) = current {
            generation.pool.close().await;
        }
        if let Some(standby) = self.standby.lock().await.take() {
            standby.close().await;
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Generation>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generation {
    /// Something happened to the server while its connections were not in use: who is the primary has to be looked at again.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// A connection beside the pool.
    pub(super) async fn connect(&self) -> Result<MySqlConnection, sqlx::Error> {
        self.server.connect.connect().await
    }
}

/// Compares epochs with `agree` once a second until the store is gone.
pub(super) fn follow<F>(primary: &Arc<Primary>, agree: impl Fn(u64) -> F + Send + 'static)
where
    F: Future<Output = Option<u64>> + Send,
{
    primary.asking.send_replace(true);
    let primary = Arc::downgrade(primary);
    tokio::spawn(async move {
        while let Some(accepted) = primary.upgrade().map(|primary| primary.accepted.load(Ordering::Acquire)) {
            let said = agree(accepted).await;
            if let (Some(epoch), Some(primary)) = (said, primary.upgrade()) {
                primary.require(epoch);
            }
            if let Some(primary) = primary.upgrade() {
                primary.asking.send_replace(false);
            }
            tokio::time::sleep(AGREE_EVERY).await;
        }
    });
}

async fn look_at(server: &Server, within: Duration) -> Result<Look, sqlx::Error> {
    let work = async {
        let mut connection = server.connect.connect().await?;
        let look = look_over(&mut connection).await?;
        connection.close().await?;
        Ok(look)
    };
    // The connection is its own: one that is dropped half-way harms nobody.
    tokio::time::timeout(within, work).await.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

pub(super) async fn look_over(connection: &mut MySqlConnection) -> Result<Look, sqlx::Error> {
    let sql = "SELECT CASE WHEN @@global.read_only THEN 1 ELSE 0 END, CAST(@@global.server_id AS SIGNED)";
    let (read_only, server): (i64, i64) = sqlx::query_as(sql).persistent(false).fetch_one(&mut *connection).await?;
    let sql = "SELECT epoch, server FROM sql_primary WHERE one = 1";
    let row = match sqlx::query_as::<_, (i64, i64)>(sql).persistent(false).fetch_optional(connection).await {
        Err(error) if error::server_number(&error) == Some(NO_SUCH_TABLE) => None,
        row => row?,
    };
    Ok(Look { read_only: read_only != 0, server, row: row.map(|(epoch, server)| (epoch.cast_unsigned(), server)) })
}
