//! The floors of rooms, held with the rooms over several shards: whatever way moves, presses, deaths of owners and the media server take, a microphone
//! is open only for somebody who is in the room, one at a time, and none for ever.

use std::collections::BTreeMap;

use proptest::prelude::*;
use roger::floor::Limits;
use roger::model::{GroupId, TopicId};
use roger::topic::frame::{Input, LogFrame, Microphone, MicrophoneIs, Outcome, Press, PressKind};
use roger::topic::{Batch, Followers, Shard};

use super::rooms::{self, GROUPS, SHARDS, USERS, World};

#[derive(Clone, Debug)]
enum Operation {
    /// What rooms go through.
    Room(rooms::Operation),
    /// Somebody does something at the talk button.
    Press { user: u64, group: u64, kind: PressKind, emergency: bool },
    /// The media server does what it was told next, or cannot.
    Media { fails: bool },
    /// Time passes.
    Wait { ms: u64 },
}

fn operation() -> impl Strategy<Value = Operation> {
    let kind = prop_oneof![4 => Just(PressKind::Ask), 2 => Just(PressKind::Release), 1 => Just(PressKind::Alive)];
    prop_oneof![
        12 => rooms::operation().prop_map(Operation::Room),
        8 => (1..=USERS, 1..=GROUPS, kind, prop::bool::weighted(0.1))
            .prop_map(|(user, group, kind, emergency)| Operation::Press { user, group, kind, emergency }),
        6 => prop::bool::weighted(0.1).prop_map(|fails| Operation::Media { fails }),
        3 => (1..3_000u64).prop_map(|ms| Operation::Wait { ms }),
    ]
}

/// What a commit decided for the media server, in its order.
pub(super) fn microphones(frame: &LogFrame) -> Vec<Microphone> {
    let microphone = |outcome: &Outcome| match outcome {
        Outcome::Forward(forward) => match forward.item.input {
            Some(Input::Microphone(microphone)) => Some(microphone),
            _ => None,
        },
        _ => None,
    };
    frame.outcomes.iter().filter_map(|item| microphone(item.outcome.as_ref()?)).collect()
}

/// A room at the media server.
#[derive(Default)]
struct Room {
    /// The last grant that was begun or ended here.
    grant: u64,
    open: bool,
}

struct Talk {
    world: World,
    media: BTreeMap<u64, Room>,
    /// How many of the commands were carried out.
    done: usize,
    presses: u64,
}

impl Talk {
    fn take(&mut self, operation: &Operation) {
        match *operation {
            Operation::Room(ref operation) => self.world.take(operation),
            Operation::Press { user, group, kind, emergency } => {
                self.presses += u64::from(kind == PressKind::Ask);
                let topic = TopicId::room(GroupId(group));
                let press = Press { topic: topic.packed(), user, installation: user, request: self.presses + 1, ..Press::default() };
                self.world.push(topic, Input::Press(Press { kind: kind.into(), level: 10 + user as u32, emergency, ..press }));
            }
            Operation::Media { fails } => self.carry_out(fails),
            Operation::Wait { ms } => self.wait(ms),
        }
        self.check();
    }

    fn carry_out(&mut self, fails: bool) {
        let Some(command) = self.world.microphones.get(self.done).copied() else { return };
        self.done += 1;
        let room = self.media.entry(command.topic).or_default();
        let Microphone { topic, grant, open, .. } = command;
        if grant < room.grant || grant == room.grant && open {
            return;
        }
        assert!(!(open && room.open), "the microphone of grant {grant} opens while that of {} is open", room.grant);
        *room = Room { grant, open: open && !fails };
        if open {
            let is = MicrophoneIs { topic, grant, open: !fails };
            self.world.push(TopicId::from_packed(topic).unwrap(), Input::MicrophoneIs(is));
        }
    }

    fn wait(&mut self, ms: u64) {
        self.world.now_ms += ms;
        for shard in 0..SHARDS {
            let mut batch = Batch::default();
            let now_ms = self.world.now_ms;
            self.world.shards[shard as usize].tick_floors(&mut batch, &mut Followers::default(), now_ms);
            self.world.commit(shard, batch);
        }
    }

    /// What was decided last for each room.
    fn last(&self) -> BTreeMap<u64, Microphone> {
        let commands = self.world.logs.iter().flatten().flat_map(microphones);
        commands.map(|microphone| (microphone.topic, microphone)).collect()
    }

    fn check(&self) {
        for microphone in self.last().values().filter(|microphone| microphone.open) {
            let group = TopicId::from_packed(microphone.topic).unwrap().room_of().unwrap();
            assert!(self.world.is_in(microphone.user, group.0), "{microphone:?} of somebody who is not in the room");
        }
    }
}

proptest! {
    #![proptest_config(super::config(200))]

    #[test]
    fn a_microphone_is_open_for_one_who_is_in_the_room_and_none_for_ever(operations in prop::collection::vec(operation(), 1..120)) {
        let mut talk = Talk { world: World::new(), media: BTreeMap::new(), done: 0, presses: 0 };
        operations.iter().for_each(|operation| talk.take(operation));
        for (shard, log) in talk.world.shards.iter().zip(&talk.world.logs) {
            let mut folded = Shard::new(1);
            folded.fold_all(log.iter().cloned());
            // Who was heard of is in no log, and no matter for the next owner.
            let floors = |shard: &Shard| shard.facts().into_iter().filter(|(key, _)| key.starts_with("floor")).collect::<Vec<_>>();
            prop_assert_eq!(floors(&folded), floors(shard));
        }
        talk.world.settle();
        // Nobody is heard of any more.
        let limits = Limits::default();
        for _ in 0..2 * USERS {
            while talk.done < talk.world.microphones.len() {
                talk.carry_out(false);
            }
            talk.wait(limits.burst_ms.max(limits.vanish_ms));
        }
        while talk.done < talk.world.microphones.len() {
            talk.carry_out(false);
        }
        prop_assert!(talk.world.shards.iter().all(|shard| shard.next_floor_due_ms().is_none()), "a floor is not idle");
        prop_assert!(talk.last().values().all(|microphone| !microphone.open));
        prop_assert!(talk.media.values().all(|room| !room.open), "a microphone stays open");
    }

    #[test]
    fn a_new_epoch_closes_what_was_open_and_its_grants_are_above_all_before(operations in prop::collection::vec(operation(), 1..60), lost in 0..20usize) {
        let mut talk = Talk { world: World::new(), media: BTreeMap::new(), done: 0, presses: 0 };
        operations.iter().for_each(|operation| talk.take(operation));
        for shard in 0..SHARDS as usize {
            // Of what the owner once decided a tail is lost; the media server knows it.
            let log = &talk.world.logs[shard];
            let kept = log.len().saturating_sub(lost);
            let mut state = Shard::new(1);
            state.fold_all(log[..kept].iter().cloned());
            let open: BTreeMap<u64, Microphone> = log[..kept].iter().flat_map(microphones).map(|microphone| (microphone.topic, microphone)).collect();
            let highest = log.iter().flat_map(microphones).map(|microphone| microphone.grant).max().unwrap_or(0);
            let (_, mut batch) = state.restart(2, [], [], 2);
            let closed = state.seal(&mut batch, 2).map(|frame| microphones(&frame)).unwrap_or_default();
            let open: Vec<_> = open.values().filter(|microphone| microphone.open).map(|microphone| (microphone.topic, microphone.grant)).collect();
            let mut closes: Vec<_> = closed.iter().filter(|microphone| !microphone.open).map(|microphone| (microphone.topic, microphone.grant)).collect();
            closes.sort_unstable();
            prop_assert_eq!(closes, open);
            prop_assert!(highest < 2 << 32);
        }
    }
}
