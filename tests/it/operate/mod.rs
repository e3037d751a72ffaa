//! The command line as an operator uses it, over a real Redis and SQL in which a test plants what is to be seen.

mod bench;
mod changes;
mod dead;
mod devices;
pub mod doctor;
mod help;
mod illnesses;
mod metrics;
mod queues;
mod sessions;
mod top;
mod traces;
mod tracing;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use roger::broker;
use roger::clock::Clock;
use roger::model::{TenantId, UserId, UserKind};
use roger::store::{NewAccount, Store};
use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::fleet::{Answer, binary, config_text};
use crate::support::redis::Redis;

/// Shards of the fleets here.
const SHARDS: u16 = 4;

/// A Redis and an SQLite without any program of a fleet.
struct Site {
    redis: Redis,
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { redis: Redis::start(), folder: tempfile::Builder::new().prefix("roger-operate-").tempdir().unwrap() };
        let sql = format!("{:?}", site.sql());
        let keys = [("redis.url", format!("{:?}", site.redis.url())), ("sql.url", sql), ("fleet.shards", SHARDS.to_string())];
        fs::write(site.config(), config_text(keys)).unwrap();
        site
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn config(&self) -> std::path::PathBuf {
        self.path().join("roger.toml")
    }

    fn sql(&self) -> String {
        format!("sqlite:{}", self.path().join("roger.db").display())
    }

    /// A store with tables.
    async fn store(&self) -> Store {
        let store = Store::open(&self.sql()).unwrap();
        store.migrate().await.unwrap();
        store
    }

    fn broker(&self) -> broker::Redis {
        let (connect_timeout, response_timeout) = (PATIENCE, PATIENCE);
        broker::Redis::new(broker::Settings {
            url: self.redis.url(),
            connect_timeout,
            response_timeout,
            replication: broker::Replication::none(),
        })
        .unwrap()
    }

    /// A command of `roger`, to its end.
    fn roger(&self, args: &[&str]) -> Answer {
        self.roger_with(args, &[])
    }

    /// The same, with keys of the configuration as variables of the environment.
    fn roger_with(&self, args: &[&str], environment: &[(&str, &str)]) -> Answer {
        let mut command = Command::new(binary("roger"));
        command.args(args).env("ROGER_CONFIG", self.config()).envs(environment.iter().copied()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Answer { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// An account that nobody logs in to.
async fn account(store: &Store, tenant: TenantId, name: &str) -> UserId {
    let account = NewAccount {
        name: name.to_owned(),
        nickname: name.to_owned(),
        kind: UserKind::Device,
        tenant,
        password_hash: String::new(),
        parent: None,
    };
    store.create_account(account, Clock::system().now_ms()).await.unwrap()
}
