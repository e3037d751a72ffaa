//! The nemeses by name, all of them at once, and defects planted to see that the checker finds them: the one list of each, which the tests and
//! `scripts/simulate` run.

pub(crate) use super::world::Faults;
use super::world::Planted;

/// What a nemesis, or a planted defect, is called.
pub(crate) type Name = &'static str;

/// Makes a list of faults by name, and a test of each.
macro_rules! faults {
    ($(#[$about:meta])* $list:ident, tested by $test:ident: $($(#[$attribute:meta])* fn $name:ident() = $faults:expr;)+) => {
        $(#[$about])*
        pub(crate) fn $list() -> Vec<(Name, Faults)> {
            vec![$((stringify!($name), $faults)),+]
        }

        $($(#[$attribute])* fn $name() {
            tests::$test(stringify!($name), &$list());
        })+
    };
}

faults! {
    /// Whatever goes wrong, all promises hold.
    nemeses, tested by holds:

    #[test]
    fn fair_weather() = Faults::default();

    #[test]
    fn late_old_socket_frame() = Faults { pushes_fail: 4, ..Faults::default() };

    #[test]
    fn lost_out_tail() = Faults { outs_vanish: 20, ..Faults::default() };

    #[test]
    fn lost_redis_tail() = Faults { redis_restarts: 120, ..Faults::default() };

    /// Without another run id: what edges have seen gives it away.
    #[test]
    fn lost_redis_tail_unannounced() = Faults { redis_forgets: 100, ..Faults::default() };

    #[test]
    fn flushall() = Faults { flushes: 200, ..Faults::default() };

    #[test]
    fn token_going_back() = Faults { tokens_go_back: 60, owners_sleep: 60, ..Faults::default() };

    #[test]
    fn slept_edge() = Faults { edges_sleep: 80, pushes_fail: 10, ..Faults::default() };

    #[test]
    fn slept_owner() = Faults { owners_sleep: 30, leases_expire: 60, pushes_fail: 20, ..Faults::default() };

    #[test]
    fn refuse_then_accept() = Faults { changes: 6, pushes_fail: 4, kills: 40, ..Faults::default() };

    #[test]
    fn leave_before_join() = Faults { changes: 8, relay_disorder: true, pushes_fail: 10, ..Faults::default() };

    #[test]
    fn trim_before_publish() = Faults { trim_at_once: true, kills: 25, outs_vanish: 40, ..Faults::default() };

    #[test]
    fn kill_at_every_step() = Faults { kills: 8, pushes_fail: 20, ..Faults::default() };

    #[test]
    fn failover() = Faults { failovers: 100, pushes_fail: 20, kills: 60, ..Faults::default() };

    #[test]
    fn replica_frozen() = Faults { replica_freezes: 60, failovers: 120, kills: 60, ..Faults::default() };

    #[test]
    fn relapse() = Faults { failovers: 60, relapses: 30, kills: 60, ..Faults::default() };

    #[test]
    fn stalled_redis() = Faults { stalls: 60, kills: 60, ..Faults::default() };

    #[test]
    fn all_at_once() = Faults {
        pushes_fail: 12,
        outs_vanish: 60,
        redis_restarts: 250,
        flushes: 500,
        failovers: 250,
        relapses: 60,
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
}

faults! {
    /// With one of these in the programs they do not.
    planted, tested by is_found:

    #[test]
    fn a_receipt_before_the_push_is_found() =
        Faults { kills: 15, planted: Some(Planted::ReceiptBeforePush), ..Faults::default() };

    #[test]
    fn a_receipt_that_says_replica_unasked_is_found() =
        Faults { failovers: 80, planted: Some(Planted::ReplicaUnasked), ..Faults::default() };

    #[test]
    fn an_edge_told_before_the_replica_has_the_commit_is_found() =
        Faults { failovers: 100, planted: Some(Planted::ToldBeforeReplica), ..Faults::default() };

    #[test]
    fn an_archive_of_a_primary_of_before_is_found() =
        Faults { failovers: 80, planted: Some(Planted::ArchiveOfAnyServer), ..Faults::default() };

    #[test]
    fn a_relay_that_writes_to_a_primary_of_before_is_found() =
        Faults { failovers: 150, kills: 60, planted: Some(Planted::RelayUnconfirmed), ..Faults::default() };

    #[test]
    fn a_commit_without_its_fence_is_found() = Faults { owners_sleep: 30, planted: Some(Planted::NoFence), ..Faults::default() };

    #[test]
    fn an_archive_that_ignores_new_epochs_is_found() =
        Faults { redis_restarts: 60, planted: Some(Planted::ArchiveWithoutEpochFence), ..Faults::default() };

    #[test]
    fn a_log_trimmed_before_its_checkpoint_is_found() =
        Faults { kills: 15, planted: Some(Planted::TrimBeforeCheckpoint), ..Faults::default() };
}

#[cfg(test)]
mod tests {
    use super::super::run::{run, told};
    use super::{Faults, Name};

    /// The seeds of one nemesis: few, for the core is not optimised here. `scripts/simulate` has thousands.
    const SEEDS: u64 = 50;
    /// The seeds among which a planted defect must show.
    const SEEDS_PLANTED: u64 = 4_000;
    /// How many of the last actions a failure shows.
    const SHOWN: usize = 80;

    fn faults_of(name: &str, list: &[(Name, Faults)]) -> Faults {
        list.iter().find(|(listed, _)| *listed == name).unwrap().1
    }

    /// All fleets keep their promises.
    pub(super) fn holds(name: &str, list: &[(Name, Faults)]) {
        let (faults, mut steps) = (faults_of(name, list), 0);
        for seed in 1..=SEEDS {
            let fleet = run(seed, &faults);
            steps += fleet.steps;
            if let Some(why) = fleet.broken {
                panic!("{}", told(name, &faults, seed, SHOWN).unwrap_or_else(|| format!("{name}, seed {seed}, once of two times: {why}")));
            }
        }
        println!("{name}: {SEEDS} fleets, {steps} steps");
    }

    /// The checker finds it in one of the fleets.
    pub(super) fn is_found(name: &str, list: &[(Name, Faults)]) {
        let (faults, begun) = (faults_of(name, list), std::time::Instant::now());
        let found = (1..=SEEDS_PLANTED).find_map(|seed| Some((seed, run(seed, &faults).broken?)));
        let Some((seed, why)) = found else { panic!("{name}: not in {SEEDS_PLANTED} fleets") };
        println!("{name}: seed {seed}, after {} ms: {why}", begun.elapsed().as_millis());
    }
}
