//! Who is told of an alert.
//!
//! That is decided once, in the inbox of who pressed, where the room and the manager of that moment are facts: the room the user is in, or on
//! the way to, and who manages the user. The inbox remembers it, so that an alert that is told again goes to the same ones, wherever the
//! user is by then. Who is in the room is decided where the entry stands, by the room's own members.

use super::frame::{Input, Output, Post, Raise, Raised};
use super::step::Step;
use crate::model::{GroupId, MessageKind, TopicId, TopicKind};

/// How many rooms are told of somebody who is in none.
const ROOMS_MAX: usize = 64;

impl Step<'_> {
    pub(super) fn raise(&mut self, inbox: TopicId, raise: Raise) {
        let Some(user) = inbox.inbox_of() else {
            self.batch.tally.malformed += 1;
            return;
        };
        let remembered = self.topic(inbox).and_then(|known| known.raised.iter().find(|raised| raised.alert == raise.alert).cloned());
        let raised = match remembered {
            Some(raised) => raised,
            None => {
                let raised = self.whom_to_tell(inbox, raise.alert);
                self.decide(super::frame::Outcome::Raised(raised.clone()));
                raised
            }
        };
        let rooms = raised.rooms.iter().map(|group| TopicId::alert_room(GroupId(*group)));
        let manager = TopicId::checked(TopicKind::AlertInbox, raised.manager);
        for topic in rooms.chain(manager).chain([TopicId::alert_inbox(user)]) {
            self.forward(Input::Post(Post {
                topic: topic.packed(),
                sender: user.0,
                installation: raise.alert,
                client_seq: 1,
                predecessor: 0,
                kind: MessageKind::Alert as u32,
                body: raise.body.clone(),
                tenant: 0,
            }));
        }
        self.answer(Output::Raised(raised));
    }

    /// Never nobody, as long as the user is in any group or is managed: who is in no room is heard in the rooms of all their groups.
    fn whom_to_tell(&self, inbox: TopicId, alert: u64) -> Raised {
        let known = self.topic(inbox);
        let all =
            || known.into_iter().flat_map(|known| known.groups.values()).filter(|register| register.joined).map(|register| register.group);
        let rooms = match known.and_then(super::state::Topic::room) {
            Some(room) => vec![room.0],
            None => all().take(ROOMS_MAX).collect(),
        };
        let (manager, nickname) = known.map_or((0, String::new()), |known| (known.manager.0, known.nickname.clone()));
        Raised { topic: inbox.packed(), alert, rooms, manager, nickname }
    }
}
