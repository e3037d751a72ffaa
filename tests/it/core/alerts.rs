//! Who hears SOS, over several shards: whatever way moves between rooms, transfers and presses take, exactly those of the instant; never a former
//! group, never nobody.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use roger::model::{GroupId, MessageKind, Place, TopicId, UserId};
use roger::topic::frame::{Input, Outcome, Output, Profile, Raise};

use super::rooms::{self, GROUPS, SHARDS, USERS, World};

/// Accounts that may manage a user.
const MANAGERS: std::ops::RangeInclusive<u64> = 91..=93;

#[derive(Clone, Debug)]
enum Operation {
    /// What rooms go through.
    Room(rooms::Operation),
    /// Another account manages a user; 0 for none.
    Transfer { user: u64, manager: u64 },
    /// A user presses SOS.
    Press { user: u64 },
    /// An alert is told again: whoever told it died before that was known.
    TellAgain { which: usize },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        20 => rooms::operation().prop_map(Operation::Room),
        2 => (1..=USERS, prop_oneof![1 => Just(0), 4 => MANAGERS]).prop_map(|(user, manager)| Operation::Transfer { user, manager }),
        4 => (1..=USERS).prop_map(|user| Operation::Press { user }),
        2 => (0..64usize).prop_map(|which| Operation::TellAgain { which }),
    ]
}

/// An alert, and who is to hear it, as the user's inbox stood at that moment.
struct Expected {
    user: u64,
    rooms: BTreeSet<u64>,
    manager: u64,
}

struct Emergencies {
    world: World,
    managers: BTreeMap<u64, u64>,
    version: u64,
    alerts: Vec<Expected>,
}

impl Emergencies {
    fn take(&mut self, operation: &Operation) {
        match *operation {
            Operation::Room(ref operation) => self.world.take(operation),
            Operation::Transfer { user, manager } => {
                self.version += 1;
                let topic = TopicId::inbox(UserId(user));
                let profile = Profile { topic: topic.packed(), tenant: 1, version: self.version, manager, nickname: String::new() };
                self.world.push(topic, Input::Profile(profile));
                self.managers.insert(user, manager);
            }
            Operation::Press { user } => {
                let (room, groups) = self.world.room_of(user);
                let rooms = if room == 0 { groups.into_iter().collect() } else { BTreeSet::from([room]) };
                self.alerts.push(Expected { user, rooms, manager: self.managers.get(&user).copied().unwrap_or(0) });
                self.tell(self.alerts.len() - 1);
            }
            Operation::TellAgain { which } => {
                if let Some(alert) = which.checked_rem(self.alerts.len()) {
                    // Of each user the inbox remembers the last few.
                    let later = self.alerts[alert..].iter().filter(|other| other.user == self.alerts[alert].user).count();
                    if later <= 8 {
                        self.tell(alert);
                    }
                }
            }
        }
    }

    /// What the program sos pushes for an alert: the same each time.
    fn tell(&mut self, alert: usize) {
        let topic = TopicId::inbox(UserId(self.alerts[alert].user));
        let raise = Raise { topic: topic.packed(), alert: alert as u64 + 1, body: "help".into() };
        self.world.push(topic, Input::Raise(raise));
    }

    /// By alert the topics in which it stands, and who of the users may see it there.
    fn heard(&self) -> BTreeMap<u64, Vec<(TopicId, BTreeSet<u64>)>> {
        let mut heard: BTreeMap<u64, Vec<(TopicId, BTreeSet<u64>)>> = BTreeMap::new();
        let outcomes = self.world.logs.iter().flatten().flat_map(|frame| &frame.outcomes);
        for outcome in outcomes.filter_map(|item| item.outcome.as_ref()) {
            let Outcome::Entry(entry) = outcome else { continue };
            if entry.kind == MessageKind::Alert as u32 {
                let topic = TopicId::from_packed(entry.topic).unwrap();
                let sees = (1..=USERS).filter(|user| self.sees(*user, topic, entry.place())).collect();
                heard.entry(entry.installation).or_default().push((topic, sees));
            }
        }
        heard
    }

    fn sees(&self, user: u64, topic: TopicId, place: Place) -> bool {
        match super::attach(&self.world.shards[topic.shard(SHARDS) as usize], topic, UserId(user), Some(Place::START)) {
            Output::Attached(attached) => attached.gaps.into_iter().any(|gap| roger::model::Span::from(gap).contains(place)),
            _ => false,
        }
    }

    /// Who was a member of a room when an alert was told there, as the log says.
    fn members_at(&self, room: u64, alert: u64) -> BTreeSet<u64> {
        let (topic, alerts) = (TopicId::room(GroupId(room)), TopicId::alert_room(GroupId(room)));
        let mut members = BTreeSet::new();
        for outcome in self.world.logs[topic.shard(SHARDS) as usize].iter().flat_map(|frame| &frame.outcomes) {
            match outcome.outcome.as_ref() {
                Some(Outcome::Membership(at)) if at.membership.topic == topic.packed() => {
                    if at.membership.joined {
                        members.insert(at.membership.user)
                    } else {
                        members.remove(&at.membership.user)
                    };
                }
                Some(Outcome::Entry(entry)) if entry.topic == alerts.packed() && entry.installation == alert => return members,
                _ => {}
            }
        }
        panic!("alert {alert} was never told in room {room}");
    }
}

proptest! {
    #![proptest_config(super::config(300))]

    #[test]
    fn sos_reaches_exactly_those_of_the_instant(operations in prop::collection::vec(operation(), 1..80)) {
        let mut all = Emergencies { world: World::new(), managers: BTreeMap::new(), version: 0, alerts: Vec::new() };
        operations.iter().for_each(|operation| all.take(operation));
        all.world.settle();
        let mut heard = all.heard();
        for (index, expected) in all.alerts.iter().enumerate() {
            let alert = index as u64 + 1;
            let told = heard.remove(&alert).unwrap_or_default();
            let mut topics: Vec<TopicId> = told.iter().map(|(topic, _)| *topic).collect();
            topics.sort_unstable();
            let rooms = expected.rooms.iter().map(|room| TopicId::alert_room(GroupId(*room)));
            let manager = (expected.manager != 0).then(|| TopicId::alert_inbox(UserId(expected.manager)));
            let mut wanted: Vec<TopicId> = rooms.chain(manager).chain([TopicId::alert_inbox(UserId(expected.user))]).collect();
            wanted.sort_unstable();
            // Each once: no former group, no former manager, nothing twice.
            prop_assert_eq!(topics, wanted, "alert {}", alert);
            for (topic, sees) in told.iter().filter(|(topic, _)| (1..=GROUPS).any(|room| *topic == TopicId::alert_room(GroupId(room)))) {
                prop_assert_eq!(sees, &all.members_at(topic.id(), alert), "alert {} in {}", alert, topic);
            }
        }
        prop_assert!(heard.is_empty());
    }
}
