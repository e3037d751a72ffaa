//! One connection to either database, and what can be said on it.
//!
//! It goes back to its pool only when it is released; dropped otherwise, after a timeout, a panic or a broken link, it is closed.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::mysql::MySqlRow;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, MySql, SqlSafeStr, Sqlite};

use super::Error;
use super::dialect::Dialect;
use super::directory::Stamp;
use super::primary::Generation;
use crate::model::TopicId;

/// A value for a placeholder.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Int(i64),
    Real(f64),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    Null,
}

impl Value<'_> {
    /// About what it adds to a statement.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Int(_) | Self::Real(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Null => 1,
        }
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value<'_> {
    /// Bit by bit: columns are signed, ids may use all 64 bits.
    fn from(value: u64) -> Self {
        Self::Int(value.cast_signed())
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value.into())
    }
}

impl From<TopicId> for Value<'_> {
    fn from(topic: TopicId) -> Self {
        Self::Text(topic.to_string().into())
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

/// The values of a statement's placeholders, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::store::conn::Value::from($value)),*] };
}
pub(super) use values;

/// A row of either database, as a tuple.
pub(super) trait Record: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow> + Send + Unpin {}
impl<T> Record for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow> + Send + Unpin {}

/// The connection itself.
pub(super) enum Link {
    Sqlite(PoolConnection<Sqlite>),
    MySql(PoolConnection<MySql>),
}

/// Expands one body for both kinds of connection.
macro_rules! on_both {
    ($link:expr, $connection:ident => $body:expr) => {
        match $link {
            Some(Link::Sqlite($connection)) => $body,
            Some(Link::MySql($connection)) => $body,
            None => unreachable!("a connection is only taken out when its unit is over"),
        }
    };
}

/// Binds values to a statement of either database.
macro_rules! bind {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match value {
                Value::Int(value) => query.bind(*value),
                Value::Real(value) => query.bind(*value),
                Value::Text(value) => query.bind(&**value),
                Value::Bytes(value) => query.bind(*value),
                Value::Null => query.bind(None::<i64>),
            };
        }
        query
    }};
}

/// A connection in use by one unit.
pub(super) struct Conn {
    pub(super) link: Option<Link>,
    /// That of a connection to the primary of MariaDB.
    pub(super) generation: Option<Arc<Generation>>,
    pub(super) operation: String,
    /// Who the unit is for, and the time.
    pub(super) stamp: Arc<Stamp>,
}

impl Conn {
    pub(super) fn dialect(&self) -> Dialect {
        match self.link {
            Some(Link::Sqlite(_)) => Dialect::Sqlite,
            _ => Dialect::MySql,
        }
    }

    /// Runs a statement; the number of rows it changed. (An upsert that changes a row counts 2 on MariaDB.)
    pub(super) async fn execute(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<u64, Error> {
        let done = on_both!(&mut self.link, connection => {
            bind!(sqlx::query(sql), values).execute(&mut **connection).await.map(|done| done.rows_affected())
        });
        done.map_err(|source| self.failed(source))
    }

    /// All rows of a query, which must bound itself.
    pub(super) async fn all<T: Record>(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<Vec<T>, Error> {
        let rows = on_both!(&mut self.link, connection => {
            bind!(sqlx::query_as::<_, T>(sql), values).fetch_all(&mut **connection).await
        });
        rows.map_err(|source| self.failed(source))
    }

    /// The first row of a query.
    pub(super) async fn first<T: Record>(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<Option<T>, Error> {
        let row = on_both!(&mut self.link, connection => {
            bind!(sqlx::query_as::<_, T>(sql), values).fetch_optional(&mut **connection).await
        });
        row.map_err(|source| self.failed(source))
    }

    /// The only row of a query that always has one.
    pub(super) async fn one<T: Record>(&mut self, sql: impl SqlSafeStr, values: &[Value<'_>]) -> Result<T, Error> {
        match self.first(sql, values).await? {
            Some(row) => Ok(row),
            None => Err(self.failed(sqlx::Error::RowNotFound)),
        }
    }

    /// An error for a column that holds what this program never writes.
    pub(super) fn unreadable(&self, column: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Unreadable { operation: self.operation.clone(), column, source: source.into() }
    }

    /// A topic as it stands in a column.
    pub(super) fn topic(&self, column: &'static str, text: &str) -> Result<TopicId, Error> {
        text.parse().map_err(|source: crate::model::TopicParseError| self.unreadable(column, source))
    }

    fn failed(&self, source: sqlx::Error) -> Error {
        Error::Database { operation: self.operation.clone(), source }
    }

    /// Transaction control goes unprepared: older servers cannot prepare it.
    pub(super) async fn control(&mut self, sql: &'static str) -> Result<(), Error> {
        let done = on_both!(&mut self.link, connection => {
            sqlx::Executor::execute(&mut **connection, sqlx::raw_sql(sql)).await.map(drop)
        });
        done.map_err(|source| self.failed(source))
    }

    /// Begins a transaction that writes. On MariaDB its first statement, in the same packet, is whether the server still is the primary that
    /// the connection was made to: the row stays as it is until the transaction ends, so whoever raises the epoch waits for it.
    async fn begin(&mut self) -> Result<(), Error> {
        let Some(generation) = self.generation.clone() else {
            // A deferred transaction that turns into a writer is refused at once when another one writes.
            return self.control("BEGIN IMMEDIATE").await;
        };
        if generation.epoch == 0 {
            // There are no tables yet.
            return self.control("START TRANSACTION").await;
        }
        const SQL: &str = "START TRANSACTION; SELECT epoch, CASE WHEN server = CAST(@@global.server_id AS SIGNED) THEN 1 ELSE 0 END \
                           FROM sql_primary WHERE one = 1 LOCK IN SHARE MODE";
        let rows = match &mut self.link {
            Some(Link::MySql(connection)) => sqlx::raw_sql(SQL).fetch_all(&mut **connection).await,
            _ => unreachable!("only connections to MariaDB are of a generation"),
        };
        let rows = rows.map_err(|source| self.failed(source))?;
        let row = rows.first().map(<(i64, i64)>::from_row).transpose().map_err(|source| self.failed(source))?;
        let (found, named) = row.map_or((0, false), |(epoch, named)| (epoch.cast_unsigned(), named == 1));
        if found == generation.epoch && (named || !generation.named) {
            return Ok(());
        }
        Err(Error::Deposed { operation: self.operation.clone(), epoch: generation.epoch, found })
    }

    /// Runs `body` as one transaction.
    pub(super) async fn transaction<T, F>(&mut self, body: F) -> Result<T, Error>
    where
        F: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T, Error>>,
    {
        let done = match self.begin().await {
            Ok(()) => body(self).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(value) => {
                let committed = self.control("COMMIT").await;
                if committed.is_err() {
                    self.close();
                }
                committed.map(|()| value)
            }
            Err(error) => {
                if !error.spoils_connection() && self.control("ROLLBACK").await.is_err() {
                    self.close();
                }
                Err(error)
            }
        }
    }

    /// Gives the connection back to its pool.
    pub(super) fn release(mut self) {
        self.link = None;
    }

    /// Closes the connection without a word to the server, which rolls back.
    fn close(&mut self) {
        match self.link.take() {
            Some(Link::Sqlite(connection)) => drop(connection.detach()),
            Some(Link::MySql(connection)) => drop(connection.detach()),
            None => {}
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.close();
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Splits rows into pieces of 256, 128, … 1 rows, each of at most `bytes_max` (a single row may be above it), so that few different
/// statements exist and each connection prepares each of them once.
pub(super) fn pieces<T>(mut rows: &[T], bytes_max: usize, bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    const ROWS_MAX: usize = 256;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fitting = rows.iter().take(ROWS_MAX).take_while(|row| {
            sum += bytes(row);
            sum <= bytes_max
        });
        let count = match fitting.count() {
            0 => usize::from(!rows.is_empty()),
            count => 1 << count.ilog2(),
        };
        let (piece, rest) = rows.split_at(count);
        rows = rest;
        (count > 0).then_some(piece)
    })
}

/// `(?, ?), (?, ?)` for `rows` rows of `columns` columns.
pub(super) fn places(rows: usize, columns: usize) -> String {
    let row = format!("({}?)", "?, ".repeat(columns.saturating_sub(1)));
    let mut all = String::with_capacity(rows * (row.len() + 2));
    for index in 0..rows {
        if index > 0 {
            all.push_str(", ");
        }
        all.push_str(&row);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_few_sizes_and_keep_every_row_in_order() {
        let check = |rows: &[usize], bytes_max: usize, expected: &[usize]| {
            let sizes: Vec<usize> = pieces(rows, bytes_max, |row| *row).map(<[_]>::len).collect();
            assert_eq!(sizes, expected, "{} rows, {bytes_max} bytes", rows.len());
            assert_eq!(pieces(rows, bytes_max, |row| *row).flatten().copied().collect::<Vec<_>>(), rows);
        };
        check(&[], 10, &[]);
        check(&[1; 7], 100, &[4, 2, 1]);
        check(&[1; 600], 1000, &[256, 256, 64, 16, 8]);
        check(&[50, 1, 1, 1], 10, &[1, 2, 1]);
        check(&[4, 4, 4, 4, 4], 10, &[2, 2, 1]);
    }
}
