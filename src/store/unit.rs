//! Units of work on the database.
//!
//! A unit runs in a task of its own, so a caller that goes away never stops a statement half-way (a MySQL connection whose statement was
//! dropped answers the next one with the rest of it). Its connection goes back to its pool only when it ended in order. What says that the
//! server is gone, or no primary any more, ends all connections to it.

use futures_util::future::BoxFuture;

use super::conn::{Conn, Link, millis};
use super::{Error, Pools, Store};

/// What a unit does to the database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Statements on their own, none of which writes.
    Read,
    /// The same, of what may be some seconds old.
    ReadOld,
    /// One transaction.
    Write,
}

impl Store {
    /// Runs a unit that only reads. Its statements are not one snapshot.
    pub(super) async fn read<T, F>(&self, operation: String, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        self.unit(operation, Mode::Read, body).await
    }

    /// As [`Store::read`], for history: at the standby when that is wished for, and it is not too far behind.
    pub(super) async fn read_old<T, F>(&self, operation: String, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        self.unit(operation, Mode::ReadOld, body).await
    }

    /// Runs a unit as one transaction: all of it happens, or nothing.
    pub(super) async fn write<T, F>(&self, operation: String, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        self.unit(operation, Mode::Write, body).await
    }

    async fn unit<T, F>(&self, operation: String, mode: Mode, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        let store = self.clone();
        let name = operation.clone();
        let task = tokio::spawn(async move {
            let mut conn = store.acquire(operation, mode).await?;
            let work = async {
                match mode {
                    Mode::Read | Mode::ReadOld => body(&mut conn).await,
                    Mode::Write => conn.transaction(body).await,
                }
            };
            let deadline = store.deadline;
            let done = match tokio::time::timeout(deadline, work).await {
                Ok(done) => done,
                Err(source) => Err(Error::TimedOut { operation: conn.operation.clone(), deadline_ms: millis(deadline), source }),
            };
            match done.as_ref().err().filter(|error| error.spoils_connection()) {
                None => conn.release(),
                Some(error) => store.give_up(&conn, error),
            }
            done
        });
        match task.await {
            Ok(done) => done,
            Err(source) => Err(Error::Crashed { operation: name, source }),
        }
    }

    async fn acquire(&self, operation: String, mode: Mode) -> Result<Conn, Error> {
        if let (Pools::MySql(primary), Mode::ReadOld) = (&self.pools, mode)
            && let Some(connection) = primary.standby(&operation).await
        {
            return Ok(Conn { link: Some(Link::MySql(connection)), generation: None, operation, stamp: self.stamp.clone() });
        }
        let (link, generation) = match (&self.pools, mode) {
            (Pools::Sqlite { read, .. }, Mode::Read | Mode::ReadOld) => (read.acquire().await.map(Link::Sqlite), None),
            (Pools::Sqlite { write, .. }, Mode::Write) => (write.acquire().await.map(Link::Sqlite), None),
            (Pools::MySql(primary), _) => {
                let mut generation = primary.generation(&operation).await?;
                let mut connection = generation.pool.acquire().await;
                if generation.is_lost() {
                    primary.discard(&generation, "its connections broke, or it has another epoch");
                    generation = primary.generation(&operation).await?;
                    connection = generation.pool.acquire().await;
                }
                (connection.map(Link::MySql), Some(generation))
            }
        };
        match link {
            Ok(link) => Ok(Conn { link: Some(link), generation, operation, stamp: self.stamp.clone() }),
            Err(source) => {
                let (open, idle) = match (&self.pools, &generation, mode) {
                    (Pools::Sqlite { read, .. }, _, Mode::Read | Mode::ReadOld) => (read.size(), read.num_idle()),
                    (Pools::Sqlite { write, .. }, _, Mode::Write) => (write.size(), write.num_idle()),
                    (_, Some(generation), _) => (generation.pool.size(), generation.pool.num_idle()),
                    (Pools::MySql(_), None, _) => (0, 0),
                };
                // When all are in use the server may be well: whoever uses them finds out.
                if let (Pools::MySql(primary), Some(generation)) = (&self.pools, &generation)
                    && open < generation.pool.options().get_max_connections()
                {
                    primary.discard(generation, "no connection could be made");
                }
                Err(Error::Unreachable { operation, open, idle, source })
            }
        }
    }

    /// Whoever comes next looks for the primary again.
    fn give_up(&self, conn: &Conn, error: &Error) {
        if let (Pools::MySql(primary), Some(generation)) = (&self.pools, &conn.generation) {
            primary.discard(generation, &error.to_string());
        }
    }
}
