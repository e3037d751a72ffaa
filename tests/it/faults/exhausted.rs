//! A program, and a server, that may open no more files: connections are files.

mod long {
    use std::fs;
    use std::net::TcpStream;

    use crate::faults::loss::Traffic;
    use crate::faults::options;
    use crate::support::fleet::{Fleet, FleetOptions};
    use crate::support::process::run;
    use crate::support::wait_until;

    /// The numbers of the files that a process has open.
    fn open(pid: u32) -> Vec<u64> {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        files.filter_map(|file| file.ok()?.file_name().to_str()?.parse().ok()).collect()
    }

    /// Sets how many files a running process may have open; what it was before.
    fn allow(pid: u32, files: &str) -> String {
        let pid = pid.to_string();
        let before = run("util-linux", "prlimit", &["--pid", &pid, "--nofile", "--output", "SOFT", "--noheadings"]);
        run("util-linux", "prlimit", &["--pid", &pid, &format!("--nofile={files}:")]);
        before.trim().to_owned()
    }

    /// Takes the last files that a process may have by connections that say nothing; what it might have before, and the connections.
    fn exhaust(pid: u32, port: u16) -> (String, Vec<TcpStream>) {
        let most = open(pid).into_iter().max().unwrap() + 3;
        let before = allow(pid, &most.to_string());
        let silent = (0..300).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        wait_until("it has no file left", || open(pid).len() as u64 >= most);
        (before, silent)
    }

    /// A fleet that drops no connection of its own while a server stands still: nobody could make another one.
    fn patient() -> FleetOptions {
        let mut options = options();
        options.overrides.push(("redis.response_timeout_ms", "30000".to_owned()));
        options
    }

    fn port(address: &str) -> u16 {
        address.rsplit(':').next().unwrap().parse().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_edge_without_files_serves_who_is_there_and_lets_others_in_once_it_has_some() {
        let mut fleet = Fleet::start(patient());
        let mut traffic = Traffic::begin_at(&fleet, [0, 0, 1]).await;
        let pid = fleet.program("edge-0").pid();
        let (before, silent) = exhaust(pid, port(&fleet.edge(0)));
        traffic.cast.on_only("dave", vec![fleet.edge(0)]);
        traffic.more(200).await;
        assert_eq!(traffic.cast.heard("dave").connections, 0, "it takes connections, and was to have no file for them");
        allow(pid, &before);
        drop(silent);
        traffic.cast.follows("dave", traffic.topic).await;
        traffic.cast.off("dave").await;
        for name in ["alice", "bob", "carol"] {
            assert_eq!(traffic.cast.heard(name).connections, 1, "{name}");
        }
        let log = fleet.program("edge-0").log();
        let said = log.matches("a connection cannot be accepted").count();
        assert!((1..200).contains(&said), "said {said} times");
        assert_eq!((fleet.program("edge-0").pid(), fleet.program("edge-0").ended()), (pid, None));
        traffic.end(&fleet).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redis_without_files_serves_who_is_there_and_lets_others_in_once_it_has_some() {
        let mut fleet = Fleet::start(patient());
        let traffic = Traffic::begin_at(&fleet, [0, 0, 0]).await;
        let (pid, redis) = (fleet.redis.pid(), fleet.redis.port());
        // Its connections are free then, for whoever is first.
        fleet.kill9("edge-1");
        let (before, silent) = exhaust(pid, redis);
        fleet.relaunch("edge-1");
        traffic.more(200).await;
        assert!(!fleet.program("edge-1").log().contains("ready"), "it has a connection, and Redis was to have no file for it");
        assert_eq!(fleet.program("edge-1").ended(), None);
        allow(pid, &before);
        drop(silent);
        fleet.program("edge-1").wait_for_log("ready");
        for name in ["alice", "bob", "carol"] {
            assert_eq!(traffic.cast.heard(name).connections, 1, "{name}");
        }
        traffic.end(&fleet).await;
    }
}
