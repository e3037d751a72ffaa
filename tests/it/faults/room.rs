//! Disks without room: under SQL, and under the log of a program.

mod long {
    use std::fs;
    use std::path::Path;

    use roger::broker::keys;

    use crate::faults::loss::Traffic;
    use crate::faults::options;
    use crate::support::fleet::{Fleet, FleetOptions, SHARDS, SqlServer};
    use crate::support::small_disk::{fill, small_disk};
    use crate::support::wait_until;

    /// How often is looked whether the archive stands still.
    const TRIES: u32 = 40;

    fn block_on(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(test);
    }

    /// While the disk of SQL is full people go on talking, and all of it is in SQL once it has room again.
    async fn sit_out(options: FleetOptions, disk: &Path) {
        let mut fleet = Fleet::start(options);
        let traffic = Traffic::begin(&fleet).await;
        let filler = fill(disk);
        fleet.program("offline-0").wait_for_log("archive: SQL");
        // What room a server had for itself is used up after a while; from then on it stands still.
        let archived = || fleet.redis.cli(&["GET", &keys::archived(traffic.topic.shard(SHARDS))]);
        let (mut before, mut stands) = (archived(), false);
        for _ in 0..TRIES {
            traffic.more(100).await;
            let now = archived();
            stands = now == before;
            if stands {
                break;
            }
            before = now;
        }
        assert!(stands, "the disk was to have no room, and SQL takes more and more");
        fs::remove_file(filler).unwrap();
        wait_until("the archive goes on", || {
            if let Some(server) = fleet.mariadb.as_ref().filter(|server| server.ended()) {
                // It dies of it, or did, and is started again as its supervisor would.
                server.resume();
            }
            archived() != before
        });
        assert_eq!(fleet.redis.cli(&["XLEN", &keys::dead()]), "0", "something was given up");
        for name in fleet.names() {
            assert_eq!(fleet.program(&name).ended(), None, "{name}");
        }
        traffic.end(&fleet).await;
    }

    #[test]
    fn without_room_for_its_file_sqlite_is_waited_for() {
        let Some(disk) = small_disk("faults::room::long::without_room_for_its_file_sqlite_is_waited_for", 8) else { return };
        let mut options = options();
        options.overrides.push(("sql.url", format!("\"sqlite:{}\"", disk.join("roger.db").display())));
        block_on(sit_out(options, &disk));
    }

    #[test]
    fn without_room_for_its_tables_mariadb_is_waited_for() {
        let Some(disk) = small_disk("faults::room::long::without_room_for_its_tables_mariadb_is_waited_for", 160) else { return };
        block_on(sit_out(FleetOptions { sql: SqlServer::MariaDb, sql_folder: Some(disk.clone()), ..options() }, &disk));
    }

    #[test]
    fn without_room_for_their_logs_programs_go_on() {
        let Some(disk) = small_disk("faults::room::long::without_room_for_their_logs_programs_go_on", 32) else { return };
        block_on(async {
            let mut options = options();
            // So that there is always something to say.
            options.overrides.push(("log.level", "\"debug\"".to_owned()));
            let mut fleet = Fleet::start(options);
            let names = fleet.names();
            for name in &names {
                fleet.relaunch_with_log(name, disk.join(format!("{name}.log")));
            }
            fleet.wait_until_ready();
            let filler = fill(&disk);
            let written = |fleet: &mut Fleet| names.iter().map(|name| fleet.program(name).log().len()).sum::<usize>();
            let traffic = Traffic::begin(&fleet).await;
            // The last page of each log has room for a few lines more.
            let (mut full, mut stands) = (0, false);
            for _ in 0..TRIES {
                traffic.more(100).await;
                let now = written(&mut fleet);
                stands = now == full;
                if stands {
                    break;
                }
                full = now;
            }
            assert!(stands, "the disk was to have no room, and logs grow and grow");
            traffic.more(100).await;
            for name in &names {
                assert_eq!(fleet.program(name).ended(), None, "{name}");
            }
            fs::remove_file(filler).unwrap();
            wait_until("logs are written again", || written(&mut fleet) > full);
            traffic.end(&fleet).await;
        });
    }
}
