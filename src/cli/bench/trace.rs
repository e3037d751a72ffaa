//! One day of one device, out of few rows and out of many.

use std::time::Duration;

use rand::Rng as _;
use serde::Serialize;

use super::super::args::Sql;
use super::super::context::Context;
use super::super::error::Error;
use super::super::output::note;
use super::report::Findings;
use super::spawn::Database;
use crate::model::UserId;
use crate::store::Store;

/// Fixes of a device and day in the filled table.
const DAY_FIXES: u64 = 8_640;
/// How many fixes a page has.
const PAGE: u32 = 1_000;

/// Reading traces out of a table of some size.
#[derive(Debug, Default, Serialize)]
pub(super) struct Traces {
    pub(super) sql: &'static str,
    pub(super) tables: Vec<Table>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Table {
    pub(super) rows: u64,
    /// How the database looks for a page.
    pub(super) plan: Vec<String>,
    /// Fixes of the day that were read, the fewest and the most.
    pub(super) day_fixes: (u64, u64),
    /// The whole day in pages, by nobody read before and then once more.
    pub(super) first_p50_ms: f64,
    pub(super) first_p99_ms: f64,
    pub(super) again_p50_ms: f64,
    pub(super) again_p99_ms: f64,
}

/// Fills a database of its own for each size, and reads them by turns: the machine may be another one a minute later.
pub(super) async fn measure(context: &Context, sql: Sql, within: Duration, sizes: &[u64], days: u32) -> Result<Findings, Error> {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    let mut filled = Vec::new();
    for rows in sizes {
        let database = Database::start(sql, within).await?;
        let store = Store::open(database.url())?;
        store.migrate().await?;
        note(&format!("bench: filling a table with {rows} fixes"));
        let bar = context.out.progress(rows, "fixes");
        store.bench_fill_fixes(0, rows, |there| bar.set_position(there)).await?;
        bar.finish_and_clear();
        filled.push((database, store, rows));
    }
    note("bench: reading days");
    let mut tables: Vec<(Table, Took)> = Vec::new();
    for (_, store, rows) in &filled {
        let plan = store.bench_trace_plan(some_device(*rows), PAGE).await?;
        tables.push((Table { rows: *rows, plan, day_fixes: (u64::MAX, 0), ..Table::default() }, Took::default()));
    }
    for _ in 0..days {
        for ((_, store, rows), (table, took)) in filled.iter().zip(&mut tables) {
            let device = some_device(*rows);
            let (found, first) = store.bench_trace_day(device, PAGE).await?;
            table.day_fixes = (table.day_fixes.0.min(found), table.day_fixes.1.max(found));
            took.first.push(first);
            took.again.push(store.bench_trace_day(device, PAGE).await?.1);
        }
    }
    let mut traces = Traces { sql: filled.first().map_or("", |(database, ..)| database.name()), tables: Vec::new() };
    for (mut table, took) in tables {
        (table.first_p50_ms, table.first_p99_ms) = quantiles(took.first);
        (table.again_p50_ms, table.again_p99_ms) = quantiles(took.again);
        traces.tables.push(table);
    }
    Ok(Findings { bench: "trace", traces: Some(traces), ..Findings::default() })
}

#[derive(Default)]
struct Took {
    first: Vec<Duration>,
    again: Vec<Duration>,
}

/// One with a whole day of fixes.
fn some_device(rows: u64) -> UserId {
    UserId(rand::rng().random_range(1..=(rows / DAY_FIXES).max(1)))
}

fn quantiles(mut took: Vec<Duration>) -> (f64, f64) {
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1e3;
    (at(0.5), at(0.99))
}
