//! `roger sessions`.

use std::time::Duration;

use roger::broker::EdgeBeat;
use roger::clock::Clock;
use roger::model::{InstallationId, SessionId, UserKind};
use roger::session::Presence;
use serde_json::Value;

use super::{SHARDS, Site, account};

/// What a listing says, as `edge/name/installation`.
fn said(answer: &Value) -> Vec<String> {
    let line = |line: &Value| format!("{}/{}/{}", line["edge_name"], line["name"], line["installation"]).replace('"', "");
    answer["sessions"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_are_listed_by_edge_with_names_and_filters() {
    let site = Site::new();
    let (store, redis) = (site.store().await, site.broker());
    let tenant = store.ensure_tenant("Acme").await.unwrap().id();
    let now_ms = Clock::system().now_ms();
    for name in ["east", "west"] {
        let beat = EdgeBeat { boot: format!("{name}-1"), name: name.to_owned(), sessions: 3, ..EdgeBeat::default() };
        redis.beat_edge(&beat, now_ms, Duration::from_secs(600)).await.unwrap();
    }
    for number in 0..6_u64 {
        let user = account(&store, tenant, &format!("radio{number}")).await;
        let edge = if number % 2 == 0 { "east" } else { "west" };
        let (installation, session) = (InstallationId(number + 10), SessionId(number + 100));
        let presence = Presence::new(user, installation, session, &format!("{edge}-1"), edge, now_ms - 5_000);
        presence.open(&redis, SHARDS.into(), UserKind::Device, now_ms + 60_000).await.unwrap();
    }

    let all = site.roger(&["sessions", "--json"]).succeeded().json();
    let expected = ["east/radio0/10", "east/radio2/12", "east/radio4/14", "west/radio1/11", "west/radio3/13", "west/radio5/15"];
    assert_eq!(said(&all), expected);
    assert_eq!((&all["sessions_total"], &all["more"]), (&6.into(), &false.into()));
    assert_eq!(all["edges"].as_array().unwrap().len(), 2);
    let first = &all["sessions"][0];
    assert_eq!((&first["since_ms"], &first["deadline_ms"]), (&(now_ms - 5_000).into(), &(now_ms + 60_000).into()));

    let of = |args: &[&str]| said(&site.roger(&[&["sessions", "--json"], args].concat()).succeeded().json());
    assert_eq!(of(&["--edge", "west"]), expected[3..]);
    assert_eq!(of(&["--edge", "north"]), [""; 0]);
    let user = first["user"].to_string();
    assert_eq!(of(&["--user", &user]), expected[..1]);
    assert_eq!(of(&["--user", "radio3"]), expected[4..5]);
    assert_eq!(of(&["--user", "radio3", "--edge", "east"]), [""; 0]);
    assert_eq!(site.roger(&["sessions", "--user", "nobody"]).code, 64);

    let some = site.roger(&["sessions", "--json", "--limit", "4"]).succeeded().json();
    assert_eq!((said(&some).len(), &some["more"]), (4, &true.into()));
    let exact = site.roger(&["sessions", "--json", "--limit", "6"]).succeeded().json();
    assert_eq!((said(&exact).len(), &exact["more"]), (6, &false.into()));
    let text = site.roger(&["sessions", "--limit", "4"]).succeeded().stdout;
    assert!(text.contains("4 listed of 6 sessions in all. More match"), "{text}");

    // Without SQL ids stand alone.
    let answer = site.roger_with(&["sessions", "--json"], &[("ROGER_SQL_URL", "sqlite:/nonexistent/roger.db")]).succeeded();
    assert_eq!(said(&answer.json())[0], "east/null/10");
    assert!(answer.stderr.contains("names are not shown"), "{}", answer.stderr);

    // What lapsed and was not swept yet is told as what it is.
    let late = Presence::new(account(&store, tenant, "late").await, InstallationId(1), SessionId(1), "west-1", "west", now_ms);
    late.open(&redis, SHARDS.into(), UserKind::Device, now_ms - 90_000).await.unwrap();
    let text = site.roger(&["sessions", "--user", "late"]).succeeded().stdout;
    assert!(text.contains("s ago"), "{text}");
}
