//! A real Janus, and speakers in plain RTP.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use roger::audio::Sender;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::process::{Process, Program};
use crate::support::{PATIENCE, eventually, ports};

const MODULES: &str = "/usr/lib/x86_64-linux-gnu/janus";
const EVENT_HANDLERS: [&str; 6] = ["gelfevh", "mqttevh", "nanomsgevh", "rabbitmqevh", "sampleevh", "wsevh"];

/// A janus that records into a folder.
pub struct Janus {
    process: Process,
    url: String,
    http: reqwest::Client,
    recordings: PathBuf,
    _folder: TempDir,
}

/// Somebody in a room, with a session of its own.
pub struct Speaker<'a> {
    janus: &'a Janus,
    session: String,
    handle: String,
    pub voice: Sender,
    /// Where Janus hears.
    pub ear: SocketAddr,
}

impl Janus {
    pub async fn start(recordings: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("roger-janus-").tempdir().unwrap();
        let path = folder.path().display();
        let (port, rtp) = (ports::free(), ports::free());
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        let handlers = EVENT_HANDLERS.map(|handler| format!("libjanus_{handler}.so")).join(",");
        write(
            "janus.jcfg",
            format!(
                "general: {{ configs_folder=\"{path}\" plugins_folder=\"{MODULES}/plugins\" transports_folder=\"{MODULES}/transports\" \
                 events_folder=\"{MODULES}/events\" loggers_folder=\"{MODULES}/loggers\" debug_level=4 debug_colors=false session_timeout=60 \
                 recordings_tmp_ext=\"tmp\" }}\nmedia: {{ rtp_port_range=\"{rtp}-{}\" }}\nnat: {{ full_trickle=true }}\n\
                 transports: {{ disable=\"libjanus_rabbitmq.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_websockets.so\" }}\n\
                 events: {{ broadcast=false disable=\"{handlers}\" }}\n",
                rtp.saturating_add(100),
            ),
        );
        // Below the ports that tests reserve: a range cannot be.
        let first = 9_000 + (port % 20) * 100;
        write(
            "janus.plugin.audiobridge.jcfg",
            format!(
                "general: {{ rtp_port_range=\"{first}-{}\" local_ip=\"127.0.0.1\" record_tmp_ext=\"tmp\" string_ids=true }}\n",
                first + 99
            ),
        );
        write(
            "janus.transport.http.jcfg",
            format!(
                "general: {{ json=\"compact\" base_path=\"/janus\" http=true port={port} ip=\"127.0.0.1\" https=false }}\n\
                 admin: {{ admin_http=false }}\n"
            ),
        );
        let program = Program {
            name: "janus".to_owned(),
            executable: "janus".into(),
            package: "janus",
            args: ["-F", &path.to_string(), "-o"].map(str::to_owned).to_vec(),
            env: Vec::new(),
            log: folder.path().join("janus.log"),
            show: Vec::new(),
        };
        let mut janus = Self {
            process: Process::start(program),
            url: format!("http://127.0.0.1:{port}/janus"),
            http: client(),
            recordings: recordings.to_owned(),
            _folder: folder,
        };
        janus.wait_until_it_answers().await;
        janus
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    async fn wait_until_it_answers(&mut self) {
        let (http, url) = (self.http.clone(), format!("{}/info", self.url));
        eventually("Janus answers", async || http.get(&url).send().await.ok()).await;
        assert!(self.process.ended().is_none(), "Janus ended");
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.http.post(format!("{}{path}", self.url)).json(body).send().await.unwrap().json().await.unwrap()
    }

    /// Somebody in the room of a group, which is made when it is not there.
    pub async fn speaker(&self, user: u64, group: u64) -> Speaker<'_> {
        let session = number(&self.post("", &json!({ "janus": "create", "transaction": "c" })).await);
        let attach = json!({ "janus": "attach", "plugin": "janus.plugin.audiobridge", "transaction": "a" });
        let handle = number(&self.post(&format!("/{session}"), &attach).await);
        let voice = Sender::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let port = voice.local_addr().unwrap().port();
        let mut speaker = Speaker { janus: self, session, handle, voice, ear: "127.0.0.1:1".parse().unwrap() };
        let room = group.to_string();
        let create = json!({
            "request": "create", "room": room, "permanent": false, "sampling_rate": 16_000, "allow_rtp_participants": true,
            "mjrs": false, "mjrs_dir": self.recordings,
        });
        // One that is there already is as good.
        speaker.say(&create).await;
        let rtp = json!({ "ip": "127.0.0.1", "port": port, "payload_type": 111 });
        let joined = speaker.ask(&json!({ "request": "join", "room": room, "id": user.to_string(), "muted": true, "rtp": rtp })).await;
        let port = joined["rtp"]["port"].as_u64().unwrap_or_else(|| panic!("not joined: {joined}"));
        speaker.ear = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        speaker.voice.open(speaker.ear).await.unwrap();
        speaker
    }
}

impl Speaker<'_> {
    async fn say(&self, body: &Value) -> Value {
        let message = json!({ "janus": "message", "transaction": "m", "body": body });
        self.janus.post(&format!("/{}/{}", self.session, self.handle), &message).await
    }

    /// Asks for what is answered by an event, and waits for that.
    async fn ask(&self, body: &Value) -> Value {
        let answer = self.say(body).await;
        assert_eq!(answer["janus"], "ack", "{body}: {answer}");
        let begun = Instant::now();
        let poll = format!("{}/{}?maxev=1", self.janus.url, self.session);
        loop {
            let event: Value = self.janus.http.get(&poll).send().await.unwrap().json().await.unwrap();
            if event["transaction"] == "m" {
                let data = event["plugindata"]["data"].clone();
                assert!(data["error"].is_null(), "{body}: {data}");
                return data;
            }
            assert!(begun.elapsed() < PATIENCE, "no answer to {body}");
        }
    }

    /// Presses the button: from here on it is recorded.
    pub async fn press(&self) {
        self.ask(&json!({ "request": "configure", "muted": false, "record": true })).await;
    }

    /// Lets it go.
    pub async fn release(&self) {
        self.ask(&json!({ "request": "configure", "muted": true, "record": false })).await;
    }

    /// Presses, says all of it, and releases once Janus has had the time to hear the last frame.
    pub async fn burst(&mut self, packets: &[Vec<u8>]) {
        self.press().await;
        self.voice.talk(self.ear, packets.iter().map(Vec::as_slice)).await.unwrap();
        // As a person does, who lets go after the last word: nothing says that Janus heard it.
        tokio::time::sleep(Duration::from_millis(40)).await;
        self.release().await;
    }
}

fn number(answer: &Value) -> String {
    answer["data"]["id"].as_u64().unwrap_or_else(|| panic!("no id in {answer}")).to_string()
}

fn client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::new()
}
