//! Files over HTTP: who may have one, what its name may be, and when it goes.

use std::time::Duration;

use reqwest::StatusCode;

use super::{Crew, Ground, json, refusal, refused};
use crate::store::{Database, over_both};
use crate::support::apk::noise;
use crate::support::{eventually, wait_until};

over_both!(a_file_goes_to_those_of_its_topic_and_is_not_there_for_others,);

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR and the rest";

async fn a_file_goes_to_those_of_its_topic_and_is_not_there_for_others(database: &Database) {
    let ground = Ground::on(&database.url);
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[]).await;
    let token = |who| ground.token(who);
    let sent = gateway.post(&format!("/files?name=map.txt&purpose=attachment&topic={}", crew.topic()), Some(&token(&crew.neil)), PNG).await;
    let location = sent.headers()["location"].to_str().unwrap().to_owned();
    let file = json(sent, StatusCode::CREATED).await;
    assert_eq!(
        (file["name"].as_str(), file["media_type"].as_str(), file["bytes"].as_u64()),
        (Some("map.txt"), Some("image/png"), Some(PNG.len() as u64))
    );
    assert_eq!(location, format!("/files/{}", file["id"].as_str().unwrap()));

    database.store.leave_group(crew.group, crew.buzz.user, 6).await.unwrap();
    for who in [&crew.neil, &crew.buzz] {
        let answer = gateway.get(&location, Some(&token(who)), &[]).await;
        assert_eq!(answer.status(), StatusCode::OK, "{who:?}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "image/png");
        assert_eq!(header("content-disposition"), "attachment; filename=\"map.txt\"; filename*=UTF-8''map.txt");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cache-control"), "private, no-store");
        assert_eq!(answer.bytes().await.unwrap(), PNG);
    }
    // Nobody else learns that it is there: the answer is that of an id that nobody has.
    let unknown = gateway.get(&format!("/files/{}", "0".repeat(32)), Some(&token(&crew.mike)), &[]).await;
    let (status, text) = (unknown.status(), unknown.text().await.unwrap());
    assert_eq!(status, StatusCode::NOT_FOUND);
    for who in [&crew.mike, &crew.capcom, &crew.alexei] {
        let answer = gateway.get(&location, Some(&token(who)), &[]).await;
        assert_eq!((answer.status(), answer.text().await.unwrap()), (status, text.clone()), "{who:?}");
    }
    for nonsense in ["/files/..%2f..%2fetc%2fpasswd", "/files/x", "/files/"] {
        assert_eq!(gateway.get(nonsense, Some(&token(&crew.neil)), &[]).await.status(), StatusCode::NOT_FOUND, "{nonsense}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_good_token_nothing_is_taken_or_given() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[]).await;
    let path = format!("/files?name=a&purpose=attachment&topic={}", crew.topic());
    let other = Ground::new();
    for (token, reason) in
        [(None, "token_missing"), (Some("v4.public.x".to_owned()), "token_unknown"), (Some(other.token(&crew.neil)), "token_unknown")]
    {
        let expected = refusal(401, reason, "authorization");
        assert_eq!(refused(gateway.post(&path, token.as_deref(), "text").await).await, expected);
        assert_eq!(refused(gateway.get(&format!("/files/{}", "0".repeat(32)), token.as_deref(), &[]).await).await, expected);
    }
    // Nor for somebody who is not there any more.
    let token = ground.token(&crew.neil);
    ground.store().await.set_disabled(crew.neil.user, true).await.unwrap();
    assert_eq!(refused(gateway.post(&path, Some(&token), "text").await).await, refusal(401, "token_revoked", "authorization"));
    assert_eq!(ground.objects(), [""; 0]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_for_its_account_and_whoever_manages_it() {
    let ground = Ground::new();
    let store = ground.store().await;
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[]).await;
    let sent = gateway.post("/files?name=today.log&purpose=log", Some(&ground.token(&crew.neil)), "12:00 on the air\n").await;
    let file = json(sent, StatusCode::CREATED).await;
    assert_eq!(file["media_type"], "text/plain; charset=utf-8");
    let path = format!("/files/{}", file["id"].as_str().unwrap());
    for (who, status) in [(&crew.neil, 200), (&crew.capcom, 200), (&crew.root, 200), (&crew.buzz, 404), (&crew.alexei, 404)] {
        assert_eq!(gateway.get(&path, Some(&ground.token(who)), &[]).await.status().as_u16(), status, "{who:?}");
    }
    assert_eq!(store.latest_log(crew.neil.user).await.unwrap().unwrap().id.to_string(), file["id"].as_str().unwrap());
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_file_is_refused_by_name() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[]).await;
    let token = ground.token(&crew.neil);
    let topic = crew.topic();
    let attach = |name: &str, topic: &str| format!("/files?name={name}&purpose=attachment&topic={topic}");
    let name = |name: &str| (attach(name, &topic), refusal(400, "name_invalid", "name"));
    let checks = [
        name("..%2f..%2fetc%2fpasswd"),
        name("%2fetc%2fpasswd"),
        name("a%5cb"),
        name(".."),
        name("a%00b"),
        name("a%0d%0ab"),
        name("a%e2%80%aeb"),
        name(&"a".repeat(201)),
        ("/files?purpose=log".to_owned(), refusal(422, "field_missing", "name")),
        ("/files?name=a".to_owned(), refusal(422, "field_missing", "purpose")),
        ("/files?name=a&purpose=fun".to_owned(), refusal(400, "field_invalid", "purpose")),
        ("/files?name=a&purpose=attachment".to_owned(), refusal(422, "field_missing", "topic")),
        ("/files?name=a&purpose=log&topic=g:1".to_owned(), refusal(400, "field_invalid", "topic")),
        ("/files?name=%ff&purpose=log".to_owned(), refusal(400, "name_invalid", "name")),
        (attach("a", "nobody"), refusal(400, "field_invalid", "topic")),
        (attach("a", "sr:1"), refusal(400, "field_invalid", "topic")),
        (attach("a", "g:999"), refusal(403, "not_member", "topic")),
        (attach("a", &format!("u:{}", crew.alexei.user)), refusal(403, "unknown_recipient", "topic")),
        (attach("a", "u:999"), refusal(403, "unknown_recipient", "topic")),
        ("/nowhere".to_owned(), refusal(404, "not_found", "")),
    ];
    for (path, expected) in checks {
        assert_eq!(refused(gateway.post(&path, Some(&token), "text").await).await, expected, "{path}");
    }
    assert_eq!(refused(gateway.post(&attach("a", &topic), Some(&token), "").await).await, refusal(400, "body_torn", ""));
    assert_eq!(refused(gateway.get("/files", Some(&token), &[]).await).await, refusal(405, "wrong_method", ""));
    assert_eq!((ground.objects(), ground.spooled()), (vec![], vec![]));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_content_lies_there_once() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[]).await;
    let content = noise(300_000, 1);
    let mut paths = Vec::new();
    for (who, topic) in
        [(&crew.neil, crew.topic()), (&crew.buzz, format!("u:{}", crew.mike.user)), (&crew.alexei, format!("u:{}", crew.alexei.user))]
    {
        let sent =
            gateway.post(&format!("/files?name=a&purpose=attachment&topic={topic}"), Some(&ground.token(who)), content.clone()).await;
        paths.push((who, format!("/files/{}", json(sent, StatusCode::CREATED).await["id"].as_str().unwrap())));
    }
    assert_eq!(ground.objects().len(), 1, "{:?}", ground.objects());
    for (who, path) in paths {
        assert_eq!(gateway.get(&path, Some(&ground.token(who)), &[]).await.bytes().await.unwrap(), content);
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_company_has_a_quota_of_its_own() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[("gateway.tenant_bytes_max", "2500")]).await;
    let send = async |who, seed| {
        let path = "/files?name=a&purpose=log";
        gateway.post(path, Some(&ground.token(who)), noise(1_000, seed)).await
    };
    for seed in [1, 2] {
        json(send(&crew.neil, seed).await, StatusCode::CREATED).await;
    }
    assert_eq!(refused(send(&crew.mike, 3).await).await, refusal(403, "quota_exceeded", ""));
    json(send(&crew.alexei, 3).await, StatusCode::CREATED).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_ends_with_its_time_and_its_content_with_the_last_of_it() {
    let ground = Ground::new();
    let store = ground.store().await;
    let crew = Crew::of(&ground).await;
    let (gateway, hand) = ground.start_still(&[("gateway.attachment_days", "2"), ("gateway.log_days", "1")]).await;
    let token = ground.token(&crew.neil);
    // More than sockets hold, so that the rest is still to be read from the object.
    let content = noise(24_000_000, 1);
    let log = gateway.post("/files?name=a.log&purpose=log", Some(&token), content.clone()).await;
    let log = format!("/files/{}", json(log, StatusCode::CREATED).await["id"].as_str().unwrap());
    let attached = gateway.post(&format!("/files?name=a&purpose=attachment&topic={}", crew.topic()), Some(&token), content.clone()).await;
    let attached = format!("/files/{}", json(attached, StatusCode::CREATED).await["id"].as_str().unwrap());

    hand.advance(Duration::from_secs(86_400));
    assert_eq!(gateway.get(&log, Some(&token), &[]).await.status(), StatusCode::NOT_FOUND);
    eventually("the log is swept", || async {
        // Whoever sweeps may begin to wait for the next time only now.
        hand.advance(Duration::from_secs(1));
        store.files(None, 10).await.unwrap().len().eq(&1).then_some(())
    })
    .await;
    assert_eq!(ground.objects().len(), 1, "the attachment has the content");

    let mut begun = gateway.get(&attached, Some(&token), &[]).await;
    let mut got = begun.chunk().await.unwrap().unwrap().to_vec();
    hand.advance(Duration::from_secs(86_400));
    wait_until("the content is swept", || {
        hand.advance(Duration::from_secs(1));
        ground.objects().is_empty()
    });
    assert_eq!(gateway.get(&attached, Some(&token), &[]).await.status(), StatusCode::NOT_FOUND);
    while let Some(chunk) = begun.chunk().await.unwrap() {
        got.extend_from_slice(&chunk);
    }
    assert!(got == content, "what was begun was not ended: {} of {} bytes", got.len(), content.len());
    gateway.stop().await;
}
