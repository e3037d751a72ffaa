//! Every program of a fleet is restarted in turn, as for an upgrade, while people talk.

mod long {
    use std::time::{Duration, Instant};

    use roger::proto::v1;

    use crate::faults::bare::Bare;
    use crate::faults::loss::Traffic;
    use crate::faults::options;
    use crate::support::fleet::{Fleet, FleetOptions};

    /// From SIGTERM to the end of a program; supervisord would kill it after 10 s.
    const STOP_MAX: Duration = Duration::from_secs(8);

    #[tokio::test(flavor = "multi_thread")]
    async fn a_rolling_restart_under_load_loses_nothing_and_takes_nobody_off_the_air() {
        let mut fleet =
            Fleet::start(FleetOptions { edges: 3, delivery: 2, offline: 2, sos: 2, gps: 2, janus: 1, gateway: true, ..options() });
        let mut traffic = Traffic::begin(&fleet).await;
        traffic.cast.join(["erin"]).await;
        let group = traffic.cast.group("nobody reads", ["carol", "erin"]).await;
        let topic = v1::Topic { kind: group.kind() as i32, id: group.id() };
        for name in fleet.names() {
            // A client that never reads, and for which more comes all the time.
            let deaf = if let Some(number) = name.strip_prefix("edge-") {
                let mut deaf = Bare::open(&fleet.edge(number.parse().unwrap()), &traffic.cast, "erin").await;
                let follows = |frame: v1::ServerFrame| frame.follows.iter().any(|follow| follow.topic == Some(topic)).then_some(());
                deaf.until("erin follows", follows).await;
                // Who talks to others all the time would not come to an end of it.
                traffic.cast.say("carol", group, 200).await;
                Some(deaf)
            } else {
                None
            };
            let begun = Instant::now();
            let status = fleet.terminate(&name);
            let took = begun.elapsed();
            assert!(status.success(), "{name}: {status}");
            assert!(took < STOP_MAX, "{name} took {took:?} to stop");
            drop(deaf);
            fleet.relaunch(&name);
            fleet.wait_until_ready();
            traffic.more(50).await;
        }
        traffic.cast.nobody_was_told_gone(&["alice", "bob", "carol"]);
        traffic.end(&fleet).await;
    }
}
