//! Fixes: each frame counts once, each report has one fate, and the first place of a time stands.

use std::collections::BTreeMap;

use roger::location::frame::{Fix, FixFrame, Received, Refused};
use roger::model::{Reason, UserId};
use roger::store::{Fate, FateRefusal, Store};

use super::{Database, over_both};

over_both!(every_report_has_one_fate_however_frames_come, two_that_take_in_the_same_frames_count_them_once,);

const DAY: u64 = 20_000;
const DAY_MS: u64 = 86_400_000;
/// As high as ids may be.
const DEVICES: [u64; 3] = [1, 2, 0xf000_0000_0000_0007];

/// Frame `number`: fixes of all devices at times that other frames have too, now and then at another place; and one refused at the door.
fn frame(number: u64) -> FixFrame {
    let mut frame = FixFrame { producer: u64::MAX - 1, number, arrival_ms: DAY * DAY_MS + number, ..FixFrame::default() };
    for device in DEVICES {
        for step in 0..40 {
            let source = u32::from(step % 7 != 3);
            let fix_ms = 1_000 * (number * 23 + step);
            // Most that are said twice are said alike.
            let elsewhere = if (number + step).is_multiple_of(5) { number as f64 * 1e-13 } else { 0.0 };
            let (latitude, longitude) = (1.0 + elsewhere, -179.999_999_999_9);
            frame.fixes.push(Fix { device, tenant: 1, fix_ms, source, latitude, longitude, battery: Some(80), ..Fix::default() });
        }
        frame.refused.push(Refused { device, reason: Reason::FieldInvalid as u32, field: "gps.latitude".to_owned(), count: 2 });
        frame.received.push(Received { device, count: 42 });
    }
    frame
}

/// What should be in, taking the frames in this order.
fn model(frames: &[FixFrame]) -> BTreeMap<u64, Fate> {
    let mut places = BTreeMap::new();
    let mut fates: BTreeMap<u64, (Fate, u64)> = BTreeMap::new();
    for frame in frames {
        for fix in &frame.fixes {
            let place = (fix.source != 0).then_some((fix.latitude, fix.longitude));
            let (fate, conflicts) = fates.entry(fix.device).or_default();
            match places.insert((fix.device, fix.fix_ms, fix.source), place) {
                None => fate.stored += 1,
                Some(first) => {
                    places.insert((fix.device, fix.fix_ms, fix.source), first);
                    if first == place { fate.duplicate += 1 } else { *conflicts += 1 }
                }
            }
        }
        for refused in &frame.refused {
            let (fate, _) = fates.entry(refused.device).or_default();
            fate.received += 42;
            fate.refused += refused.count;
        }
    }
    let finish = |(device, (mut fate, conflicts)): (u64, (Fate, u64))| {
        let refusal = |reason, field: &str, reports| FateRefusal { reason: Some(reason), field: field.to_owned(), reports };
        fate.refusals.push(refusal(Reason::FieldInvalid, "gps.latitude", fate.refused));
        if conflicts > 0 {
            fate.refusals.push(refusal(Reason::FixConflict, "fix", conflicts));
        }
        fate.refused += conflicts;
        (device, fate)
    };
    fates.into_iter().map(finish).collect()
}

async fn check(store: &Store, expected: &BTreeMap<u64, Fate>) {
    for (device, expected) in expected {
        let mut fate = store.fate(UserId(*device), DAY).await.unwrap().unwrap();
        fate.refusals.sort_by_key(|refusal| refusal.reason.map(|reason| reason as u32));
        assert_eq!(fate, *expected, "device {device}");
        assert!(fate.adds_up(), "{fate:?}");
    }
}

async fn every_report_has_one_fate_however_frames_come(database: &Database) {
    let store = &database.store;
    // Shuffled, some twice in one call and some again later.
    let calls: [&[u64]; 6] = [&[5], &[3, 1, 3], &[0, 5, 2, 7], &[1], &[6, 4, 8, 9, 6], &[9, 0]];
    let mut order = Vec::new();
    for numbers in calls {
        let taken = store.take_fixes(numbers.iter().map(|number| frame(*number)).collect()).await.unwrap();
        let before = order.len();
        for number in numbers {
            if !order.contains(number) {
                order.push(*number);
            }
        }
        assert_eq!(taken.frames, order.len() - before, "{numbers:?}");
        let frames: Vec<FixFrame> = order.iter().map(|number| frame(*number)).collect();
        check(store, &model(&frames)).await;
    }
    let fates = model(&order.iter().map(|number| frame(*number)).collect::<Vec<_>>());
    assert!(fates.values().all(|fate| fate.duplicate > 0 && fate.refusals.len() == 2), "nothing was tried: {fates:?}");
    assert_eq!(store.fate(UserId(1), DAY + 1).await.unwrap(), None);
    assert_eq!((store.purge_fix_frames(1).await.unwrap(), store.purge_fix_frames(u64::MAX >> 1).await.unwrap()), (0, 10));
}

async fn two_that_take_in_the_same_frames_count_them_once(database: &Database) {
    let take = |numbers: Vec<u64>| {
        let store = database.store.clone();
        async move {
            // Whoever loses a deadlock tries again.
            loop {
                match store.take_fixes(numbers.iter().map(|number| frame(*number)).collect()).await {
                    Ok(taken) => return taken.frames,
                    Err(error) => assert_eq!(error.class(), roger::retry::ErrorClass::Transient, "{error:?}"),
                }
            }
        }
    };
    let taken = tokio::join!(take(vec![0, 1, 2]), take(vec![2, 1, 0]), take(vec![1]));
    assert_eq!(taken.0 + taken.1 + taken.2, 3);
    for device in DEVICES {
        let fate = database.store.fate(UserId(device), DAY).await.unwrap().unwrap();
        assert!(fate.received == 126 && fate.adds_up(), "{fate:?}");
    }
}
