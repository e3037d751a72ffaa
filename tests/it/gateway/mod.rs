//! The gateway over real SQL and real objects: in this process with a clock that a test may move, or as the program.

mod addresses;
mod command;
mod files;
mod limits;
mod phone;
mod releases;
mod s3;
mod serving;
mod torn;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use roger::clock::{Clock, Hand};
use roger::config::{Config, Program, Sources};
use roger::gateway;
use roger::model::{Digest, GroupId, InstallationId, TenantId, UserId, UserKind};
use roger::shutdown::Shutdown;
use roger::store::{NewAccount, Store};
use roger::token::{Claims, KeyPair, ReleaseSigner, Signer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::{eventually, ports};

/// When the manual clock starts: 2026-01-01.
const START_MS: u64 = 1_767_225_600_000;

/// Where gateways of one deployment live: keys, SQLite, objects.
struct Ground {
    folder: TempDir,
    sql: String,
}

/// A running gateway in this process.
struct Running {
    url: String,
    http: Client,
    shutdown: Shutdown,
    ended: JoinHandle<Result<(), gateway::Error>>,
}

/// A refusal as a client sees it.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    status: u16,
    reason: String,
    field: String,
}

fn refusal(status: u16, reason: &str, field: &str) -> Refused {
    Refused { status, reason: reason.to_owned(), field: field.to_owned() }
}

/// What an answer was refused with.
async fn refused(answer: Response) -> Refused {
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status} {text:?}: {error}"));
    assert!(json["text"].as_str().is_some_and(|text| !text.is_empty()), "{json}");
    Refused { status, reason: json["reason"].as_str().unwrap().to_owned(), field: json["field"].as_str().unwrap().to_owned() }
}

/// What a counter without labels stands at, of a program that serves its metrics at `listen`; 0 before it first counts.
pub async fn counted(listen: &str, name: &str) -> u64 {
    let text = client().get(format!("http://{listen}/metrics")).send().await.unwrap().text().await.unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    count.map_or(0, |count| count.parse().unwrap())
}

pub fn client() -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    // Whoever refuses a request before its content closes the connection a moment after the answer: none is used again.
    Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(60)).build().unwrap()
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("roger-gateway-").tempdir().unwrap();
        let sql = format!("sqlite:{}", folder.path().join("roger.db").display());
        Self::over(folder, sql)
    }

    /// Over a database that is there.
    fn on(sql: &str) -> Self {
        Self::over(tempfile::Builder::new().prefix("roger-gateway-").tempdir().unwrap(), sql.to_owned())
    }

    fn over(folder: TempDir, sql: String) -> Self {
        KeyPair::create(folder.path()).unwrap();
        KeyPair::create_for_releases(folder.path()).unwrap();
        Self { folder, sql }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The keys of the configuration, with a free port.
    fn keys(&self, changes: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.path(name).display().to_string();
        let own = [
            ("sql.url", self.sql.clone()),
            ("auth.public_key_file", file("token.pub")),
            ("gateway.listen", format!("127.0.0.1:{}", ports::free())),
            ("gateway.object_url", format!("file://{}", file("objects"))),
            ("gateway.spool_dir", file("spool")),
            ("gateway.release_public_key_file", file("release.pub")),
            ("gateway.address_requests_per_min", "0".to_owned()),
        ];
        own.into_iter().chain(changes.iter().map(|(key, value)| (*key, (*value).to_owned()))).collect()
    }

    async fn store(&self) -> Store {
        let store = Store::open(&self.sql).unwrap();
        store.migrate().await.unwrap();
        store
    }

    async fn start(&self, changes: &[(&'static str, &str)]) -> Running {
        self.start_at(changes, Clock::system()).await
    }

    /// On a clock that stands still.
    async fn start_still(&self, changes: &[(&'static str, &str)]) -> (Running, Hand) {
        let (clock, hand) = Clock::manual(START_MS);
        (self.start_at(changes, clock).await, hand)
    }

    async fn start_at(&self, changes: &[(&'static str, &str)], clock: Clock) -> Running {
        let flags = self.keys(changes).into_iter().map(|(key, value)| (key, "--test", value)).collect();
        let config = Config::load(Program::Gateway, &Sources { flags, ..Sources::default() }).unwrap();
        let (url, shutdown) = (format!("http://{}", config.gateway.listen), Shutdown::manual());
        let ended = tokio::spawn(gateway::run(config, clock, shutdown.clone()));
        let running = Running { url, http: client(), shutdown, ended };
        running.wait_until_ready().await;
        running
    }

    /// An access token that is good for long on any of the tests' clocks.
    fn token(&self, who: &Who) -> String {
        let claims = Claims {
            user: who.user,
            tenant: who.tenant,
            kind: who.kind,
            installation: InstallationId(7),
            name: String::new(),
            expires_ms: u64::MAX,
            issued_ms: START_MS,
            token_id: 1,
        };
        Signer::load(&self.path("token.secret")).unwrap().sign(&claims).unwrap()
    }

    /// The signature of a file by the release key of this ground.
    fn signature(&self, file: &[u8]) -> String {
        let digest = Digest(Sha256::digest(file).into());
        ReleaseSigner::load(&self.path("release.secret")).unwrap().sign(digest)
    }

    /// Runs SQL that no function of the store is for.
    async fn execute(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        if self.sql.starts_with("sqlite:") {
            let mut connection = sqlx::SqliteConnection::connect(&self.sql).await.unwrap();
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        } else {
            let mut connection = sqlx::MySqlConnection::connect(&self.sql).await.unwrap();
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
    }

    /// The objects on disk, without that of the health check.
    fn objects(&self) -> Vec<String> {
        let mut found = Vec::new();
        files_below(&self.path("objects"), &mut found);
        let root = self.path("objects");
        let mut names: Vec<String> = found.iter().map(|path| path.strip_prefix(&root).unwrap().display().to_string()).collect();
        names.retain(|name| !name.starts_with("health/"));
        names.sort();
        names
    }

    /// What lies in the spool.
    fn spooled(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files_below(&self.path("spool"), &mut found);
        found
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

/// Somebody who may have a token.
#[derive(Clone, Copy, Debug)]
struct Who {
    user: UserId,
    tenant: TenantId,
    kind: UserKind,
}

/// Two companies: apollo with the dispatcher capcom and below it neil, buzz (both in the group loop) and mike; soyuz with the dispatcher
/// alexei. And the root of the deployment.
struct Crew {
    root: Who,
    neil: Who,
    buzz: Who,
    mike: Who,
    capcom: Who,
    alexei: Who,
    group: GroupId,
}

impl Crew {
    async fn of(ground: &Ground) -> Self {
        let store = ground.store().await;
        let (apollo, soyuz) = (store.ensure_tenant("apollo").await.unwrap().id(), store.ensure_tenant("soyuz").await.unwrap().id());
        let account = async |name: &str, tenant, kind| {
            let new = NewAccount { name: name.into(), nickname: name.into(), kind, tenant, password_hash: String::new(), parent: None };
            Who { user: store.create_account(new, 5).await.unwrap(), tenant, kind }
        };
        let (neil, buzz) = (account("neil", apollo, UserKind::Device).await, account("buzz", apollo, UserKind::Device).await);
        let (mike, capcom) = (account("mike", apollo, UserKind::Device).await, account("capcom", apollo, UserKind::Dispatcher).await);
        let alexei = account("alexei", soyuz, UserKind::Dispatcher).await;
        let group = store.create_group(apollo, "loop").await.unwrap();
        for user in [neil.user, buzz.user] {
            store.join_group(group, user, 5).await.unwrap();
        }
        let root = account("root", soyuz, UserKind::Root).await;
        let below = [neil, buzz, mike].map(|who| who.user.to_string()).join(", ");
        ground.execute(&format!("UPDATE account SET parent = {} WHERE id IN ({below})", capcom.user)).await;
        Self { root, neil, buzz, mike, capcom, alexei, group }
    }

    /// `g:<loop>`.
    fn topic(&self) -> String {
        format!("g:{}", self.group)
    }
}

impl Running {
    async fn wait_until_ready(&self) {
        eventually("the gateway is ready", || async {
            let answer = self.http.get(format!("{}/healthz", self.url)).send().await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
    }

    async fn get(&self, path: &str, token: Option<&str>, headers: &[(&str, &str)]) -> Response {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    }

    async fn post(&self, path: &str, token: Option<&str>, body: impl Into<reqwest::Body>) -> Response {
        let mut request = self.http.post(format!("{}{path}", self.url)).body(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.start();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.ended).await;
        ended.expect("the gateway did not stop within its grace").unwrap().unwrap();
    }
}

/// The JSON of an answer with this status.
async fn json(answer: Response, status: StatusCode) -> Value {
    let (got, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(got, status, "{text}");
    serde_json::from_str(&text).unwrap()
}
