//! In whose room a user is, and who hears that somebody came or went.
//!
//! The user's inbox keeps it, numbers the moves, and makes one at a time: the room that is left hears of it first, and through it the next
//! one, which tells the inbox that the user has arrived. Only then comes the next move. So a user is in one room or in none at every moment,
//! however the shards of the two stand to each other, and what is said in a room has exactly its members of that moment. What sessions
//! wish meanwhile waits, in memory alone: edges wish again at a new owner.

use super::frame::{Connection, Enter, Entered, Forward, Input, Membership, Move, Moved, NoticeBody, Outcome, Output, Presence, Room};
use super::state::Topic;
use super::step::Step;
use crate::model::{GroupId, MessageKind, PresenceState, Reason, TopicId, TopicKind, UserId};

/// How many of the rooms a user left are named when their inbox is attached.
const FORMER_MAX: usize = 16;
/// How many wishes of a user's sessions may wait.
const WISHES_MAX: usize = 64;

impl Topic {
    /// Of an inbox: the room the user is in, or on the way to.
    pub(super) fn room(&self) -> Option<GroupId> {
        self.rooms.values().find(|room| room.joined).map(|room| GroupId(room.group))
    }

    /// Of an inbox: counts the user's moves.
    pub(super) fn room_version(&self) -> u64 {
        self.rooms.values().map(|room| room.version).max().unwrap_or(0)
    }

    /// Of an inbox: the rooms the user left last, the latest first.
    pub(super) fn former_rooms(&self) -> Vec<u64> {
        let mut left: Vec<_> = self.rooms.values().filter(|room| !room.joined).collect();
        left.sort_unstable_by_key(|room| std::cmp::Reverse(room.version));
        left.into_iter().take(FORMER_MAX).map(|room| room.group).collect()
    }

    /// Whether a move is under way.
    fn is_moving(&self) -> bool {
        self.rooms.values().any(|room| !room.settled)
    }

    fn is_in(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(|register| register.joined)
    }

    /// How a user stands with one of their groups.
    fn state_in(&self, group: GroupId, online: bool) -> PresenceState {
        match (online, self.room() == Some(group)) {
            (false, _) => PresenceState::Offline,
            (true, false) => PresenceState::Online,
            (true, true) => PresenceState::InRoom,
        }
    }
}

impl Step<'_> {
    /// A session wants its user in a room.
    pub(super) fn enter(&mut self, inbox: TopicId, enter: Enter) {
        let group = GroupId(enter.group);
        let known = self.topic(inbox).filter(|_| inbox.inbox_of().is_some());
        let waiting = self.followers.wishes(inbox).len();
        let refused = match known {
            Some(known) if group.0 == 0 || known.is_in(group) => (waiting >= WISHES_MAX).then_some(Reason::TooMany),
            // Out of any room is who was never in one.
            None if group.0 == 0 => None,
            _ => Some(Reason::NotMember),
        };
        if refused.is_some() {
            return self.answer_wish(inbox, self.edge.into(), enter, refused);
        }
        self.followers.wish(inbox, self.edge, enter);
        self.grant_wishes(inbox, true);
    }

    /// Makes the move that the last wish is for, or that a membership demands; answers the wishes when there is none to make.
    fn grant_wishes(&mut self, inbox: TopicId, wished: bool) {
        let known = self.topic(inbox);
        if known.is_some_and(Topic::is_moving) {
            return;
        }
        let room = known.and_then(Topic::room);
        let stays = room.filter(|room| known.is_some_and(|known| known.is_in(*room)));
        let wish = self.followers.wishes(inbox).last().map(|(_, enter)| GroupId(enter.group));
        let granted = wish.filter(|group| group.0 == 0 || known.is_some_and(|known| known.is_in(*group)));
        let target = match granted {
            Some(group) if wished => Some(group).filter(|group| group.0 != 0),
            _ => stays,
        };
        if target != room {
            return self.begin_move(inbox, room, target);
        }
        for (edge, enter) in self.followers.take_wishes(inbox) {
            let refused = enter.group != 0 && granted.is_none_or(|granted| granted.0 != enter.group) && room != Some(GroupId(enter.group));
            self.answer_wish(inbox, edge, enter, refused.then_some(Reason::NotMember));
        }
    }

    fn answer_wish(&mut self, inbox: TopicId, edge: std::sync::Arc<str>, enter: Enter, reason: Option<Reason>) {
        let (group, version) = self.topic(inbox).map_or((0, 0), |known| (known.room().unwrap_or_default().0, known.room_version()));
        let Enter { topic, session, request, .. } = enter;
        let reason = reason.map_or(0, |reason| reason as u32);
        if !edge.is_empty() {
            self.batch.outputs.push(&edge, Output::Entered(Entered { topic, session, request, reason, group, version }));
        }
    }

    /// Whoever is no longer a member of a group is not in its room either.
    pub(super) fn leave_room_of(&mut self, inbox: TopicId, group: GroupId) {
        if self.topic(inbox).and_then(Topic::room) == Some(group) {
            self.grant_wishes(inbox, false);
        }
    }

    fn begin_move(&mut self, inbox: TopicId, from: Option<GroupId>, to: Option<GroupId>) {
        let (Some(user), Some(known)) = (inbox.inbox_of(), self.topic(inbox)) else { return };
        let version = known.room_version() + 1;
        for (group, joined) in [(from, false), (to, true)] {
            if let Some(group) = group {
                self.decide(Outcome::Room(Room { topic: inbox.packed(), group: group.0, version, joined, settled: false }));
            }
        }
        let next = to.unwrap_or_default().0;
        let (room, arrives) = if let Some(from) = from { (from, false) } else { (GroupId(next), true) };
        self.forward(Input::Move(Move { topic: TopicId::room(room).packed(), user: user.0, version, next, arrives }));
    }

    /// A user leaves this room, and goes on to the next one when that is done; or arrives.
    pub(super) fn move_on(&mut self, topic: TopicId, step: Move) {
        let Move { user, version, next, arrives, .. } = step;
        let Some(inbox) = TopicId::checked(TopicKind::Inbox, user).filter(|_| topic.kind() == TopicKind::Room) else { return };
        let membership = Membership { topic: topic.packed(), user, version, joined: arrives };
        self.membership(topic, membership, GroupId(if arrives { 0 } else { next }));
        if !arrives && next != 0 {
            self.forward(Input::Move(Move { topic: TopicId::room(GroupId(next)).packed(), user, version, next, arrives: true }));
        } else {
            self.forward(Input::Moved(Moved { topic: inbox.packed(), version }));
        }
    }

    /// The move of that number is done: the user, who manages them, and both groups hear of it.
    pub(super) fn moved(&mut self, inbox: TopicId, moved: Moved) {
        let Some(known) = self.topic(inbox) else { return };
        let done = known.rooms.values().filter(|room| room.version == moved.version && !room.settled);
        let done: Vec<Room> = done.map(|room| Room { settled: true, ..*room }).collect();
        let Some(user) = inbox.inbox_of().filter(|_| !done.is_empty()) else { return };
        let manager = known.manager;
        let of = |joined| done.iter().find(|room| room.joined == joined).map_or(0, |room| room.group);
        let body = NoticeBody { user: user.0, from: of(false), group: of(true), version: moved.version, ..NoticeBody::default() };
        let groups: Vec<GroupId> = done.iter().map(|room| GroupId(room.group)).collect();
        for room in done {
            self.decide(Outcome::Room(room));
        }
        self.notice(inbox, body.clone().into_notice(inbox, MessageKind::RoomChanged));
        if let Some(desk) = TopicId::checked(TopicKind::Inbox, manager.0) {
            self.forward(Input::Notice(body.into_notice(desk, MessageKind::RoomChanged)));
        }
        // Who is no longer a member is not spoken of as one.
        let groups = groups.into_iter().filter(|group| self.topic(inbox).is_some_and(|known| known.is_in(*group)));
        for group in groups.collect::<Vec<_>>() {
            self.tell_presence(inbox, TopicId::group(group), true);
        }
        self.grant_wishes(inbox, true);
    }

    /// The user's first session was opened, or the last one ended: the groups and who manages the user hear of it.
    pub(super) fn connection(&mut self, inbox: TopicId, connection: Connection) {
        let Some(known) = self.topic(inbox).filter(|_| inbox.inbox_of().is_some()) else { return };
        let groups: Vec<_> = known.groups.values().filter(|register| register.joined).map(|register| GroupId(register.group)).collect();
        let desk = TopicId::checked(TopicKind::Inbox, known.manager.0);
        for topic in groups.into_iter().map(TopicId::group).chain(desk) {
            self.tell_presence(inbox, topic, connection.online);
        }
    }

    /// Tells whoever follows `topic` how the user of `inbox` stands with it.
    fn tell_presence(&mut self, inbox: TopicId, topic: TopicId, online: bool) {
        let (Some(user), Some(known)) = (inbox.inbox_of(), self.topic(inbox)) else { return };
        let state = known.state_in(topic.group_of().unwrap_or_default(), online);
        let (room, nickname) = (known.room().unwrap_or_default().0, known.nickname.clone());
        self.forward(Input::Presence(Presence { topic: topic.packed(), user: user.0, state: state as u32, room, nickname }));
    }

    /// For whoever follows the topic right now.
    pub(super) fn presence(&mut self, topic: TopicId, presence: Presence) {
        for edge in self.followers.edges_of(topic) {
            self.batch.outputs.push(edge, Output::Presence(presence.clone()));
        }
    }

    /// After a loss the rooms may know less than the inboxes: those hear all of it again, and drop what they know. Moves that were under way
    /// are taken as done.
    pub(super) fn repeat_rooms(&mut self) {
        let inboxes = self.shard.topics.iter().filter_map(|(id, topic)| Some((id.inbox_of()?, topic)));
        let rooms = inboxes.flat_map(|(user, topic)| topic.rooms.values().map(move |room| (user, *room)));
        // Those that are left come first.
        let mut rooms: Vec<_> = rooms.collect();
        rooms.sort_unstable_by_key(|(user, room)| (room.joined, *user, room.group));
        for (user, room) in rooms {
            if !room.settled {
                self.decide(Outcome::Room(Room { settled: true, ..room }));
            }
            let Room { group, version, joined, .. } = room;
            let topic = TopicId::room(GroupId(group)).packed();
            self.forward(Input::Membership(Membership { topic, user: user.0, version, joined }));
            if joined {
                self.leave_room_if_stranger(user, GroupId(group));
            }
        }
    }

    fn leave_room_if_stranger(&mut self, user: UserId, group: GroupId) {
        let inbox = TopicId::inbox(user);
        if self.topic(inbox).is_some_and(|known| !known.is_in(group)) {
            self.grant_wishes(inbox, false);
        }
    }

    pub(super) fn forward(&mut self, input: Input) {
        self.decide(Outcome::Forward(Forward { item: input.into() }));
    }
}
