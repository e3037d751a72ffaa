//! The edge: holds the streams of clients and nothing else.
//!
//! What clients send goes to the shards' input in frames, and a receipt says that it is there. What shards and replays write for this edge goes to
//! the sessions it is for. An edge that dies loses nothing: clients come back to any other with their marks, and send again what had no
//! receipt. It never opens SQL, and verifies tokens without asking anybody.

mod awaiting;
mod beat;
mod emergency;
mod entries;
mod follow;
mod health;
mod hub;
mod listen;
mod push;
mod queue;
mod report;
mod room;
mod send;
mod service;
mod session;
mod stream;
mod views;
mod voice;
mod watch;

use std::sync::Arc;

use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::broker::{self, Redis};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::Reason;
use crate::proto::serve::{Limits, listen, serve};
use crate::proto::{DESCRIPTORS, v1};
use crate::retry::{Delays, ErrorClass};
use crate::shutdown::Shutdown;
use crate::token::Verifier;
use hub::Edge;

/// The longest frame a client may send, in bytes: 64 KiB of text fit with room, a bomb does not.
const CLIENT_FRAME_BYTES_MAX: usize = 1 << 20;
/// How many streams one connection may have.
const STREAMS_A_CONNECTION: u32 = 16;

/// Why an edge does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The public key is not there or not a key.
    #[error("the edge cannot verify tokens with auth.public_key_file")]
    Key(#[source] crate::token::Error),
    /// Redis cannot be used, for good.
    #[error("the edge cannot use its Redis")]
    Broker(#[source] broker::Error),
    /// Another number of shards is pinned.
    #[error("fleet.shards is {configured}, but this deployment was started with {pinned}: set it to {pinned}")]
    Shards {
        /// What the configuration says.
        configured: u32,
        /// What Redis says.
        pinned: u32,
    },
    /// The address is taken or not this machine's.
    #[error("the edge cannot listen on {address}")]
    Listen {
        /// `edge.listen`.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The gRPC server failed.
    #[error("the edge's server failed")]
    Serve(#[source] tonic::transport::Error),
    /// The reflection service could not be made of the descriptors.
    #[error("the edge cannot describe its protocol")]
    Reflection(#[source] tonic_reflection::server::Error),
}

impl Error {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Key(_) | Self::Shards { .. } => ErrorClass::Permanent,
            Self::Broker(source) => source.class(),
            Self::Listen { .. } => ErrorClass::Transient,
            Self::Serve(_) | Self::Reflection(_) => ErrorClass::Defect,
        }
    }
}

/// Runs an edge until it is told to stop.
///
/// # Errors
/// What keeps it from running for good. A Redis that is away is waited for.
pub async fn run(config: Config, clock: Clock, shutdown: Shutdown) -> Result<(), Error> {
    let verifier = Verifier::load(&config.auth.public_key_file).map_err(Error::Key)?;
    let address = config.edge.listen;
    let listener = listen(address).await.map_err(|source| Error::Listen { address, source })?;
    let here = listener.local_addr().unwrap_or(address).to_string();
    let redis = Redis::new(broker::Settings::from(&config.redis)).map_err(Error::Broker)?;
    let shards = u32::from(config.fleet.shards);
    if !wait_for_redis(&redis, shards, &shutdown).await? {
        return Ok(());
    }
    let backlog_max = config.delivery.backlog_frames_max;
    let reports_max = config.gps.backlog_bytes_max;
    // Connections of their own: however much is reported, messages do not wait behind it.
    let reports_redis = Redis::new(broker::Settings::from(&config.redis)).map_err(Error::Broker)?;
    // And one more for SOS, which may even have a Redis of its own.
    let sos_redis = Redis::new(broker::Settings { url: config.sos_url().to_owned(), ..broker::Settings::from(&config.redis) });
    let sos_redis = sos_redis.map_err(Error::Broker)?;
    let edge = Arc::new(Edge::new(config.edge, config.durability, shards, redis, sos_redis, clock, verifier));
    let (reporter, health) = tonic_health::server::health_reporter();
    let tasks = TaskTracker::new();
    // Half of the grace is for clients to go; pushing and reading go on until then. The rest is for what waits to be pushed, and for
    // a last word to Redis.
    let last = shutdown.after(0.3);
    tasks.spawn({
        let (edge, stop) = (edge.clone(), last.clone());
        async move { edge.pusher.run(&edge.redis, stop).await }
    });
    tasks.spawn({
        let (edge, stop) = (edge.clone(), last.clone());
        async move { edge.pusher.await_sql(&edge.redis, stop).await }
    });
    spawn(&tasks, &edge, &shutdown, move |edge, stop| async move { edge.pusher.watch_backlog(&edge.redis, backlog_max, stop).await });
    tasks.spawn({
        let (edge, redis, stop) = (edge.clone(), reports_redis.clone(), last.clone());
        async move { edge.reports.run(&redis, edge.receipts.reports, stop).await }
    });
    spawn(&tasks, &edge, &shutdown, move |edge, stop| async move { edge.reports.watch_backlog(&reports_redis, reports_max, stop).await });
    spawn(&tasks, &edge, &shutdown, |edge, stop| async move { watch::run(&edge, stop).await });
    spawn(&tasks, &edge, &shutdown, {
        let here = here.clone();
        move |edge, stop| async move { beat::heart(&edge, &here, stop).await }
    });
    spawn(&tasks, &edge, &shutdown, |edge, stop| async move { beat::run(&edge, stop).await });
    spawn(&tasks, &edge, &last, |edge, stop| async move { listen::alerts(&edge, stop).await });
    spawn(&tasks, &edge, &last, |edge, stop| async move { listen::run(&edge, stop).await });

    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(Error::Reflection)?;
    let service = v1::talk_cloud_server::TalkCloudServer::new(service::Service(edge.clone()))
        .max_decoding_message_size(CLIENT_FRAME_BYTES_MAX)
        .max_encoding_message_size(CLIENT_FRAME_BYTES_MAX * 4);
    let location = v1::talk_cloud_location_server::TalkCloudLocationServer::new(service::Service(edge.clone()))
        .max_decoding_message_size(CLIENT_FRAME_BYTES_MAX)
        .max_encoding_message_size(CLIENT_FRAME_BYTES_MAX);
    let emergency = v1::emergency_service_server::EmergencyServiceServer::new(service::Service(edge.clone()))
        .max_decoding_message_size(CLIENT_FRAME_BYTES_MAX);
    let voice =
        v1::voice_service_server::VoiceServiceServer::new(service::Service(edge.clone())).max_decoding_message_size(CLIENT_FRAME_BYTES_MAX);
    let name = <v1::talk_cloud_server::TalkCloudServer<service::Service> as tonic::server::NamedService>::NAME;
    reporter.set_service_status(name, tonic_health::ServingStatus::Serving).await;
    spawn(&tasks, &edge, &shutdown, move |edge, _| async move { health::watch(&edge, reporter, name).await });
    tracing::info!(edge.name = edge.config.name, edge.boot = edge.boot, listen = here, "ready");
    let limits = Limits {
        // A few more than sessions, for calls of browsers and for health checks.
        connections_max: edge.config.sessions_max + edge.config.sessions_max / 4 + 64,
        streams_max: STREAMS_A_CONNECTION,
        call_timeout: None,
        age: None,
        cors_origins: edge.config.cors_origins.clone(),
    };
    let routes =
        Routes::new(service).add_service(location).add_service(emergency).add_service(voice).add_service(health).add_service(reflection);
    let closing = tokio::spawn({
        let (edge, shutdown) = (edge.clone(), shutdown.clone());
        async move {
            shutdown.cancelled().await;
            for session in edge.sessions() {
                session.close(&edge, Reason::ShuttingDown, 500);
            }
        }
    });
    let served = serve(routes, listener, &limits, &shutdown, shutdown.grace() / 2).await.map_err(Error::Serve);
    closing.abort();
    last.start();
    shutdown.start();
    tasks.close();
    tasks.wait().await;
    // Without it the edge lapses by itself.
    drop(tokio::time::timeout(shutdown.grace().mul_f64(0.1), edge.redis.retire_edge(&edge.boot)).await);
    tracing::info!("stopped");
    served
}

/// Runs a task until it is time to stop, and no longer: an answer of Redis that it waits for may take seconds.
fn spawn<F: Future<Output = ()> + Send + 'static>(
    tasks: &TaskTracker,
    edge: &Arc<Edge>,
    stop: &Shutdown,
    task: impl FnOnce(Arc<Edge>, Shutdown) -> F,
) {
    let (task, stop) = (task(edge.clone(), stop.clone()), stop.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = task => {}
            () = stop.cancelled() => {}
        }
    });
}

/// Waits until Redis answers; false when it is time to stop before.
async fn wait_for_redis(redis: &Redis, shards: u32, shutdown: &Shutdown) -> Result<bool, Error> {
    let mut delays = Delays::reconnecting();
    loop {
        let pinned = tokio::select! {
            pinned = redis.pin_shards(shards) => pinned,
            () = shutdown.cancelled() => return Ok(false),
        };
        match pinned {
            Ok(pinned) if pinned == shards => return Ok(true),
            Ok(pinned) => return Err(Error::Shards { configured: shards, pinned }),
            Err(error) if error.class() == ErrorClass::Transient => {
                tracing::warn!(error = &error as &dyn std::error::Error, "waits for Redis");
            }
            Err(error) => return Err(Error::Broker(error)),
        }
        tokio::select! {
            () = tokio::time::sleep(delays.next_delay()) => {}
            () = shutdown.cancelled() => return Ok(false),
        }
    }
}
