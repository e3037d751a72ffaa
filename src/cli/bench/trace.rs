//! One day of one device, out of few rows and out of many.

use std::time::Duration;

use rand::Rng as _;
use serde::Serialize;

use super::super::context::Context;
use super::super::error::Error;
use super::super::output::note;
use super::report::Findings;
use crate::model::UserId;
use crate::store::Store;

/// Fixes of a device and day in the filled table.
const DAY_FIXES: u64 = 8_640;
/// How many fixes a page has.
const PAGE: u32 = 1_000;
/// How many days are read, each of another device as far as there are so many.
const DAYS: usize = 200;

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

/// Fills the table of `store`, which is empty, step by step and reads at each.
pub(super) async fn measure(context: &Context, store: &Store, sql: &'static str, sizes: &[u64]) -> Result<Findings, Error> {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    let (mut traces, mut there) = (Traces { sql, tables: Vec::new() }, 0);
    for rows in sizes {
        note(&format!("bench: filling the table up to {rows} fixes"));
        let bar = context.out.progress(rows - there, "fixes");
        store.bench_fill_fixes(there, rows, |filled| bar.set_position(filled - there)).await?;
        bar.finish_and_clear();
        there = rows;
        traces.tables.push(read(store, rows).await?);
    }
    Ok(Findings { bench: "trace", traces: Some(traces), ..Findings::default() })
}

async fn read(store: &Store, rows: u64) -> Result<Table, Error> {
    let whole_days = (rows / DAY_FIXES).max(1);
    let day = || UserId(rand::rng().random_range(1..=whole_days));
    let plan = store.bench_trace_plan(day(), PAGE).await?;
    let mut table = Table { rows, plan, day_fixes: (u64::MAX, 0), ..Table::default() };
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for device in (0..DAYS).map(|_| day()) {
        let (found, took) = store.bench_trace_day(device, PAGE).await?;
        table.day_fixes = (table.day_fixes.0.min(found), table.day_fixes.1.max(found));
        first.push(took);
        again.push(store.bench_trace_day(device, PAGE).await?.1);
    }
    (table.first_p50_ms, table.first_p99_ms) = quantiles(first);
    (table.again_p50_ms, table.again_p99_ms) = quantiles(again);
    Ok(table)
}

fn quantiles(mut took: Vec<Duration>) -> (f64, f64) {
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1e3;
    (at(0.5), at(0.99))
}
