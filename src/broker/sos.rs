//! From the doors to the stream `sos`: each press by itself, and nobody is told that it is there before it is.

use std::time::Duration;

use prost::Message as _;

use super::connection::Redis;
use super::keys;
use crate::alert::frame::{Sos, SosFrame};
use crate::model::Durability;
use crate::retry::Delays;

/// How long the stream is tried.
const PATIENCE: Duration = Duration::from_secs(10);

impl Redis {
    /// Puts something onto the stream of SOS; the durability, or `None` when Redis did not answer in time. It may be there all the same, which is
    /// harmless: a press is known by its number, and what was done to an alert is done.
    pub async fn publish_sos(&self, sos: Sos, wanted: Durability) -> Option<Durability> {
        let entry = [(keys::sos(), SosFrame::from(sos).encode_to_vec())];
        let publish = async {
            let mut delays = Delays::reconnecting();
            loop {
                let pushed = async { self.secured(&self.add_all(&entry).await?, wanted).await };
                match pushed.await {
                    Ok(durability) => return durability,
                    Err(error) => {
                        let delay = delays.next_delay();
                        tracing::warn!(error = &error as &dyn std::error::Error, "SOS was not pushed; sending it again");
                        tokio::time::sleep(delay).await;
                    }
                }
            }
        };
        let durability = tokio::time::timeout(PATIENCE, publish).await.ok();
        metrics::counter!("roger_sos_total", "outcome" => if durability.is_some() { "taken" } else { "not_stored" }).increment(1);
        durability
    }
}
