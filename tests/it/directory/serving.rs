//! The door: what is served to whom, and when it closes.

use std::time::{Duration, Instant};

use prost::Message as _;
use roger::model::Reason;
use roger::proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{CREW, Ground, NO_REDIS, by_password, log_in, refused};
use crate::support::eventually;

async fn connect(url: &str) -> Option<Channel> {
    Channel::from_shared(url.to_owned()).unwrap().connect().await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_edges_serve_is_the_wrong_door() {
    let ground = Ground::new(NO_REDIS);
    let running = ground.start(&[]).await;
    let mut client = running.client().await;
    let wrong = roger::proto::status::Refused::from(Reason::WrongDoor);
    assert_eq!(refused(client.heartbeat(v1::HeartbeatRequest::default()).await), wrong);
    assert_eq!(refused(client.acknowledge(v1::AcknowledgeRequest::default()).await), wrong);
    assert_eq!(refused(client.im_message_publish(v1::ImMessagePublishRequest::default()).await), wrong);
    assert_eq!(refused(client.subscribe(v1::Hello::default()).await), wrong);
    assert_eq!(refused(client.data_publish(tokio_stream::iter([v1::ClientFrame::default()])).await), wrong);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_away_at_the_start_is_waited_for() {
    let ground = Ground::new(NO_REDIS);
    let away = ground.path().join("disk");
    let sql = format!("sqlite:{}", away.join("roger.db").display());
    let running = ground.start(&[("sql.url", &sql)]).await;
    let mut client = running.client().await;
    let first = refused(client.login(by_password("neil", "eagle")).await);
    assert_eq!(first.reason, Reason::StoreUnavailable);
    assert!(first.retry_after.is_some());
    std::fs::create_dir(&away).unwrap();
    eventually("the directory finds its store", || async {
        let refused = client.clone().login(by_password("neil", "eagle")).await.unwrap_err();
        (refused.code() == tonic::Code::Unauthenticated).then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_serve_without_redis_and_readiness_says_what_is_missing() {
    let ground = Ground::new(NO_REDIS);
    ground.apply(CREW).await.unwrap();
    let running = ground.start(&[]).await;
    log_in(&mut running.client().await, by_password("neil", "eagle")).await;
    let channel = connect(&running.url).await.unwrap();
    let status = |service: &'static str| {
        let mut health = HealthClient::new(channel.clone());
        async move { health.check(HealthCheckRequest { service: service.to_owned() }).await.ok().map(|answer| answer.into_inner().status()) }
    };
    let all = async || [status("roger.v1.TalkCloud").await, status(roger::directory::HEALTH_RELAY).await, status("").await];
    let wanted = [ServingStatus::Serving, ServingStatus::NotServing, ServingStatus::NotServing].map(Some);
    eventually("logins are served, and nothing else", async || (all().await == wanted).then_some(())).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_may_log_in_from_a_page_that_is_named() {
    let ground = Ground::new(NO_REDIS);
    ground.apply(CREW).await.unwrap();
    let running = ground.start(&[("directory.cors_origins", "https://console.example.org")]).await;
    let address = running.url.trim_start_matches("http://").to_owned();
    let ask = async |head: String, body: &[u8]| {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).to_lowercase()
    };
    let path = "/roger.v1.TalkCloud/Login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let asked = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type,x-grpc-web\r\n";
    let answer = ask(format!("OPTIONS {path}Origin: https://console.example.org\r\n{asked}\r\n"), b"").await;
    assert!(answer.starts_with("http/1.1 200") && answer.contains("access-control-allow-origin: https://console.example.org"), "{answer}");
    let answer = ask(format!("OPTIONS {path}Origin: https://elsewhere.example.org\r\n{asked}\r\n"), b"").await;
    assert!(!answer.contains("access-control-allow-origin"), "{answer}");

    let message = by_password("neil", "wrong").encode_to_vec();
    let body = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat();
    let head = format!(
        "POST {path}Origin: https://console.example.org\r\nContent-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = ask(head, &body).await;
    assert!(answer.contains("roger-reason") && answer.contains("bad_credentials"), "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stays_does_not_hold_up_the_stop() {
    let ground = Ground::new(NO_REDIS);
    let mut took = Vec::new();
    // A machine that is busy elsewhere may take longer once.
    for _ in 0..3 {
        let running = ground.start(&[]).await;
        let address = running.url.trim_start_matches("http://").to_owned();
        // Says nothing; says half of a preface; holds a stream.
        let _mute = TcpStream::connect(&address).await.unwrap();
        let mut half = TcpStream::connect(&address).await.unwrap();
        half.write_all(b"PRI * HTT").await.unwrap();
        let mut health = HealthClient::new(connect(&running.url).await.unwrap());
        let _watch = health.watch(HealthCheckRequest { service: String::new() }).await.unwrap();
        let begun = Instant::now();
        running.stop().await;
        took.push(begun.elapsed());
        // Below the grace of 6 s.
        if took.iter().any(|took| *took < Duration::from_millis(5_500)) {
            return;
        }
    }
    panic!("stopped after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_above_the_most_is_closed() {
    let ground = Ground::new(NO_REDIS);
    let running = ground.start(&[("directory.connections_max", "8")]).await;
    let address = running.url.trim_start_matches("http://").to_owned();
    // All anew each time: that of the start may still be there, and take the place of one of the eight.
    let held = eventually("a ninth connection is closed", || async {
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(TcpStream::connect(&address).await.unwrap());
        }
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let read = tokio::time::timeout(Duration::from_millis(300), stream.read_u8()).await;
        matches!(read, Ok(Err(_))).then_some(held)
    })
    .await;
    drop(held);
    eventually("there is room again", || async {
        HealthClient::new(connect(&running.url).await?).check(HealthCheckRequest::default()).await.ok()
    })
    .await;
    running.stop().await;
}
