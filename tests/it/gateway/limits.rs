//! Uploads that are too large, too slow or too many: refused by name, and never in memory as a whole.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use reqwest::StatusCode;

use super::serving::Served;
use super::torn::{Raw, answer_of, begun};
use super::{Crew, Ground, json};
use crate::support::apk::noise;
use crate::support::wait_until;

const MIB: usize = 1_048_576;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_says_that_it_is_too_large_is_refused_unread() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[]).await;
    let raw = Raw::post(&gateway.url, "/files?name=a&purpose=log", &ground.token(&crew.neil), Some(600_000_000));
    // Not one byte of the body was sent.
    let answer = raw.read_answer();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"reason\":\"too_large\"") && answer.contains("\"field\":\"content-length\""), "{answer}");
    assert_eq!((ground.objects(), ground.spooled()), (vec![], vec![]));
    gateway.stop().await;
}

/// As the program, for its memory is what is measured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_say_its_length_is_cut_off_at_the_limit_and_was_never_in_memory() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let limit = 100 * MIB;
    let mut served = Served::start(&ground, &[("gateway.file_bytes_max", &limit.to_string())], &[]);
    let token = ground.token(&crew.neil);
    let before = served.memory_max_bytes();
    let sent = tokio::task::spawn_blocking({
        let url = served.url.clone();
        move || {
            let mut raw = Raw::post(&url, "/files?name=a&purpose=log", &token, None);
            let chunk = vec![b'x'; MIB];
            let mut sent = 0;
            // 600 MB, if the gateway took them.
            while sent < 600 * MIB && raw.send_chunk(&chunk).is_ok() {
                sent += MIB;
            }
            (sent, raw.read_answer())
        }
    });
    let (sent, answer) = sent.await.unwrap();
    assert!(sent < 200 * MIB, "{sent} bytes were taken");
    // Whoever goes on writing may not see the answer: the connection is closed over what was not read.
    assert!(answer.is_empty() || answer.contains("\"reason\":\"too_large\""), "{answer}");
    let grown = served.memory_max_bytes() - before;
    assert!(grown < 32 * MIB as u64, "memory grew by {grown} bytes");
    assert_eq!((ground.objects(), ground.spooled()), (vec![], vec![]));
    served.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[("gateway.file_bytes_max", "5000")]).await;
    let token = ground.token(&crew.neil);
    json(gateway.post("/files?name=a&purpose=log", Some(&token), noise(5_000, 1)).await, StatusCode::CREATED).await;
    let mut raw = Raw::post(&gateway.url, "/files?name=a&purpose=log", &token, None);
    raw.send_chunk(&noise(5_000, 2)).unwrap();
    raw.send_chunk(b"x").unwrap();
    let answer = raw.read_answer();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"reason\":\"too_large\""), "{answer}");
    assert_eq!(ground.objects().len(), 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_stands_still_is_given_up_and_makes_room() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[("gateway.uploads_max", "1"), ("gateway.stall_ms", "1000")]).await;
    let token = ground.token(&crew.neil);
    let raw = begun(&gateway, &token, Some(1_000)).await;
    let answer = raw.read_answer();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"reason\":\"stalled\""), "{answer}");
    let next = gateway.post("/files?name=b&purpose=log", Some(&token), "text").await;
    json(next, StatusCode::CREATED).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_nothing_is_dropped_and_makes_room() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let token = ground.token(&crew.neil);
    let unbound = ground.start(&[]).await;
    let sent = unbound.post("/files?name=a&purpose=log", Some(&token), noise(24_000_000, 1)).await;
    let id = json(sent, StatusCode::CREATED).await["id"].as_str().unwrap().to_owned();
    unbound.stop().await;
    let gateway = ground.start(&[("gateway.connections_max", "1"), ("gateway.stall_ms", "500")]).await;
    drop(gateway.http);
    let address = gateway.url.trim_start_matches("http://").to_owned();
    let asked = format!("GET /files/{id} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    // Reads nothing of what it asked for.
    let mut idle = loop_until_accepted(&address, &asked);
    idle.flush().unwrap();
    wait_until("the one connection is free again", || {
        answer_of(&address, "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").starts_with("HTTP/1.1 200 ")
    });
    gateway.shutdown.start();
    tokio::time::timeout(Duration::from_secs(10), gateway.ended).await.unwrap().unwrap().unwrap();
}

/// A connection that the gateway answers, with what was asked over it.
fn loop_until_accepted(address: &str, asked: &str) -> TcpStream {
    let mut found = None;
    wait_until("a connection is accepted", || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let answered = stream.write_all(asked.as_bytes()).is_ok() && matches!(stream.peek(&mut [0]), Ok(1));
        found = answered.then_some(stream);
        found.is_some()
    });
    found.unwrap()
}
