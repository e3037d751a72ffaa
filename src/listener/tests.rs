//! A listener whose parts the test moves by hand: hours of its clock pass in a moment, and a gateway is a real server of HTTP.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread::JoinHandle;

use super::hear::lock;
use super::protocol::{Event, Header};
use super::*;
use crate::clock::Hand;
use crate::config::SmsProvider;
use crate::sms::Text;

/// 2026-11-27 12:00 UTC, a Friday.
const NOON_MS: u64 = 1_795_780_800_000;
const MINUTE: Duration = Duration::from_secs(60);

/// A listener with two people always on call, whose texts go into a file.
struct Bench {
    ear: Ear,
    teller: Teller,
    hand: Hand,
    serial: u64,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(now_ms: u64, rules: &str, change: impl FnOnce(&mut Config, &Path)) -> Self {
        Self::within(tempfile::tempdir().unwrap(), now_ms, rules, change)
    }

    fn within(folder: tempfile::TempDir, now_ms: u64, rules: &str, change: impl FnOnce(&mut Config, &Path)) -> Self {
        let mut config = Config::defaults().unwrap();
        let rules = format!("host = \"h\"\n{rules}\n[[person]]\nname = \"Kari\"\nnumber = \"+4740000001\"\n");
        std::fs::write(folder.path().join("alerts.toml"), rules).unwrap();
        config.sms.provider = SmsProvider::File;
        config.sms.file = folder.path().join("texts.jsonl");
        config.listener.dir = folder.path().join("listener");
        config.listener.rules_file = Some(folder.path().join("alerts.toml"));
        change(&mut config, folder.path());
        let (clock, hand) = Clock::manual(now_ms);
        let Parts { ear, teller, .. } = Parts::open(&config, "a", clock).unwrap();
        Self { ear, teller, hand, serial: 0, folder }
    }

    /// Hears that a program is in a state, as supervisord would say it.
    fn hear(&mut self, state: &str, program: &str) {
        let payload = format!("processname:{program} groupname:{program} from_state:RUNNING expected:0 pid:7");
        self.event(&format!("PROCESS_STATE_{state}"), payload);
    }

    fn event(&mut self, name: &str, payload: String) {
        self.serial += 1;
        let header =
            Header { serial: self.serial, pool_serial: self.serial, pool: "p".to_owned(), name: name.to_owned(), len: payload.len() };
        self.ear.hear(&Event { header, payload, whole: true });
    }

    /// Lets time pass, with a turn of who tells each so often.
    async fn pass(&mut self, whole: Duration, step: Duration) {
        for _ in 0..whole.as_millis() / step.as_millis() {
            self.hand.advance(step);
            self.teller.turn().await;
        }
    }

    /// The texts that were taken.
    fn texts(&self) -> Vec<Text> {
        let lines = std::fs::read_to_string(self.folder.path().join("away/texts.jsonl"))
            .or_else(|_| std::fs::read_to_string(self.folder.path().join("texts.jsonl")));
        lines.unwrap_or_default().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn waits(&self) -> usize {
        self.teller.book.pending().count() + usize::from(self.teller.way.message.is_some())
    }

    /// Which changes were told, by what is noted of messages that are done; each as often as it was.
    fn told(&self) -> Vec<u64> {
        let held = Held::read(&self.teller.share.own()).unwrap();
        let mut seqs: Vec<u64> = held.told.iter().flat_map(|(changes, _)| changes.iter().map(|change| change.seq)).collect();
        seqs.sort_unstable();
        seqs
    }
}

/// How many changes texts tell, by their heads; the second text of a message says none.
fn counted(texts: &[Text]) -> (usize, usize) {
    let heads = texts.iter().filter_map(|text| text.text.split_once(": ")).filter(|(head, _)| !head.ends_with(", more"));
    let counts: Vec<usize> = heads
        .map(|(head, _)| head.split_once(", ").map_or(1, |(_, count)| count.strip_suffix(" changes").unwrap().parse().unwrap()))
        .collect();
    (counts.len(), counts.iter().sum())
}

const ALWAYS: &str = "always = [\"Kari\"]";

#[tokio::test]
async fn what_was_heard_in_an_hour_without_a_way_out_is_told_once_in_few_messages_after_it() {
    let mut bench = Bench::new(NOON_MS, ALWAYS, |config, folder| config.sms.file = folder.join("away/texts.jsonl"));
    let mut heard = 0;
    for minute in 0..60 {
        for state in ["EXITED", "RUNNING", "BACKOFF", "FATAL"] {
            bench.hear(state, &format!("p{}", minute % 7));
            heard += 1;
        }
        bench.pass(MINUTE, MINUTE / 6).await;
    }
    assert_eq!((bench.texts().len(), bench.told().len()), (0, 0));
    std::fs::create_dir(bench.folder.path().join("away")).unwrap();
    bench.pass(MINUTE * 10, MINUTE / 6).await;
    let texts = bench.texts();
    let (messages, changes) = counted(&texts);
    assert_eq!((bench.waits(), changes), (0, heard), "{texts:#?}");
    assert!((1..=5).contains(&messages), "{texts:#?}");
    assert_eq!(bench.told(), (1..=heard as u64).collect::<Vec<_>>());
    // Nothing more comes of it.
    bench.pass(MINUTE * 120, MINUTE).await;
    assert_eq!(bench.texts(), texts);
}

#[tokio::test]
async fn in_no_hour_are_there_more_messages_than_the_budget_and_its_last_quarter_is_for_what_is_critical() {
    let mut bench = Bench::new(NOON_MS, ALWAYS, |config, _| {
        config.listener.messages_per_hour_max = 4;
        config.listener.repeat = Duration::ZERO;
    });
    let mut at = Vec::new();
    for minute in 0..180_u64 {
        bench.hear("EXITED", "gps");
        if minute == 100 {
            bench.hear("FATAL", "sos");
        }
        bench.pass(MINUTE, MINUTE / 6).await;
        at.resize(counted(&bench.texts()).0, minute);
    }
    for begin in 0..180 {
        let within = at.iter().filter(|minute| (begin..begin + 60).contains(*minute)).count();
        let most = if (41..=100).contains(&begin) { 4 } else { 3 };
        assert!(within <= most, "{within} messages from minute {begin} on: {at:?}");
    }
    assert!(at.contains(&100) && at.len() >= 9, "{at:?}");
    bench.pass(MINUTE * 60, MINUTE).await;
    assert_eq!((bench.waits(), counted(&bench.texts()).1), (0, 181));
}

#[tokio::test]
async fn what_is_not_critical_waits_for_the_end_of_quiet_hours_by_their_time_zone() {
    let rules = "always = [\"Kari\"]\ntime_zone = \"Europe/Oslo\"\nquiet = { from = \"22:00\", until = \"07:00\" }";
    // 21:50 in Oslo.
    let mut bench = Bench::new(NOON_MS + 8 * 3_600_000 + 50 * 60_000, rules, |_, _| {});
    bench.pass(MINUTE * 15, MINUTE).await;
    bench.hear("EXITED", "gps");
    bench.pass(MINUTE * 60, MINUTE).await;
    assert_eq!(bench.texts(), []);
    bench.hear("FATAL", "sos");
    bench.pass(MINUTE, MINUTE / 6).await;
    let texts = bench.texts();
    assert!(texts.len() == 1 && texts[0].text.starts_with("Roger h: sos FATAL since 23:05"), "{texts:?}");
    // Until 06:59, and a minute longer.
    bench.pass(MINUTE * (7 * 60 + 53), MINUTE).await;
    assert_eq!(bench.texts().len(), 1);
    bench.pass(MINUTE * 2, MINUTE / 6).await;
    let texts = bench.texts();
    assert!(texts.len() == 2 && texts[1].text.starts_with("Roger h: gps EXITED since 22:05"), "{texts:?}");
}

/// A gateway that answers as it is told for each number, and notes who was called.
fn gateway(answer: impl Fn(&str) -> Option<u16> + Send + 'static) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let called = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&called);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).unwrap();
            let head = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let number = head.split_once("to=").unwrap().1.chars().take_while(char::is_ascii_digit).collect::<String>();
            lock(&noted).push(number.clone());
            // Without a status it breaks off.
            if let Some(status) = answer(&number) {
                let answer = format!("HTTP/1.1 {status} As told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    (port, called)
}

#[tokio::test]
async fn a_number_that_is_refused_ten_times_is_given_up_and_the_others_are_told_once() {
    let people = "always = [\"Ola\", \"Kari\", \"Per\"]\n[[person]]\nname = \"Ola\"\nnumber = \"+4740000000\"\n[[person]]\nname = \"Per\"\nnumber = \"+4740000002\"";
    for bad_status in [Some(500), None] {
        let (port, called) = gateway(move |number| if number == "4740000000" { bad_status } else { Some(200) });
        let mut bench = Bench::new(NOON_MS, people, |config, folder| {
            let call = format!("url = \"http://127.0.0.1:{port}/send?to=${{digits}}\"\nmethod = \"GET\"\n");
            std::fs::write(folder.join("sms-http.toml"), call).unwrap();
            (config.sms.provider, config.sms.http_file) = (SmsProvider::Http, Some(folder.join("sms-http.toml")));
        });
        bench.hear("FATAL", "gps");
        for _ in 0..100 {
            bench.pass(MINUTE, MINUTE / 2).await;
            if bench.waits() == 0 {
                break;
            }
        }
        let calls = |number: &str| lock(&called).iter().filter(|called| *called == number).count();
        let expected = (0, 10, 1, 1);
        assert_eq!((bench.waits(), calls("4740000000"), calls("4740000001"), calls("4740000002")), expected, "{bad_status:?}");
        // The next message tries it anew.
        bench.hear("FATAL", "sos");
        bench.pass(MINUTE, MINUTE / 6).await;
        assert_eq!((calls("4740000000") > 10, calls("4740000001"), calls("4740000002")), (true, 2, 2), "{bad_status:?}");
    }
}

#[tokio::test]
async fn a_listener_that_begins_gives_the_other_time_for_a_sign_of_life() {
    let folder = tempfile::tempdir().unwrap();
    let share = Share::open(&folder.path().join("listener"), "b").unwrap();
    // As a machine leaves it that was off for a day.
    share.beat(NOON_MS - 86_400_000).unwrap();
    let mut bench = Bench::within(folder, NOON_MS, ALWAYS, |_, _| {});
    bench.pass(MINUTE / 2, MINUTE / 6).await;
    assert_eq!((bench.waits(), bench.texts()), (0, vec![]));
    bench.pass(MINUTE * 2, MINUTE / 6).await;
    let texts = bench.texts();
    assert!(texts.len() == 1 && texts[0].text.starts_with("Roger h: sms-listener-b is silent"), "{texts:?}");
}

#[tokio::test]
async fn a_machine_that_stood_still_takes_no_listener_for_dead_before_it_had_time_for_a_sign_of_life() {
    let mut bench = Bench::new(NOON_MS, ALWAYS, |_, _| {});
    let share = Share::open(&bench.folder.path().join("listener"), "b").unwrap();
    share.beat(NOON_MS).unwrap();
    bench.pass(MINUTE / 6, MINUTE / 60).await;
    let paused_ms = bench.teller.clock.now_ms();
    // As while its image is taken.
    bench.hand.advance(MINUTE * 60);
    bench.teller.went_on(paused_ms, bench.teller.clock.now_ms());
    bench.pass(MINUTE / 2, MINUTE / 6).await;
    assert_eq!((bench.waits(), bench.texts()), (0, vec![]));
    bench.pass(MINUTE * 2, MINUTE / 6).await;
    let texts = bench.texts();
    assert!(texts.len() == 1 && texts[0].text.starts_with("Roger h: sms-listener-b is silent"), "{texts:?}");
}

#[tokio::test]
async fn what_came_up_is_told_also_when_its_trouble_was_told_by_the_other_one_before_a_death() {
    let mut bench = Bench::new(NOON_MS, ALWAYS, |_, _| {});
    bench.hear("EXITED", "gps");
    bench.teller.turn().await;
    // The other one told it.
    bench.teller.settle(vec![1]);
    assert_eq!(bench.waits(), 0);
    let Bench { folder, .. } = bench;
    let mut next = Bench::within(folder, NOON_MS + 60_000, ALWAYS, |_, _| {});
    next.serial = 1;
    next.hear("RUNNING", "gps");
    next.hear("RUNNING", "sos");
    next.pass(MINUTE * 2, MINUTE / 6).await;
    let texts = next.texts();
    assert!(texts.len() == 1 && texts[0].text.starts_with("Roger h: gps up again 12:01"), "{texts:?}");
}

#[tokio::test]
async fn a_stop_of_supervisord_that_only_the_other_one_heard_is_no_death() {
    use event::Kind::{SupervisorBegan, SupervisorStops};
    let (began, killed) = ("supervisord began", "supervisord was killed, and is back");
    let at_once = |config: &mut Config, _: &Path| config.listener.repeat = Duration::ZERO;
    let this_start = format!("{}/9", boot());
    for (kind, id, at_ms, expected) in [
        (SupervisorStops, "7-7/9", NOON_MS + 5, began),
        (SupervisorStops, "7-7/9", NOON_MS - 5, killed),
        (SupervisorBegan, "7-7/9", NOON_MS + 5, killed),
        // It heard of this start before this one did.
        (SupervisorStops, this_start.as_str(), NOON_MS + 5, killed),
    ] {
        let mut bench = Bench::new(NOON_MS, ALWAYS, at_once);
        bench.event("SUPERVISOR_STATE_CHANGE_RUNNING", String::new());
        bench.pass(MINUTE, MINUTE / 6).await;
        let folder = bench.folder;
        let share = Share::open(&folder.path().join("listener"), "b").unwrap();
        share.beat(NOON_MS).unwrap();
        let mut said = event::Change { id: id.to_owned(), at_ms, ..book::tests::change("supervisord", kind, 1) };
        Spool::open(&share.own()).unwrap().0.put(&mut said).unwrap();
        std::fs::remove_file(folder.path().join("texts.jsonl")).unwrap();
        let mut next = Bench::within(folder, NOON_MS + 80_000, ALWAYS, at_once);
        next.serial = 1;
        next.event("SUPERVISOR_STATE_CHANGE_RUNNING", String::new());
        next.pass(MINUTE, MINUTE / 6).await;
        let texts = next.texts();
        assert!(texts.len() == 1 && texts[0].text.contains(expected), "{texts:?}");
    }
}

/// An ear at the ends of two pipes.
fn hearing(deaf: Duration, folder: &Path) -> (PipeWriter, PipeReader, JoinHandle<End>) {
    let mut config = Config::defaults().unwrap();
    config.listener.dir = folder.to_owned();
    let mut ear = Parts::open(&config, "a", Clock::system()).unwrap().ear;
    ear.deaf = deaf;
    let ((input, to), (from, output)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    (to, from, std::thread::spawn(move || ear.run(input, output)))
}

#[test]
fn without_the_tick_of_a_minute_it_ends_and_with_it_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let event = |name: &str| format!("ver:3.0 server:s serial:1 pool:p poolserial:1 eventname:{name} len:0\n");
    let expect = |from: &mut PipeReader, text: &str| {
        let mut got = vec![0; text.len()];
        from.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), text);
    };
    // It has said that it is ready, and hears nothing at all.
    let (_to, mut from, ear) = hearing(Duration::ZERO, &folder.path().join("1"));
    expect(&mut from, "READY\n");
    assert_eq!(ear.join().unwrap(), End::Deaf);
    // It was heard, and then no more.
    let (mut to, mut from, ear) = hearing(Duration::from_millis(800), &folder.path().join("2"));
    to.write_all(event("TICK_60").as_bytes()).unwrap();
    expect(&mut from, "READY\nRESULT 2\nOKREADY\n");
    assert_eq!(ear.join().unwrap(), End::Deaf);
    // With ticks it goes on for longer than it would without, and other events are none.
    let (mut to, mut from, ear) = hearing(Duration::from_secs(6), &folder.path().join("3"));
    expect(&mut from, "READY\n");
    let begun = std::time::Instant::now();
    let mut say_at = |after_s: u64, name: &str| {
        #[expect(clippy::disallowed_methods, reason = "time is what this is about, and the thread is the test's own")]
        std::thread::sleep(Duration::from_secs(after_s).saturating_sub(begun.elapsed()));
        to.write_all(event(name).as_bytes()).unwrap();
        expect(&mut from, "RESULT 2\nOKREADY\n");
    };
    // Seconds from what would end it, for a machine that is busy elsewhere.
    say_at(3, "TICK_60");
    say_at(7, "TICK_3600");
    assert_eq!(ear.join().unwrap(), End::Deaf);
}
