//! What is drawn on terminals of many sizes, of which some are none.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::keys::press;
use super::look::{Job, Look};
use super::view::View;
use crate::broker::{GroupState, LiveEdge, ShardLook, StreamId, StreamLook};
use crate::model::AlertId;

/// 2026-11-29 14:02:00 UTC.
const NOW_MS: u64 = 1_795_960_920_000;

fn look(at_ms: u64, commit: u64, waits: u64) -> Look {
    let shard = |shard| ShardLook {
        shard,
        input: 3,
        urgent: 0,
        epoch: 2,
        commit: commit + u64::from(shard),
        archive_lag: Some(7),
        deliver: (shard != 2).then(|| "delivery-1-77".to_owned()),
        ..ShardLook::default()
    };
    let stream = |stream: &str, length, workers: &[&str]| StreamLook {
        stream: stream.to_owned(),
        length,
        oldest_ms: (length > 0).then_some(125_000),
        groups: vec![GroupState { name: "g".to_owned(), consumers: 1, pending: 2, lag: None, given: StreamId(0, 0), read: None }],
        workers: workers.iter().map(|worker| (*worker).to_owned()).collect(),
    };
    let edge = |name: &str, sessions| LiveEdge {
        boot: format!("{name}-boot"),
        name: name.to_owned(),
        listen: "10.0.0.1:7700".to_owned(),
        sessions,
    };
    let job =
        |job: &str, workers: &[&str]| Job { job: job.to_owned(), workers: workers.iter().map(|worker| (*worker).to_owned()).collect() };
    Look {
        at_ms,
        edges: vec![edge("oslo-1", 812), edge("oslo-2", 30)],
        jobs: vec![job("deliver", &["delivery-1-77", "delivery-2-78"]), job("archive", &[]), job("sos", &["sos-1-80"])],
        shards: (0..4).map(shard).collect(),
        streams: vec![stream("fix", waits, &[]), stream("sos", 0, &["sos-1-80"])],
        paused: Vec::new(),
        dead: 5,
        alerts: Some(vec![AlertId(41), AlertId(43)]),
        sos_away: None,
    }
}

fn view() -> View {
    let mut view = View::new(2);
    view.take(NOW_MS - 4_000, Ok(look(NOW_MS - 4_000, 100, 12)));
    view.take(NOW_MS - 2_000, Ok(look(NOW_MS - 2_000, 125, 9)));
    view
}

fn drawn(view: &mut View, width: u16, height: u16) -> (Vec<String>, Terminal<TestBackend>) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame, NOW_MS)).unwrap();
    let buffer = terminal.backend().buffer();
    let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
    let rows = cells.chunks(usize::from(width)).map(|row| row.concat().trim_end().to_owned()).collect();
    (rows, terminal)
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

#[test]
fn a_large_terminal_shows_everything() {
    let (rows, _) = drawn(&mut view(), 200, 60);
    let expected = [
        "roger top   14:02:00 UTC   every 2 s",
        "2 SOS open, 5 dead letters, 2 edges with 842 sessions, 4 shards",
        "SOS 41, 43: `roger alerts` says whose",
        "5 dead letters: `roger dead list` says why",
        "",
        "EDGE    SESSIONS  ADDRESS",
        "oslo-1       812  10.0.0.1:7700",
        "oslo-2        30  10.0.0.1:7700",
        "",
        "JOB      WORKERS  WHO",
        "deliver        2  delivery-1-77, delivery-2-78",
        "archive        0  nobody",
        "sos            1  sos-1-80",
        "",
        "SHARD  IN  URGENT  COMMIT  COMMITS/S  NOT IN SQL  OWNER",
        "0       3       0   2-125       12.5           7  delivery-1-77",
        "1       3       0   2-126       12.5           7  delivery-1-77",
        "2       3       0   2-127       12.5           7  nobody",
        "3       3       0   2-128       12.5           7  delivery-1-77",
        "",
        "STREAM  LENGTH  PENDING     OLDEST  GROWTH/S  WORKERS",
        "fix          9        2  2 min 5 s      -1.5  nobody",
        "sos          0        2                 +0.0  sos-1-80",
    ];
    assert_eq!(rows[..expected.len()], expected);
    assert!(rows[expected.len()..59].iter().all(String::is_empty) && rows[59] == "q end   p pause   ? help", "{rows:#?}");
}

#[test]
fn a_small_terminal_shows_a_part_that_moves() {
    let mut view = view();
    let (rows, _) = drawn(&mut view, 80, 12);
    assert_eq!(
        (rows[2].as_str(), rows[11].as_str()),
        ("SOS 41, 43: `roger alerts` says whose", "q end   p pause   ? help   lines 1 to 9 of 21")
    );
    let mut at = |code| {
        assert!(!press(&mut view, key(code)));
        let (rows, _) = drawn(&mut view, 80, 12);
        rows[11].split_once("lines ").unwrap().1.to_owned()
    };
    assert_eq!(at(KeyCode::Down), "2 to 10 of 21");
    assert_eq!(at(KeyCode::PageDown), "10 to 18 of 21");
    assert_eq!(at(KeyCode::PageDown), "13 to 21 of 21");
    assert_eq!(at(KeyCode::Down), "13 to 21 of 21");
    assert_eq!(at(KeyCode::Up), "12 to 20 of 21");
    assert_eq!(at(KeyCode::PageUp), "4 to 12 of 21");
    assert_eq!(at(KeyCode::Home), "1 to 9 of 21");
    assert_eq!(at(KeyCode::Up), "1 to 9 of 21");
    assert_eq!(at(KeyCode::End), "13 to 21 of 21");
    // The usual size has room for all of a fleet this small.
    assert_eq!(drawn(&mut view, 80, 24).0[23], "q end   p pause   ? help");
}

#[test]
fn no_size_is_too_small() {
    let mut view = view();
    for width in (1..30).chain([79, 80, 500]) {
        for height in (1..30).chain([200]) {
            for help in [false, true] {
                (view.help, view.first) = (help, 7);
                drawn(&mut view, width, height);
            }
        }
    }
    drawn(&mut View::default(), 1, 1);
    assert_eq!(drawn(&mut View::default(), 80, 24).0[1], "waiting for Redis");
}

#[test]
fn without_redis_the_last_figures_stay_in_grey_with_since_when() {
    let mut view = view();
    let row_of = |rows: &[String], text: &str| rows.iter().position(|row| row.contains(text)).unwrap() as u16;
    let colour = |view: &mut View, text: &str| {
        let (rows, terminal) = drawn(view, 120, 40);
        terminal.backend().buffer()[(0, row_of(&rows, text))].fg
    };
    assert_eq!((colour(&mut view, "archive "), colour(&mut view, "deliver ")), (Color::Red, Color::Reset));
    view.take(NOW_MS - 61_000, Err("Connection refused".to_owned()));
    view.take(NOW_MS, Err("Connection refused again".to_owned()));
    let (rows, _) = drawn(&mut view, 120, 40);
    assert_eq!(rows[1], "Redis does not answer since 14:00:59, for 1 min 1 s; figures of 14:01:58: Connection refused again");
    assert_eq!((colour(&mut view, "archive "), colour(&mut view, "deliver ")), (Color::DarkGray, Color::DarkGray));
    assert!(rows.iter().any(|row| row.contains("delivery-1-77")));
    // What happened meanwhile is in no second.
    view.take(NOW_MS, Ok(look(NOW_MS, 900, 9)));
    let (rows, _) = drawn(&mut view, 120, 40);
    assert!(
        rows[1].starts_with("2 SOS open") && rows[usize::from(row_of(&rows, "2-900"))].contains(&format!("2-900{:>23}", 7)),
        "{rows:#?}"
    );
}

#[test]
fn keys_do_what_the_help_says() {
    let mut view = view();
    assert!(!press(&mut view, key(KeyCode::Char('p'))) && view.paused);
    assert_eq!(drawn(&mut view, 80, 24).0[0], "roger top   14:02:00 UTC   every 2 s, paused");
    assert!(!press(&mut view, key(KeyCode::Char('p'))) && !view.paused);
    press(&mut view, key(KeyCode::Char('?')));
    let (rows, _) = drawn(&mut view, 80, 24);
    assert!(rows[2].starts_with("q, Esc, Ctrl-C") && !rows.iter().any(|row| row.contains("SHARD")), "{rows:#?}");
    assert!(!press(&mut view, key(KeyCode::Char('?'))) && !view.help);
    assert!(!press(&mut view, key(KeyCode::Char('c'))));
    let ends = [key(KeyCode::Char('q')), key(KeyCode::Esc), KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)];
    assert!(ends.into_iter().all(|key| press(&mut view, key)));
}

#[test]
fn an_epoch_that_began_has_no_rate_and_a_missing_redis_of_alerts_is_told() {
    let mut view = view();
    let mut next = look(NOW_MS, 3, 9);
    next.shards.iter_mut().for_each(|shard| shard.epoch = 3);
    (next.alerts, next.sos_away) = (None, Some("no route".to_owned()));
    view.take(NOW_MS, Ok(next));
    let text = view.text();
    assert!(text.starts_with("The Redis of sos.redis_url does not answer: no route\n5 dead letters"), "{text}");
    assert!(text.contains(&format!("\n0       3       0     3-3{:>23}  delivery-1-77\n", 7)), "{text}");
}
