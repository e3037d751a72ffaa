//! What must hold, judged by what was committed, lost, receipted and received; nothing of `src/topic` is asked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use roger::model::{GroupId, Place, TopicId};
use roger::topic::frame::{Entry, Input, LogFrame, NoticeBody, Outcome, RowKind};

use super::client::{Client, State};
use super::redis::{Commit, Redis};
use super::sql::Sql;

/// Installation, topic, client_seq.
type Key = (u64, u64, u64);
/// A message, and whether this refuses it.
type Said = (Key, bool);

/// What really happened.
#[derive(Default)]
pub(super) struct Truth {
    /// Every place ever given, with the shard and the commit that gave it.
    places: HashMap<(u64, Place), (Entry, usize, Commit)>,
    /// Messages that stood in Redis alone when it lost them, and so did nothing that refused them; and whether the replica lost them, too.
    lost: HashMap<Key, bool>,
    /// By shard and epoch the last commit that edges may have heard of before a loss, although no replica had it.
    heard: HashMap<(usize, u64), u64>,
    /// By shard the last commit that was lost with the replica.
    wiped: HashMap<usize, Commit>,
    /// Refusals whose commit stood in Redis alone when it lost it: the message may be judged again, although its sender was told.
    unrefused: HashSet<Key>,
    failure: Option<String>,
}

impl Truth {
    pub(super) fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    pub(super) fn failure(&self) -> Option<&String> {
        self.failure.as_ref()
    }

    pub(super) fn committed(&mut self, shard: usize, frame: &LogFrame) {
        for entry in entries(frame) {
            let given = (entry.clone(), shard, (frame.epoch, frame.commit));
            let known = self.places.insert((entry.topic, entry.place()), given);
            if known.is_some_and(|(known, ..)| {
                (known.installation, known.client_seq, &known.body) != (entry.installation, entry.client_seq, &entry.body)
            }) {
                self.fail(format!("place {} of {} was given twice", entry.place(), entry.topic));
            }
        }
    }

    /// A commit that was lost before anybody saw it: its places may be given again.
    pub(super) fn never_seen(&mut self, frame: &LogFrame) {
        for entry in entries(frame) {
            self.places.remove(&(entry.topic, entry.place()));
        }
    }

    /// No replica follows: an edge is told of a shard up to that commit all the same.
    pub(super) fn told_without_replica(&mut self, shard: usize, commit: Commit) {
        let last = self.heard.entry((shard, commit.0)).or_default();
        *last = commit.1.max(*last);
    }

    /// Redis and its replica changed from `before` to `after`: also what both had is lost.
    pub(super) fn both_lost(&mut self, before: &Redis, after: &Redis, sql: &Sql) {
        for (shard, keys) in before.shards.iter().enumerate() {
            if let Some(meta) = &keys.meta {
                let wiped = self.wiped.entry(shard).or_default();
                *wiped = meta.commit.max(*wiped);
            }
        }
        self.lose(before, after, sql, true);
    }

    /// The server that programs wrote to changed from `before` to `after`, which has what the replica had.
    pub(super) fn redis_lost(&mut self, before: &Redis, after: &Redis, sql: &Sql) {
        self.lose(before, after, sql, false);
    }

    /// A log is void, for another server outran its own: a refusal in it is forgotten where SQL knows of a later one of the same sender.
    pub(super) fn void<'a>(&mut self, log: impl Iterator<Item = &'a LogFrame>, sql: &Sql) {
        let decided: HashSet<Key> = refusals(sql.shards.iter().flat_map(|shard| &shard.history)).collect();
        self.unrefused.extend(refusals(log).filter(|key| !decided.contains(key)));
    }

    fn lose(&mut self, before: &Redis, after: &Redis, sql: &Sql, replica: bool) {
        let kept: HashSet<Said> = standing(after).chain(archived(sql)).collect();
        let decided: HashSet<Key> = refusals(after.shards.iter().flat_map(|keys| keys.log.values()))
            .chain(refusals(sql.shards.iter().flat_map(|shard| &shard.history)))
            .collect();
        let before_decided = refusals(before.shards.iter().flat_map(|keys| keys.log.values()));
        self.unrefused.extend(before_decided.filter(|key| !decided.contains(key)));
        for (key, _) in standing(before) {
            if !kept.contains(&(key, true)) && !kept.contains(&(key, false)) {
                *self.lost.entry(key).or_default() |= replica;
            }
        }
    }

    /// At the end, when everything has come to rest and is archived.
    pub(super) fn judge(&self, clients: &[Client], sql: &Sql) -> Result<(), String> {
        let mut history: BTreeMap<u64, Vec<(&Entry, BTreeSet<u64>)>> = BTreeMap::new();
        let mut present: HashMap<u64, BTreeSet<u64>> = HashMap::new();
        for outcome in sql.shards.iter().flat_map(|shard| &shard.history).flat_map(outcomes) {
            match outcome {
                Outcome::Membership(at) => {
                    let members = present.entry(at.membership.topic).or_default();
                    if at.membership.joined {
                        members.insert(at.membership.user);
                    } else {
                        members.remove(&at.membership.user);
                    }
                }
                Outcome::Entry(entry) => {
                    let inbox = TopicId::from_packed(entry.topic).and_then(TopicId::inbox_of);
                    let members = inbox.map_or_else(|| present.get(&entry.topic).cloned().unwrap_or_default(), |owner| [owner.0].into());
                    history.entry(entry.topic).or_default().push((entry, members));
                }
                _ => {}
            }
        }
        for ((group, user), joined) in sql.memberships() {
            let topic = TopicId::group(GroupId(group)).packed();
            if present.get(&topic).is_some_and(|members| members.contains(&user)) != joined {
                return Err(format!("group {group} never heard that user {user} {}", if joined { "joined" } else { "left" }));
            }
        }
        for (topic, log) in &history {
            self.judge_order(*topic, log)?;
        }
        let kept: HashSet<Key> = history.values().flatten().map(|(entry, _)| (entry.installation, entry.topic, entry.client_seq)).collect();
        for client in clients {
            self.judge_sent(client, &kept)?;
            let topics: BTreeSet<u64> = history.keys().chain(client.received.keys()).copied().collect();
            for topic in topics {
                self.judge_received(client, topic, history.get(&topic).map_or(&[][..], Vec::as_slice))?;
            }
        }
        Self::judge_marks(sql)
    }

    /// Places rise without holes, and what one installation said stands in its order, once.
    fn judge_order(&self, topic: u64, log: &[(&Entry, BTreeSet<u64>)]) -> Result<(), String> {
        let (mut last, mut high) = (Place::START, HashMap::new());
        for (entry, _) in log {
            let place = entry.place();
            if place <= last || place.seq != last.seq + 1 {
                return Err(format!("{topic}: {place} stands behind {last}"));
            }
            last = place;
            let before = high.insert(entry.installation, entry.client_seq).unwrap_or(0);
            if entry.client_seq != 0 && entry.client_seq <= before {
                return Err(format!("{topic} {place}: {} said {} after {before}", entry.installation, entry.client_seq));
            }
        }
        Ok(())
    }

    /// Whether a later message to the topic was refused by a decision that is lost: what was refused for want of this one may have come after all.
    fn unrefused_behind(&self, (installation, topic, seq): &Key) -> bool {
        self.unrefused.iter().any(|(by, to, refused)| (by, to) == (installation, topic) && refused > seq)
    }

    fn judge_sent(&self, client: &Client, kept: &HashSet<Key>) -> Result<(), String> {
        for (topic, talk) in &client.talks {
            for (seq, message) in talk {
                let key = (client.installation, *topic, *seq);
                // What a receipt said the replica has is lost only with the replica.
                let lost = self.lost.get(&key).is_some_and(|replica| *replica || !message.replica);
                let kept = kept.contains(&key);
                match message.state {
                    State::Pending => return Err(format!("{key:?} never got a receipt")),
                    State::Receipted if !kept && !lost => return Err(format!("{key:?} had a receipt and is nowhere")),
                    State::Rejected if kept && !self.unrefused.contains(&key) => return Err(format!("{key:?} was refused and delivered")),
                    State::Lost if !lost && !self.unrefused_behind(&key) => return Err(format!("{key:?} was given up without a loss")),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Exactly what the members of each moment may see, once, in the order of all; beyond that only what Redis lost.
    fn judge_received(&self, client: &Client, topic: u64, log: &[(&Entry, BTreeSet<u64>)]) -> Result<(), String> {
        let none = Vec::new();
        let received = client.received.get(&topic).unwrap_or(&none);
        let mut expected = log.iter().filter(|(_, members)| members.contains(&client.user)).map(|(entry, _)| *entry).peekable();
        for entry in received {
            if expected.peek().is_some_and(|next| next.place() == entry.place()) {
                let next = expected.next();
                if next != Some(entry) {
                    return Err(format!("{} got {entry:?} instead of {next:?}", client.installation));
                }
                continue;
            }
            let stands = log.iter().any(|(known, _)| known.place() == entry.place());
            let given = self.places.get(&(topic, entry.place())).filter(|(given, ..)| given == entry);
            if let Some((_, shard, (epoch, commit))) = given.filter(|_| !stands) {
                let told = self.heard.get(&(*shard, *epoch)).is_some_and(|heard| heard >= commit);
                if !told && self.wiped.get(shard).is_none_or(|wiped| *wiped < (*epoch, *commit)) {
                    return Err(format!("{} heard {entry:?} before a replica had it, and it was lost", client.installation));
                }
            } else {
                return Err(format!(
                    "{} of user {} got {entry:?} unexpectedly, next is {:?}",
                    client.installation,
                    client.user,
                    expected.peek()
                ));
            }
        }
        expected.next().map_or(Ok(()), |missed| Err(format!("{} of user {} never got {missed:?}", client.installation, client.user)))
    }

    fn judge_marks(sql: &Sql) -> Result<(), String> {
        for shard in &sql.shards {
            let heads: HashMap<u64, u64> = shard
                .rows
                .values()
                .filter_map(|row| if let RowKind::Head(row) = row { Some((row.topic, row.head.seq)) } else { None })
                .collect();
            for row in shard.rows.values() {
                let RowKind::Mark(mark) = row else { continue };
                let head = Place::new(shard.epoch, heads.get(&mark.topic).copied().unwrap_or(0));
                if Place::from(mark.place) > head {
                    return Err(format!("{mark:?} lies beyond the head {head}"));
                }
            }
        }
        Ok(())
    }
}

fn outcomes(frame: &LogFrame) -> impl Iterator<Item = &Outcome> {
    frame.outcomes.iter().filter_map(|item| item.outcome.as_ref())
}

fn entries(frame: &LogFrame) -> impl Iterator<Item = &Entry> {
    outcomes(frame).filter_map(|outcome| if let Outcome::Entry(entry) = outcome { Some(entry) } else { None })
}

fn refused(body: &bytes::Bytes) -> Option<Said> {
    let body: NoticeBody = prost::Message::decode(body.clone()).ok()?;
    Some(((body.installation, body.topic, body.client_seq), true))
}

fn said(frame: &LogFrame) -> impl Iterator<Item = Said> {
    outcomes(frame).filter_map(|outcome| match outcome {
        Outcome::Entry(entry) if entry.client_seq == 0 => refused(&entry.body),
        Outcome::Entry(entry) => Some(((entry.installation, entry.topic, entry.client_seq), false)),
        Outcome::Forward(forward) => match &forward.item.input {
            Some(Input::Notice(notice)) => refused(&notice.body),
            _ => None,
        },
        _ => None,
    })
}

/// The messages that these commits refused.
fn refusals<'a>(frames: impl Iterator<Item = &'a LogFrame>) -> impl Iterator<Item = Key> {
    frames.flat_map(outcomes).filter_map(|outcome| match outcome {
        Outcome::Forward(forward) => match &forward.item.input {
            Some(Input::Notice(notice)) => refused(&notice.body).map(|(key, _)| key),
            _ => None,
        },
        _ => None,
    })
}

/// The messages, and the refusals of messages, that stand in Redis.
fn standing(redis: &Redis) -> impl Iterator<Item = Said> {
    redis.shards.iter().flat_map(|keys| {
        let waiting = keys.input.behind(0).flat_map(|(_, frame)| &frame.items).filter_map(|item| match &item.input {
            Some(Input::Post(post)) => Some(((post.installation, post.topic, post.client_seq), false)),
            Some(Input::Notice(notice)) => refused(&notice.body),
            _ => None,
        });
        waiting.chain(keys.log.values().flat_map(said))
    })
}

/// What stands in SQL. A refusal counts once it is in the sender's inbox: on its way there it stands in Redis alone.
fn archived(sql: &Sql) -> impl Iterator<Item = Said> {
    let entries = sql.shards.iter().flat_map(|shard| shard.entries.values());
    entries.filter_map(|entry| match entry.client_seq {
        0 => refused(&entry.body),
        _ => Some(((entry.installation, entry.topic, entry.client_seq), false)),
    })
}

/// A commit in few words, for the trace.
pub(super) fn brief(frame: &LogFrame) -> Vec<String> {
    outcomes(frame)
        .map(|outcome| match outcome {
            Outcome::Entry(entry) => {
                format!("{}@{}/{} of {}/{}", entry.topic, entry.epoch, entry.seq, entry.installation, entry.client_seq)
            }
            Outcome::Membership(at) => {
                format!(
                    "{} {} v{} {} at {:?}",
                    at.membership.topic, at.membership.user, at.membership.version, at.membership.joined, at.place
                )
            }
            Outcome::Register(register) => {
                format!("register {} g{} v{} {}", register.topic, register.group, register.version, register.joined)
            }
            Outcome::Mark(mark) => format!("mark {} {} {}/{}", mark.topic, mark.installation, mark.place.epoch, mark.place.seq),
            Outcome::Profile(profile) => format!("profile {}", profile.topic),
            Outcome::Forward(_) => "forward".into(),
            Outcome::Raised(raised) => format!("raised {} of {}", raised.alert, raised.topic),
            Outcome::Floor(kept) => format!("floor {} grant {}", kept.topic, kept.grant),
            Outcome::Room(room) => format!("room {} g{} v{} {}", room.topic, room.group, room.version, room.joined),
        })
        .collect()
}
