//! Who hears what was said in a room: whoever was there while it was said, and no one else, however late it is announced and whoever has come
//! or gone since.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use roger::model::{GroupId, MessageKind, TopicId, UserId};
use roger::topic::frame::{Input, Outcome, Spoken};

use super::rooms::{self, DESK, GROUPS, USERS, World};

/// What is done after it was said, at most, before it is announced: less than what makes more stays than are remembered.
const LATER_MAX: usize = 6;

/// Something was said: where, by whom, who was there, when, and how many operations later it is announced.
struct Burst {
    group: u64,
    speaker: u64,
    here: BTreeSet<u64>,
    at_ms: u64,
    later: usize,
}

fn announce(world: &mut World, number: usize, burst: &Burst) {
    let topic = TopicId::room(GroupId(burst.group));
    let (packed, body) = (topic.packed(), format!("burst {number}").into());
    let (speaker, from_ms, upto_ms) = (burst.speaker, burst.at_ms - 1, burst.at_ms);
    world.push(topic, Input::Spoken(Spoken { topic: packed, desks: vec![DESK], body, speaker, from_ms, upto_ms }));
}

/// How often each user got each burst.
fn told(world: &World) -> BTreeMap<(String, u64), u32> {
    let mut told = BTreeMap::new();
    let entries = world.logs.iter().flatten().flat_map(|frame| &frame.outcomes).filter_map(|item| match &item.outcome {
        Some(Outcome::Entry(entry)) if entry.kind == MessageKind::Talk as u32 => Some(entry),
        _ => None,
    });
    for entry in entries {
        let (topic, burst) = (TopicId::from_packed(entry.topic).unwrap(), String::from_utf8(entry.body.to_vec()).unwrap());
        let sees = |user: u64| match topic.room_of() {
            Some(group) => world.sees(user, group.0).iter().any(|span| span.contains(entry.place())),
            None => topic.inbox_of() == Some(UserId(user)),
        };
        for user in (1..=USERS).filter(|user| sees(*user)) {
            *told.entry((burst.clone(), user)).or_default() += 1;
        }
    }
    told
}

proptest! {
    #![proptest_config(super::config(300))]

    #[test]
    fn what_is_announced_late_is_for_those_who_were_there(
        operations in prop::collection::vec((rooms::operation(), 0..6_usize, 0..LATER_MAX), 1..80),
    ) {
        let mut world = World::new();
        let (mut bursts, mut due): (Vec<Burst>, BTreeSet<usize>) = (Vec::new(), BTreeSet::new());
        for (operation, says, later) in &operations {
            if !matches!(operation, rooms::Operation::Say { .. }) {
                world.take(operation);
            }
            world.now_ms += 10;
            for number in due.clone() {
                if bursts[number].later == 0 {
                    due.remove(&number);
                    announce(&mut world, number, &bursts[number]);
                } else {
                    bursts[number].later -= 1;
                }
            }
            let group = *says as u64;
            let here: BTreeSet<u64> = (1..=USERS).filter(|user| (1..=GROUPS).contains(&group) && world.is_in(*user, group)).collect();
            if let Some(speaker) = here.first().copied() {
                due.insert(bursts.len());
                bursts.push(Burst { group, speaker, here, at_ms: world.now_ms, later: *later });
                // Whoever comes or goes next does so behind it.
                world.now_ms += 10;
            }
        }
        for number in due {
            announce(&mut world, number, &bursts[number]);
        }
        world.settle();
        let told = told(&world);
        for (number, burst) in bursts.iter().enumerate() {
            for user in 1..=USERS {
                let times = told.get(&(format!("burst {number}"), user)).copied().unwrap_or_default();
                let expected = u32::from(user == DESK || burst.here.contains(&user));
                prop_assert_eq!(times, expected, "user {} and burst {} of room {}, heard by {:?}", user, number, burst.group, burst.here);
            }
        }
    }
}
