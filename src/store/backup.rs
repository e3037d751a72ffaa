//! Copies of an SQLite file, taken while programs write to it.

use std::path::Path;

use super::{Error, Pools, Store};

impl Store {
    /// Writes a copy of the file as it stands at one moment, without holding up whoever writes. However long that takes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for MariaDB, which has tools of its own, and for a path that is not UTF-8; [`Error::Database`] when the path exists, or
    /// cannot be written.
    pub async fn backup(&self, path: &Path) -> Result<(), Error> {
        let operation = format!("copy the database to {}", path.display());
        let invalid = |rule| Error::Invalid { operation: operation.clone(), field: "file", rule };
        let Pools::Sqlite { read, .. } = &self.pools else {
            return Err(invalid("is for SQLite alone: MariaDB is copied by mariadb-backup"));
        };
        let target = path.to_str().ok_or_else(|| invalid("must be UTF-8"))?.to_owned();
        let (open, idle) = (read.size(), read.num_idle());
        let connection = read.acquire().await;
        let mut connection = connection.map_err(|source| Error::Unreachable { operation: operation.clone(), open, idle, source })?;
        let name = operation.clone();
        let work = async move {
            // Readers may not write, not even to another file.
            let work = async {
                sqlx::raw_sql("PRAGMA query_only = OFF").execute(&mut *connection).await?;
                sqlx::query("VACUUM INTO ?").bind(target).execute(&mut *connection).await
            };
            let done = work.await.map(drop);
            drop(connection.detach());
            done.map_err(|source| Error::Database { operation: name, source })
        };
        tokio::spawn(work).await.map_err(|source| Error::Crashed { operation, source })?
    }
}
