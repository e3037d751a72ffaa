//! Traces of messages, by OTLP to a collector: from the edge that takes one, over the log of its shard, to SQL and to each recipient's
//! acknowledgement.
//!
//! No id travels with a message. Its topic, installation and `client_seq` name it wherever it comes along, so its trace, and the spans of it, are
//! named by their hash; and of many messages the same ones are traced everywhere. Nothing is computed while there is no collector.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::config::Trace as Config;
use crate::model::TopicId;

/// How long the last spans may take at the end of a program.
const FLUSH: Duration = Duration::from_secs(1);

/// Where spans go.
static EXPORT: OnceLock<Export> = OnceLock::new();

#[derive(Debug)]
struct Export {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    one_in: u128,
}

/// A collector that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot send traces to {url}")]
pub struct Error {
    /// `trace.otlp_url`.
    pub url: String,
    /// Why.
    source: ExporterBuildError,
}

/// Sends spans to the collector of the configuration from here on; without one nothing is traced. Must be called within a tokio runtime. A
/// collector that is away costs spans, and nothing else.
///
/// # Errors
/// When its URL cannot be used.
pub fn start(config: &Config, program: &'static str, instance: String) -> Result<(), Error> {
    let Some(url) = &config.otlp_url else { return Ok(()) };
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(url).with_timeout(Duration::from_secs(5)).build();
    let exporter = exporter.map_err(|source| Error { url: url.clone(), source })?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    let attributes = [KeyValue::new("service.namespace", "roger"), KeyValue::new("service.instance.id", instance)];
    processor.set_resource(&Resource::builder().with_service_name(program).with_attributes(attributes).build());
    let scope = InstrumentationScope::builder("roger").with_version(env!("CARGO_PKG_VERSION")).build();
    tracing::info!(url, one_in = config.one_in, "tracing messages");
    // The first call of a process counts.
    let _later = EXPORT.set(Export { processor, scope, one_in: config.one_in.max(1).into() });
    Ok(())
}

/// Sends what is left, for at most a second.
pub fn stop() {
    if let Some(Err(error)) = EXPORT.get().map(|export| export.processor.shutdown_with_timeout(FLUSH)) {
        tracing::debug!(error = &error as &dyn std::error::Error, "the last spans were not sent");
    }
}

/// Those of some messages (topic, installation, `client_seq`) that are traced, with their topics.
pub fn traced(messages: impl Iterator<Item = (TopicId, u64, u64)>) -> Vec<(Trace, TopicId)> {
    if EXPORT.get().is_none() {
        return Vec::new();
    }
    messages.filter_map(|(topic, installation, client_seq)| Some((Trace::of(topic, installation, client_seq)?, topic))).collect()
}

/// A message that is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace(u128);

/// A part of its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// From the edge to Redis, where it gets its receipt: the whole of the others hangs on it.
    Push,
    /// From Redis to its place in the log.
    Commit,
    /// From the log to SQL.
    Archive,
    /// From the log to the acknowledgement of one session.
    Deliver {
        /// Whose.
        session: u64,
    },
}

impl Hop {
    fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Commit => "commit",
            Self::Archive => "archive",
            Self::Deliver { .. } => "deliver",
        }
    }

    fn parent(self) -> Option<Self> {
        match self {
            Self::Push => None,
            Self::Commit => Some(Self::Push),
            Self::Archive | Self::Deliver { .. } => Some(Self::Commit),
        }
    }

    fn kind(self) -> SpanKind {
        match self {
            Self::Push => SpanKind::Producer,
            Self::Commit | Self::Archive | Self::Deliver { .. } => SpanKind::Consumer,
        }
    }
}

impl Trace {
    /// The trace of a message; `None` when it is not traced.
    pub fn of(topic: TopicId, installation: u64, client_seq: u64) -> Option<Self> {
        let export = EXPORT.get()?;
        let trace = Self::named(topic, installation, client_seq);
        trace.0.is_multiple_of(export.one_in).then_some(trace)
    }

    fn named(topic: TopicId, installation: u64, client_seq: u64) -> Self {
        let mut name = [0; 24];
        for (part, number) in name.chunks_mut(8).zip([topic.packed(), installation, client_seq]) {
            part.copy_from_slice(&number.to_be_bytes());
        }
        // Zero is no id.
        Self(xxh3_128(&name).max(1))
    }

    fn span(self, hop: Hop) -> SpanId {
        let mut name = self.0.to_be_bytes().to_vec();
        name.extend(hop.name().bytes());
        if let Hop::Deliver { session } = hop {
            name.extend(session.to_be_bytes());
        }
        SpanId::from(xxh3_64(&name).max(1))
    }

    /// A hop is over. Both times in UTC ms; clocks of two machines may have it end before it began.
    pub fn over(self, hop: Hop, began_ms: u64, ended_ms: u64, topic: TopicId) {
        let Some(export) = EXPORT.get() else { return };
        let at = |time_ms: u64| -> SystemTime { UNIX_EPOCH + Duration::from_millis(time_ms) };
        let context = SpanContext::new(TraceId::from(self.0), self.span(hop), TraceFlags::SAMPLED, true, TraceState::default());
        let mut attributes = vec![KeyValue::new("messaging.destination.name", topic.to_string())];
        if let Hop::Deliver { session } = hop {
            attributes.push(KeyValue::new("roger.session", format!("{session:016x}")));
        }
        export.processor.on_end(SpanData {
            span_context: context,
            parent_span_id: hop.parent().map_or(SpanId::INVALID, |parent| self.span(parent)),
            parent_span_is_remote: true,
            span_kind: hop.kind(),
            name: hop.name().into(),
            start_time: at(began_ms),
            end_time: at(ended_ms.max(began_ms)),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: export.scope.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupId;

    #[test]
    fn a_message_has_one_trace_and_each_hop_of_it_one_span() {
        let topic = TopicId::group(GroupId(7));
        let trace = Trace::named(topic, 1, 2);
        assert_eq!(trace, Trace::named(topic, 1, 2));
        assert!(
            [Trace::named(topic, 1, 3), Trace::named(topic, 2, 2), Trace::named(TopicId::group(GroupId(8)), 1, 2)]
                .iter()
                .all(|other| *other != trace)
        );
        let hops = [Hop::Push, Hop::Commit, Hop::Archive, Hop::Deliver { session: 1 }, Hop::Deliver { session: 2 }];
        let spans: std::collections::BTreeSet<_> = hops.iter().map(|hop| trace.span(*hop).to_bytes()).collect();
        assert_eq!(spans.len(), hops.len());
        assert_eq!(Trace::of(topic, 1, 2), None, "nobody wants it");
    }
}
