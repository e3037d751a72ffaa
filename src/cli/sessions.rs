//! `roger sessions`: who is connected, where, and until when; by what an account is used, and its end.

use std::collections::BTreeMap;

use serde::Serialize;

use super::access;
use super::args;
use super::context::Context;
use super::error::Error;
use super::output::{note, table};
use super::when::utc;
use crate::broker::{self, LiveEdge};
use crate::model::{TalkQuality, UserId};
use crate::session::{self, Live, Wanted};
use crate::worker::chain;

#[derive(Serialize)]
struct Answer {
    edges: Vec<LiveEdge>,
    /// Of the whole fleet, by the deadlines in Redis; edges and deadlines agree but for sessions that are just opened or closed.
    sessions_total: u64,
    sessions: Vec<Line>,
    /// More are there than the limit let through.
    more: bool,
}

#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    live: Live,
    /// The login name; absent when SQL was not reached.
    name: Option<String>,
    /// How well the user hears and is heard in talk; absent when no media server said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    talk_quality: Option<TalkQuality>,
}

pub(super) async fn sessions(context: &Context, args: args::Sessions) -> Result<(), Error> {
    match (&args.command, &args.account) {
        (Some(args::EndSessions::Revoke { account, installation, yes }), _) => access::revoke(context, account, *installation, *yes).await,
        (None, Some(account)) => access::of_account(context, account, args.limit).await,
        (None, None) => of_fleet(context, args).await,
    }
}

async fn of_fleet(context: &Context, args: args::Sessions) -> Result<(), Error> {
    let (redis, shards) = (context.redis()?, context.shards());
    let now_ms = redis.look_at_time().await?;
    let user = match &args.user {
        Some(user) => Some(user_of(context, user).await?),
        None => None,
    };
    let mut edges = redis.describe_edges(now_ms).await?;
    edges.retain(|edge| args.edge.as_ref().is_none_or(|wanted| *wanted == edge.name || *wanted == edge.boot));
    edges.sort_by(|a, b| (&a.name, &a.boot).cmp(&(&b.name, &b.boot)));
    let sessions_total = redis.look_at_shards(shards).await?.iter().map(|look| look.sessions).sum();
    let wanted = Wanted { user, edge: args.edge, limit: args.limit };
    let listing = session::list(&redis, shards, &wanted).await?;
    let names = names(context, listing.sessions.iter().map(|live| live.presence.user)).await;
    let users: Vec<UserId> = listing.sessions.iter().map(|live| live.presence.user).collect();
    let heard = redis.live_of(&users, shards).await?;
    let line =
        |(live, heard): (Live, broker::Live)| Line { name: names.get(&live.presence.user).cloned(), talk_quality: heard.quality, live };
    let sessions = listing.sessions.into_iter().zip(heard).map(line).collect();
    let answer = Answer { edges, sessions_total, sessions, more: listing.more };
    context.out.answer(&answer, |answer| text(answer, now_ms));
    Ok(())
}

/// A user by id or login name. Only a name needs SQL.
async fn user_of(context: &Context, user: &str) -> Result<UserId, Error> {
    if let Ok(id) = user.parse() {
        return Ok(id);
    }
    super::context::user_of(&context.store()?, user).await
}

/// The login names of users; none when SQL does not answer: what stands in Redis is worth a look just then.
pub(super) async fn names(context: &Context, users: impl IntoIterator<Item = UserId>) -> BTreeMap<UserId, String> {
    let mut users: Vec<UserId> = users.into_iter().collect();
    users.sort_unstable();
    users.dedup();
    if users.is_empty() {
        return BTreeMap::new();
    }
    let found = match context.store() {
        Ok(store) => store.account_names(&users).await.map_err(Error::from),
        Err(error) => Err(error),
    };
    found.unwrap_or_else(|error| {
        note(&format!("roger: names are not shown: {}", chain(&error)));
        BTreeMap::new()
    })
}

fn text(answer: &Answer, now_ms: u64) -> String {
    let row = |edge: &LiveEdge| [edge.name.clone(), edge.listen.clone(), edge.sessions.to_string(), edge.boot.clone()];
    let mut text = table(&["EDGE", "LISTENS ON", "SESSIONS", "BOOT"], answer.edges.iter().map(row));
    let row = |Line { live: Live { presence, deadline_ms }, name, talk_quality }: &Line| {
        let lapses = match deadline_ms.checked_sub(now_ms) {
            Some(left_ms) => format!("in {} s", left_ms / 1_000),
            None => format!("{} s ago", (now_ms - deadline_ms) / 1_000),
        };
        [
            presence.edge_name.clone(),
            presence.user.to_string(),
            name.clone().unwrap_or_default(),
            format!("{:x}", presence.installation.0),
            utc(presence.since_ms),
            lapses,
            talk_quality.as_ref().map(quality).unwrap_or_default(),
        ]
    };
    text.push_str("\n\n");
    text.push_str(&table(
        &["EDGE", "USER", "NAME", "INSTALLATION", "SINCE", "LAPSES", "TALK IN, OUT, RTT"],
        answer.sessions.iter().map(row),
    ));
    text.push_str(&format!("\n\n{} listed of {} sessions in all.", answer.sessions.len(), answer.sessions_total));
    if answer.more {
        text.push_str(" More match: raise --limit to see them.");
    }
    text
}

/// Both links and the way there and back, as far as they were said.
fn quality(quality: &TalkQuality) -> String {
    let said = |number: Option<i32>, unit: &str| number.map_or_else(|| "-".to_owned(), |number| format!("{number}{unit}"));
    format!("{}, {}, {}", said(quality.in_link, " %"), said(quality.out_link, " %"), said(quality.rtt_ms, " ms"))
}
