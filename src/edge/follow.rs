//! Which topics a session follows: the inbox says which, each topic's owner says whether and from where.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::entries::PATIENCE_MS;
use super::hub::Edge;
use super::session::{Session, State};
use crate::model::{GroupId, MessageKind, Place, Reason, TopicId};
use crate::proto::v1;
use crate::telemetry::trace::Trace;
use crate::topic::Cursor;
use crate::topic::frame::{Attach, Attached, Departed, Entry, Input, Refused};

/// How soon an owner is asked again that refused although the register says that the user is a member.
const ASK_AGAIN_MS: u64 = 2_000;

/// An entry that was passed on and is not acknowledged.
pub(super) struct InFlight {
    pub(super) place: Place,
    /// When it was passed on. UTC ms.
    pub(super) passed_ms: u64,
    /// A message that is traced, with when it got its place (UTC ms).
    pub(super) traced: Option<Box<(Trace, u64)>>,
}

/// A topic a session follows, or followed.
pub(super) struct Follow {
    pub(super) cursor: Cursor,
    pub(super) standing: Standing,
    /// The highest client_seq of this installation that the owner accepted, as of its last answer.
    pub(super) client_seq_high: u64,
    /// What was passed on and is not acknowledged.
    pub(super) in_flight: VecDeque<InFlight>,
    /// When a page was asked for last, and of how many entries.
    pub(super) asked_ms: u64,
    pub(super) asked_entries: usize,
    /// How long its answer is waited for before it is asked again.
    pub(super) patience_ms: u64,
    /// When it was attached last.
    attached_ms: u64,
}

/// How a session stands with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The owner did not answer yet.
    Asked,
    /// The user is a member, or was one and has something left to fetch.
    Follows,
    /// Refused, or left and fetched to the end. Kept for the place where it ended: the user may come back.
    Over,
}

impl Follow {
    fn new(mark: Option<Place>) -> Self {
        let (cursor, standing, in_flight) = (Cursor::new(mark), Standing::Asked, VecDeque::new());
        Self { cursor, standing, client_seq_high: 0, in_flight, asked_ms: 0, asked_entries: 0, patience_ms: PATIENCE_MS, attached_ms: 0 }
    }

    /// Whether the owner confirmed that the user is a member and did not leave since.
    pub(super) fn is_member(&self) -> bool {
        self.standing == Standing::Follows && !self.cursor.is_leaving()
    }
}

/// The groups of the user, as the inbox says: all of them in its owner's answer, changes in the notices behind that.
#[derive(Default)]
pub(super) struct Register {
    /// The inbox has answered.
    pub(super) known: bool,
    groups: BTreeSet<GroupId>,
    /// The group in whose room the user is.
    room: Option<GroupId>,
    /// The head of the inbox as of the answer. Notices up to there are history.
    at: Place,
}

/// A room, and its alerts.
fn topics_of_room(group: GroupId) -> [TopicId; 2] {
    [TopicId::alert_room(group), TopicId::room(group)]
}

impl Register {
    pub(super) fn has(&self, topic: TopicId) -> bool {
        topic.group_of().is_some_and(|group| self.groups.contains(&group))
    }

    /// The group in whose room the user is.
    pub(super) fn room(&self) -> Option<GroupId> {
        self.room
    }

    /// What the user's sessions are to follow.
    fn topics(&self) -> impl Iterator<Item = TopicId> {
        self.groups.iter().copied().map(TopicId::group).chain(self.room.into_iter().flat_map(topics_of_room))
    }
}

impl Session {
    /// Starts following a topic, or attaches it again. `self` is shared, for the index.
    pub(super) fn follow(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId) {
        if state.closed {
            return;
        }
        let given = &mut state.marks_given;
        let follow = state.follows.entry(topic).or_insert_with(|| {
            edge.index.add(topic, self);
            Follow::new(given.remove(&topic))
        });
        if follow.standing == Standing::Over {
            follow.standing = Standing::Asked;
            edge.index.add(topic, self);
        }
        self.attach(edge, topic, follow);
    }

    /// Asks the owner of a topic to send it from where the session is.
    pub(super) fn attach(&self, edge: &Edge, topic: TopicId, follow: &mut Follow) {
        follow.attached_ms = edge.clock.now_ms();
        let Self { claims, id, .. } = self;
        let attach = Attach {
            topic: topic.packed(),
            user: claims.user.0,
            installation: claims.installation.0,
            session: id.0,
            mark: follow.cursor.mark().map(Into::into),
        };
        edge.pusher.push(topic, Input::Attach(attach), None);
    }

    /// The owner's answer to an attach.
    pub(super) fn attached(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, attached: &Attached) {
        let Some(follow) = state.follows.get_mut(&topic) else { return };
        if follow.standing == Standing::Over {
            // The answer to a later question than the one that was refused.
            follow.standing = Standing::Asked;
            edge.index.add(topic, self);
        }
        if !follow.cursor.attach(attached) {
            // The late answer to a question without a mark.
            return self.attach(edge, topic, follow);
        }
        follow.client_seq_high = attached.client_seq_high;
        if follow.standing == Standing::Asked {
            follow.standing = Standing::Follows;
            state.queue.follow(v1::Follow {
                topic: Some(topic.into()),
                head: Some(Place::from(attached.head).into()),
                mark: Some(Place::from(attached.mark).into()),
                client_seq_high: attached.client_seq_high,
                following: true,
            });
        }
        state.behind.insert((!topic.kind().urgent(), topic));
        if topic == self.inbox() {
            let groups = attached.groups.iter().copied().map(GroupId).collect();
            let room = Some(GroupId(attached.room)).filter(|room| room.0 != 0);
            state.register = Register { known: true, groups, room, at: attached.head.into() };
            // Those left too: something said before may still have to be fetched.
            let groups = attached.groups.iter().chain(&attached.former).map(|group| TopicId::group(GroupId(*group)));
            let rooms = room.into_iter().chain(attached.former_rooms.iter().copied().map(GroupId)).flat_map(topics_of_room);
            // Also what is left of a stay that is over: the answer that ended it may be older than the register, which knows of a later one.
            let again = |follow: &Follow| follow.standing == Standing::Over || follow.cursor.is_leaving();
            for topic in groups.chain(rooms) {
                if state.follows.get(&topic).is_none_or(again) {
                    self.follow(edge, state, topic);
                }
            }
        }
        if attached.live {
            self.opened(edge, state, topic, Some(attached.client_seq_high));
        } else {
            self.send_refused(edge, state, topic, Reason::NotMember);
        }
        self.pump(edge, state);
    }

    /// The owner refused to let the session follow, or write to, a topic.
    pub(super) fn refused(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, refused: Refused) {
        let reason = Reason::from_number(refused.reason).unwrap_or(Reason::NotMember);
        if reason == Reason::WrongEpoch
            && let Some(follow) = state.follows.get_mut(&topic)
        {
            // The client's mark is none of this topic's. It is told, and continues from what the owner knows of it.
            state.unacked -= follow.in_flight.len();
            *follow = Follow::new(None);
            self.attach(edge, topic, follow);
            return state.refuse(v1::Refusal { topic: Some(topic.into()), ..edge.refusal(reason, "hello.marks") });
        }
        self.end(edge, state, topic);
        self.send_refused(edge, state, topic, reason);
    }

    /// Nothing more comes of a topic for now.
    pub(super) fn end(&self, edge: &Edge, state: &mut State, topic: TopicId) {
        let Some(follow) = state.follows.get_mut(&topic) else { return };
        if follow.standing == Standing::Follows {
            let head = Some(follow.cursor.at().into());
            state.queue.follow(v1::Follow { topic: Some(topic.into()), head, following: false, ..v1::Follow::default() });
        }
        follow.standing = Standing::Over;
        follow.cursor.detach();
        state.unacked -= follow.in_flight.len();
        follow.in_flight.clear();
        state.behind.remove(&(!topic.kind().urgent(), topic));
        edge.index.remove(topic, self.id);
    }

    /// A user left a group: their sessions get its entries up to then.
    pub(super) fn departed(self: &Arc<Self>, edge: &Edge, state: &mut State, topic: TopicId, departed: Departed) {
        let Some(follow) = state.follows.get_mut(&topic) else { return };
        follow.cursor.depart(departed.place.into());
        state.behind.insert((!topic.kind().urgent(), topic));
        self.pump(edge, state);
        // The user may be back already: that stands in the inbox, which belongs to another shard and knows no order with this.
        self.follow(edge, state, topic);
    }

    /// An entry of the inbox may tell of a group.
    pub(super) fn read_notice(self: &Arc<Self>, edge: &Edge, state: &mut State, entry: &Entry) {
        let Some((kind, notice)) = MessageKind::from_number(entry.kind).zip(entry.notice()) else { return };
        // Older ones are history: the register already has them.
        if entry.place() <= state.register.at {
            return;
        }
        let group = GroupId(notice.group);
        match kind {
            MessageKind::Joined => {
                state.register.groups.insert(group);
                // Even if it is followed: a departure may be on its way.
                self.follow(edge, state, TopicId::group(group));
            }
            MessageKind::Left => {
                state.register.groups.remove(&group);
            }
            // Not those of devices that the user manages.
            MessageKind::RoomChanged if notice.user == self.claims.user.0 => {
                state.register.room = Some(group).filter(|group| group.0 != 0);
                for topic in state.register.room.into_iter().flat_map(topics_of_room) {
                    self.follow(edge, state, topic);
                }
            }
            _ => {}
        }
    }

    /// Asks again for topics that the register names and that were refused: their owners hear of a change at another time than the inbox.
    pub(super) fn insist(self: &Arc<Self>, edge: &Edge, state: &mut State, now_ms: u64) {
        let missing = |topic: &TopicId| match state.follows.get(topic) {
            Some(follow) => follow.standing == Standing::Over && now_ms.saturating_sub(follow.attached_ms) >= ASK_AGAIN_MS,
            None => true,
        };
        let missing: Vec<_> = state.register.topics().filter(missing).collect();
        for topic in missing {
            self.follow(edge, state, topic);
        }
    }

    /// The owner of a shard is another one, or something was lost on the way: everything of the shard is attached again, what was refused
    /// or has ended too.
    pub(super) fn attach_again(self: &Arc<Self>, edge: &Edge, shard: u32) {
        let mut state = self.lock();
        let state = &mut *state;
        let shards = edge.shards;
        let again: Vec<_> = state.follows.keys().copied().filter(|topic| topic.shard(shards) == shard).collect();
        for topic in again {
            if let Some(follow) = state.follows.get_mut(&topic) {
                follow.cursor.detach();
            }
            self.follow(edge, state, topic);
        }
        if self.inbox().shard(shards) == shard {
            self.wish_again(edge, state);
        }
        for (topic, sending) in state.sends.iter_mut().filter(|(topic, _)| topic.shard(shards) == shard) {
            sending.doubt();
            if topic.inbox_of().is_some() && *topic != self.inbox() {
                self.watch(edge, *topic);
            }
        }
    }
}
