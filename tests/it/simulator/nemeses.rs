//! The nemeses by name, all of them at once, and defects planted to see that the checker finds them.

use super::world::{Faults, Planted};
use super::{find, simulate};

#[test]
fn fair_weather() {
    simulate("fair_weather", &Faults::default());
}

#[test]
fn late_old_socket_frame() {
    simulate("late_old_socket_frame", &Faults { pushes_fail: 4, ..Faults::default() });
}

#[test]
fn lost_out_tail() {
    simulate("lost_out_tail", &Faults { outs_vanish: 20, ..Faults::default() });
}

#[test]
fn lost_redis_tail() {
    simulate("lost_redis_tail", &Faults { redis_restarts: 120, ..Faults::default() });
}

/// Without another run id: what edges have seen gives it away.
#[test]
fn lost_redis_tail_unannounced() {
    simulate("lost_redis_tail_unannounced", &Faults { redis_forgets: 100, ..Faults::default() });
}

#[test]
fn flushall() {
    simulate("flushall", &Faults { flushes: 200, ..Faults::default() });
}

#[test]
fn token_going_back() {
    simulate("token_going_back", &Faults { tokens_go_back: 60, owners_sleep: 60, ..Faults::default() });
}

#[test]
fn slept_edge() {
    simulate("slept_edge", &Faults { edges_sleep: 80, pushes_fail: 10, ..Faults::default() });
}

#[test]
fn slept_owner() {
    simulate("slept_owner", &Faults { owners_sleep: 30, leases_expire: 60, pushes_fail: 20, ..Faults::default() });
}

#[test]
fn refuse_then_accept() {
    simulate("refuse_then_accept", &Faults { changes: 6, pushes_fail: 4, kills: 40, ..Faults::default() });
}

#[test]
fn leave_before_join() {
    simulate("leave_before_join", &Faults { changes: 8, relay_disorder: true, pushes_fail: 10, ..Faults::default() });
}

#[test]
fn trim_before_publish() {
    simulate("trim_before_publish", &Faults { trim_at_once: true, kills: 25, outs_vanish: 40, ..Faults::default() });
}

#[test]
fn kill_at_every_step() {
    simulate("kill_at_every_step", &Faults { kills: 8, pushes_fail: 20, ..Faults::default() });
}

#[test]
fn failover() {
    simulate("failover", &Faults { failovers: 100, pushes_fail: 20, kills: 60, ..Faults::default() });
}

#[test]
fn replica_frozen() {
    simulate("replica_frozen", &Faults { replica_freezes: 60, failovers: 120, kills: 60, ..Faults::default() });
}

#[test]
fn stalled_redis() {
    simulate("stalled_redis", &Faults { stalls: 60, kills: 60, ..Faults::default() });
}

#[test]
fn all_at_once() {
    let faults = Faults {
        pushes_fail: 12,
        outs_vanish: 60,
        redis_restarts: 250,
        flushes: 500,
        failovers: 250,
        replica_freezes: 250,
        stalls: 250,
        tokens_go_back: 150,
        leases_expire: 150,
        owners_sleep: 80,
        edges_sleep: 150,
        kills: 40,
        changes: 15,
        trim_at_once: true,
        ..Faults::default()
    };
    simulate("all_at_once", &faults);
}

#[test]
fn a_receipt_before_the_push_is_found() {
    let planted = Some(Planted::ReceiptBeforePush);
    assert!(find(&Faults { kills: 15, planted, ..Faults::default() }).is_some());
}

#[test]
fn a_receipt_that_says_replica_unasked_is_found() {
    let planted = Some(Planted::ReplicaUnasked);
    assert!(find(&Faults { failovers: 80, planted, ..Faults::default() }).is_some());
}

#[test]
fn an_edge_told_before_the_replica_has_the_commit_is_found() {
    let planted = Some(Planted::ToldBeforeReplica);
    assert!(find(&Faults { failovers: 150, kills: 60, planted, ..Faults::default() }).is_some());
}

#[test]
fn an_archive_of_a_primary_of_before_is_found() {
    let planted = Some(Planted::ArchiveOfAnyServer);
    assert!(find(&Faults { failovers: 80, planted, ..Faults::default() }).is_some());
}

#[test]
fn a_relay_that_writes_to_a_primary_of_before_is_found() {
    let planted = Some(Planted::RelayUnconfirmed);
    assert!(find(&Faults { failovers: 150, kills: 60, planted, ..Faults::default() }).is_some());
}

#[test]
fn a_commit_without_its_fence_is_found() {
    let planted = Some(Planted::NoFence);
    assert!(find(&Faults { owners_sleep: 30, planted, ..Faults::default() }).is_some());
}

#[test]
fn an_archive_that_ignores_new_epochs_is_found() {
    let planted = Some(Planted::ArchiveWithoutEpochFence);
    assert!(find(&Faults { redis_restarts: 60, planted, ..Faults::default() }).is_some());
}

#[test]
fn a_log_trimmed_before_its_checkpoint_is_found() {
    let planted = Some(Planted::TrimBeforeCheckpoint);
    assert!(find(&Faults { kills: 15, planted, ..Faults::default() }).is_some());
}
