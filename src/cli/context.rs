//! What commands need of the fleet: its configuration, Redis, SQL, and the addresses of its doors.

use super::args::{Cli, Doors};
use super::error::Error;
use super::output::Output;
use crate::broker::{Redis, Settings};
use crate::clock::Clock;
use crate::config::{Config, Program, Sources};
use crate::directory::{Passwords, Registry};
use crate::model::UserId;
use crate::store::{Author, Options, Store};

/// Opened as commands ask for it: a client needs neither Redis nor SQL.
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) out: Output,
    pub(super) clock: Clock,
}

impl Context {
    pub(super) fn new(cli: &Cli) -> Result<Self, Error> {
        let config = Config::load(Program::Roger, &Sources::of_process(cli.config.clone()))?;
        Ok(Self { config, out: Output { json: cli.json }, clock: Clock::system() })
    }

    pub(super) fn shards(&self) -> u32 {
        u32::from(self.config.fleet.shards)
    }

    pub(super) fn redis(&self) -> Result<Redis, Error> {
        Ok(Redis::new(Settings::from(&self.config.redis))?)
    }

    /// The Redis of alerts, which may be that of the fleet.
    pub(super) fn sos_redis(&self) -> Result<Redis, Error> {
        Ok(Redis::new(Settings { url: self.config.sos_url().to_owned(), ..Settings::from(&self.config.redis) })?)
    }

    /// Whether alerts have a Redis of their own.
    pub(super) fn sos_apart(&self) -> bool {
        self.config.sos_url() != self.config.redis.url
    }

    pub(super) fn store(&self) -> Result<Store, Error> {
        let store = Store::open_with(&Options::from(&self.config.sql))?;
        // While one server of a pair is away, Redis says whether the other is the primary.
        store.follow_epoch(self.redis()?.sql_epochs());
        Ok(store.on_behalf_of(Author::Operator(os_user()), self.clock.clone()))
    }

    /// Accounts and groups, with the tables they stand in.
    pub(super) async fn registry(&self) -> Result<Registry, Error> {
        let store = self.store()?;
        store.migrate().await?;
        Ok(Registry::new(store, Passwords::for_this_machine()?, self.clock.clone()))
    }

    /// The directory's address.
    pub(super) fn directory(&self, doors: &Doors) -> String {
        doors.directory.clone().unwrap_or_else(|| format!("http://{}", self.config.directory.listen))
    }

    /// The edges' addresses, as given or as configured.
    pub(super) fn edges(&self, doors: &Doors) -> Vec<String> {
        if doors.edges.is_empty() { vec![format!("http://{}", self.config.edge.listen)] } else { doors.edges.clone() }
    }

    /// The edges' addresses as given, or of all that live: for commands that may look into Redis.
    pub(super) async fn live_edges(&self, doors: &Doors) -> Result<Vec<String>, Error> {
        if !doors.edges.is_empty() {
            return Ok(doors.edges.clone());
        }
        let redis = self.redis()?;
        let live = redis.describe_edges(redis.look_at_time().await?).await?;
        let mut edges: Vec<String> = live.into_iter().map(|edge| format!("http://{}", edge.listen)).collect();
        edges.sort();
        edges.dedup();
        if edges.is_empty() { Ok(self.edges(doors)) } else { Ok(edges) }
    }
}

/// The account of a login name.
pub(super) async fn user_of(store: &Store, name: &str) -> Result<UserId, Error> {
    let found = store.account_by_name(name).await?;
    found.map(|account| account.id).ok_or_else(|| Error::Usage(format!("there is no account {name:?}")))
}

/// Who runs this, as the operating system knows them; the environment could say anything.
pub(super) fn os_user() -> String {
    let uid = nix::unistd::Uid::current();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}
