//! How late talk comes: what Janus puts onto its list, at the last one in a room; and the floor, from the button until its grant.
//!
//! One behind the other, with nothing else to do. The talker has a seat at a private Janus, which is what a grant waits for.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};

use super::super::error::Error;
use super::super::fresh::Device;
use super::super::output::note;
use super::load::Bench;
use super::report::{Findings, Latencies};
use super::sos::latencies;
use super::spawn::until;
use crate::client::{Body, Event, FloorWhat, Media, Session};
use crate::model::{GroupId, UserId};

/// Between two of each.
const REST: Duration = Duration::from_millis(20);
/// How much of the floor waits to be heard.
const FLOOR_MAX: usize = 1_024;
/// What is not measured yet.
const WARM: u32 = 20;

/// How late talk comes.
#[derive(Debug, Default, Serialize)]
pub(super) struct Talk {
    /// From the push onto Janus's list until the last one in the room has it.
    pub(super) announced: Latencies,
    /// From the button until the talker is told, the microphone at Janus being open by then.
    pub(super) granted: Latencies,
    /// Presses that were not granted.
    pub(super) refused: u64,
}

/// Sizes of the parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) members: u32,
    pub(super) bursts: u32,
    pub(super) presses: u32,
}

/// How many have heard each burst, by its file, and when the last of them did.
#[derive(Debug, Default)]
struct Ear {
    heard: Mutex<HashMap<String, (u32, Instant)>>,
    came: Notify,
}

impl Ear {
    fn hear(&self, event: &Event) {
        let Event::Entry(entry) = event else { return };
        let Body::Talk(talk) = &entry.body else { return };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = heard.entry(talk.file.clone()).or_insert((0, Instant::now()));
        *heard = (heard.0 + 1, Instant::now());
        self.came.notify_waiters();
    }

    /// When so many had heard it; `None` when that was not within the time.
    async fn wait(&self, file: &str, count: u32, within: Duration) -> Option<Instant> {
        let waiting = async {
            loop {
                let came = self.came.notified();
                tokio::pin!(came);
                came.as_mut().enable();
                let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(file).copied();
                if let Some((_, at)) = heard.filter(|(heard, _)| *heard >= count) {
                    return at;
                }
                came.await;
            }
        };
        tokio::time::timeout(within, waiting).await.ok()
    }
}

/// A room with all who are in it.
struct Room {
    group: GroupId,
    talker: UserId,
    members: u32,
    sessions: Vec<Session>,
    ear: Arc<Ear>,
    /// What the talker is told of the floor.
    floor: mpsc::Receiver<FloorWhat>,
}

impl Bench<'_> {
    pub(super) async fn talk(&self, sizes: Sizes) -> Result<Findings, Error> {
        let devices = self.devices(sizes.members.max(2)).await?;
        let users: Vec<UserId> = devices.iter().map(|device| device.user).collect();
        let group = self.fresh.group("talk", &users).await?;
        self.fresh.relayed(self.within).await?;
        let mut room = self.room(group, &devices).await?;
        note(&format!("bench: {} bursts to a room of {}", sizes.bursts, room.members));
        self.announce(&room, "warm", WARM).await?;
        let announced = latencies(self.announce(&room, "bench", sizes.bursts).await?);
        note(&format!("bench: {} presses", sizes.presses));
        let _socket = self.sit(&room).await?;
        let (_, unready) = room.press(WARM, self.within).await;
        let (granted, refused) = room.press(sizes.presses, self.within).await;
        if unready + refused > 0 {
            note(&format!("bench: {refused} presses were not granted, and {unready} before it was measured"));
        }
        let settings = BTreeMap::from([
            ("members", u64::from(room.members)),
            ("bursts", u64::from(sizes.bursts)),
            ("presses", u64::from(sizes.presses)),
        ]);
        let talk = Talk { announced, granted: latencies(granted), refused };
        Ok(Findings { bench: "talk", settings, talk: Some(talk), ..Findings::default() })
    }

    async fn room(&self, group: GroupId, devices: &[Device]) -> Result<Room, Error> {
        let (ear, (told, floor)) = (Arc::new(Ear::default()), mpsc::channel(FLOOR_MAX));
        let mut sessions = Vec::new();
        for (number, device) in devices.iter().enumerate() {
            let (hearing, progress, told) = (ear.clone(), self.progress.clone(), (number == 0).then(|| told.clone()));
            sessions.push(self.open(number, device, 1, move |events| {
                for event in events.drain(..) {
                    hearing.hear(&event);
                    progress.note(&event);
                    if let (Event::Floor(event), Some(told)) = (event, &told) {
                        // Nobody listens before anybody presses; and a press hears less than there is room for.
                        let _unheard = told.try_send(event.what);
                    }
                }
            })?);
        }
        self.connected(sessions.len() as u64, 2 * sessions.len() as u64).await?;
        for session in &sessions {
            session.enter(group).await?;
        }
        self.connected(sessions.len() as u64, 3 * sessions.len() as u64).await?;
        Ok(Room { group, talker: devices[0].user, members: sessions.len() as u32, sessions, ear, floor })
    }

    /// Pushes bursts as Janus does, one behind the other; how long each took.
    async fn announce(&self, room: &Room, name: &str, count: u32) -> Result<Vec<Duration>, Error> {
        let (redis, mut took) = (self.redis()?, Vec::new());
        for number in 0..count {
            let file = format!("{name}/{number}.opus");
            let item = json!({
                "uid": room.talker.to_string(), "m_type": "ptt", "md5": format!("{name}-{number}"), "grp_id": room.group.to_string(),
                "file_path": file, "timestamp": (self.now_ms() / 1_000).to_string(), "duration": "1500",
            });
            let item = json!({ "msg_type": 1, "ip": "127.0.0.1", "ptt_msg": item }).to_string();
            let begun = Instant::now();
            redis.say_talk(&self.talk_list(), item.as_bytes()).await?;
            let heard = room.ear.wait(&file, room.members, self.within).await;
            let late = || Error::Late { what: format!("the burst {file} at everybody in the room"), seconds: self.within.as_secs() };
            took.push(heard.ok_or_else(late)?.saturating_duration_since(begun));
            tokio::time::sleep(REST).await;
        }
        Ok(took)
    }

    /// Gives the talker a seat; the socket is theirs.
    async fn sit(&self, room: &Room) -> Result<UdpSocket, Error> {
        let failed = |source| Error::File { path: "a UDP socket".into(), source };
        let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.map_err(failed)?;
        let own = Media::Rtp(socket.local_addr().map_err(failed)?);
        // The bridge to Janus may have begun after all others.
        let seated = async || room.sessions[0].join_voice(room.group, own.clone()).await.is_ok();
        until(self.within, "a seat at Janus", seated).await?;
        Ok(socket)
    }
}

impl Room {
    /// Presses and lets go, one behind the other; how long each waited for its grant, and how many got none.
    async fn press(&mut self, count: u32, within: Duration) -> (Vec<Duration>, u64) {
        let (mut took, mut refused) = (Vec::new(), 0);
        for _ in 0..count {
            let begun = Instant::now();
            let Ok(asked) = self.sessions[0].ask_floor(self.group, false) else { break };
            let outcome = self.told(within, |what| match what {
                FloorWhat::Granted { request, .. } => (request == asked).then(|| Some(Instant::now())),
                FloorWhat::Denied { request, .. } | FloorWhat::Revoked { request, .. } => (request == asked).then_some(None),
                _ => None,
            });
            match outcome.await.flatten() {
                Some(at) => took.push(at.saturating_duration_since(begun)),
                None => refused += 1,
            }
            self.sessions[0].release_floor(self.group);
            self.told(within, |what| (what == FloorWhat::Idle).then_some(())).await;
            tokio::time::sleep(REST).await;
        }
        (took, refused)
    }

    async fn told<T>(&mut self, within: Duration, of_interest: impl Fn(FloorWhat) -> Option<T>) -> Option<T> {
        let hearing = async {
            loop {
                if let Some(found) = of_interest(self.floor.recv().await?) {
                    return Some(found);
                }
            }
        };
        tokio::time::timeout(within, hearing).await.ok().flatten()
    }
}
