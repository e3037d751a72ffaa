//! A Redis that writes to disk once a second: receipts promise no more than its memory, and hold that.

use std::collections::BTreeSet;

use roger::model::Durability;

use super::cast::Cast;
use super::options;
use crate::support::fleet::{Fleet, FleetOptions};
use crate::support::redis::Appendfsync;

#[tokio::test(flavor = "multi_thread")]
async fn receipts_say_memory() {
    let fleet = Fleet::start(FleetOptions { appendfsync: Appendfsync::Everysec, edges: 1, ..options() });
    let mut cast = Cast::of(&fleet).await;
    cast.join(["alice"]).await;
    let topic = cast.group("air", ["alice"]).await;
    cast.on("alice", 0);
    cast.say("alice", topic, 3).await;
    assert_eq!(cast.heard("alice").durabilities, BTreeSet::from([Durability::Memory]));
}

mod long {
    use std::fs::{self, OpenOptions};

    use crate::faults::loss::Traffic;
    use crate::faults::options;
    use crate::support::eventually;
    use crate::support::fleet::{Fleet, FleetOptions};
    use crate::support::redis::Appendfsync;

    fn fleet() -> Fleet {
        Fleet::start(FleetOptions { appendfsync: Appendfsync::Everysec, ..options() })
    }

    fn size(fleet: &Fleet) -> u64 {
        fs::metadata(fleet.redis.appendonly()).unwrap().len()
    }

    /// Redis dies, and comes back with what of its file a disk would have had.
    fn cut_power(fleet: &mut Fleet, written: u64) {
        fleet.redis.kill();
        OpenOptions::new().write(true).open(fleet.redis.appendonly()).unwrap().set_len(written).unwrap();
        fleet.redis.restart();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_killed_redis_repeats_and_disorders_nothing() {
        let mut fleet = fleet();
        let traffic = Traffic::begin(&fleet).await;
        let kept = traffic.cast.archived(traffic.topic).await;
        fleet.redis.kill();
        fleet.redis.restart();
        traffic.judge(&fleet, kept).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_power_cut_costs_only_what_neither_disk_nor_sql_had() {
        let mut fleet = fleet();
        let traffic = Traffic::begin(&fleet).await;
        fleet.stop("offline-0");
        traffic.more(50).await;
        let (kept, written) = (traffic.cast.archived(traffic.topic).await, size(&fleet));
        traffic.more(50).await;
        cut_power(&mut fleet, written);
        fleet.cont("offline-0");
        assert!(traffic.judge(&fleet, kept).await > 0, "nothing was lost: there was no loss to judge");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_behind_sql_gives_no_place_twice() {
        let mut fleet = fleet();
        let traffic = Traffic::begin(&fleet).await;
        let written = size(&fleet);
        traffic.more(100).await;
        let before = traffic.cast.archived(traffic.topic).await.len();
        traffic.more(50).await;
        let more = async || Some(traffic.cast.archived(traffic.topic).await).filter(|kept| kept.len() > before);
        let kept = eventually("the archive goes on", more).await;
        cut_power(&mut fleet, written);
        traffic.judge(&fleet, kept).await;
    }
}
