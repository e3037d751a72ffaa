//! The gateway: HTTP for what is not a conversation. App releases, files, the addresses of the deployment's nodes, and phones that report where
//! they are.
//!
//! Guarantees: an upload is there as a whole or leaves nothing, and is never in memory as a whole. What a download has begun it ends with,
//! whatever is replaced, halted or removed meanwhile. Who may have what is asked of SQL at every request; what belongs to somebody else is
//! not told from what is not there. Every refusal names its reason and the field at fault, as JSON.
//!
//! SQL, Redis or the objects away at the start or later ends nothing: requests that need them are refused as `store_unavailable` until they are
//! back, and only phones and bursts of talk need Redis. Any number
//! of gateways may run over one SQL and one place for objects.

mod addresses;
mod apk;
mod desk;
mod download;
mod enrolled;
mod error;
mod files;
mod health;
mod label;
mod nodes;
mod osmand;
mod phone;
mod refuse;
mod releases;
mod serve;
mod spool;
mod sweep;
mod talk;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use http::header::{AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, HeaderValue, RANGE};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower_http::cors::CorsLayer;

pub use error::Error;
pub use nodes::NodesError;
pub use sweep::Swept;

use crate::broker::{self, Redis};
use crate::clock::Clock;
use crate::config::Config;
use crate::objects::Objects;
use crate::retry::{Delays, ErrorClass};
use crate::shutdown::{Shutdown, first_failure};
use crate::store::{self, Store};
use crate::throttle::Throttle;
use crate::token::{ReleaseVerifier, Verifier};
use desk::Desk;
use enrolled::Phones;
use nodes::Nodes;
use refuse::{Refusal, Why};
use serve::Limits;

/// The largest body that is read into memory: that of a small JSON request.
const JSON_BYTES_MAX: usize = 16_384;
/// How often addresses that asked are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// Runs the gateway until `shutdown`. Waits for SQL, and listens meanwhile.
///
/// # Errors
/// When it cannot run as configured. Never because a server is away.
pub async fn run(config: Config, clock: Clock, shutdown: Shutdown) -> Result<(), Error> {
    // Of its own, so that a part that fails stops the others and not the caller.
    let stop = shutdown.child();
    let grace = shutdown.grace();
    let desk = Arc::new(open(&config, clock)?);
    let address = config.gateway.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    tracing::info!(%address, "listening");

    let mut parts = JoinSet::new();
    parts.spawn(tending(desk.clone(), stop.clone()));
    let nodes = (desk.nodes.clone(), stop.clone());
    parts.spawn(async move {
        nodes.0.watch(&nodes.1).await;
        Ok(())
    });
    let forgetting = (desk.clone(), stop.clone());
    parts.spawn(async move {
        let (desk, stop) = forgetting;
        while !stop.is_cancelled() {
            tokio::select! {
                () = desk.clock.sleep(FORGET_EVERY) => {
                    desk.throttle.forget();
                    desk.phones.forget();
                }
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    });

    // Reports are pushed until those who wait for their answers are gone.
    let last = shutdown.after(0.3);
    let (reporting, backlog_bytes_max) = ((desk.clone(), stop.clone(), last.clone()), config.gps.backlog_bytes_max);
    parts.spawn(async move {
        let (desk, stop, last) = reporting;
        desk.phones.run(backlog_bytes_max, stop, last).await;
        Ok(())
    });

    let limits = Limits { connections_max: config.gateway.connections_max, stall: config.gateway.stall };
    let outcome = tokio::select! {
        // Half the grace for what is under way, the rest for what must be written.
        () = serve::serve(routes(&desk), listener, limits, &stop, grace / 2) => Ok(()),
        error = first_failure(&mut parts, |source| Error::Panic { source }) => Err(error),
    };
    stop.start();
    last.start();
    let rest = async {
        while parts.join_next().await.is_some() {}
        desk.store.close().await;
    };
    if tokio::time::timeout(grace / 3, rest).await.is_err() {
        tracing::warn!("stopping with work under way");
    }
    outcome
}

/// Removes files whose time is over and objects that nothing refers to, once; for operators.
///
/// # Errors
/// When the objects cannot be used as configured, or SQL fails.
pub async fn sweep_once(config: &Config, store: &Store, now_ms: u64) -> Result<Swept, Error> {
    let objects = Objects::open(&config.gateway.object_url).map_err(|source| Error::Objects { source })?;
    sweep::sweep(store, &objects, now_ms).await.map_err(|source| Error::Store { source })
}

fn open(config: &Config, clock: Clock) -> Result<Desk, Error> {
    let settings = config.gateway.clone();
    let store = Store::open_with(&store::Options::from(&config.sql)).map_err(|source| Error::Store { source })?;
    let redis = Redis::new(broker::Settings::from(&config.redis)).map_err(|source| Error::Broker { source })?;
    store.follow_epoch(redis.sql_epochs());
    let key = |key| move |source| Error::Key { key, source };
    let verifier = Verifier::load(&config.auth.public_key_file).map_err(key("auth.public_key_file"))?;
    let release_key = settings.release_public_key_file.as_deref().map(ReleaseVerifier::load).transpose();
    let nodes = Nodes::open(settings.nodes_file.as_deref()).map_err(|source| Error::Nodes { source })?;
    let spool = &settings.spool_dir;
    std::fs::create_dir_all(spool).map_err(|source| Error::Folder { path: spool.clone(), source })?;
    Ok(Desk {
        store,
        objects: Objects::open(&settings.object_url).map_err(|source| Error::Objects { source })?,
        verifier,
        release_key: release_key.map_err(key("gateway.release_public_key_file"))?,
        clock,
        uploads: Semaphore::new(settings.uploads_max),
        throttle: Throttle::new(0, settings.address_requests_per_min),
        nodes: Arc::new(nodes),
        pulse: Arc::default(),
        phones: Phones::open(config).map_err(|source| Error::Broker { source })?,
        redis,
        talk: talk::Settings::of(config),
        settings,
    })
}

fn routes(desk: &Arc<Desk>) -> Router {
    let uploads = Router::new()
        .route("/releases/{package}", post(releases::upload))
        .route("/files", post(files::upload))
        .route("/talk", post(talk::upload))
        // They count for themselves.
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/", get(phone::report).post(phone::report))
        .route("/healthz", get(async |State(desk): State<Arc<Desk>>| desk.pulse.answer()))
        .route("/releases/{package}/current", get(releases::current))
        .route("/releases/{package}/{file}", get(releases::apk))
        .route("/files/{id}", get(files::download))
        .route("/server/addr", get(addresses::of_device))
        .route("/server/dispatcher/addr", get(addresses::of_account))
        .route("/server/change", post(addresses::change))
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX))
        .merge(uploads)
        .fallback(async || Refusal::from(Why::NotFound))
        .method_not_allowed_fallback(async || Refusal::from(Why::WrongMethod))
        .layer(cors(&desk.settings.cors_origins))
        .with_state(desk.clone())
}

/// Lets web pages of these origins call.
fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([http::Method::GET, http::Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, RANGE])
        .expose_headers([CONTENT_DISPOSITION, ETAG])
        .max_age(Duration::from_secs(3_600))
}

/// Brings the tables up to date as soon as SQL is there, then watches over SQL and objects, and sweeps.
async fn tending(desk: Arc<Desk>, shutdown: Shutdown) -> Result<(), Error> {
    tokio::select! {
        ready = prepare_store(&desk.store) => ready?,
        () = shutdown.cancelled() => return Ok(()),
    }
    tokio::join!(
        health::watch(&desk.pulse, &desk.store, &desk.objects, &shutdown),
        sweep::sweeping(&desk.store, &desk.objects, &desk.clock, &shutdown),
    );
    Ok(())
}

async fn prepare_store(store: &Store) -> Result<(), Error> {
    let mut delays = Delays::reconnecting();
    let mut waiting = false;
    loop {
        match store.migrate().await {
            Ok(()) => return Ok(()),
            Err(source) if source.class() != ErrorClass::Transient => return Err(Error::Store { source }),
            Err(source) => {
                if !std::mem::replace(&mut waiting, true) {
                    tracing::warn!(error = &source as &dyn std::error::Error, "waiting for SQL");
                }
                tokio::time::sleep(delays.next_delay()).await;
            }
        }
    }
}
