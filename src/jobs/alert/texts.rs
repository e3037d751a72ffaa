//! Texts to telephones, when nobody acknowledges.
//!
//! Consumes the stream of texts (TextFrames, consumer group `sos`); hands each to the provider, which knows it by its key. It is tried ten times
//! with growing delays; then, and when there is no provider, it is a dead letter that people see.

use std::sync::Arc;
use std::time::Duration;

use crate::alert::frame::TextFrame;
use crate::broker::keys;
use crate::retry::ErrorClass;
use crate::sms::{self, Provider};
use crate::worker::{Classed, Competing, Verdict, Work};

/// The job.
#[derive(Clone, Debug)]
pub struct Texts(pub Option<Arc<dyn Provider>>);

impl Classed for sms::Error {
    fn class(&self) -> ErrorClass {
        self.class()
    }
}

impl Competing for Texts {
    const JOB: &'static str = "text";
    const GROUP: &'static str = "sos";
    const DEADLINE: Duration = Duration::from_secs(20);

    fn stream(&self) -> String {
        keys::alert_texts()
    }

    async fn run(&self, work: Work) -> Verdict {
        let frame: TextFrame = match work.entry.decode(&keys::alert_texts()) {
            Ok(frame) => frame,
            Err(error) => return Verdict::of(&error),
        };
        let Some(provider) = &self.0 else {
            return Verdict::Reject("nobody carries texts, as the log of sos or sms.provider says: it was not sent".to_owned());
        };
        let TextFrame { key, number, text } = frame;
        match provider.send(&sms::Text { key, number, text }).await {
            Ok(()) => {
                metrics::counter!("roger_sms_total", "outcome" => "sent").increment(1);
                Verdict::Done
            }
            Err(error) => {
                metrics::counter!("roger_sms_total", "outcome" => "failed").increment(1);
                Verdict::of(&error)
            }
        }
    }
}
