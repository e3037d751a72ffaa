//! `roger fate`: what became of the reports of a device that arrived on a day.

use serde::Serialize;

use super::args;
use super::context::Context;
use super::error::Error;
use super::output::table;
use super::when::utc;
use crate::model::UserId;
use crate::store::{Fate, FateRefusal};

const DAY_MS: u64 = 86_400_000;

#[derive(Serialize)]
struct Answer {
    device: UserId,
    /// UTC.
    day: String,
    #[serde(flatten)]
    fate: Fate,
    /// Every report that came was stored, a duplicate, or refused for a reason.
    adds_up: bool,
}

pub(super) async fn fate(context: &Context, args: args::Fate) -> Result<(), Error> {
    let device = context.registry().await?.device(&args.device).await?.id;
    let day = args.day.number(context.clock.now_ms());
    let fate = context.store()?.fate(device, day).await?.unwrap_or_default();
    let adds_up = fate.adds_up();
    let day = utc(day * DAY_MS).chars().take_while(|letter| *letter != 'T').collect();
    context.out.answer(&Answer { device, day, fate, adds_up }, text);
    if adds_up { Ok(()) } else { Err(Error::Findings) }
}

fn text(answer: &Answer) -> String {
    let Answer { device, day, fate, adds_up } = answer;
    let Fate { received, stored, duplicate, refused, refusals } = fate;
    let sum = if *adds_up { "adds up" } else { "does NOT add up" };
    let mut text = format!(
        "Reports of {device} that arrived on {day}, UTC: {received} received = {stored} stored + {duplicate} duplicate + {refused} refused: {sum}."
    );
    if !refusals.is_empty() {
        let row = |refusal: &FateRefusal| {
            let reason = refusal.reason.map_or("?", crate::model::Reason::as_str);
            [reason.to_owned(), refusal.field.clone(), refusal.reports.to_string()]
        };
        text.push_str("\n\n");
        text.push_str(&table(&["REFUSED FOR", "FIELD", "REPORTS"], refusals.iter().map(row)));
    }
    text
}
