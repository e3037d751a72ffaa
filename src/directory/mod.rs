//! The directory: who there is, who may log in, who is in which group. The only writer of those tables.
//!
//! Serves Login, Logout, GetGroupList, the services of `people.proto`, and positions and traces of `location.proto` to clients over gRPC and
//! gRPC-Web, and answers `wrong_door` to all else of the protocol. Relays what changes to the shards (`relay`), and ends temporary groups with
//! their sessions (`temporary`). The command line creates accounts and groups through [`Registry`], alone or from a seed
//! file ([`seed`]); any number of these and of directories may run at once.
//!
//! Guarantees: passwords are stored as Argon2id hashes and resume tokens as hashes; neither is logged. What a change of members means for
//! the shards is written in the transaction of the change and reaches them at least once, in order. SQL or Redis away at the start or
//! later ends nothing: logins wait for SQL alone, changes of groups for both.

mod accounts;
mod alerts;
mod caller;
mod desk;
mod device_list;
mod devices;
mod enrolment;
mod error;
mod fences;
mod friends;
mod gate;
mod group_app;
mod group_desk;
mod group_registry;
mod groups;
mod health;
mod location;
mod login;
mod password;
mod registry;
mod relay;
mod resume;
mod revoking;
pub mod seed;
mod service;
mod sessions;
mod stock;
mod temporary;
mod trace;
mod wifi;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic_health::server::{HealthReporter, health_reporter};

pub use error::Error;
pub use health::RELAY as HEALTH_RELAY;
pub use password::{Error as PasswordError, PASSWORD_BYTES_MAX, Passwords};
pub use registry::{AccountSpec, LOGIN_NAME_CHARACTERS_MAX, Registry, RegistryError};
pub use relay::{LEASE_JOB, MEMBERSHIPS_PRODUCER, REGISTERS_PRODUCER};
pub use stock::{IMPORT_DEVICES_MAX, Imported, Stocked};

use crate::broker::{self, Redis};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::Reason;
use crate::proto::status::Refused;
use crate::proto::v1::alert_service_server::AlertServiceServer;
use crate::proto::v1::friend_service_server::FriendServiceServer;
use crate::proto::v1::group_service_server::GroupServiceServer;
use crate::proto::v1::location_service_server::LocationServiceServer;
use crate::proto::v1::talk_cloud_server::TalkCloudServer;
use crate::proto::v1::web_service_server::WebServiceServer;
use crate::proto::{DESCRIPTORS, serve};
use crate::retry::{Delays, ErrorClass};
use crate::shutdown::{Shutdown, first_failure};
use crate::store::{self, Author, Store};
use crate::throttle::Throttle;
use crate::token::{Signer, Verifier};
use health::Pulse;
use login::Desk;
use relay::Relay;

/// The largest request, in bytes: an import of 10,000 devices fits.
const REQUEST_BYTES_MAX: usize = 2 << 20;
/// The largest answer, in bytes: what a gRPC client accepts by default.
const ANSWER_BYTES_MAX: usize = 4_194_304;
/// The most calls at once in a connection.
const STREAMS_MAX: u32 = 64;
/// How old a connection may become, and how long its calls may then take: clients log in and leave, and who stays is spread again.
const CONNECTION_AGE: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(30));
/// How often what has run out is removed: resume tokens, throttled names, and what voids only tokens that have run out.
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// When to try again what the store could not do.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Runs the directory until `shutdown`. Waits for SQL and Redis, and listens meanwhile.
///
/// # Errors
/// When it cannot run as configured. Never because a server is away.
pub async fn run(config: Config, clock: Clock, shutdown: Shutdown) -> Result<(), Error> {
    // Of its own, so that a part that fails stops the others and not the caller.
    let stop = shutdown.child();
    let grace = shutdown.grace();
    let store = open_store(&config)?;
    let redis = open_redis(&config)?;
    store.follow_epoch(redis.sql_epochs());
    let desk = Arc::new(desk(&config, &store, &redis, clock)?);
    let address = config.directory.listen;
    let listener = serve::listen(address).await.map_err(|source| Error::Listen { address, source })?;
    tracing::info!(%address, "listening");

    let (reporter, routes) = routes(&desk)?;
    health::begin(&reporter).await;
    let pulse = Arc::new(Pulse::default());
    let mut parts = JoinSet::new();
    let health = health::report(reporter, store.clone(), pulse.clone(), stop.clone());
    parts.spawn(async move {
        health.await;
        Ok(())
    });
    let shards = u32::from(config.fleet.shards);
    parts.spawn(relaying(Relay::new(store.clone(), redis, shards, pulse, desk.nudge.clone()), store.clone(), shards, stop.clone()));
    parts.spawn(purging(desk.clone(), stop.clone()));
    parts.spawn(revoking::run(desk.clone(), stop.clone()));
    parts.spawn(temporary::ending(desk.clone(), stop.clone()));

    let limits = serve::Limits {
        connections_max: config.directory.connections_max,
        streams_max: STREAMS_MAX,
        // Above the store's own deadline, which gives the better answer.
        call_timeout: Some(config.sql.statement_timeout + Duration::from_secs(5)),
        age: Some(CONNECTION_AGE),
        cors_origins: config.directory.cors_origins.clone(),
    };
    let outcome = tokio::select! {
        // Half the grace for clients that do not go, the rest for what must be written.
        served = serve::serve(routes, listener, &limits, &stop, grace / 2) => served.map_err(|source| Error::Serve { address, source }),
        error = first_failure(&mut parts, |source| Error::Panic { source }) => Err(error),
    };
    stop.start();
    desk.records.close();
    let rest = async {
        desk.records.wait().await;
        while parts.join_next().await.is_some() {}
        store.close().await;
    };
    if tokio::time::timeout(grace / 3, rest).await.is_err() {
        tracing::warn!("stopping with work under way");
    }
    outcome
}

/// The store of a configuration. Connects when it is first used.
///
/// # Errors
/// When the URL cannot be used.
pub fn open_store(config: &Config) -> Result<Store, Error> {
    Store::open_with(&store::Options::from(&config.sql)).map_err(|source| Error::Store { source })
}

fn open_redis(config: &Config) -> Result<Redis, Error> {
    Redis::new(broker::Settings::from(&config.redis)).map_err(|source| Error::Redis { source })
}

fn desk(config: &Config, store: &Store, redis: &Redis, clock: Clock) -> Result<Desk, Error> {
    let (secret, public) = (&config.auth.secret_key_file, &config.auth.public_key_file);
    let failed = |source| Error::Key { source };
    let (signer, verifier) = (Signer::load(secret).map_err(failed)?, Verifier::load(public).map_err(failed)?);
    if signer.verifier().map_err(failed)? != verifier {
        return Err(Error::KeysDiffer { public: public.clone(), secret: secret.clone() });
    }
    Ok(Desk {
        store: store.on_behalf_of(Author::Fleet, clock.clone()),
        signer,
        verifier,
        passwords: Passwords::for_this_machine().map_err(|source| Error::Password { source })?,
        throttle: Throttle::new(config.directory.account_logins_per_min, config.directory.address_logins_per_min),
        clock,
        token_lifetime: config.auth.token_lifetime,
        resume_lifetime: config.auth.resume_lifetime,
        releases_url: config.directory.releases_url.clone(),
        records: TaskTracker::new(),
        nudge: Arc::default(),
        redis: redis.clone(),
        shards: u32::from(config.fleet.shards),
    })
}

fn routes(desk: &Arc<Desk>) -> Result<(HealthReporter, Routes), Error> {
    let (reporter, health) = health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|source| Error::Reflection { source })?;
    let service = TalkCloudServer::new(service::Service(desk.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    macro_rules! bounded {
        ($server:ty, $service:expr) => {
            <$server>::new($service).max_decoding_message_size(REQUEST_BYTES_MAX).max_encoding_message_size(ANSWER_BYTES_MAX)
        };
    }
    let routes = Routes::new(service)
        .add_service(bounded!(WebServiceServer<desk::Web>, desk::Web(desk.clone())))
        .add_service(bounded!(GroupServiceServer<desk::Groups>, desk::Groups(desk.clone())))
        .add_service(bounded!(FriendServiceServer<desk::Friends>, desk::Friends(desk.clone())))
        .add_service(bounded!(AlertServiceServer<alerts::Alerts>, alerts::Alerts(desk.clone())))
        .add_service(bounded!(LocationServiceServer<location::Locations>, location::Locations(desk.clone())))
        .add_service(health)
        .add_service(reflection);
    Ok((reporter, routes))
}

/// Brings the tables up to date as soon as SQL is there, and relays from then on.
async fn relaying(relay: Relay, store: Store, shards: u32, shutdown: Shutdown) -> Result<(), Error> {
    tokio::select! {
        ready = prepare_store(&store, shards) => ready?,
        () = shutdown.cancelled() => return Ok(()),
    }
    relay.run(shutdown).await
}

/// Brings the tables up to date and holds the number of shards against the store's; waits for SQL when it is away, and says so.
///
/// # Errors
/// When it can never be done.
pub async fn prepare_store(store: &Store, shards: u32) -> Result<(), Error> {
    let mut delays = Delays::reconnecting();
    let mut waiting = false;
    loop {
        match store.prepare(shards).await {
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

async fn purging(desk: Arc<Desk>, shutdown: Shutdown) -> Result<(), Error> {
    loop {
        tokio::select! {
            () = desk.clock.sleep(PURGE_EVERY) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        desk.throttle.forget();
        // What stays this time goes the next.
        if let Err(error) = desk.store.purge_resume_tokens(desk.clock.now_ms()).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "resume tokens not purged");
        }
        if let Err(error) = desk.store.purge_revocations(desk.oldest_ms()).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "revocations not purged");
        }
    }
}

/// What a client is told when something behind the door fails; what failed goes to the log.
fn unavailable(operation: &'static str, class: ErrorClass, error: &(dyn std::error::Error + 'static)) -> Refused {
    match class {
        // Readiness has said it already, once.
        ErrorClass::Transient => tracing::debug!(error, operation, "refused for now"),
        ErrorClass::Permanent | ErrorClass::Defect => tracing::error!(error, operation, "refused"),
    }
    Refused::new(Reason::StoreUnavailable).retry_after(STORE_RETRY)
}

/// The most accounts, or devices, of a page.
const PAGE_MAX: u32 = 1_000;

/// How many a page is to hold; 0 asks for the most.
fn page_limit(limit: u32) -> Result<u32, Refused> {
    match limit {
        0 => Ok(PAGE_MAX),
        limit if limit > PAGE_MAX => Err(Refused::new(Reason::TooMany).field("limit")),
        limit => Ok(limit),
    }
}

/// What a client is told when the store refuses or fails.
fn store_failed(error: store::Error) -> Refused {
    match error {
        store::Error::NotPermitted { .. }
        | store::Error::NoAccount { .. }
        | store::Error::NoGroup { .. }
        | store::Error::OtherTenant { .. } => Refused::new(Reason::NotPermitted),
        store::Error::NameTaken { .. } => Refused::new(Reason::NameTaken).field("name"),
        store::Error::BadName { .. } => Refused::new(Reason::FieldInvalid).field("name"),
        store::Error::Invalid { field, .. } => Refused::new(Reason::FieldInvalid).field(field),
        store::Error::InUse { .. } | store::Error::OwnerStays { .. } => Refused::new(Reason::InUse),
        store::Error::Full { .. } => Refused::new(Reason::TooMany),
        error => unavailable("ask the store", error.class(), &error),
    }
}
