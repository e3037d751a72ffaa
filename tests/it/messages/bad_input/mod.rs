//! What an edge does not take: refused by name and counted, and the session lives on.

mod calls;
mod door;
mod flood;
mod frames;

use roger::model::Reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::stage::Stage;
use crate::support::fleet::FleetOptions;
use crate::support::ports;

/// A fleet with one edge whose counters can be read.
struct Counted {
    stage: Stage,
    metrics: u16,
}

impl Counted {
    async fn start() -> Self {
        Self::with_rate(1_000).await
    }

    /// With so many messages per second, and a burst of a hundred.
    async fn with_rate(rate: u32) -> Self {
        let metrics = ports::free();
        let overrides = vec![
            ("metrics.edge_listen", format!("\"127.0.0.1:{metrics}\"")),
            ("edge.rate_messages_per_s", rate.to_string()),
            ("edge.rate_burst", "100".to_owned()),
        ];
        Self { stage: Stage::with(FleetOptions { edges: 1, overrides, ..FleetOptions::default() }).await, metrics }
    }

    fn edge(&self) -> String {
        self.stage.fleet.edge(0)
    }

    /// How many refusals for a reason the edge has counted so far.
    async fn refusals(&self, reason: &str) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let wanted = format!("roger_refusals_total{{reason=\"{reason}\"}} ");
        answer.lines().find_map(|line| line.strip_prefix(&wanted)).map_or(0, |number| number.parse().unwrap())
    }

    /// Panics unless the counter of a reason rises by `times` while `act` runs.
    async fn counts<T>(&self, what: &str, reason: &str, times: u64, act: impl Future<Output = T>) -> T {
        let before = self.refusals(reason).await;
        let result = act.await;
        assert_eq!(self.refusals(reason).await, before + times, "{what}: {reason} is counted");
        result
    }
}

/// What a session or call is refused with, and how often that is counted.
#[derive(Clone, Copy)]
struct Expected {
    reason: Reason,
    field: &'static str,
}
