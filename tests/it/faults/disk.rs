//! The append-only file of Redis is torn, ruined, or has no room left.

mod long {
    use std::fs::{self, OpenOptions};
    use std::io::{Seek as _, SeekFrom, Write as _};

    use crate::faults::loss::Traffic;
    use crate::faults::options;
    use crate::support::fleet::Fleet;
    use crate::support::wait_until;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_torn_end_costs_what_was_in_it_and_what_sql_did_not_have() {
        let mut fleet = Fleet::start(options());
        let traffic = Traffic::begin(&fleet).await;
        fleet.stop("offline-0");
        traffic.more(50).await;
        let kept = traffic.cast.archived(traffic.topic).await;
        fleet.redis.kill();
        // As a power cut tears it: the end of the last commands, in the middle of one.
        let file = OpenOptions::new().write(true).open(fleet.redis.appendonly()).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1_007).unwrap();
        fleet.redis.restart();
        fleet.cont("offline-0");
        traffic.judge(&fleet, kept).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_ruined_file_keeps_redis_down_and_without_it_the_fleet_goes_on_where_sql_ends() {
        let mut fleet = Fleet::start(options());
        let traffic = Traffic::begin(&fleet).await;
        let kept = traffic.cast.archived(traffic.topic).await;
        fleet.redis.kill();
        let path = fleet.redis.appendonly();
        let middle = fs::metadata(&path).unwrap().len() / 2;
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(middle)).unwrap();
        // More than any one value has, within which it would not be noticed.
        file.write_all(&[0xff; 65_536]).unwrap();
        drop(file);
        let why = fleet.redis.does_not_start();
        assert!(why.contains("Bad file format reading the append only file"), "{why}");
        let told = fleet.roger(&["--json", "doctor"]).json();
        let redis = told.as_array().unwrap().iter().find(|check| check["check"] == "redis").unwrap();
        assert_eq!(redis["verdict"].as_str().unwrap().to_lowercase(), "fail", "{redis}");
        // What nobody can read is put aside, and Redis starts empty.
        fs::rename(fleet.redis.folder().join("appendonlydir"), fleet.redis.folder().join("ruined")).unwrap();
        fleet.redis.restart();
        traffic.judge(&fleet, kept).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_room_for_its_file_redis_dies_and_with_it_nothing_is_lost() {
        let mut fleet = Fleet::start(options());
        let traffic = Traffic::begin(&fleet).await;
        fleet.redis.leave_room(50_000);
        wait_until("the file has no room left", || fleet.redis.ended());
        fleet.redis.restart();
        traffic.more(100).await;
        traffic.end(&fleet).await;
    }
}
