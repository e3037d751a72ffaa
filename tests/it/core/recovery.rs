//! Whoever has the log, or a checkpoint and the log behind it, has the state; rows merge in any order.

use proptest::prelude::*;
use proptest::sample::Index;
use roger::topic::frame::{Lane, LogFrame, RowKind};
use roger::topic::{Followers, Shard};

use super::operations::{self, Operation};
use super::steps::Run;

fn folded(log: &[LogFrame]) -> Shard {
    let mut shard = Shard::new(1);
    shard.fold_all(log.iter().cloned());
    shard
}

/// The rows of a shard as it was after part of its history, as SQL or an older checkpoint may hold them.
fn rows_at(log: &[LogFrame]) -> Vec<RowKind> {
    folded(log).facts().into_values().collect()
}

proptest! {
    #![proptest_config(super::config(300))]

    #[test]
    fn the_fold_of_the_outcomes_is_the_state(operations in operations::history(60)) {
        let run = Run::all(&operations);
        // Frames that decided nothing are not in the log: their numbers are known to the owner alone.
        let mut stepped = run.shard.facts();
        stepped.retain(|key, _| !key.starts_with("feed"));
        let mut from_log = folded(&run.log).facts();
        from_log.retain(|key, _| !key.starts_with("feed"));
        prop_assert_eq!(from_log, stepped);
    }

    #[test]
    fn a_checkpoint_and_the_log_behind_it_are_the_state(operations in operations::history(60), overlap in 0..4usize) {
        let run = Run::all(&operations);
        let mut whole = folded(&run.log).facts();
        let commit = run.checkpointed as u64;
        let mut shard = Shard::from_checkpoint(1, commit, run.rows.values().cloned());
        prop_assert!(!shard.is_dirty());
        shard.fold_all(run.log[run.checkpointed.saturating_sub(overlap)..].iter().cloned());
        let mut facts = shard.facts();
        for facts in [&mut facts, &mut whole] {
            facts.retain(|key, _| !key.starts_with("feed"));
        }
        prop_assert_eq!(facts, whole);
        prop_assert_eq!((shard.epoch(), shard.commit()), (1, run.log.len() as u64));
    }

    /// A checkpoint is written in pieces while the owner goes on: rows may be newer than the position they are read with.
    #[test]
    fn folding_over_newer_rows_changes_nothing(operations in operations::history(60), from: Index, newer: Vec<Index>) {
        let run = Run::all(&operations);
        let whole = folded(&run.log).facts();
        let from = from.index(run.log.len() + 1);
        let mut shard = Shard::from_checkpoint(1, from as u64, rows_at(&run.log[..from]));
        let all: Vec<_> = whole.values().cloned().collect();
        if !all.is_empty() {
            newer.iter().for_each(|index| shard.merge(index.get(&all).clone()));
        }
        shard.fold_all(run.log[from..].iter().cloned());
        prop_assert_eq!(shard.facts(), whole);
    }

    #[test]
    fn rows_merge_in_any_order_and_any_number_of_times(
        operations in operations::history(60),
        moments: Vec<Index>,
        order in any::<u64>(),
    ) {
        let run = Run::all(&operations);
        let mut rows: Vec<RowKind> = moments.iter().flat_map(|moment| rows_at(&run.log[..moment.index(run.log.len() + 1)])).collect();
        let latest = moments.iter().map(|moment| moment.index(run.log.len() + 1)).max().unwrap_or(0);
        let mut state = order | 1;
        rows.sort_by_cached_key(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state
        });
        let mut shard = Shard::new(1);
        for row in rows {
            shard.merge(row.clone());
            shard.merge(row);
        }
        prop_assert_eq!(shard.facts(), folded(&run.log[..latest]).facts());
    }
}

/// SQL is ahead of a log that lost its tail: contents of what it knows are not known, and that must not make them look reused.
#[test]
fn a_repeat_of_what_only_sql_knows_is_a_repeat() {
    let post = |step| operations::Item::Post { topic: 0, user: 2, second: false, step, behind: 0, text: 0, kind: 1, foreign: false };
    let mut run = Run::new();
    run.take(&Operation::Frame { edge: 0, items: vec![operations::Item::Profile { user: 1, version: 1, foreign: false }, post(1)] });
    run.take(&Operation::Commit);
    let (lost, accepted) = (run.log.len(), post(1).input(&run.reference));
    run.take(&Operation::Frame { edge: 0, items: vec![post(1)] });
    run.take(&Operation::Commit);
    let mut shard = folded(&run.log[..lost]);
    let (_, mut batch) = shard.restart(2, rows_at(&run.log), [], 0);
    for number in 1..=2 {
        let frame = operations::frame(7, number, std::slice::from_ref(&accepted));
        shard.step(&mut batch, &mut Followers::default(), Lane::Normal, frame, 0).unwrap();
    }
    assert_eq!((batch.tally.repeated, batch.tally.rejected), (2, 0));
}

#[test]
fn a_checkpoint_loses_nothing_that_the_log_no_longer_has() {
    let mut run = Run::new();
    run.take(&Operation::Frame { edge: 0, items: vec![operations::Item::Membership { group: 1, user: 1, version: 0, joined: true }] });
    run.take(&Operation::Checkpoint);
    let restored = Shard::from_checkpoint(1, run.log.len() as u64, run.rows.values().cloned());
    assert_eq!(restored.facts(), run.shard.facts());
}
