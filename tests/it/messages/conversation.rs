//! A conversation, while what carries it is killed.

mod long {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    use crate::support::fleet::{Fleet, FleetOptions};

    /// A conversation of three radios, with silences of the crew above ten minutes: while LMP and CDR are off the air, CC goes on.
    fn conversation(messages: u64) -> String {
        let line = |number: u64| {
            let silence = number / 100 * 1_000;
            let speaker = match number % 100 {
                0..=19 => "CC",
                rest if rest % 2 == 0 => "CDR",
                _ => "LMP",
            };
            let time = silence + if number % 100 < 20 { 40 * (number % 100) } else { 800 + number % 100 };
            format!("{}\n", serde_json::json!({ "t_s": time, "speaker": speaker, "text": format!("message {number}") }))
        };
        (0..messages).map(line).collect()
    }

    /// Plays a conversation, and every second makes `trouble`; panics unless everybody heard everything once and in order.
    fn play(fleet: &mut Fleet, mut trouble: impl FnMut(&mut Fleet, usize)) {
        let recording = fleet.folder().join("conversation.jsonl");
        std::fs::write(&recording, conversation(1_500)).unwrap();
        let edges = fleet.edges().join(",");
        let arguments = ["--json", "replay", "radio", recording.to_str().unwrap(), "--speed", "max", "--los", "--edge", &edges];
        let mut command = fleet.command(&arguments);
        let mut replay = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (mut times, mut last) = (0, Instant::now());
        while replay.try_wait().unwrap().is_none() {
            if last.elapsed() > Duration::from_secs(1) {
                trouble(fleet, times);
                (times, last) = (times + 1, Instant::now());
            }
            crate::support::pause();
        }
        let answer = replay.wait_with_output().unwrap();
        let report = String::from_utf8_lossy(&answer.stdout);
        assert!(answer.status.success(), "after {times} troubles: {report}");
        assert!(times > 0, "the conversation was over before there was any trouble");
    }

    #[test]
    fn everybody_hears_everything_once_and_in_order_while_programs_are_killed() {
        let mut fleet = Fleet::start(FleetOptions::default());
        let victims = ["delivery-0", "edge-0", "offline-0", "edge-1"];
        play(&mut fleet, |fleet, times| {
            let victim = victims[times % victims.len()];
            fleet.kill9(victim);
            fleet.relaunch(victim);
        });
    }

    #[test]
    fn a_kill_of_redis_in_the_middle_loses_and_repeats_nothing() {
        let mut fleet = Fleet::start(FleetOptions::default());
        play(&mut fleet, |fleet, times| {
            if times == 0 {
                fleet.redis.kill();
                fleet.redis.restart();
            }
        });
    }
}
