//! Inputs that kill whoever takes them in, and kills that have nothing to do with any input.

use std::sync::Arc;

use roger::clock::Clock;
use roger::config::{Config, Program as Role, Sources};
use roger::jobs::deliver::Hook;
use roger::shutdown::Shutdown;

use super::poison::is_poison;
use crate::support::world::deliver_with;

/// Where the program below finds its configuration; without it the program is not run.
const CONFIG: &str = "ROGER_TEST_DEADLY_DELIVERY";

/// No test but a program that one starts: delivery that dies over a word without a panic.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_that_dies_over_a_word() {
    let Some(file) = std::env::var_os(CONFIG) else { return };
    let config = Config::load(Role::Delivery, &Sources { file: Some(file.into()), ..Sources::default() }).unwrap();
    let hook: Hook = Arc::new(|input| {
        if is_poison(input) {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    });
    deliver_with(hook, config, Clock::system(), Shutdown::manual()).await;
}

mod long {
    use std::time::Instant;

    use roger::model::{Reason, TopicId};

    use super::CONFIG;
    use crate::faults::cast::Cast;
    use crate::faults::poison::rejected;
    use crate::faults::{audit, options, quiet};
    use crate::support::fleet::{Fleet, FleetOptions};
    use crate::support::process::{Process, Program};
    use crate::support::{PATIENCE, eventually};
    use crate::worker::handle;

    /// A fleet in which a dead owner is missed soon, and a batch is soon one frame.
    fn fleet() -> Fleet {
        let mut options = FleetOptions { edges: 1, ..options() };
        let overrides = [("delivery.lease_ttl_ms", "500".to_owned()), ("delivery.batch_frames_max", "2".to_owned())];
        options.overrides.extend(overrides);
        Fleet::start(options)
    }

    fn deadly(fleet: &Fleet) -> Program {
        Program {
            name: "deadly".to_owned(),
            executable: std::env::current_exe().unwrap(),
            package: "",
            args: ["--exact", "faults::deaths::the_program_that_dies_over_a_word", "--nocapture"].map(str::to_owned).to_vec(),
            env: vec![(CONFIG.to_owned(), fleet.config().display().to_string())],
            log: fleet.folder().join("deadly.log"),
            show: Vec::new(),
        }
    }

    async fn cast(fleet: &Fleet) -> (Cast, TopicId) {
        let mut cast = Cast::of(fleet).await;
        cast.join(["alice", "bob"]).await;
        let topic = cast.group("air", ["alice", "bob"]).await;
        for name in ["alice", "bob"] {
            cast.on(name, 0);
            cast.follows(name, topic).await;
        }
        (cast, topic)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_kills_its_owner_again_and_again_is_put_aside() {
        let mut fleet = fleet();
        let (cast, topic) = cast(&fleet).await;
        fleet.terminate("delivery-0");
        let mut process = Process::start(deadly(&fleet));
        cast.say("alice", topic, 20).await;
        let (begun, mut deaths) = (Instant::now(), 0);
        let letters = loop {
            assert!(begun.elapsed() < PATIENCE * 2, "not put aside after {deaths} deaths");
            let letters = fleet.roger(&["--json", "dead", "list"]).succeeded().json().as_array().unwrap().clone();
            if !letters.is_empty() {
                break letters;
            }
            if process.ended().is_some() {
                deaths += 1;
                process = Process::start(deadly(&fleet));
            }
        };
        assert_eq!(letters.len(), 1, "{letters:?}");
        assert!(letters[0]["reason"].as_str().unwrap().contains("died"), "{letters:?}");
        eventually("alice is told", async || rejected(&cast, topic).contains(&Some(Reason::Quarantined)).then_some(())).await;
        cast.say("bob", topic, 5).await;
        for listener in ["alice", "bob"] {
            cast.hears(listener, topic, "alice", 20).await;
            cast.hears(listener, topic, "bob", 5).await;
        }
        cast.check(topic);
        assert!(process.ended().is_none(), "it died again");
        quiet(&fleet).await;
        audit(&fleet);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn kills_from_outside_put_nothing_aside() {
        let mut fleet = fleet();
        let (cast, topic) = cast(&fleet).await;
        cast.say("alice", topic, 5).await;
        cast.hears("bob", topic, "alice", 5).await;
        let redis = handle(&fleet.redis);
        // Most shards have nothing to do meanwhile, so none of their owners commits.
        for _ in 0..8 {
            fleet.kill9("delivery-0");
            fleet.relaunch("delivery-0");
            let mark = format!("-{}-", fleet.program("delivery-0").pid());
            let owned = async || {
                let holders = redis.lease_holders("deliver", 16).await.ok()?;
                holders.iter().all(|holder| holder.as_ref().is_some_and(|holder| holder.contains(&mark))).then_some(())
            };
            eventually("all shards are owned again", owned).await;
        }
        cast.say("alice", topic, 5).await;
        cast.say("bob", topic, 5).await;
        cast.hears("bob", topic, "alice", 10).await;
        cast.hears("alice", topic, "bob", 5).await;
        let letters = fleet.roger(&["--json", "dead", "list"]).succeeded().json();
        assert_eq!(letters, serde_json::json!([]), "healthy work was put aside");
        cast.check(topic);
    }
}
