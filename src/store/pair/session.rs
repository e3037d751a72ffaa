//! An administrator's connection, and the lock that it may hold.

use std::time::Duration;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use super::{ANSWER_TIMEOUT, PairError, Server, text};

/// After so many idle seconds MariaDB ends a connection that holds the lock: whoever holds it may have lost its network. Longer than a command waits
/// for the other server meanwhile.
const IDLE_MAX_S: u64 = 120;

pub(super) struct Session<'a> {
    pub(super) server: &'a Server,
    connection: MySqlConnection,
    /// Every statement had its answer.
    whole: bool,
    /// `CONNECTION_ID()`; empty before it was asked for the lock.
    id: String,
}

impl<'a> Session<'a> {
    pub(super) async fn open(server: &'a Server) -> Result<Self, PairError> {
        let connected = tokio::time::timeout(ANSWER_TIMEOUT, server.connect.connect()).await;
        let failed = |source| PairError::Server { server: server.name.clone(), what: "connect", source };
        match connected {
            Ok(connection) => Ok(Self { server, connection: connection.map_err(failed)?, whole: true, id: String::new() }),
            Err(_) => Err(failed(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
        }
    }

    /// All rows of one or more statements, unprepared: the commands of replication cannot be prepared.
    pub(super) async fn rows(&mut self, what: &'static str, sql: String) -> Result<Vec<MySqlRow>, PairError> {
        self.rows_within(what, sql, ANSWER_TIMEOUT).await
    }

    pub(super) async fn rows_within(&mut self, what: &'static str, sql: String, within: Duration) -> Result<Vec<MySqlRow>, PairError> {
        let work = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut self.connection);
        let done = tokio::time::timeout(within, work).await.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        // A connection whose statement was dropped is not used again: it would answer the next one with the rest of it.
        self.whole &= matches!(done, Ok(_) | Err(sqlx::Error::Database(_)));
        done.map_err(|source| PairError::Server { server: self.server.name.clone(), what, source })
    }

    pub(super) async fn run(&mut self, what: &'static str, sql: impl Into<String>) -> Result<(), PairError> {
        self.rows(what, sql.into()).await.map(drop)
    }

    /// Takes the lock of whoever changes the pair, on this server. It ends with the connection, so a command that was killed leaves none.
    pub(super) async fn lock(&mut self) -> Result<(), PairError> {
        // That of a command that is over goes once MariaDB has seen its connection end.
        match self.ask_for_lock(1).await? {
            None => Ok(()),
            Some(connection) => Err(PairError::Busy { server: self.server.name.clone(), connection }),
        }
    }

    /// Who has the lock instead.
    async fn ask_for_lock(&mut self, wait_s: u64) -> Result<Option<String>, PairError> {
        let sql = format!(
            "SET SESSION wait_timeout = {IDLE_MAX_S}; \
             SELECT CONNECTION_ID() AS id, GET_LOCK('roger sql', {wait_s}) AS got, IS_USED_LOCK('roger sql') AS holder"
        );
        let rows = self.rows("take the lock", sql).await?;
        let of = |column| rows.first().and_then(|row| text(row, column)).unwrap_or_default();
        self.id = of("id");
        Ok(if of("got") == "1" { None } else { Some(of("holder")) })
    }

    /// Makes it usable again, still with the lock, after a statement was left half-way.
    pub(super) async fn mend(&mut self) -> Result<(), PairError> {
        if self.whole {
            return Ok(());
        }
        let mut new = Self::open(self.server).await?;
        // The statement may be under way for long, and the old connection has the lock until then.
        if new.ask_for_lock(0).await?.is_some_and(|holder| holder == self.id) {
            let _ended = new.run("end the connection before", format!("KILL {}", self.id)).await;
        }
        if let Some(connection) = new.ask_for_lock(ANSWER_TIMEOUT.as_secs() - 1).await? {
            return Err(PairError::Busy { server: self.server.name.clone(), connection });
        }
        *self = new;
        Ok(())
    }
}
