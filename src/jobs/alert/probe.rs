//! The probe: an alert of nobody, sent the whole way that SOS goes, so that a break in it shows before somebody needs it.
//!
//! It presses as a door does, on the stream `sos`, for [`UserId::PROBE`]. From there on everything is as with any press: an alert is opened, the inbox
//! of who pressed decides who is told, its shard commits that and forwards the alert, and the topic tells the edges that follow it. This program
//! follows it itself, under its own name, as an edge with one session does. Then the alert is taken back, and that has to come the same way.
//!
//! What is different: nobody manages the account and it is in no group, so nobody else can be told; the topic keeps no entries, SQL gets nothing,
//! and what Redis knows goes after minutes. Of several programs one probes at a time. What it does not see: the way from a device to an edge's
//! door, and from an edge to a client.

use std::fmt::Display;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Alerts, Error};
use crate::alert::Stage;
use crate::alert::frame::{Press, Sos, SosFrame};
use crate::broker::keys;
use crate::model::{AlertEvent, TopicId, UserId};
use crate::shutdown::Shutdown;
use crate::topic::frame::{AlertBody, Attach, Detach, Entry, InFrame, Input};
use crate::worker::chain;

/// How long a probe has to come through.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long owners write to this program when it dies meanwhile; above the deadline.
const LISTENING: Duration = Duration::from_secs(15);
/// How often it is looked whose turn it is, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it follows its topic again while nothing comes: a new owner of the shard knows of no followers.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// Frames that wait in front of the inbox, beyond which a probe would only add to what holds alerts up.
const WAITING_MAX: u64 = 1_000;
/// The most events that wait to be heard.
const HEARD_MAX: usize = 64;

/// What came to the topic of the probe goes in here.
#[derive(Debug)]
pub(super) struct Ear(mpsc::Sender<AlertBody>);

/// An ear, and what it hears.
pub(super) fn ear() -> (Ear, mpsc::Receiver<AlertBody>) {
    let (ear, heard) = mpsc::channel(HEARD_MAX);
    (Ear(ear), heard)
}

impl Ear {
    /// Takes in an entry, if it is of the probe's topic. Beyond the bound it is lost, and the probe fails.
    pub(super) fn hear(&self, entry: &Entry) {
        if entry.topic == topic().packed()
            && let Ok(body) = AlertBody::decode(entry.body.clone())
        {
            let _full = self.0.try_send(body);
        }
    }
}

/// Why a probe did not come through.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0} frames wait in front of its inbox, so it was not made worse: is delivery up?")]
    Backlog(u64),
    #[error("its press was not taken in from the stream `sos` within {} s", DEADLINE.as_secs())]
    NotOpened,
    #[error("its inbox did not decide who is told within {} s: is delivery up?", DEADLINE.as_secs())]
    NotDecided,
    #[error("it did not come back from its topic within {} s: is delivery up?", DEADLINE.as_secs())]
    NotHeard,
    #[error("it came, and was not taken back within {} s", DEADLINE.as_secs())]
    NotClosed,
    #[error("Redis did not do its part")]
    Alerts(#[from] Error),
}

/// Probes every `interval`, until it is time to stop; never when that is zero.
pub(super) async fn run(alerts: &Alerts, interval: Duration, mut heard: mpsc::Receiver<AlertBody>, shutdown: Shutdown) {
    if interval.is_zero() {
        return;
    }
    let mut said = String::new();
    while !shutdown.is_cancelled() {
        let turn = tokio::select! {
            turn = take_turn(alerts, interval, &mut heard) => turn,
            () = shutdown.cancelled() => {
                // In the middle of a probe, perhaps: whoever is still noted as an edge is missed as one that went silent.
                drop(alerts.fleet.leave_as_edge(&alerts.boot).await);
                break;
            }
        };
        match turn {
            Ok(()) => said.clear(),
            Err(error) => {
                let error = chain(&error);
                if error != said {
                    tracing::warn!(error, "cannot probe SOS");
                    said = error;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep((interval / 4).min(LOOK_EVERY)) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Probes, when it is this program's turn, and notes what came of it.
async fn take_turn(alerts: &Alerts, interval: Duration, heard: &mut mpsc::Receiver<AlertBody>) -> Result<(), Error> {
    let sos = &alerts.sos;
    // For longer than a probe takes with all that ends it: no other begins before.
    let longest = interval.max(LISTENING) + DEADLINE;
    if !sos.take_probe_turn(&alerts.boot, longest).await.map_err(Alerts::failed("take the turn to probe"))? {
        return Ok(());
    }
    let begun = Instant::now();
    let mut probe = Probe { alerts, session: rand::random_range(1..=u64::MAX), words: format!("probe {:016x}", rand::random::<u64>()) };
    let outcome = probe.go(heard).await;
    // In any case nothing of it is to stay.
    probe.leave(outcome.is_err()).await;
    let now_ms = alerts.clock.now_ms();
    let noted = match &outcome {
        Ok(took) => {
            metrics::gauge!("roger_sos_probe_seconds").set(took.as_secs_f64());
            metrics::counter!("roger_sos_probes_total", "outcome" => "passed").increment(1);
            tracing::debug!(took_ms = took.as_millis() as u64, "a probe of SOS came through");
            sos.note_probe_passed(*took, now_ms).await
        }
        Err(failure) => {
            metrics::counter!("roger_sos_probes_total", "outcome" => "failed").increment(1);
            let why = chain(failure);
            tracing::warn!(why, "a probe of SOS did not come through");
            sos.note_probe_failed(&why, now_ms).await
        }
    };
    noted.map_err(Alerts::failed("note what came of a probe"))?;
    sos.end_probe_turn(interval.saturating_sub(begun.elapsed())).await.map_err(Alerts::failed("end the turn to probe"))
}

fn topic() -> TopicId {
    TopicId::alert_inbox(UserId::PROBE)
}

/// One probe.
struct Probe<'a> {
    alerts: &'a Alerts,
    /// Of the session that this program pretends to have.
    session: u64,
    /// Said with the press, so that its alert is known.
    words: String,
}

impl Probe<'_> {
    /// How long it took from the press until it was heard.
    async fn go(&mut self, heard: &mut mpsc::Receiver<AlertBody>) -> Result<Duration, Failure> {
        let Alerts { sos, fleet, clock, shards, boot } = self.alerts;
        while heard.try_recv().is_ok() {}
        if sos.open_alert_of(UserId::PROBE).await.map_err(failed("look for the alert of the probe"))?.is_some() {
            // The one before stands where it stood: another would only join it.
            return Err(self.how_far().await?);
        }
        let urgent = keys::urgent(topic().shard(*shards));
        let waiting = fleet.lengths(&[urgent]).await.map_err(failed("look what waits in front of an inbox"))?.iter().sum();
        if waiting > WAITING_MAX {
            return Err(Failure::Backlog(waiting));
        }
        let deadline_ms = clock.now_ms() + LISTENING.as_millis() as u64;
        fleet.listen_as_edge(boot, deadline_ms).await.map_err(failed("listen as an edge"))?;
        let late = Instant::now() + DEADLINE;
        self.follow().await?;
        let begun = Instant::now();
        self.press(false).await?;
        if !self.hears(heard, AlertEvent::Raised, late).await? {
            return Err(self.how_far().await?);
        }
        let took = begun.elapsed();
        self.press(true).await?;
        if self.hears(heard, AlertEvent::Cancelled, late).await? { Ok(took) } else { Err(Failure::NotClosed) }
    }

    /// Whether an event of its alert came in time.
    async fn hears(&self, heard: &mut mpsc::Receiver<AlertBody>, event: AlertEvent, late: Instant) -> Result<bool, Error> {
        loop {
            let again = (Instant::now() + FOLLOW_EVERY).min(late);
            match tokio::time::timeout_at(again, heard.recv()).await {
                Ok(Some(body)) if body.text == self.words && body.event == event as u32 => return Ok(true),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(false),
                Err(_) if again == late => return Ok(false),
                Err(_) => self.follow().await?,
            }
        }
    }

    async fn press(&self, cancel: bool) -> Result<(), Error> {
        let press = Press {
            device: UserId::PROBE.0,
            name: "probe".to_owned(),
            installation: self.session,
            press: rand::random_range(1..=u64::MAX),
            cancel,
            arrival_ms: self.alerts.clock.now_ms(),
            text: self.words.clone(),
            ..Press::default()
        };
        let frame = SosFrame::from(Sos::Press(press)).encode_to_vec();
        self.alerts.sos.add(&keys::sos(), &frame).await.map(drop).map_err(failed("press for the probe"))
    }

    async fn follow(&self) -> Result<(), Error> {
        let installation = self.session;
        let attach = Attach { topic: topic().packed(), user: UserId::PROBE.0, installation, session: self.session, mark: None };
        self.say(Input::Attach(attach)).await
    }

    async fn say(&self, input: Input) -> Result<(), Error> {
        let Alerts { fleet, shards, boot, .. } = self.alerts;
        let frame = InFrame { edge: boot.to_string(), items: vec![input.into()], ..InFrame::default() };
        let urgent = keys::urgent(topic().shard(*shards));
        fleet.add(&urgent, &frame.encode_to_vec()).await.map(drop).map_err(failed("follow the topic of the probe"))
    }

    /// Where an alert that was not heard has stopped.
    async fn how_far(&self) -> Result<Failure, Error> {
        let open = self.alerts.sos.open_alert_of(UserId::PROBE).await.map_err(failed("look for the alert of the probe"))?;
        let Some(id) = open else { return Ok(Failure::NotOpened) };
        let stage = self.alerts.load(id).await?.map(|alert| alert.stage);
        Ok(if stage == Some(Stage::Deciding) { Failure::NotDecided } else { Failure::NotHeard })
    }

    /// Ends what it began. What does not work is ended by time: the alert, the listening, the following with it.
    async fn leave(&self, cancel: bool) {
        if cancel {
            drop(self.press(true).await);
        }
        drop(self.say(Input::Detach(Detach { topic: topic().packed(), session: self.session })).await);
        drop(self.alerts.fleet.leave_as_edge(&self.alerts.boot).await);
    }
}

fn failed(what: impl Display) -> impl FnOnce(crate::broker::Error) -> Error {
    Alerts::failed(what.to_string())
}
