//! Emergency alerts: what drives an [`Alert`] from the first press to its end. Five pieces of work share the states on Redis, and change them only
//! by one script that commits a state together with all that is to be done about it:
//!
//! - [`TakeSos`] takes in presses and what dispatchers do (stream `sos`).
//! - [`Tell`] tells the topics: first the inbox of who pressed, which decides who hears it, then all events (stream of tells).
//! - [`Texts`] hands texts to the provider (stream of texts).
//! - [`Keep`] writes what happened into SQL (stream of events).
//! - `clockwork` makes happen what is due, and takes in what inboxes decided.
//!
//! `probe` presses now and then for nobody, to see that an alert goes the whole way.
//!
//! None of them needs SQL but `Keep`, and the refresh of who is told next. Each is harmless to repeat: a press is known by its number, an entry of
//! a topic by alert and number, a text by its key, a row by its key.

mod clockwork;
mod desks;
mod keep;
mod probe;
mod program;
mod take;
mod tell;
mod texts;

use std::sync::Arc;

use prost::Message as _;

pub use keep::Keep;
pub use program::{ProgramError, run};
pub use take::TakeSos;
pub use tell::Tell;
pub use texts::Texts;

use crate::alert::frame::{EventFrame, TellFrame, TextFrame};
use crate::alert::{Alert, Effects, text_message};
use crate::broker::{self, AlertAnswer, AlertCommit, Redis, StreamId};
use crate::clock::Clock;
use crate::model::AlertId;
use crate::retry::ErrorClass;
use crate::topic::frame::Acted;
use crate::worker::Classed;

/// What all work on alerts shares.
#[derive(Clone, Debug)]
pub struct Alerts {
    /// The Redis of alerts.
    pub sos: Redis,
    /// The Redis of all else.
    pub fleet: Redis,
    /// The time.
    pub clock: Clock,
    /// Of the fleet.
    pub shards: u32,
    /// The name of this start, under which inboxes answer.
    pub boot: Arc<str>,
}

/// Why something about an alert was not done this time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis did not do what it was asked.
    #[error("{what}")]
    Broker {
        /// What was to be done.
        what: String,
        /// What failed.
        #[source]
        source: broker::Error,
    },
    /// A state on Redis does not read.
    #[error("the state of alert {id}")]
    State {
        /// The alert.
        id: AlertId,
        /// What failed.
        #[source]
        source: serde_json::Error,
    },
}

impl Classed for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Broker { source, .. } => source.class(),
            Self::State { .. } => ErrorClass::Defect,
        }
    }
}

/// What goes along with a change.
#[derive(Clone, Debug, Default)]
struct Along {
    /// The press that is taken in.
    press: Option<String>,
    /// The entry that opens a new alert.
    opened_by: Option<StreamId>,
    /// To whom an answer goes: the edge, and what it is told.
    answer: Option<(String, Acted)>,
}

impl Alerts {
    fn failed(what: impl Into<String>) -> impl FnOnce(broker::Error) -> Error {
        let what = what.into();
        move |source| Error::Broker { what, source }
    }

    /// The state of an alert.
    async fn load(&self, id: AlertId) -> Result<Option<Alert>, Error> {
        let json = self.sos.alert(id).await.map_err(Self::failed(format!("read alert {id}")))?;
        json.map(|json| serde_json::from_str(&json).map_err(|source| Error::State { id, source })).transpose()
    }

    /// Commits a changed alert with everything that is to be done.
    async fn commit(&self, mut alert: Alert, effects: Effects, along: Along) -> Result<AlertAnswer, Error> {
        let id = alert.id;
        let from_version = alert.version;
        alert.version += 1;
        let state = serde_json::to_string(&alert).map_err(|source| Error::State { id, source })?;
        let commit = AlertCommit {
            id,
            from_version,
            version: alert.version,
            device: alert.device,
            due_ms: alert.due_ms,
            over: alert.closed_ms.is_some(),
            brief: alert.is_probe(),
            press: along.press,
            opened_by: along.opened_by,
            tells: tells(&alert, &effects, along.answer),
            texts: texts(&alert, &effects, self.clock.now_ms()),
            // SQL is the history of what happened to people.
            events: if alert.is_probe() { Vec::new() } else { events(&state, &effects) },
            state,
        };
        let answer = self.sos.commit_alert(&commit).await.map_err(Self::failed(format!("commit alert {id}")))?;
        if answer == AlertAnswer::Done && !alert.is_probe() {
            for body in &effects.events {
                tracing::info!(alert.id = %id, event = body.event, number = body.number, device.id = alert.device.0, "alert");
                metrics::counter!("roger_alert_events_total", "event" => body.event.to_string()).increment(1);
            }
        }
        Ok(answer)
    }
}

fn tells(alert: &Alert, effects: &Effects, answer: Option<(String, Acted)>) -> Vec<Vec<u8>> {
    let (edge, acted) = answer.map_or((String::new(), None), |(edge, acted)| (edge, Some(acted)));
    let frame = TellFrame { alert: alert.id.0, device: alert.device.0, edge, acted, ..TellFrame::default() };
    let mut tells = Vec::new();
    if let Some(body) = &effects.ask {
        tells.push(TellFrame { raise: true, number: body.number, body: body.encode_to_vec().into(), ..frame.clone() });
    } else if effects.tell {
        let topics: Vec<u64> = alert.told.topics(alert.device).into_iter().map(crate::model::TopicId::packed).collect();
        for body in &effects.events {
            tells.push(TellFrame { topics: topics.clone(), number: body.number, body: body.encode_to_vec().into(), ..frame.clone() });
        }
    } else if frame.acted.is_some() {
        tells.push(frame);
    }
    tells.into_iter().map(|tell| tell.encode_to_vec()).collect()
}

fn texts(alert: &Alert, effects: &Effects, now_ms: u64) -> Vec<Vec<u8>> {
    let text = text_message(alert, now_ms);
    let frame = |number: &String| {
        let key = format!("{:x}-{}-{number}", alert.id.0, alert.events);
        TextFrame { key, number: number.clone(), text: text.clone() }.encode_to_vec()
    };
    effects.texts.iter().map(frame).collect()
}

/// Each event; one without a body when only the state changed.
fn events(state: &str, effects: &Effects) -> Vec<Vec<u8>> {
    let frame = |body: bytes::Bytes| EventFrame { state: state.to_owned().into(), body }.encode_to_vec();
    if effects.events.is_empty() {
        return vec![frame(bytes::Bytes::new())];
    }
    effects.events.iter().map(|body| frame(body.encode_to_vec().into())).collect()
}
