//! A Redis that is there, answers, and refuses: it works on something else, reads its file, or cannot save.

mod long {
    use std::fs;
    use std::process::Command;

    use crate::faults::loss::Traffic;
    use crate::faults::options;
    use crate::support::fleet::{Fleet, FleetOptions};
    use crate::support::wait_until;

    /// What every owner says once a lease could not be renewed.
    const NOTICED: &str = "cannot renew leases, trying again";
    const KEYS: u32 = 1_000;

    /// A fleet with two owners, and people who talk.
    async fn under_way() -> (Fleet, Traffic) {
        let fleet = Fleet::start(FleetOptions { delivery: 2, ..options() });
        let traffic = Traffic::begin(&fleet).await;
        (fleet, traffic)
    }

    /// Both owners have noticed, nobody ended, and what was said meanwhile waits for its receipt.
    fn noticed(fleet: &mut Fleet, refusal: &str) {
        for owner in ["delivery-0", "delivery-1"] {
            fleet.program(owner).wait_for_log(NOTICED);
            let is_told = || fleet.program(owner).log().lines().any(|line| line.contains(NOTICED) && line.contains(refusal));
            wait_until(&format!("{owner} tells it by its name"), is_told);
        }
    }

    /// Everything goes on by itself, and nothing is missing.
    async fn goes_on(fleet: &mut Fleet, traffic: Traffic) {
        traffic.more(100).await;
        for name in fleet.names() {
            assert_eq!(fleet.program(&name).ended(), None, "{name}");
        }
        for name in ["alice", "bob", "carol"] {
            assert_eq!(traffic.cast.heard(name).connections, 1, "{name}");
        }
        traffic.cast.nobody_was_told_gone(&["alice", "bob", "carol"]);
        traffic.end(fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn while_redis_is_busy_with_a_script_everybody_waits() {
        let (mut fleet, traffic) = under_way().await;
        fleet.redis.cli(&["CONFIG", "SET", "busy-reply-threshold", "100"]);
        let mut endless = Command::new("redis-cli");
        endless.arg("-s").arg(fleet.redis.socket()).args(["EVAL", "while true do end", "0"]);
        let mut endless = endless.stdout(std::process::Stdio::null()).spawn().unwrap();
        wait_until("it is busy", || fleet.redis.try_cli(&["PING"]).is_some_and(|said| said.contains("BUSY")));
        noticed(&mut fleet, "BUSY");
        assert_eq!(fleet.redis.cli(&["SCRIPT", "KILL"]), "OK");
        endless.wait().unwrap();
        goes_on(&mut fleet, traffic).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn while_redis_cannot_save_everybody_waits() {
        let (mut fleet, traffic) = under_way().await;
        // Where the snapshot is to be stands a folder.
        let taken = fleet.redis.folder().join("dump.rdb");
        fs::create_dir(&taken).unwrap();
        fleet.redis.cli(&["CONFIG", "SET", "save", "3600 1"]);
        fleet.redis.cli(&["BGSAVE"]);
        wait_until("it cannot save", || fleet.redis.cli(&["SET", "another", "key"]).contains("MISCONF"));
        noticed(&mut fleet, "MISCONF");
        fs::remove_dir(&taken).unwrap();
        fleet.redis.cli(&["BGSAVE"]);
        wait_until("it has saved", || fleet.redis.cli(&["SET", "another", "key"]) == "OK");
        goes_on(&mut fleet, traffic).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn while_redis_reads_its_file_everybody_waits() {
        let (mut fleet, traffic) = under_way().await;
        let fill = format!("for i = 1, {KEYS} do redis.call('SET', 'ballast:' .. i, string.rep('x', 1000)) end");
        fleet.redis.cli(&["EVAL", &fill, "0"]);
        fleet.redis.cli(&["BGREWRITEAOF"]);
        wait_until("its file is written anew", || {
            let about = fleet.redis.cli(&["INFO", "persistence"]);
            about.contains("aof_rewrite_in_progress:0") && about.contains("aof_rewrite_scheduled:0")
        });
        // Five milliseconds a key, and a look at its clients after each.
        let path = fleet.redis.folder().join("redis.conf");
        let config = fs::read_to_string(&path).unwrap() + "\nkey-load-delay 5000\nloading-process-events-interval-bytes 1024\n";
        fs::write(&path, config).unwrap();
        fleet.redis.restart();
        noticed(&mut fleet, "");
        // What a program does first on a connection; the test itself asks for nothing of the kind.
        let stats = fleet.redis.cli(&["INFO", "commandstats"]);
        let loads =
            stats.lines().find(|line| line.starts_with("cmdstat_script|load:")).unwrap_or_else(|| panic!("no script loaded: {stats}"));
        assert!(!loads.contains("rejected_calls=0"), "nobody was refused while it read its file: {loads}");
        goes_on(&mut fleet, traffic).await;
    }
}
