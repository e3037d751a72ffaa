//! `roger talk`: into a room, to a seat by plain RTP, and to the floor; or to the gateway, as a recording.

use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;

use super::args;
use super::context::Context;
use super::error::Error;
use super::http::Gateway;
use super::output::note;
use super::radio;
use super::state::State;
use crate::audio::{Encoder, FRAME_MS, OggOpus, Pcm, Sender};
use crate::client::{self, Acknowledge, Event, FloorWhat, Media, Session};
use crate::model::{FloorRequestId, GrantNumber, GroupId, TopicKind};
use crate::retry::ErrorClass;

/// The tone, hertz.
const TONE_HZ: f32 = 440.0;
/// Before a call that failed for now is made again.
const AGAIN: Duration = Duration::from_millis(250);
/// How long the last packets may be on their way: the microphone closes behind them.
const ARRIVAL: Duration = Duration::from_millis(2 * FRAME_MS);
/// How long the room may take to say that the floor is somebody else's or nobody's.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// What is said in a burst.
struct Speech {
    what: String,
    packets: Vec<Vec<u8>>,
}

/// A burst as it was said.
#[derive(Serialize)]
struct Burst {
    said: String,
    group_id: GroupId,
    grant: GrantNumber,
    /// From the press until the floor was granted.
    waited_ms: u64,
    /// From the first packet until the last one was over.
    talked_ms: u64,
}

/// A session with a seat, or on its way to one.
struct OnAir {
    session: Session,
    events: Receiver<Event>,
    /// Where it is connected.
    edge: Option<String>,
    /// In whose room it is; 0 for none, or none yet.
    room: GroupId,
    sender: Option<Sender>,
    /// Where the media server listens for it; `None` without a seat.
    to: Option<SocketAddr>,
}

pub(super) async fn talk(context: &Context, args: args::Talk) -> Result<(), Error> {
    let speeches = speeches(&args)?;
    let state = State::chosen(args.who.account.as_deref())?;
    let _alone = state.lock()?;
    let wanted = match &args.group {
        Some(group) => Some(radio::find_group(&state, group).await?),
        None => None,
    };
    if args.upload {
        return upload(context, &args, &state, wanted, &speeches).await;
    }
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|source| Error::File { path: "the handler of SIGINT".into(), source })?;
    // Entries are left to `listen`: nothing is acknowledged here.
    let (session, events) = radio::open(context, &state, &args.who, Acknowledge::Explicit).await?;
    let mut air = OnAir { session, events, edge: None, room: GroupId(0), sender: None, to: None };
    let done = tokio::select! {
        done = air.say(context, &args, wanted, &speeches) => done,
        _ = interrupt.recv() => {
            note("roger: interrupted: letting go");
            Ok(())
        }
    };
    air.give_back().await;
    state.save_memory(&air.session.close().await)?;
    done
}

/// Hands everything to the gateway, for the room that the account is in.
async fn upload(context: &Context, args: &args::Talk, state: &State, wanted: Option<GroupId>, speeches: &[Speech]) -> Result<(), Error> {
    let (session, events) = radio::open(context, state, &args.who, Acknowledge::Explicit).await?;
    let mut air = OnAir { session, events, edge: None, room: GroupId(0), sender: None, to: None };
    let entered = tokio::time::timeout(args.within, air.enter(wanted)).await;
    let entered = entered.unwrap_or_else(|_| Err(Error::Late { what: air.lacks(wanted).to_owned(), seconds: args.within.as_secs() }));
    state.save_memory(&air.session.close().await)?;
    entered?;
    let gateway = Gateway::open(context, &args.door, &args.who).await?;
    for (at, speech) in speeches.iter().enumerate() {
        if at > 0 {
            tokio::time::sleep(args.pause).await;
        }
        let failed = |source| Error::File { path: "a file for what is said".into(), source };
        let file = tempfile::NamedTempFile::new().map_err(failed)?;
        OggOpus { packets: speech.packets.clone() }.write(&file).map_err(failed)?;
        let (group, burst, said) = (air.room.to_string(), format!("{:032x}", rand::random::<u128>()), context.clock.now_ms().to_string());
        let query = [("group", group.as_str()), ("burst", &burst), ("said_ms", &said)];
        let begun = Instant::now();
        let stored = loop {
            match gateway.upload(&["talk"], &query, file.path()).await {
                // SQL learns of rooms a moment later.
                Err(Error::Refused { reason, .. }) if reason == "not_in_room" && begun.elapsed() < args.within => {
                    tokio::time::sleep(AGAIN).await
                }
                stored => break stored?,
            }
        };
        context.out.answer(&stored, |stored| {
            format!("Handed {} over for the room of g:{group}: {} ms, file {}.", speech.what, stored["duration_ms"], stored["id"])
        });
    }
    Ok(())
}

/// Reads what is to be said before anybody waits for it.
fn speeches(args: &args::Talk) -> Result<Vec<Speech>, Error> {
    let encoded = |what: String, sound: &Pcm| Ok(Speech { what, packets: Encoder::packets(sound).map_err(Error::Codec)? });
    if let Some(seconds) = args.tone {
        return Ok(vec![encoded(format!("a tone of {seconds} s"), &Pcm::tone(TONE_HZ, u64::from(seconds) * 1_000))?]);
    }
    let read = |path: &std::path::PathBuf| {
        let sound = Pcm::read_wav(path).map_err(|source| Error::Wav { path: path.clone(), source })?;
        if sound.samples.is_empty() {
            return Err(Error::Usage(format!("{} has no sound in it", path.display())));
        }
        encoded(path.display().to_string(), &sound)
    };
    args.files.iter().map(read).collect()
}

impl OnAir {
    async fn say(&mut self, context: &Context, args: &args::Talk, wanted: Option<GroupId>, speeches: &[Speech]) -> Result<(), Error> {
        for (at, speech) in speeches.iter().enumerate() {
            if at > 0 {
                self.rest(args.pause).await?;
            }
            if self.to.is_none() {
                let seconds = args.within.as_secs();
                let seated = tokio::time::timeout(args.within, self.sit(wanted, args.rtp_ip)).await;
                seated.map_err(|_| Error::Late { what: self.lacks(wanted).to_owned(), seconds })??;
            }
            let burst = self.burst(speech, args.emergency).await?;
            context.out.answer(&burst, |burst| {
                let Burst { said, group_id, grant, waited_ms, talked_ms } = burst;
                format!("Said {said} in the room of g:{group_id} by grant {grant}: waited {waited_ms} ms, talked {talked_ms} ms.")
            });
        }
        Ok(())
    }

    /// What did not come in time.
    fn lacks(&self, wanted: Option<GroupId>) -> &'static str {
        match self.edge {
            None => "a session with an edge",
            Some(_) if self.room.0 == 0 && wanted.is_none() => "word of the room that the account is in (`roger room` enters one)",
            Some(_) => "a seat at the media server",
        }
    }

    /// Goes into the room, and waits until it is there.
    async fn enter(&mut self, wanted: Option<GroupId>) -> Result<(), Error> {
        if let Some(group) = wanted.filter(|group| *group != self.room) {
            let session = self.session.clone();
            self.until_done(|| session.enter(group)).await?;
            self.room = group;
        }
        while self.room.0 == 0 || self.edge.is_none() {
            self.hear().await?;
        }
        Ok(())
    }

    /// Goes into the room and takes a seat there; the packet that opens the path is sent before anybody presses.
    async fn sit(&mut self, wanted: Option<GroupId>, rtp_ip: Option<IpAddr>) -> Result<(), Error> {
        self.enter(wanted).await?;
        let ip = match rtp_ip {
            Some(ip) => ip,
            None => local_ip(self.edge.as_deref().unwrap_or_default()).await?,
        };
        let own = SocketAddr::new(ip, 0);
        let failed = |what, at: SocketAddr| move |source| Error::Rtp { what, at: at.to_string(), source };
        let mut sender = Sender::bind(own).await.map_err(failed("bind a socket", own))?;
        let own = sender.local_addr().map_err(failed("bind a socket", own))?;
        let (session, group) = (self.session.clone(), self.room);
        let Media::Rtp(to) = self.until_done(|| session.join_voice(group, Media::Rtp(own))).await? else {
            return Err(Error::Usage("the fleet offers no seat by plain RTP".to_owned()));
        };
        sender.open(to).await.map_err(failed("talk", to))?;
        (self.sender, self.to) = (Some(sender), Some(to));
        Ok(())
    }

    /// Presses, waits, talks, lets go.
    async fn burst(&mut self, speech: &Speech, emergency: bool) -> Result<Burst, Error> {
        let (group_id, pressed) = (self.room, Instant::now());
        let request = self.session.ask_floor(group_id, emergency)?;
        let grant = loop {
            match self.hear().await? {
                Some(FloorWhat::Granted { request: of, grant, .. }) if of == request => break grant,
                Some(FloorWhat::Queued { request: of, position }) if of == request => {
                    note(&format!("roger: waiting for the floor of g:{group_id}, position {position}"));
                }
                Some(what) => ended(&what, request)?,
                None => {}
            }
        };
        let (waited, begun) = (pressed.elapsed(), Instant::now());
        note(&format!("roger: talking in the room of g:{group_id} by grant {grant}"));
        let (mut sender, to) = (self.sender.take(), self.to);
        let talked = {
            let talking = async {
                let (Some(sender), Some(to)) = (sender.as_mut(), to) else { return pending().await };
                let packets = speech.packets.iter().map(Vec::as_slice);
                sender.talk(to, packets).await.map_err(|source| Error::Rtp { what: "talk", at: to.to_string(), source })?;
                let talked = begun.elapsed() + Duration::from_millis(FRAME_MS);
                tokio::time::sleep(ARRIVAL).await;
                Ok::<_, Error>(talked)
            };
            tokio::pin!(talking);
            loop {
                tokio::select! {
                    talked = &mut talking => break talked?,
                    heard = self.hear() => if let Some(what) = heard? { ended(&what, request)? },
                }
            }
        };
        self.sender = sender;
        self.session.release_floor(group_id);
        self.released(grant).await?;
        let ms = |duration: Duration| duration.as_millis() as u64;
        Ok(Burst { said: speech.what.clone(), group_id, grant, waited_ms: ms(waited), talked_ms: ms(talked) })
    }

    /// Waits until the room hears that the floor is free, or the next one's: until then the goodbye could overtake the release.
    async fn released(&mut self, own: GrantNumber) -> Result<(), Error> {
        let told = async {
            loop {
                match self.hear().await? {
                    Some(FloorWhat::Idle) => return Ok(()),
                    Some(FloorWhat::Taken { grant, .. }) if grant > own => return Ok(()),
                    _ => {}
                }
            }
        };
        match tokio::time::timeout(RELEASE_TIMEOUT, told).await {
            Ok(told) => told,
            Err(_) => {
                note("roger: nothing is heard of the floor; the fleet takes it back by itself");
                Ok(())
            }
        }
    }

    /// Lets time pass, and takes in what is said of the seat meanwhile.
    async fn rest(&mut self, pause: Duration) -> Result<(), Error> {
        let end = tokio::time::sleep(pause);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                heard = self.hear() => { heard?; }
            }
        }
    }

    /// Makes a call again while it fails for now, and takes in what comes meanwhile.
    async fn until_done<T, F: Future<Output = Result<T, client::Error>>>(&mut self, mut call: impl FnMut() -> F) -> Result<T, Error> {
        let mut failed = None;
        loop {
            let calling = call();
            tokio::pin!(calling);
            let done = loop {
                tokio::select! {
                    done = &mut calling => break done,
                    heard = self.hear() => { heard?; }
                }
            };
            match done {
                Err(error) if error.class() == ErrorClass::Transient => {
                    let text = crate::worker::chain(&error);
                    if failed.as_ref() != Some(&text) {
                        note(&format!("roger: {text}; trying again"));
                    }
                    failed = Some(text);
                    self.rest(AGAIN).await?;
                }
                done => return Ok(done?),
            }
        }
    }

    /// The next event; what it says of the floor of the room, if anything.
    async fn hear(&mut self) -> Result<Option<FloorWhat>, Error> {
        match self.events.recv().await {
            None => Err(Error::Client(client::Error::Closed { reason: None })),
            Some(Event::Closed { reason, text }) => {
                note(&format!("roger: the fleet ended the session: {text}"));
                Err(Error::Client(client::Error::Closed { reason }))
            }
            Some(Event::Connected { edge, .. }) => {
                self.edge = Some(edge);
                Ok(None)
            }
            // Of a room that was entered since, it may come late.
            Some(Event::Follow { topic, following: true, .. }) if topic.kind() == TopicKind::Room && self.room.0 == 0 => {
                self.room = GroupId(topic.id());
                Ok(None)
            }
            Some(Event::Floor(event)) if event.group == self.room => {
                if event.what == FloorWhat::Lost {
                    note("roger: the seat at the media server is lost");
                    self.to = None;
                }
                Ok(Some(event.what))
            }
            Some(_) => Ok(None),
        }
    }

    /// Lets go of the button and of the seat, whatever came before.
    async fn give_back(&self) {
        if self.room.0 == 0 {
            return;
        }
        self.session.release_floor(self.room);
        if self.to.is_some()
            && let Err(error) = self.session.leave_voice(self.room).await
        {
            note(&format!("roger: the seat was not given back: {}", crate::worker::chain(&error)));
        }
    }
}

/// An error when it is this request that was ended.
fn ended(what: &FloorWhat, request: FloorRequestId) -> Result<(), Error> {
    match *what {
        FloorWhat::Denied { request: of, why } if of == request => Err(Error::Floor { taken: "denied", why }),
        FloorWhat::Revoked { request: of, why, .. } if of == request => Err(Error::Floor { taken: "taken back", why }),
        _ => Ok(()),
    }
}

/// The address of this machine on the way to an edge. Nothing is sent.
async fn local_ip(edge: &str) -> Result<IpAddr, Error> {
    let failed = |source| Error::Rtp { what: "find the way", at: edge.to_owned(), source };
    let url = reqwest::Url::parse(edge).map_err(|error| Error::Usage(format!("{edge:?} is no address of an edge: {error}")))?;
    let found = url.socket_addrs(|| None).map_err(failed)?;
    let to = *found.first().ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))?;
    let any = if to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.map_err(failed)?;
    socket.connect(to).await.map_err(failed)?;
    Ok(socket.local_addr().map_err(failed)?.ip())
}
