//! `roger rooms` and `roger floor`: who is in which room, who sits, talks and waits there.
//!
//! Who is where and the floors are read as the next owner of a shard would: the checkpoint, and the log behind it. Seats are what the bridge
//! noted last.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::args;
use super::context::Context;
use super::error::Error;
use super::output::table;
use super::sessions::names;
use super::when::utc;
use crate::broker::{Redis, StreamId, keys};
use crate::floor;
use crate::jobs::bridge::{RoomSeats, seats_by_room};
use crate::model::{GrantNumber, GroupId, InstallationId, TopicId, TopicKind, UserId};
use crate::topic::Shard;
use crate::topic::frame::{LogFrame, RowKind};

/// How many log frames are read at a time.
const LOG_FRAMES_A_CALL: usize = 500;

#[derive(Serialize)]
struct RoomLine {
    group_id: GroupId,
    /// The address of the Janus at which they sit; empty when nobody does.
    server: String,
    users: Vec<UserLine>,
}

#[derive(Serialize)]
struct UserLine {
    user_id: UserId,
    /// The login name; absent when SQL was not reached.
    name: Option<String>,
    /// In the room, or on the way to it; false for a seat that is about to go.
    present: bool,
    /// Has a seat at the media server.
    seat: bool,
    /// Since when the microphone is open, UTC ms; absent while it is closed.
    open_since_ms: Option<u64>,
}

#[derive(Serialize)]
struct FloorAnswer {
    group_id: GroupId,
    /// Absent when nobody has the floor.
    talker: Option<TalkerLine>,
    /// The next one first.
    waiting: Vec<WaitingLine>,
    /// The last grant that was begun; 0 for none that is known.
    last_grant: GrantNumber,
}

#[derive(Serialize)]
struct TalkerLine {
    user_id: UserId,
    installation_id: InstallationId,
    name: Option<String>,
    grant: GrantNumber,
    /// The microphone is open; false while the media server is asked for it.
    talks: bool,
    /// Above every level; absent until it talks.
    emergency: Option<bool>,
}

#[derive(Serialize)]
struct WaitingLine {
    position: usize,
    user_id: UserId,
    installation_id: InstallationId,
    name: Option<String>,
}

pub(super) async fn rooms(context: &Context) -> Result<(), Error> {
    let redis = context.redis()?;
    let mut present: BTreeMap<GroupId, BTreeSet<UserId>> = BTreeMap::new();
    for shard in 0..context.shards() {
        for row in state(&redis, shard).await?.facts().into_values() {
            if let RowKind::Room(room) = row
                && room.joined
                && let Some(user) = TopicId::from_packed(room.topic).and_then(TopicId::inbox_of)
            {
                present.entry(GroupId(room.group)).or_default().insert(user);
            }
        }
    }
    let mut seated = seats_by_room(&redis).await?;
    let groups: BTreeSet<GroupId> = present.keys().chain(seated.keys()).copied().collect();
    let users = present.values().flatten().copied().chain(seated.values().flat_map(|room| room.seats.keys().copied()));
    let names = names(context, users).await;
    let room = |group_id: GroupId| {
        let (here, RoomSeats { server, seats, open }) =
            (present.remove(&group_id).unwrap_or_default(), seated.remove(&group_id).unwrap_or_default());
        let users: BTreeSet<UserId> = here.iter().chain(seats.keys()).copied().collect();
        let user = |user_id: UserId| UserLine {
            user_id,
            name: names.get(&user_id).cloned(),
            present: here.contains(&user_id),
            seat: seats.contains_key(&user_id),
            open_since_ms: open.filter(|(user, _)| *user == user_id).map(|(_, since_ms)| since_ms),
        };
        RoomLine { group_id, server, users: users.into_iter().map(user).collect() }
    };
    let rooms: Vec<RoomLine> = groups.into_iter().map(room).collect();
    context.out.answer(&rooms, |rooms| {
        let row = |group: GroupId, user: &UserLine| {
            [
                group.to_string(),
                user.user_id.to_string(),
                user.name.clone().unwrap_or_default(),
                if user.present { "here" } else { "gone" }.to_owned(),
                if user.seat { "has a seat" } else { "" }.to_owned(),
                user.open_since_ms.map_or_else(String::new, |since_ms| format!("since {}", utc(since_ms))),
            ]
        };
        let rows = rooms.iter().flat_map(|room| room.users.iter().map(move |user| row(room.group_id, user)));
        table(&["GROUP", "USER", "NAME", "ROOM", "SEAT", "TALKS"], rows)
    });
    Ok(())
}

pub(super) async fn floor(context: &Context, args: args::Floor) -> Result<(), Error> {
    let group_id = group_of(context, &args).await?;
    let (redis, room) = (context.redis()?, TopicId::room(group_id));
    let facts = state(&redis, room.shard(context.shards())).await?.facts();
    let kept = facts.into_values().find_map(|row| match row {
        RowKind::Floor(kept) if kept.topic == room.packed() => Some(kept),
        _ => None,
    });
    let floor = match kept {
        // The state holds none that this program cannot read.
        Some(kept) => serde_json::from_slice(&kept.floor).unwrap_or_else(|_| floor::Floor::new(GrantNumber(kept.grant))),
        None => floor::Floor::new(GrantNumber(0)),
    };
    let (holder, waiting) = (floor.holder(), floor.waiting());
    let users = holder.iter().map(|holder| holder.command.who.user).chain(waiting.iter().map(|(who, _)| who.user));
    let names = names(context, users).await;
    let name = |user: UserId| names.get(&user).cloned();
    let emergency = match floor.announcement() {
        floor::Announcement::Taken(taken) => Some(taken.emergency),
        floor::Announcement::Idle => None,
    };
    let talker = holder.map(|holder| {
        let floor::Command { who, grant } = holder.command;
        TalkerLine { user_id: who.user, installation_id: who.installation, name: name(who.user), grant, talks: holder.talks, emergency }
    });
    let line = |(at, (who, _)): (usize, &(floor::Participant, _))| WaitingLine {
        position: at + 1,
        user_id: who.user,
        installation_id: who.installation,
        name: name(who.user),
    };
    let answer = FloorAnswer { group_id, talker, waiting: waiting.iter().enumerate().map(line).collect(), last_grant: floor.last_grant() };
    context.out.answer(&answer, text);
    Ok(())
}

fn text(answer: &FloorAnswer) -> String {
    let who = |user: UserId, name: &Option<String>| match name {
        Some(name) => format!("{name} (user {user})"),
        None => format!("user {user}"),
    };
    let group = answer.group_id;
    let mut text = match &answer.talker {
        None => format!("Nobody talks in the room of g:{group}; the last grant was {}.", answer.last_grant),
        Some(talker) => {
            let does = if talker.talks { "talks" } else { "is about to talk" };
            let emergency = if talker.emergency == Some(true) { ", as an emergency" } else { "" };
            format!("{} {does} in the room of g:{group} by grant {}{emergency}.", who(talker.user_id, &talker.name), talker.grant)
        }
    };
    for line in &answer.waiting {
        text.push_str(&format!("\n{}. {} waits", line.position, who(line.user_id, &line.name)));
    }
    text
}

/// A group by id, or by name within a company. Only a name needs SQL.
async fn group_of(context: &Context, args: &args::Floor) -> Result<GroupId, Error> {
    if let Some(tenant) = &args.tenant {
        return Ok(context.registry().await?.group(tenant, &args.group).await?.group.id);
    }
    let id = args.group.strip_prefix("g:").unwrap_or(&args.group).parse().ok();
    let group = id.and_then(|id| TopicId::checked(TopicKind::Group, id)).and_then(TopicId::group_of);
    group.ok_or_else(|| Error::Usage(format!("{:?} is no id of a group: write g:7, or its name and --tenant", args.group)))
}

/// A shard as Redis has it. What its owner commits meanwhile may be in it or not.
async fn state(redis: &Redis, shard: u32) -> Result<Shard, Error> {
    let checkpoint = redis.meta(shard).await?.get("checkpoint").and_then(|text| text.parse::<StreamId>().ok());
    let mut state = match checkpoint {
        Some(at) => Shard::from_checkpoint(at.0, at.1, redis.load_rows(shard).await?),
        None => Shard::new(0),
    };
    let (log, mut from) = (keys::log(shard), checkpoint.map_or(StreamId(0, 0), StreamId::next));
    loop {
        let entries = redis.range(&log, from, StreamId(u64::MAX, u64::MAX), LOG_FRAMES_A_CALL).await?;
        let Some(last) = entries.last() else { return Ok(state) };
        from = last.id.next();
        for entry in &entries {
            state.fold(&entry.decode::<LogFrame>(&log)?);
        }
    }
}
