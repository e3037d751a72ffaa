//! SQL: what must outlive Redis. SQLite, embedded, or MariaDB, chosen by URL; the same functions over both.
//!
//! Holds, per shard, the archive of the topics' logs and the floors a shard starts from after Redis lost its state, and the directory:
//! accounts, groups, resume tokens, the outbox of what the shards must hear of them, and who changed what. And for the gateway: releases of the
//! app, files, and which node an account uses. And where devices were, and what they did at geofences.
//!
//! Guarantees: every write is one transaction and harmless when repeated. Rows of the archive only move forward, so an old batch changes
//! nothing. A caller that goes away does not stop a statement half-way, and every operation ends within its deadline.
//!
//! Does not retry, but for [`Store::migrate`]: [`Error::class`] says who may.
//!
//! Ids use all 64 bits and stand bit by bit in signed columns. Columns are BIGINT, DOUBLE, VARCHAR and BLOB only, so that both
//! databases read them alike.

mod alert;
mod archive;
mod audit;
mod backup;
mod conn;
mod dialect;
mod directory;
mod error;
mod escalation;
mod fence;
mod file;
mod fix;
mod fix_bench;
mod floor;
mod log;
mod look;
mod pair;
mod primary;
mod recording;
mod recording_bench;
mod release;
mod setting;
mod trace;
mod unit;
mod wifi;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::config;
use crate::retry::{Delays, ErrorClass};

pub use alert::KeptAlert;
pub use archive::{ArchiveBatch, ArchiveState, Archived, Position};
pub use audit::{AuditPage, FINDINGS_MAX, Finding};
pub use directory::{
    ACCESS_TOKENS_MAX, Access, Account, AccountCard, AccountProfile, AccountUpdate, Author, ChangeRecord, ChangesWanted, Device,
    DeviceUpdate, Ensured, FRIENDS_MAX, FoundGroup, FoundUser, Friend, GROUP_MEMBERS_MAX, Group, GroupMember, GroupPage,
    LOGIN_NAME_CHARACTERS_MAX, LoginRecord, MembersChanged, NAME_CHARACTERS_MAX, NODE_CHARACTERS_MAX, Named, NewAccount, NewChild,
    NewDevice, NewGroup, OWNER_GROUPS_MAX, OutboxRow, Phone, ResumeToken, Revocations, Revoked, Rotation, TEMPORARY_NAME, TemporaryGroup,
    Tenant, Tie, UserGroup,
};
pub use error::Error;
pub use fence::{FENCE_CORNERS_MAX, FENCES_MAX};
pub use file::{ADOPT_WITHIN_MS, FileAdded, NewFile, SWEEP_FILES_MAX, StoredFile};
pub use fix::{Fate, FateRefusal, Taken};
pub use floor::{FloorCursor, FloorPage};
pub use look::TablesLook;
pub use pair::{Done, Pair, PairAccounts, PairError, PairLook, Replication, ServerState, Wish};
pub use recording::{Kept, NewRecording, Recorded};
pub use recording_bench::Counted;
pub use release::{NewRelease, Release, ReleaseAdded, ReleaseChange};
pub use trace::TRACE_SQL;
pub use wifi::{WifiChange, WifiPoint};

use primary::Primary;

/// How to reach the database.
#[derive(Clone)]
pub struct Options {
    /// `sqlite:PATH` or `mysql://USER:PASSWORD@HOST:PORT/DATABASE`. Holds a secret: never logged.
    pub url: String,
    /// The other server of a pair, of the same form, for MariaDB only: which of the two is the primary is found out. `None` without one.
    pub standby_url: Option<String>,
    /// How far the standby may be behind for [`Store`] to read history from it; `None`: it is not read from.
    pub standby_lag_max: Option<Duration>,
    /// The most connections to MariaDB, or readers of SQLite (which always has one writer). At the bound an operation waits.
    pub connections_max: u32,
    /// How long an operation waits for a connection. Where the primary has to be found first, the servers have three quarters of that to say what they are.
    pub acquire_timeout: Duration,
    /// How long an operation may take once it has a connection.
    pub deadline: Duration,
}

impl Options {
    /// Eight connections, two seconds until there is one, ten from then on.
    pub fn new(url: impl Into<String>) -> Self {
        let (acquire_timeout, deadline) = (Duration::from_secs(2), Duration::from_secs(10));
        Self { url: url.into(), standby_url: None, standby_lag_max: None, connections_max: 8, acquire_timeout, deadline }
    }
}

impl fmt::Debug for Options {
    /// Without the URLs, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, standby_url: _, standby_lag_max, connections_max, acquire_timeout, deadline } = self;
        f.debug_struct("Options")
            .field("standby_lag_max", standby_lag_max)
            .field("connections_max", connections_max)
            .field("acquire_timeout", acquire_timeout)
            .field("deadline", deadline)
            .finish_non_exhaustive()
    }
}

impl From<&config::Sql> for Options {
    /// As configured, with eight connections.
    fn from(config: &config::Sql) -> Self {
        let standby_url = (!config.standby_url.is_empty()).then(|| config.standby_url.clone());
        let standby_lag_max = config.read_from_standby.then_some(config.standby_lag_max);
        Self { standby_url, standby_lag_max, deadline: config.statement_timeout, ..Self::new(config.url.as_str()) }
    }
}

/// How long SQLite waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a migration may take: another program may be at it.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long connections have to end when a program does.
const CLOSING: Duration = Duration::from_secs(1);

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/sqlite");
static MYSQL_MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/mysql");

/// The SQL database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pools: Pools,
    deadline: Duration,
    stamp: Arc<directory::Stamp>,
    fences: Arc<fence::Cache>,
}

#[derive(Clone)]
enum Pools {
    /// SQLite has one writer at a time. With a pool of one connection writers queue in this process, in order, instead of meeting each
    /// other in the file.
    Sqlite {
        write: SqlitePool,
        read: SqlitePool,
    },
    MySql(Arc<Primary>),
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.pools {
            Pools::Sqlite { .. } => "Store(SQLite)",
            Pools::MySql(_) => "Store(MariaDB)",
        })
    }
}

impl Store {
    /// A store with the default [`Options`]. Connects when first used, so the database need not be up; call within a tokio runtime.
    pub fn open(url: &str) -> Result<Self, Error> {
        Self::open_with(&Options::new(url))
    }

    /// A store. Connects when first used, so the database need not be up; call within a tokio runtime.
    pub fn open_with(options: &Options) -> Result<Self, Error> {
        let scheme = options.url.split(':').next().unwrap_or_default();
        let pools = match scheme {
            "sqlite" => sqlite_pools(options)?,
            "mysql" | "mariadb" => Pools::MySql(Arc::new(Primary::new(options)?)),
            _ => return Err(Error::Scheme { scheme: scheme.to_owned() }),
        };
        Ok(Self { pools, deadline: options.deadline, stamp: Arc::default(), fences: Arc::default() })
    }

    /// Brings the tables to the version of this program. May run in several programs at once; does nothing when there is nothing to do.
    pub async fn migrate(&self) -> Result<(), Error> {
        let pools = self.pools.clone();
        let operation = "migrate".to_owned();
        let work = async move {
            match pools {
                // The migrator of SQLite does not lock; inside a transaction that writes from the start it need not.
                Pools::Sqlite { write, .. } => {
                    // Programs that meet in a new file find it locked while one of them turns it to WAL: no busy timeout covers that.
                    let mut delays = Delays::reconnecting();
                    while let Err(source) = migrate_sqlite(&write).await {
                        if error::class_of_migration(&source) != ErrorClass::Transient {
                            return Err(source);
                        }
                        tokio::time::sleep(delays.next_delay()).await;
                    }
                }
                // The migrator locks with a negative timeout, which MariaDB refuses with a warning, so a lock of our own does it. It is
                // held by a connection outside the pool and ends with it.
                Pools::MySql(primary) => {
                    let generation = primary.generation("migrate").await.map_err(|error| MigrateError::Source(error.into()))?;
                    let mut connection = generation.connect().await?;
                    let sql = "SELECT COALESCE(GET_LOCK(LEFT(CONCAT('roger migrate ', DATABASE()), 64), ?), 0)";
                    let wait = MIGRATE_TIMEOUT.as_secs().cast_signed();
                    let (locked,): (i64,) = sqlx::query_as(sql).bind(wait).fetch_one(&mut connection).await?;
                    if locked == 0 {
                        return Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into());
                    }
                    MYSQL_MIGRATIONS.run_direct(None, &mut connection, false).await?;
                    connection.close().await?;
                    if generation.epoch == 0 {
                        primary.discard(&generation, "it has tables now");
                    }
                }
            }
            Ok(())
        };
        match tokio::spawn(tokio::time::timeout(MIGRATE_TIMEOUT, work)).await {
            Ok(Ok(done)) => done.map_err(|source| Error::Migrate { source }),
            Ok(Err(source)) => Err(Error::TimedOut { operation, deadline_ms: conn::millis(MIGRATE_TIMEOUT), source }),
            Err(source) => Err(Error::Crashed { operation, source }),
        }
    }

    /// Brings the tables up to date, and holds the number of shards of this deployment against the store's.
    pub async fn prepare(&self, shards: u32) -> Result<(), Error> {
        self.migrate().await?;
        self.pin_shards(shards).await
    }

    /// Whether the database answers, for readiness and `roger doctor`.
    pub async fn ping(&self) -> Result<(), Error> {
        self.read("ping".to_owned(), |conn| Box::pin(async move { conn.one::<(i64,)>("SELECT 1", &[]).await.map(drop) })).await
    }

    /// From now on this store uses no primary of an epoch below that: somebody knows of a newer one. Costs nothing while there is no newer one.
    pub fn require_epoch(&self, epoch: u64) {
        if let Pools::MySql(primary) = &self.pools {
            primary.require(epoch);
        }
    }

    /// Compares the epoch of the primary with what others know, once a second and for as long as the store is used. `agree` is given the epoch
    /// of the server in use, 0 for none, and answers with the highest that anybody said; `None` when it cannot be asked. SQLite has no epochs.
    pub fn follow_epoch<F>(&self, agree: impl Fn(u64) -> F + Send + 'static)
    where
        F: Future<Output = Option<u64>> + Send,
    {
        if let Pools::MySql(primary) = &self.pools {
            primary::follow(primary, agree);
        }
    }

    /// Waits for the operations that run and closes all connections; for a moment only, as a server that stands still lets neither end.
    pub async fn close(&self) {
        let closing = async {
            match &self.pools {
                Pools::Sqlite { write, read } => {
                    read.close().await;
                    write.close().await;
                }
                Pools::MySql(primary) => primary.close().await,
            }
        };
        if tokio::time::timeout(CLOSING, closing).await.is_err() {
            tracing::warn!("SQL does not let its connections end; they end with the program");
        }
    }
}

async fn migrate_sqlite(write: &SqlitePool) -> Result<(), MigrateError> {
    let mut transaction = write.begin_with("BEGIN IMMEDIATE").await?;
    SQLITE_MIGRATIONS.run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    Ok(())
}

fn sqlite_pools(options: &Options) -> Result<Pools, Error> {
    let base: SqliteConnectOptions = options.url.parse().map_err(|source| Error::Url { source })?;
    let base = base
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // With WAL a power cut may cost the last commits, never the file; Redis still holds what was archived last.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true);
    let write = base.clone().pragma("cache_size", "-65536").pragma("wal_autocheckpoint", "4000");
    let read = base.pragma("query_only", "ON");
    let pool = || SqlitePoolOptions::new().acquire_timeout(options.acquire_timeout).idle_timeout(None).max_lifetime(None);
    Ok(Pools::Sqlite {
        // Whoever waits here waits for other writers of this program, not for a server: failing would only make it begin anew.
        write: pool().max_connections(1).acquire_timeout(options.deadline).connect_lazy_with(write),
        read: pool().max_connections(options.connections_max).connect_lazy_with(read),
    })
}
