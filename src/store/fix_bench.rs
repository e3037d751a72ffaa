//! What SQL itself can do with fixes: the measure beside which `roger bench` puts the fleet. For databases of their own, and nothing else.

use std::time::{Duration, Instant};

use sqlx::AssertSqlSafe;

use super::conn::{Conn, Record, Value, pieces, places, values};
use super::dialect::Dialect;
use super::fix::FIX_COLUMNS;
use super::trace::TRACE_SQL;
use super::{Error, Store};
use crate::model::{PositionSource, UserId};

const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// Rows of one statement that fills the table.
const FILLED: u64 = 1_000_000;
/// How far apart the fixes of a device are when the table is filled, and how many a day has.
const STEP_MS: u64 = 10_000;
const DAY_FIXES: u64 = 8_640;
const DAY_MS: u64 = 86_400_000;

impl Store {
    /// Inserts fixes into a table like that of the fleet, in statements and transactions as large as the fleet's, one behind the other; returns how
    /// long it took. The table is gone afterwards.
    pub async fn bench_insert_fixes(&self, devices: u64, fixes: u64, transaction: u64) -> Result<Duration, Error> {
        self.write("make a table of fixes".to_owned(), |conn| Box::pin(async move { copy_table(conn).await })).await?;
        let begun = Instant::now();
        let mut at = 0;
        while at < fixes {
            let until = (at + transaction).min(fixes);
            self.write("insert fixes".to_owned(), move |conn| Box::pin(async move { insert(conn, devices, at, until).await })).await?;
            at = until;
        }
        let took = begun.elapsed();
        self.write("drop a table of fixes".to_owned(), |conn| {
            Box::pin(async move { conn.execute("DROP TABLE bench_fix", &[]).await.map(drop) })
        })
        .await?;
        Ok(took)
    }

    /// Fills the table of fixes from row `from` on up to `to`: device 1 has the first day, then device 2, and so on, a fix every ten seconds.
    /// Calls `done` with how many rows are there.
    pub async fn bench_fill_fixes(&self, from: u64, to: u64, mut done: impl FnMut(u64)) -> Result<(), Error> {
        let mut at = from;
        while at < to {
            let rows = (to - at).min(FILLED);
            self.write(format!("fill in {rows} fixes"), move |conn| Box::pin(async move { fill(conn, at, rows).await })).await?;
            at += rows;
            done(at);
        }
        Ok(())
    }

    /// Holds the lock for writing of SQLite for a while.
    pub async fn bench_hold(&self, held: Duration) -> Result<(), Error> {
        self.write("hold the lock for writing".to_owned(), move |_| {
            Box::pin(async move {
                tokio::time::sleep(held).await;
                Ok(())
            })
        })
        .await
    }

    /// Reads the day of a device in pages of `limit`: how many fixes there were, and how long it took.
    pub async fn bench_trace_day(&self, device: UserId, limit: u32) -> Result<(u64, Duration), Error> {
        let begun = Instant::now();
        let (mut rows, mut after) = (0, None);
        loop {
            let page = self.trace_page(&[device], 0, DAY_MS, true, after, limit).await?;
            rows += page.len() as u64;
            after = page.last().map(|row| row.key);
            if page.len() < limit as usize {
                return Ok((rows, begun.elapsed()));
            }
        }
    }

    /// The plan of a page of a trace, a line each.
    pub async fn bench_trace_plan(&self, device: UserId, limit: u32) -> Result<Vec<String>, Error> {
        self.read("explain a page of a trace".to_owned(), move |conn| {
            Box::pin(async move {
                let values = values![device.0, 0_u64, DAY_MS, PositionSource::Wifi as u32, 0_u64, 0_u64, limit];
                match conn.dialect() {
                    Dialect::Sqlite => {
                        let rows: Vec<(i64, i64, i64, String)> = plan(conn, "EXPLAIN QUERY PLAN", values).await?;
                        Ok(rows.into_iter().map(|(.., detail)| detail).collect())
                    }
                    Dialect::MySql => {
                        let rows: Vec<(String,)> = plan(conn, "EXPLAIN FORMAT=JSON", values).await?;
                        Ok(rows.into_iter().map(|(plan,)| plan).collect())
                    }
                }
            })
        })
        .await
    }
}

async fn plan<R: Record>(conn: &mut Conn, explain: &str, values: &[Value<'_>]) -> Result<Vec<R>, Error> {
    conn.all(AssertSqlSafe(format!("{explain} {TRACE_SQL}")), values).await
}

async fn copy_table(conn: &mut Conn) -> Result<(), Error> {
    let sql = match conn.dialect() {
        Dialect::MySql => "CREATE TABLE bench_fix LIKE fix".to_owned(),
        Dialect::Sqlite => {
            let (sql,): (String,) = conn.one("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'fix'", &[]).await?;
            sql.replacen("fix", "bench_fix", 1)
        }
    };
    conn.execute(AssertSqlSafe(sql), &[]).await.map(drop)
}

/// The fixes of one position on every device, then of the next: as devices report.
async fn insert(conn: &mut Conn, devices: u64, from: u64, to: u64) -> Result<(), Error> {
    // In the order of the key, as the fleet's are.
    let mut keys: Vec<(u64, u64)> = (from..to).map(|number| (number % devices + 1, number / devices)).collect();
    keys.sort_unstable();
    let rows: Vec<Vec<Value<'_>>> = keys.into_iter().map(|(device, step)| row(device, step)).collect();
    for piece in pieces(&rows, STATEMENT_BYTES_MAX, |row| row.iter().map(Value::bytes).sum()) {
        let columns = piece.first().map_or(0, Vec::len);
        let sql = format!("INSERT INTO bench_fix ({FIX_COLUMNS}) VALUES {}", places(piece.len(), columns));
        let values: Vec<Value<'_>> = piece.iter().flatten().cloned().collect();
        conn.execute(AssertSqlSafe(sql), &values).await?;
    }
    Ok(())
}

fn row(device: u64, step: u64) -> Vec<Value<'static>> {
    let (latitude, longitude) = (45.0 + step as f64 * 1e-5, 13.0 + device as f64 * 1e-5);
    let none = || Value::from(None::<f64>);
    vec![
        device.into(),
        (step * 1_000).into(),
        1_u64.into(),
        (step * 1_000).into(),
        latitude.into(),
        longitude.into(),
        5.0.into(),
        none(),
        1.5.into(),
        90.0.into(),
        80_u64.into(),
        0_u64.into(),
        0_u64.into(),
        none(),
    ]
}

async fn fill(conn: &mut Conn, from: u64, rows: u64) -> Result<(), Error> {
    // Both databases count faster than anybody can tell them.
    let (with, numbers) = match conn.dialect() {
        Dialect::Sqlite => (
            format!("WITH RECURSIVE number (seq) AS (SELECT 0 UNION ALL SELECT seq + 1 FROM number WHERE seq < {}) ", rows - 1),
            "number".to_owned(),
        ),
        Dialect::MySql => (String::new(), format!("seq_0_to_{}", rows - 1)),
    };
    let div = if conn.dialect() == Dialect::Sqlite { "/" } else { "DIV" };
    let select = format!(
        "SELECT ({from} + seq) {div} {DAY_FIXES} + 1, (({from} + seq) % {DAY_FIXES}) * {STEP_MS}, 1, (({from} + seq) % {DAY_FIXES}) * {STEP_MS}, \
         45.0 + (seq % 1000) * 0.001, 13.0, 5.0, NULL, 1.5, 90.0, 80, 0, 0, NULL FROM {numbers}"
    );
    let sql = match conn.dialect() {
        Dialect::Sqlite => format!("{with}INSERT INTO fix ({FIX_COLUMNS}) {select}"),
        Dialect::MySql => format!("INSERT INTO fix ({FIX_COLUMNS}) {select}"),
    };
    conn.execute(AssertSqlSafe(sql), &[]).await.map(drop)
}
