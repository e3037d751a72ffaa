//! How the store fails.

use sqlx::migrate::MigrateError;
use sqlx::mysql::MySqlDatabaseError;
use tokio::time::error::Elapsed;

use crate::model::{GroupId, Place, TenantId, TopicId, UserId};
use crate::retry::ErrorClass;

/// Why an operation of the store failed. `operation` names the operation and the ids it was for; the database's own words are in the
/// source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is of another database than SQLite and MariaDB.
    #[error("store URL begins with `{scheme}:`, expected sqlite:PATH or mysql://USER:PASSWORD@HOST/DATABASE")]
    Scheme {
        /// What stands before the first colon; the rest may hold a password.
        scheme: String,
    },
    /// The URL does not parse.
    #[error("store URL cannot be read")]
    Url {
        /// The driver's complaint.
        source: sqlx::Error,
    },
    /// No connection came free or could be made in time: the server is down, refuses, or all connections are busy.
    #[error("{operation}: no connection to the database ({open} open, {idle} of them idle)")]
    Unreachable {
        /// What was to be done.
        operation: String,
        /// Connections in the pool.
        open: u32,
        /// Of these, not in use.
        idle: usize,
        /// The driver's complaint.
        source: sqlx::Error,
    },
    /// Neither server of the pair may be written to, or the one that answers may not be the primary any more.
    #[error("{operation}: no primary of the database: {seen}")]
    NoPrimary {
        /// What was to be done.
        operation: String,
        /// The reason, and what each server says.
        seen: String,
        /// What it means for whoever might try again.
        class: ErrorClass,
    },
    /// The server stopped being the primary while it was used: nothing was written.
    #[error("{operation}: the server of epoch {epoch} is no primary any more: its table sql_primary says epoch {found}")]
    Deposed {
        /// What was to be done.
        operation: String,
        /// When the connections were made.
        epoch: u64,
        /// Now; 0 when the row is gone.
        found: u64,
    },
    /// The database did not answer in time. What was to be written may or may not be.
    #[error("{operation}: no answer within {deadline_ms} ms")]
    TimedOut {
        /// What was to be done.
        operation: String,
        /// The deadline of the whole operation.
        deadline_ms: u64,
        /// The timer.
        source: Elapsed,
    },
    /// The database refused a statement, or the connection broke.
    #[error("{operation}: the database failed")]
    Database {
        /// What was to be done.
        operation: String,
        /// The driver's complaint.
        source: sqlx::Error,
    },
    /// The tables could not be brought to the version of this program.
    #[error("migrate: the tables could not be brought to the version of this program")]
    Migrate {
        /// The migrator's complaint.
        source: MigrateError,
    },
    /// The task that talked to the database panicked, or the runtime is being shut down.
    #[error("{operation}: the task ended early")]
    Crashed {
        /// What was to be done.
        operation: String,
        /// The runtime's complaint.
        source: tokio::task::JoinError,
    },
    /// A row holds what this program never writes.
    #[error("{operation}: column {column} holds something unreadable")]
    Unreadable {
        /// What was to be done.
        operation: String,
        /// Table and column.
        column: &'static str,
        /// The decoder's complaint.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A frame of a log names a topic that is none.
    #[error("log of shard {shard} at {position}: {packed:#x} is not a topic")]
    NoTopic {
        /// Of the log.
        shard: u32,
        /// The commit, as epoch/commit.
        position: super::Position,
        /// What stands in place of the topic.
        packed: u64,
    },
    /// A place of a topic already holds another message: two owners wrote in one epoch, or an archive was restored wrongly.
    #[error("archive: {topic} at {place} already holds another message ({differing} differ)")]
    Conflict {
        /// The topic.
        topic: TopicId,
        /// The place.
        place: Place,
        /// The columns, with commas.
        differing: String,
    },
    /// A newer epoch of the shard was allocated than the batch knew of: what it read may have vanished from Redis since.
    #[error("archive: shard {shard} got epoch {epoch}, this batch knew of {allocated}")]
    Fenced {
        /// The shard.
        shard: u32,
        /// The epoch the batch was fenced by.
        allocated: u64,
        /// The highest epoch now.
        epoch: u64,
    },
    /// SQL holds less of a shard's log than it held: another server became the primary, or an older file was put in place.
    #[error("archive: SQL holds shard {shard} up to {stored}, it held it up to {expected}")]
    Regressed {
        /// The shard.
        shard: u32,
        /// Behind which the batch goes on.
        expected: super::Position,
        /// What SQL holds now.
        stored: super::Position,
    },
    /// The store was set up for another number of shards.
    #[error("the store was set up for {stored} shards, this program is configured for {configured}")]
    ShardsDiffer {
        /// In the store.
        stored: String,
        /// In the configuration.
        configured: u32,
    },
    /// There is no account of this id.
    #[error("{operation}: there is no account {user}")]
    NoAccount {
        /// What was to be done.
        operation: String,
        /// The id.
        user: UserId,
    },
    /// There is no group of this id.
    #[error("{operation}: there is no group {group}")]
    NoGroup {
        /// What was to be done.
        operation: String,
        /// The id.
        group: GroupId,
    },
    /// The name is taken: account names are unique, group names among those of their owner.
    #[error("{operation}: the name is taken by {id}")]
    NameTaken {
        /// What was to be done.
        operation: String,
        /// Who has the name.
        id: u64,
    },
    /// A name must have 1 to 100 characters.
    #[error("{operation}: a name must have 1 to 100 characters, not {characters}")]
    BadName {
        /// What was to be done.
        operation: String,
        /// How many it has.
        characters: usize,
    },
    /// The author does not manage what this is about, or it does not exist: the two are not told apart.
    #[error("{operation}: not permitted, or there is no such thing")]
    NotPermitted {
        /// What was to be done.
        operation: String,
    },
    /// A value breaks its rule.
    #[error("{operation}: {field} {rule}")]
    Invalid {
        /// What was to be done.
        operation: String,
        /// Which value, as a client names it.
        field: &'static str,
        /// What it must be like, as the end of a sentence.
        rule: &'static str,
    },
    /// An account still has children or devices, or owns groups.
    #[error("{operation}: {children} accounts and {devices} devices stand below it, and it owns {groups} groups")]
    InUse {
        /// What was to be done.
        operation: String,
        /// Accounts right below it, devices left out.
        children: u64,
        /// Its devices.
        devices: u64,
        /// Groups it owns that were not dissolved.
        groups: u64,
    },
    /// There are as many as there may be.
    #[error("{operation}: more than {max} {what}")]
    Full {
        /// What was to be done.
        operation: String,
        /// Of what there are too many.
        what: &'static str,
        /// How many there may be.
        max: u64,
    },
    /// The owner of a group cannot leave it, or have another role.
    #[error("{operation}: account {user} owns group {group}")]
    OwnerStays {
        /// What was to be done.
        operation: String,
        /// The group.
        group: GroupId,
        /// Its owner.
        user: UserId,
    },
    /// Several owners have a group of one name.
    #[error("{operation}: several have this name: {}", ids.iter().map(|id| format!("g:{id}")).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// What was to be done.
        operation: String,
        /// The groups.
        ids: Vec<GroupId>,
    },
    /// The account belongs to another tenant.
    #[error("{operation}: account {user} belongs to tenant {has}, not {wanted}")]
    OtherTenant {
        /// What was to be done.
        operation: String,
        /// The account.
        user: UserId,
        /// Its tenant.
        has: TenantId,
        /// The tenant it would have to belong to.
        wanted: TenantId,
    },
}

impl Error {
    /// What it means for whoever might try again.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { source, .. } | Self::Database { source, .. } => class_of_driver(source),
            Self::NoPrimary { class, .. } => *class,
            Self::TimedOut { .. } | Self::Fenced { .. } | Self::Regressed { .. } | Self::Deposed { .. } => ErrorClass::Transient,
            Self::Crashed { source, .. } if source.is_cancelled() => ErrorClass::Transient,
            Self::Migrate { source } => class_of_migration(source),
            Self::Scheme { .. }
            | Self::Url { .. }
            | Self::ShardsDiffer { .. }
            | Self::NoAccount { .. }
            | Self::NoGroup { .. }
            | Self::NameTaken { .. }
            | Self::BadName { .. }
            | Self::NotPermitted { .. }
            | Self::Invalid { .. }
            | Self::InUse { .. }
            | Self::Full { .. }
            | Self::OwnerStays { .. }
            | Self::Ambiguous { .. }
            | Self::OtherTenant { .. } => ErrorClass::Permanent,
            Self::Crashed { .. } | Self::Unreadable { .. } | Self::NoTopic { .. } | Self::Conflict { .. } => ErrorClass::Defect,
        }
    }

    /// Whether the connection it came from must not be used again, and with it all that were made to that server. A demoted primary answers
    /// every write with an error and stays connected: only a new look finds the new primary.
    pub(super) fn spoils_connection(&self) -> bool {
        match self {
            Self::Database { source, .. } => match server_number(source) {
                Some(number) => SWITCHED_OR_GONE.contains(&number),
                None => !matches!(source, sqlx::Error::Database(_)) && class_of_driver(source) == ErrorClass::Transient,
            },
            Self::TimedOut { .. } | Self::Deposed { .. } => true,
            _ => false,
        }
    }
}

/// MariaDB: read-only (1290, 1792, 1836), connection killed (1927), server gone (2006), connection lost (2013), shutting down (1053).
const SWITCHED_OR_GONE: [u16; 7] = [1290, 1792, 1836, 1927, 2006, 2013, 1053];

/// MariaDB: too many connections (1040, and of one user 1203 and 1226), out of resources (1041), disk full (1021; in a table 1114, in a file 3 and
/// 1026), lock wait timeout (1205), deadlock (1213), query interrupted (1317), record changed since last read (1020), network errors (1158 to 1161).
const COMES_AND_GOES: [u16; 16] = [3, 1020, 1021, 1026, 1040, 1041, 1114, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226, 1317];

/// MariaDB: access denied (1044, 1045, 1698), no such database (1049), a right is lacking (1142, 1143, 1227), too long a packet (1153).
const CONFIGURATION: [u16; 8] = [1044, 1045, 1049, 1142, 1143, 1153, 1227, 1698];

/// SQLite, primary codes: busy (5), locked (6), I/O error (10), disk full (13), cannot open (14).
const SQLITE_COMES_AND_GOES: [u32; 5] = [5, 6, 10, 13, 14];

pub(super) fn server_number(source: &sqlx::Error) -> Option<u16> {
    Some(source.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

pub(super) fn class_of_migration(source: &MigrateError) -> ErrorClass {
    match source {
        MigrateError::Source(source) => source.downcast_ref::<Error>().map_or(ErrorClass::Permanent, Error::class),
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => class_of_driver(source),
        _ => ErrorClass::Permanent,
    }
}

pub(super) fn class_of_driver(source: &sqlx::Error) -> ErrorClass {
    if let Some(number) = server_number(source) {
        return match number {
            _ if SWITCHED_OR_GONE.contains(&number) || COMES_AND_GOES.contains(&number) => ErrorClass::Transient,
            _ if CONFIGURATION.contains(&number) => ErrorClass::Permanent,
            _ => ErrorClass::Defect,
        };
    }
    match source {
        sqlx::Error::Database(refusal) => {
            let primary = refusal.code().and_then(|code| code.parse::<u32>().ok()).map(|extended| extended & 0xff);
            match primary {
                Some(code) if SQLITE_COMES_AND_GOES.contains(&code) => ErrorClass::Transient,
                _ => ErrorClass::Defect,
            }
        }
        // A server that dies in the middle of an answer shows as a broken protocol too.
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => ErrorClass::Transient,
        sqlx::Error::PoolClosed => ErrorClass::Transient,
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => ErrorClass::Permanent,
        _ => ErrorClass::Defect,
    }
}
