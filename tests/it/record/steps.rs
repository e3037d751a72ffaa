//! The recorder dies between any two of its steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use roger::jobs::record::{Recorder, Step};

use super::scene::{Running, Stage, tone};
use crate::support::eventually;

const STEPS: [Step; 5] = [Step::Read, Step::Converted, Step::Stored, Step::Announced, Step::PutAway];
const LONG: Duration = Duration::from_secs(300);

/// A recorder that dies once it has made this step.
fn dying(recorder: Recorder, at: Step) -> Recorder {
    let died = AtomicBool::new(false);
    recorder.with_hook(Arc::new(move |step| assert!(step != at || died.swap(true, Ordering::Relaxed), "dies here, for the test")))
}

async fn is_all_there_once(stage: &Stage, count: usize) {
    let away = async || (stage.files("").is_empty() && stage.files("done").len() == count).then_some(());
    eventually("all is put away", away).await;
    let mut ids: Vec<_> = stage.announced().into_iter().map(|burst| burst.id).collect();
    assert_eq!(ids.len(), count);
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
    assert_eq!(stage.store.files(Some(stage.neil), 100).await.unwrap().len(), count);
    assert_eq!(stage.letters().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_between_any_two_steps_loses_and_repeats_nothing() {
    let stage = Stage::new().await;
    for (number, at) in (1..).zip(STEPS) {
        stage.record(&stage.name(stage.neil, number), &tone(200 + number * 20));
        Running::of(dying(stage.recorder(LONG), at)).dies().await;
        let running = Running::of(stage.recorder(LONG));
        is_all_there_once(&stage, number as usize).await;
        // Of one that died behind the putting away a part is left, which the next one sweeps.
        eventually(&format!("{at:?}: nothing is left of it"), async || stage.files("work").is_empty().then_some(())).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgot_its_list_before_the_recording_was_put_away_is_told_again() {
    let stage = Stage::new().await;
    stage.record(&stage.name(stage.neil, 1), &tone(300));
    Running::of(dying(stage.recorder(LONG), Step::Announced)).dies().await;
    let before = stage.announced();
    stage.server.flushall();
    let running = Running::of(stage.recorder(LONG));
    // Word for word: whoever has it from before knows that it is the same.
    assert_eq!(stage.until_announced(1).await, before);
    is_all_there_once(&stage, 1).await;
    running.stop().await;
}
