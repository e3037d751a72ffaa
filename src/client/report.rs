//! Reports of positions, by calls: what has no answer is sent again until it has one.

use std::sync::Arc;

use tonic::transport::{Channel, Endpoint};

use super::directory::Tokens;
use super::error::Error;
use super::link;
use crate::model::Reason;
use crate::proto::v1;
use crate::proto::v1::talk_cloud_location_client::TalkCloudLocationClient;
use crate::retry::{Delays, ErrorClass};

/// Brings reports to a fleet, at whatever edge takes them.
pub struct Reporter {
    edges: Vec<Endpoint>,
    /// Which of them is asked.
    at: usize,
    channel: Option<Channel>,
    tokens: Arc<dyn Tokens>,
    token: Option<String>,
    repeated: u64,
}

impl Reporter {
    /// As whoever has the tokens. Edges are tried in turn; nothing connects before the first report.
    ///
    /// # Errors
    /// [`Error::NoAddress`], [`Error::Address`].
    pub fn new(edges: impl IntoIterator<Item = impl AsRef<str>>, tokens: Arc<dyn Tokens>) -> Result<Self, Error> {
        let edges = edges.into_iter().map(|edge| link::endpoint(edge.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if edges.is_empty() {
            return Err(Error::NoAddress);
        }
        Ok(Self { edges, at: 0, channel: None, tokens, token: None, repeated: 0 })
    }

    /// Sends reports, at most 10,000, again and again until the fleet has answered all of them: one answer for each, in their order. What
    /// came in although its answer was lost is a duplicate the next time, and counts once.
    ///
    /// # Errors
    /// What trying again does not change. Dropping it takes nothing back.
    pub async fn report(&mut self, reports: &[v1::Report]) -> Result<Vec<v1::ReportAnswer>, Error> {
        let mut delays = Delays::reconnecting();
        loop {
            let error = match self.call(reports).await {
                Ok(answers) => return Ok(answers),
                Err(error) if error.class() != ErrorClass::Transient => return Err(error),
                Err(error) => error,
            };
            self.repeated += 1;
            if !matches!(error.reason(), Some(Reason::TokenExpired | Reason::TokenRevoked)) {
                self.channel = None;
                self.at = (self.at + 1) % self.edges.len();
            } else if let Some(expired) = self.token.take() {
                self.token = Some(self.tokens.token(Some(&expired)).await?);
            }
            tracing::debug!(error = &error as &dyn std::error::Error, "reports have no answer; sending them again");
            tokio::time::sleep(delays.next_delay()).await;
        }
    }

    /// How often a call had to be sent again.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    async fn call(&mut self, reports: &[v1::Report]) -> Result<Vec<v1::ReportAnswer>, Error> {
        let endpoint = &self.edges[self.at];
        let token = match &self.token {
            Some(token) => token.clone(),
            None => self.token.insert(self.tokens.token(None).await?).clone(),
        };
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => self.channel.insert(link::connect(endpoint).await?).clone(),
        };
        let request = v1::ReportGpsDataRequest { token, reports: reports.to_vec(), ..v1::ReportGpsDataRequest::default() };
        let mut client = TalkCloudLocationClient::new(channel);
        match tokio::time::timeout(link::CALL_TIMEOUT, client.report_gps_data(request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().answers),
            Ok(Err(status)) => Err(Error::refused("report positions", status)),
            Err(_) => Err(Error::TimedOut { address: endpoint.uri().to_string(), after_ms: link::CALL_TIMEOUT.as_millis() as u64 }),
        }
    }
}
