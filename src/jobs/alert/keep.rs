//! What happened to alerts, into SQL.
//!
//! Consumes the stream of events (EventFrames, consumer group `sos`): the state of the alert, unless SQL has a later one, and the event, by alert
//! and number. A repeat changes nothing. While SQL is away it lags, and nothing else does.

use std::time::Duration;

use prost::Message as _;

use crate::alert::Alert;
use crate::alert::frame::EventFrame;
use crate::broker::keys;
use crate::store::Store;
use crate::topic::frame::AlertBody;
use crate::worker::{Competing, Verdict, Work};

/// The job.
#[derive(Clone, Debug)]
pub struct Keep(pub Store);

impl Competing for Keep {
    const JOB: &'static str = "alerts";
    const GROUP: &'static str = "sos";
    const DEADLINE: Duration = Duration::from_secs(20);
    const ATTEMPTS_MAX: u64 = u64::MAX;

    fn stream(&self) -> String {
        keys::alert_events()
    }

    async fn run(&self, work: Work) -> Verdict {
        let frame: EventFrame = match work.entry.decode(&keys::alert_events()) {
            Ok(frame) => frame,
            Err(error) => return Verdict::of(&error),
        };
        let alert: Alert = match serde_json::from_slice(&frame.state) {
            Ok(alert) => alert,
            Err(error) => return Verdict::Reject(format!("a state that does not read: {error}")),
        };
        let body = (!frame.body.is_empty()).then(|| AlertBody::decode(frame.body.clone()));
        match body.transpose() {
            Ok(body) => match self.0.keep_alert(alert, body).await {
                Ok(()) => Verdict::Done,
                Err(error) => Verdict::of(&error),
            },
            Err(error) => Verdict::Reject(format!("an event that does not read: {error}")),
        }
    }
}
