//! `roger changes`: who changed what in the directory.

use serde::Serialize;
use serde_json::Value as Json;

use super::args;
use super::context::Context;
use super::error::Error;
use super::output::table;
use super::when::utc;
use crate::store::{ChangeRecord, ChangesWanted};

#[derive(Serialize)]
struct Answer {
    /// The newest first.
    changes: Vec<ChangeRecord>,
    /// Older ones match too.
    more: bool,
}

pub(super) async fn changes(context: &Context, args: args::Changes) -> Result<(), Error> {
    let args::Changes { since, who, what, limit } = args;
    let since_ms = since.map_or(0, |since| since.time_ms(context.clock.now_ms()));
    // One more than asked for, to know whether there are more.
    let wanted = ChangesWanted { since_ms, who, what, limit: limit.saturating_add(1) };
    let mut changes = context.store()?.changes(wanted).await?;
    let more = changes.len() > limit as usize;
    changes.truncate(limit as usize);
    context.out.answer(&Answer { changes, more }, text);
    Ok(())
}

fn text(answer: &Answer) -> String {
    if answer.changes.is_empty() {
        return "No changes.".to_owned();
    }
    let state = |json: &Json| if json.is_null() { String::new() } else { json.to_string() };
    let row = |change: &ChangeRecord| {
        let ChangeRecord { time_ms, who, what, subject, before, after, .. } = change;
        [utc(*time_ms), who.clone(), what.clone(), subject.clone(), state(before), state(after)]
    };
    let mut text = table(&["WHEN", "WHO", "WHAT", "ON", "BEFORE", "AFTER"], answer.changes.iter().map(row));
    if answer.more {
        text.push_str("\n\nOlder ones match too: raise --limit to see them.");
    }
    text
}
