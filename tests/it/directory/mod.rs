//! The directory over a real Redis and SQLite: in this process, with a clock that a test may move.

mod accounts;
mod alerts;
mod callers;
mod devices;
mod fences;
mod gate;
mod groups;
mod login;
mod people;
mod places;
mod relay;
mod serving;
mod sessions;
mod tenants;
mod traces;

use std::path::Path;
use std::time::Duration;

use roger::clock::{Clock, Hand};
use roger::config::{Config, Program, Sources};
use roger::directory::seed::{self, SeedFile, Summary};
use roger::directory::{self, Passwords, Registry};
use roger::proto::status::Refused;
use roger::proto::v1;
use roger::proto::v1::talk_cloud_client::TalkCloudClient;
use roger::shutdown::Shutdown;
use roger::store::Store;
use roger::token::{KeyPair, Verifier};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::support::{eventually, ports};

/// A Redis that is not there: logins do not need one.
const NO_REDIS: &str = "redis://127.0.0.1:1/0";
/// When the manual clock starts: 2026-01-01.
const START_MS: u64 = 1_767_225_600_000;

/// A crew of three in one group, and somebody of another tenant.
const CREW: &str = r#"
[[tenant]]
name = "apollo"
[[tenant]]
name = "soyuz"
[[account]]
name = "neil"
nickname = "Neil 🌕"
kind = "device"
tenant = "apollo"
password = "eagle"
[[account]]
name = "buzz"
kind = "device"
tenant = "apollo"
password = "lunar"
[[account]]
name = "capcom"
nickname = "Houston"
kind = "dispatcher"
tenant = "apollo"
password = "go"
[[account]]
name = "alexei"
kind = "device"
tenant = "soyuz"
password = "mir"
[[group]]
name = "loop"
tenant = "apollo"
members = ["neil", "buzz", "capcom"]
"#;

/// Where directories of one deployment live: keys, SQLite, the way to Redis.
struct Ground {
    folder: TempDir,
    redis: String,
    shards: u16,
}

/// A running directory.
struct Running {
    shutdown: Shutdown,
    ended: JoinHandle<Result<(), directory::Error>>,
    url: String,
}

type Client = TalkCloudClient<Channel>;

/// For how long a call waits until the shards have heard what it changed; it answers then all the same.
const SETTLES: Duration = Duration::from_secs(2);

impl Ground {
    fn new(redis: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("roger-directory-").tempdir().unwrap();
        KeyPair::create(folder.path()).unwrap();
        Self { folder, redis: redis.to_owned(), shards: 16 }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn sql(&self) -> String {
        format!("sqlite:{}", self.path().join("roger.db").display())
    }

    fn config(&self, changes: &[(&'static str, &str)]) -> Config {
        let file = |name: &str| self.path().join(name).display().to_string();
        let own = [
            ("fleet.shards", self.shards.to_string()),
            ("redis.url", self.redis.clone()),
            // A Redis that is away refuses at once; one that stands still beside other tests is waited for.
            ("redis.connect_timeout_ms", "30000".to_owned()),
            ("redis.response_timeout_ms", "30000".to_owned()),
            ("sql.url", self.sql()),
            ("auth.public_key_file", file("token.pub")),
            ("auth.secret_key_file", file("token.secret")),
            ("directory.listen", format!("127.0.0.1:{}", ports::free())),
            ("directory.account_logins_per_min", "0".to_owned()),
            ("directory.address_logins_per_min", "0".to_owned()),
        ];
        let changes = changes.iter().map(|(key, value)| (*key, (*value).to_owned()));
        let flags = own.into_iter().chain(changes).map(|(key, value)| (key, "--test", value)).collect();
        Config::load(Program::Directory, &Sources { flags, ..Sources::default() }).unwrap()
    }

    /// A store with tables.
    async fn store(&self) -> Store {
        let store = crate::store::open(&self.sql());
        directory::prepare_store(&store, self.shards.into()).await.unwrap();
        store
    }

    async fn registry(&self) -> Registry {
        Registry::new(self.store().await, Passwords::new(2).unwrap(), Clock::system())
    }

    /// Applies a seed file.
    async fn apply(&self, text: &str) -> Result<Summary, seed::Error> {
        seed::apply(&self.registry().await, &SeedFile::parse(text, Path::new("crew.toml")).unwrap()).await
    }

    /// Starts a directory on the machine's clock.
    async fn start(&self, changes: &[(&'static str, &str)]) -> Running {
        self.start_at(changes, Clock::system()).await
    }

    /// Starts one on a clock that stands still.
    async fn start_still(&self, changes: &[(&'static str, &str)]) -> (Running, Hand) {
        let (clock, hand) = Clock::manual(START_MS);
        (self.start_at(changes, clock).await, hand)
    }

    async fn start_at(&self, changes: &[(&'static str, &str)], clock: Clock) -> Running {
        let config = self.config(changes);
        let (url, shutdown) = (format!("http://{}", config.directory.listen), Shutdown::manual());
        let ended = tokio::spawn(directory::run(config, clock, shutdown.clone()));
        let running = Running { shutdown, ended, url };
        eventually("the directory listens", || async { TalkCloudClient::connect(running.url.clone()).await.ok() }).await;
        running
    }

    fn verifier(&self) -> Verifier {
        Verifier::load(&self.path().join("token.pub")).unwrap()
    }
}

impl Running {
    async fn client(&self) -> Client {
        TalkCloudClient::connect(self.url.clone()).await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.start();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.ended).await;
        ended.expect("the directory did not stop within its grace").unwrap().unwrap();
    }
}

/// A login with a password, from installation 7.
fn by_password(name: &str, password: &str) -> v1::LoginRequest {
    let (name, password) = (name.to_owned(), password.to_owned());
    v1::LoginRequest { name, password, installation_id: 7, app: Some(tool()), ..Default::default() }
}

/// What passes whatever releases there are.
fn tool() -> v1::App {
    v1::App { kind: v1::AppKind::Tool.into(), ..v1::App::default() }
}

/// A login with a resume token.
fn by_resume(token: &str, installation_id: u64) -> v1::LoginRequest {
    v1::LoginRequest { resume_token: token.to_owned(), installation_id, app: Some(tool()), ..Default::default() }
}

async fn log_in(client: &mut Client, request: v1::LoginRequest) -> v1::LoginResponse {
    client.login(request).await.unwrap().into_inner()
}

/// What a call was refused with.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> Refused {
    let status = answer.unwrap_err();
    Refused::of(&status).unwrap_or_else(|| panic!("not one of this fleet's refusals: {status:?}"))
}
