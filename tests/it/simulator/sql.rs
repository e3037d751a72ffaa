//! A model of SQL: the archive's tables and the directory's. Each method is a transaction.

use std::collections::{BTreeMap, VecDeque};

use roger::model::{GroupId, Place, TopicId, UserId};
use roger::topic::frame::{Entry, Input, LogFrame, Membership, Outcome, Profile, Register, RowKind};

use super::redis::Commit;
use super::world::Shape;

pub(super) const TENANT: u64 = 1;

/// The archive of one shard.
#[derive(Default)]
pub(super) struct Archive {
    /// The newest epoch allocated; a transaction that believes in an older one is refused.
    pub(super) epoch: u64,
    /// The last commit archived.
    pub(super) position: Commit,
    pub(super) rows: BTreeMap<String, RowKind>,
    pub(super) entries: BTreeMap<(u64, Place), Entry>,
    /// Every commit archived, in order: the history that the checker goes by.
    pub(super) history: Vec<LogFrame>,
}

/// A change to be told to the shards: into the group's topic, then into the inbox.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) id: u64,
    pub(super) told: Vec<Input>,
}

/// A new epoch, with what SQL knows of the shard and what the directory says now.
pub(super) struct Allocation {
    pub(super) epoch: u64,
    /// The epoch of the last commit archived.
    pub(super) archived: u64,
    pub(super) rows: Vec<RowKind>,
    pub(super) current: Vec<Input>,
}

pub(super) struct Sql {
    shape: Shape,
    pub(super) shards: Vec<Archive>,
    /// (group, user) to version and whether a member. Former members keep their row.
    memberships: BTreeMap<(u64, u64), (u64, bool)>,
    versions: u64,
    pub(super) outbox: VecDeque<Change>,
    changes: u64,
}

impl Sql {
    pub(super) fn new(shape: Shape) -> Self {
        let shards = (0..shape.shards).map(|_| Archive::default()).collect();
        let mut sql = Self { shape, shards, memberships: BTreeMap::new(), versions: 0, outbox: VecDeque::new(), changes: 0 };
        for user in 1..=shape.users {
            sql.tell(vec![profile(user)]);
        }
        sql
    }

    fn tell(&mut self, told: Vec<Input>) {
        self.changes += 1;
        self.outbox.push_back(Change { id: self.changes, told });
    }

    /// Group and user, and whether a member.
    pub(super) fn memberships(&self) -> impl Iterator<Item = ((u64, u64), bool)> {
        self.memberships.iter().map(|(of, (_, joined))| (*of, *joined))
    }

    pub(super) fn is_member(&self, group: u64, user: u64) -> bool {
        self.memberships.get(&(group, user)).is_some_and(|(_, joined)| *joined)
    }

    pub(super) fn change(&mut self, group: u64, user: u64, joined: bool) {
        self.versions += 1;
        self.memberships.insert((group, user), (self.versions, joined));
        self.tell(membership(group, user, self.versions, joined).into());
    }

    /// A new epoch for a shard, everything the archive knows of it, and the directory's present truth with its former members.
    pub(super) fn allocate(&mut self, shard: usize, above: u64) -> Allocation {
        let (shards, archive) = (self.shape.shards, &mut self.shards[shard]);
        archive.epoch = archive.epoch.max(above) + 1;
        let mut current: Vec<Input> = (1..=self.shape.users).map(profile).collect();
        for ((group, user), (version, joined)) in &self.memberships {
            current.extend(membership(*group, *user, *version, *joined));
        }
        current.retain(|input| shard_of(input, shards) == shard);
        Allocation { epoch: archive.epoch, archived: archive.position.0, rows: archive.rows.values().cloned().collect(), current }
    }

    /// Archives commits, unless an epoch was allocated or somebody else archived meanwhile.
    pub(super) fn archive(
        &mut self,
        shard: usize,
        epoch: Option<u64>,
        after: Commit,
        frames: &[LogFrame],
        rows: Vec<RowKind>,
    ) -> Result<(), String> {
        let archive = &mut self.shards[shard];
        if epoch.is_some_and(|epoch| epoch != archive.epoch) || archive.position != after {
            return Err("stale".into());
        }
        for frame in frames {
            for outcome in frame.outcomes.iter().filter_map(|item| item.outcome.as_ref()) {
                let Outcome::Entry(entry) = outcome else { continue };
                let known = archive.entries.insert((entry.topic, entry.place()), entry.clone());
                if known.is_some_and(|known| known != *entry) {
                    return Err(format!("defect: {} is in SQL with other content", entry.place()));
                }
            }
            archive.position = (frame.epoch, frame.commit);
            archive.history.push(frame.clone());
        }
        archive.rows.extend(rows.into_iter().map(|row| (row.key(), row)));
        Ok(())
    }
}

fn profile(user: u64) -> Input {
    Input::Profile(Profile { topic: TopicId::inbox(UserId(user)).packed(), tenant: TENANT, version: 1, ..Profile::default() })
}

fn membership(group: u64, user: u64, version: u64, joined: bool) -> [Input; 2] {
    let name = String::new();
    [
        Input::Membership(Membership { topic: TopicId::group(GroupId(group)).packed(), user, version, joined }),
        Input::Register(Register { topic: TopicId::inbox(UserId(user)).packed(), group, version, joined, name, ..Register::default() }),
    ]
}

/// The shard of an input's topic, of so many.
pub(super) fn shard_of(input: &Input, shards: u32) -> usize {
    let topic = match input {
        Input::Post(post) => post.topic,
        Input::Mark(mark) => mark.topic,
        Input::Attach(attach) => attach.topic,
        Input::Detach(detach) => detach.topic,
        Input::Watch(watch) => watch.topic,
        Input::Membership(membership) => membership.topic,
        Input::Register(register) => register.topic,
        Input::Profile(profile) => profile.topic,
        Input::Notice(notice) => notice.topic,
        Input::Connection(connection) => connection.topic,
        Input::Enter(enter) => enter.topic,
        Input::Move(step) => step.topic,
        Input::Presence(presence) => presence.topic,
        Input::Moved(moved) => moved.topic,
        Input::Raise(raise) => raise.topic,
        Input::Spoken(spoken) => spoken.topic,
        Input::Press(press) => press.topic,
        Input::Microphone(microphone) => microphone.topic,
        Input::MicrophoneIs(is) => is.topic,
        Input::Seat(seat) => seat.topic,
        Input::Unseat(unseat) => unseat.topic,
        Input::Roll(roll) => roll.topic,
        Input::MediaIs(is) => is.topic,
    };
    shard(topic, shards)
}

/// The shard of a topic, of so many.
pub(super) fn shard(topic: u64, shards: u32) -> usize {
    TopicId::from_packed(topic).unwrap().shard(shards) as usize
}
