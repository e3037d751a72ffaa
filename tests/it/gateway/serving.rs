//! The gateway as a program: ready when it can work, and gone when it is asked to go.

use std::fs;

use reqwest::StatusCode;

use super::torn::Raw;
use super::{Crew, Ground, client, json};
use crate::support::eventually;
use crate::support::fleet::{binary, config_text};
use crate::support::process::{Process, Program};

/// A gateway as a process of its own.
pub(super) struct Served {
    pub(super) url: String,
    process: Process,
}

impl Served {
    /// Starts one over a ground, with further keys and environment, and waits until it is ready.
    pub(super) fn start(ground: &Ground, changes: &[(&'static str, &str)], env: &[(&str, &str)]) -> Self {
        let keys = ground.keys(changes);
        let listen = keys.iter().rev().find(|(key, _)| *key == "gateway.listen").unwrap().1.clone();
        let quoted = |value: &str| if value.parse::<u64>().is_ok() { value.to_owned() } else { format!("{value:?}") };
        let config = ground.path("roger.toml");
        fs::write(&config, config_text(keys.iter().map(|(key, value)| (*key, quoted(value))))).unwrap();
        let program = Program {
            name: "gateway".to_owned(),
            executable: binary("gateway"),
            package: "",
            args: vec!["--config".to_owned(), config.display().to_string()],
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            log: ground.path("gateway.log"),
            show: vec![config],
        };
        let mut served = Self { url: format!("http://{listen}"), process: Process::start(program) };
        served.process.wait_for_log("health: ready");
        served
    }

    /// The most memory it ever had.
    pub(super) fn memory_max_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    }

    pub(super) fn log(&self) -> String {
        self.process.log()
    }

    pub(super) fn stop(&mut self) {
        assert_eq!(self.process.terminate().code(), Some(0), "{}", self.process.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_within_its_grace_and_ends_what_it_has_begun() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let mut served = Served::start(&ground, &[("gateway.uploads_max", "1"), ("shutdown.grace_ms", "9000")], &[]);
    let token = ground.token(&crew.neil);
    let mut raw = eventually("an upload has begun", async || {
        let mut raw = Raw::post(&served.url, "/files?name=a&purpose=log", &token, Some(8));
        raw.send(b"half").ok()?;
        // While it is under way nobody else finds room.
        let other = client().post(format!("{}/files?name=b&purpose=log", served.url)).bearer_auth(&token).body("text").send();
        (other.await.unwrap().status() == StatusCode::SERVICE_UNAVAILABLE && !raw.is_answered()).then_some(raw)
    })
    .await;
    let health = client().get(format!("{}/healthz", served.url)).send().await.unwrap();
    assert_eq!(json(health, StatusCode::OK).await, serde_json::json!({ "sql": true, "objects": true }));
    served.process.signal(nix::sys::signal::Signal::SIGTERM);
    served.process.wait_for_log("stopping");
    raw.send(b"half").unwrap();
    let answer = raw.read_answer();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(served.process.wait().code(), Some(0), "{}", served.process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_not_ready_while_objects_cannot_be_written() {
    let ground = Ground::new();
    // A folder where the probe's file would be: nobody can write there, not even root.
    fs::create_dir_all(ground.path("objects/health/probe/in-the-way")).unwrap();
    let keys = ground.keys(&[]);
    let flags = keys.into_iter().map(|(key, value)| (key, "--test", value)).collect();
    let sources = roger::config::Sources { flags, ..Default::default() };
    let config = roger::config::Config::load(roger::config::Program::Gateway, &sources).unwrap();
    let (url, shutdown) = (format!("http://{}/healthz", config.gateway.listen), roger::shutdown::Shutdown::manual());
    let ended = tokio::spawn(roger::gateway::run(config, roger::clock::Clock::system(), shutdown.clone()));
    let http = client();
    let ask = async || {
        let answer = http.get(&url).send().await.ok()?;
        Some((answer.status().as_u16(), answer.json::<serde_json::Value>().await.ok()?))
    };
    let seen = crate::support::eventually("SQL is there", || async { ask().await.filter(|(_, seen)| seen["sql"] == true) }).await;
    assert_eq!(seen, (503, serde_json::json!({ "sql": true, "objects": false })));
    fs::remove_dir_all(ground.path("objects/health/probe")).unwrap();
    crate::support::eventually("it is ready", || async { ask().await.filter(|(status, _)| *status == 200) }).await;
    shutdown.start();
    ended.await.unwrap().unwrap();
}
