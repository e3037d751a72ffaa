//! In whose room a user is, and who hears that somebody came or went.
//!
//! The user's inbox keeps it and numbers the changes; the rooms' topics hear of them as memberships in that order: first the room that is
//! left, and through it the next one. So a user is in one room or in none, and what is said in a room has exactly its members of that moment.

use super::frame::{Connection, Enter, Entered, Forward, Input, Membership, Move, NoticeBody, Outcome, Output, Presence, Room};
use super::state::Topic;
use super::step::Step;
use crate::model::{GroupId, MessageKind, PresenceState, Reason, TopicId, TopicKind, UserId};

/// How many of the rooms a user left are named when their inbox is attached.
const FORMER_MAX: usize = 16;

impl Topic {
    /// Of an inbox: the room the user is in.
    pub(super) fn room(&self) -> Option<GroupId> {
        self.rooms.values().find(|room| room.joined).map(|room| GroupId(room.group))
    }

    /// Of an inbox: counts the user's changes of room.
    pub(super) fn room_version(&self) -> u64 {
        self.rooms.values().map(|room| room.version).max().unwrap_or(0)
    }

    /// Of an inbox: the rooms the user left last, the latest first.
    pub(super) fn former_rooms(&self) -> Vec<u64> {
        let mut left: Vec<_> = self.rooms.values().filter(|room| !room.joined).collect();
        left.sort_unstable_by_key(|room| std::cmp::Reverse(room.version));
        left.into_iter().take(FORMER_MAX).map(|room| room.group).collect()
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
    /// A session wants its user in a room. Wanting what is so already changes nothing.
    pub(super) fn enter(&mut self, inbox: TopicId, enter: Enter) {
        let Some(known) = self.topic(inbox).filter(|_| inbox.inbox_of().is_some()) else {
            return self.entered(inbox, enter, Some(Reason::NotMember));
        };
        let group = GroupId(enter.group);
        if group.0 != 0 && !known.is_in(group) {
            return self.entered(inbox, enter, Some(Reason::NotMember));
        }
        let from = known.room();
        let to = (group.0 != 0).then_some(group);
        if from != to {
            self.change_room(inbox, to, true);
            for group in [from, to].into_iter().flatten() {
                self.tell_presence(inbox, TopicId::group(group), true);
            }
        }
        self.entered(inbox, enter, None);
    }

    fn entered(&mut self, inbox: TopicId, enter: Enter, reason: Option<Reason>) {
        let known = self.topic(inbox);
        let (group, version) = known.map_or((0, 0), |known| (known.room().unwrap_or_default().0, known.room_version()));
        let Enter { topic, session, request, .. } = enter;
        self.answer(Output::Entered(Entered { topic, session, request, reason: reason.map_or(0, |reason| reason as u32), group, version }));
    }

    /// Whoever is no longer a member of a group is not in its room either.
    pub(super) fn leave_room_of(&mut self, inbox: TopicId, group: GroupId, tell: bool) {
        if self.topic(inbox).and_then(Topic::room) == Some(group) {
            self.change_room(inbox, None, tell);
        }
    }

    /// Moves a user from the room they are in to another one, or to none.
    fn change_room(&mut self, inbox: TopicId, to: Option<GroupId>, tell: bool) {
        let (Some(user), Some(known)) = (inbox.inbox_of(), self.topic(inbox)) else { return };
        let (from, version, manager) = (known.room(), known.room_version() + 1, known.manager);
        for (group, joined) in [(from, false), (to, true)] {
            if let Some(group) = group {
                self.decide(Outcome::Room(Room { topic: inbox.packed(), group: group.0, version, joined }));
            }
        }
        match (from, to) {
            (Some(from), to) => {
                let topic = TopicId::room(from).packed();
                self.forward(Input::Move(Move { topic, user: user.0, version, next: to.unwrap_or_default().0 }));
            }
            (None, Some(to)) => self.forward(room_membership(to, user, version, true)),
            (None, None) => return,
        }
        if !tell {
            return;
        }
        let (from, group) = (from.unwrap_or_default().0, to.unwrap_or_default().0);
        let body = NoticeBody { user: user.0, from, group, version, ..NoticeBody::default() };
        self.notice(inbox, body.clone().into_notice(inbox, MessageKind::RoomChanged));
        if let Some(desk) = TopicId::checked(TopicKind::Inbox, manager.0) {
            self.forward(Input::Notice(body.into_notice(desk, MessageKind::RoomChanged)));
        }
    }

    /// A user leaves this room, and comes to the next one when that is done.
    pub(super) fn move_on(&mut self, topic: TopicId, step: Move) {
        if topic.kind() != TopicKind::Room {
            return;
        }
        let Move { user, version, next, .. } = step;
        self.membership(topic, Membership { topic: topic.packed(), user, version, joined: false });
        if next != 0 {
            self.forward(room_membership(GroupId(next), UserId(user), version, true));
        }
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

    /// After a loss the rooms may know less than the inboxes: those hear all of it again, and drop what they know.
    pub(super) fn repeat_rooms(&mut self) {
        let inboxes = self.shard.topics.iter().filter_map(|(id, topic)| Some((id.inbox_of()?, topic)));
        let rooms = inboxes.flat_map(|(user, topic)| topic.rooms.values().map(move |room| (user, *room)));
        // Those that are left come first: a user is in no two rooms.
        let mut rooms: Vec<_> = rooms.collect();
        rooms.sort_unstable_by_key(|(user, room)| (room.joined, *user, room.group));
        for (user, Room { group, version, joined, .. }) in rooms {
            self.forward(room_membership(GroupId(group), user, version, joined));
        }
    }

    fn forward(&mut self, input: Input) {
        self.decide(Outcome::Forward(Forward { item: input.into() }));
    }
}

fn room_membership(group: GroupId, user: UserId, version: u64, joined: bool) -> Input {
    Input::Membership(Membership { topic: TopicId::room(group).packed(), user: user.0, version, joined })
}
