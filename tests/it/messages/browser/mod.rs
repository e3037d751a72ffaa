//! A dispatcher's page in a browser: gRPC-Web over HTTP/1.1, from the preflight to the heartbeat.

mod web;

use std::time::Duration;

use roger::model::TopicId;
use roger::proto::v1;

use super::radio::message;
use super::stage::Stage;
use crate::support::eventually;
use crate::support::fleet::FleetOptions;
use web::{Call, Form, ORIGIN, Part, preflight};

/// A fleet that lets the page call.
async fn stage(overrides: &[(&'static str, &str)]) -> Stage {
    let origins = format!("[{ORIGIN:?}]");
    let own = [("edge.cors_origins", origins.clone()), ("directory.cors_origins", origins)];
    let overrides = overrides.iter().map(|(key, value)| (*key, (*value).to_owned()));
    Stage::with(FleetOptions { edges: 1, overrides: own.into_iter().chain(overrides).collect(), ..FleetOptions::default() }).await
}

/// A session in a browser.
struct Page {
    edge: String,
    form: Form,
    frames: Call,
    session_id: u64,
    entries: Vec<v1::Entry>,
    follows: Vec<v1::Follow>,
}

impl Page {
    /// Subscribes with a token.
    async fn open(stage: &Stage, form: Form, token: &str, installation_id: u64) -> Self {
        let hello = v1::Hello { token: token.to_owned(), installation_id, ..v1::Hello::default() };
        let edge = stage.fleet.edge(0);
        let mut frames = Call::post(&edge, "Subscribe", form, &hello).await;
        let first = frames.next::<v1::ServerFrame>().await.message();
        let session_id = first.welcome.expect("the first frame has a welcome").session_id;
        Self { edge, form, frames, session_id, entries: first.entries, follows: first.follows }
    }

    /// Reads until `look` finds something.
    async fn until<T>(&mut self, look: impl Fn(&Self) -> Option<T>) -> T {
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let frame = self.frames.next::<v1::ServerFrame>().await.message();
            self.entries.extend(frame.entries);
            self.follows.extend(frame.follows);
        }
    }

    async fn follows(&mut self, topic: TopicId) -> v1::Follow {
        self.until(|page| page.follows.iter().find(|follow| follow.topic == Some(topic.into())).copied()).await
    }

    async fn hears(&mut self, topic: TopicId, text: &str) -> v1::Entry {
        self.until(|page| page.entries.iter().find(|entry| entry.topic == Some(topic.into()) && entry.text == text.as_bytes()).cloned())
            .await
    }

    async fn say(&self, topic: TopicId, client_seq: u64, text: &str) -> v1::ImMessagePublishResponse {
        let messages = vec![message(topic, client_seq, text)];
        let request = v1::ImMessagePublishRequest { session_id: self.session_id, messages };
        Call::post(&self.edge, "ImMessagePublish", self.form, &request).await.only().await
    }

    async fn mark(&self, topic: TopicId, place: v1::Place) -> v1::AcknowledgeResponse {
        let marks = vec![v1::Mark { topic: Some(topic.into()), place: Some(place) }];
        let request = v1::AcknowledgeRequest { session_id: self.session_id, marks };
        Call::post(&self.edge, "Acknowledge", self.form, &request).await.only().await
    }

    async fn beat(&self) -> Part<v1::HeartbeatResponse> {
        let request = v1::HeartbeatRequest { session_id: self.session_id, beat: None };
        Call::post(&self.edge, "Heartbeat", self.form, &request).await.next().await
    }
}

async fn log_in(stage: &Stage, form: Form, name: &str, installation_id: u64) -> String {
    let app = Some(v1::App { kind: v1::AppKind::Web.into(), ..v1::App::default() });
    let request = v1::LoginRequest { name: name.to_owned(), password: name.to_owned(), installation_id, app, ..Default::default() };
    let answer: v1::LoginResponse = Call::post(&stage.fleet.directory(), "Login", form, &request).await.only().await;
    answer.token
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_logs_in_and_sends_and_receives_over_grpc_web() {
    let stage = stage(&[]).await;
    let group = stage.group;
    let doors = [(stage.fleet.directory(), "Login"), (stage.fleet.edge(0), "Subscribe"), (stage.fleet.edge(0), "ImMessagePublish")];
    for (address, method) in &doors {
        let answer = preflight(address, method, ORIGIN).await;
        assert!(answer.starts_with("http/1.1 200"), "{answer}");
        assert!(answer.contains(&format!("access-control-allow-origin: {ORIGIN}")), "{answer}");
        assert!(answer.contains("x-grpc-web") && answer.contains("access-control-allow-methods: post"), "{answer}");
        let elsewhere = preflight(address, method, "https://elsewhere.example.org").await;
        assert!(!elsewhere.contains("access-control-allow-origin"), "{elsewhere}");
    }
    // One page in binary, one in text; both of the same dispatcher.
    let mut pages = Vec::new();
    for (form, installation) in [(Form::Binary, 1), (Form::Text, 2)] {
        let token = log_in(&stage, form, "capcom", installation).await;
        let request = v1::GetGroupListRequest { token: token.clone(), ..Default::default() };
        let groups: v1::GetGroupListResponse = Call::post(&stage.fleet.directory(), "GetGroupList", form, &request).await.only().await;
        assert_eq!(groups.groups.iter().map(|group| group.group_id).collect::<Vec<_>>(), [group.id()]);
        let mut page = Page::open(&stage, form, &token, installation).await;
        page.follows(group).await;
        assert!(page.frames.head().await.contains(&format!("access-control-allow-origin: {ORIGIN}")));
        pages.push((page, token));
    }
    let [(mut one, _), (mut two, token)] = <[_; 2]>::try_from(pages).ok().unwrap();
    // A radio without a browser is in the same group.
    let mut radio = stage.radio(0, "neil").await;
    let answer = one.say(group, 1, "from the first page").await;
    assert!(answer.refusals.is_empty() && answer.receipts.len() == 1 && answer.receipts[0].client_seq == 1, "{answer:?}");
    two.hears(group, "from the first page").await;
    let answer = two.say(group, 1, "from the second page").await;
    assert_eq!((answer.receipts.len(), answer.refusals.len()), (1, 0), "{answer:?}");
    one.hears(group, "from the second page").await;
    radio.hears(group, &["from the first page", "from the second page"]).await;
    radio.say(group, 1, "from the radio").await;
    one.hears(group, "from the radio").await;
    let last = two.hears(group, "from the radio").await;

    let place = v1::Place { epoch: last.epoch, seq: last.seq };
    assert!(two.mark(group, place).await.refusals.is_empty());
    two.beat().await.message();
    // A refusal within an answer, and one of a whole call, with all that a page must be able to read.
    let answer = two.say(group, 2, "").await;
    assert_eq!((answer.refusals[0].reason(), &*answer.refusals[0].field), (v1::Reason::TextEmpty, "messages[0].text"));
    let stranger = v1::HeartbeatRequest { session_id: 1, beat: None };
    for form in [Form::Binary, Form::Text] {
        let mut call = Call::post(&stage.fleet.edge(0), "Heartbeat", form, &stranger).await;
        let end = call.next::<v1::HeartbeatResponse>().await.end();
        assert!(end.contains("roger-reason") && end.contains("unknown_session") && end.contains("session_id"), "{end}");
        let exposed = call.head().await;
        assert!(exposed.contains("access-control-expose-headers:") && exposed.contains("roger-reason"), "{exposed}");
        // What is no message ends the call, and nothing else.
        let garbage = Call::post_bytes(&stage.fleet.edge(0), "Subscribe", form, b"\xff\xff\xff").await.next::<v1::ServerFrame>().await;
        assert!(garbage.end().contains("grpc-status: 13"));
    }
    // The acknowledgement counts when the page is loaded again; the page before it is told.
    eventually("the mark is known", async || {
        let follow = Page::open(&stage, Form::Text, &token, 2).await.follows(group).await;
        (follow.mark == Some(place)).then_some(())
    })
    .await;
    let close = loop {
        // Something may still come before it.
        if let Some(close) = two.frames.next::<v1::ServerFrame>().await.message().close {
            break close;
        }
    };
    assert_eq!(close.reason(), v1::Reason::Superseded);
    one.beat().await.message();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_lives_as_long_as_it_beats_and_no_longer_than_its_connection() {
    let stage = stage(&[("edge.heartbeat_interval_ms", "2000")]).await;
    let group = stage.group;
    let (mut tokens, mut pages) = (Vec::new(), Vec::new());
    for installation in 1..=3 {
        tokens.push(log_in(&stage, Form::Binary, "capcom", installation).await);
    }
    // At once, for from now on they have to beat.
    for (installation, token) in (1..).zip(tokens) {
        pages.push(Page::open(&stage, Form::Binary, &token, installation).await);
    }
    let [mut silent, beating, gone] = <[_; 3]>::try_from(pages).ok().unwrap();
    let (gone_edge, session_id) = (gone.edge.clone(), gone.session_id);
    drop(gone);
    let close = async {
        loop {
            if let Some(close) = silent.frames.next::<v1::ServerFrame>().await.message().close {
                return close;
            }
        }
    };
    let beats = async {
        let mut due = tokio::time::interval(Duration::from_millis(100));
        loop {
            due.tick().await;
            beating.beat().await.message();
            let request = v1::HeartbeatRequest { session_id, beat: None };
            drop(Call::post(&gone_edge, "Heartbeat", Form::Binary, &request).await.next::<v1::HeartbeatResponse>().await);
        }
    };
    let close: v1::Close = tokio::select! {
        close = close => close,
        () = beats => unreachable!("it beats for ever"),
    };
    assert_eq!(close.reason(), v1::Reason::HeartbeatMissed);
    assert_eq!(beating.say(group, 1, "still here").await.receipts.len(), 1);
    // Heartbeats do not keep a page whose connection is gone.
    let request = v1::HeartbeatRequest { session_id, beat: None };
    let end = Call::post(&gone_edge, "Heartbeat", Form::Binary, &request).await.next::<v1::HeartbeatResponse>().await.end();
    assert!(end.contains("unknown_session"), "{end}");
}
