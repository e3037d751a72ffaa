//! Looks into SQL, for operators. Nothing here changes anything.

use super::conn::values;
use super::dialect::Dialect;
use super::{Error, MYSQL_MIGRATIONS, SQLITE_MIGRATIONS, Store};

/// How old the tables are, beside this program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TablesLook {
    /// The version that this program brings the tables to.
    pub program: u64,
    /// The version they have; `None` when there are none.
    pub tables: Option<u64>,
    /// A migration that began and did not end.
    pub broken: Option<u64>,
    /// Whether the server takes no writes, as a standby does.
    pub read_only: bool,
}

impl Store {
    /// How old the tables are, beside this program.
    pub async fn look_at_tables(&self) -> Result<TablesLook, Error> {
        self.read("look at the tables".to_owned(), |conn| {
            Box::pin(async move {
                let (migrations, find) = match conn.dialect() {
                    Dialect::Sqlite => {
                        (&SQLITE_MIGRATIONS, "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'")
                    }
                    Dialect::MySql => (
                        &MYSQL_MIGRATIONS,
                        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '_sqlx_migrations'",
                    ),
                };
                let read_only = match conn.dialect() {
                    Dialect::Sqlite => false,
                    Dialect::MySql => conn.one::<(i64,)>("SELECT CASE WHEN @@global.read_only THEN 1 ELSE 0 END", &[]).await?.0 == 1,
                };
                let program = migrations.iter().map(|migration| migration.version.cast_unsigned()).max().unwrap_or(0);
                let (there,): (i64,) = conn.one(find, &[]).await?;
                if there == 0 {
                    return Ok(TablesLook { program, read_only, ..TablesLook::default() });
                }
                let sql = "SELECT version, CASE WHEN success THEN 1 ELSE 0 END FROM _sqlx_migrations ORDER BY version";
                let rows: Vec<(i64, i64)> = conn.all(sql, values![]).await?;
                let tables = rows.iter().map(|(version, _)| version.cast_unsigned()).max();
                let broken = rows.iter().find(|(_, done)| *done == 0).map(|(version, _)| version.cast_unsigned());
                Ok(TablesLook { program, tables, broken, read_only })
            })
        })
        .await
    }

    /// The number of shards the store was set up for, as it stands there; `None` before the first start of a fleet.
    pub async fn pinned_shards(&self) -> Result<Option<String>, Error> {
        self.read("read the number of shards".to_owned(), |conn| {
            Box::pin(async move {
                let found: Option<(String,)> = conn.first("SELECT value FROM setting WHERE name = 'shards'", &[]).await?;
                Ok(found.map(|(shards,)| shards))
            })
        })
        .await
    }
}
