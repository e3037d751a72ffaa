//! A fleet within the test process, over a real Redis and SQLite: for tests that need a clock they move, or a hook in the core.
//!
//! The programs are tasks that run their library entry points. Like a machine of theirs, all of them go by one clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use roger::broker::{self, Redis};
use roger::clock::Clock;
use roger::config::{Config, Program, Sources};
use roger::floor::Limits;
use roger::jobs::deliver::{self, Deliver, Hook};
use roger::shutdown::Shutdown;
use roger::token::KeyPair;
use roger::worker::{OrderedSettings, Readiness, run_ordered};
use tokio::task::JoinHandle;

use super::fleet::{Answer, binary, config_text};
use super::{eventually, ports};

/// A fleet of one process: directory, offline and delivery; edges as they are started.
pub struct World {
    running: BTreeMap<String, (Shutdown, JoinHandle<()>)>,
    pub redis: super::redis::Redis,
    pub config: Config,
    pub clock: Clock,
    /// `http://127.0.0.1:<port>` of each edge.
    pub edges: Vec<String>,
    folder: tempfile::TempDir,
}

impl World {
    /// Starts all but edges, with further keys of the configuration as in TOML. `hook` looks at every input of delivery.
    pub async fn start(clock: Clock, overrides: &[(&'static str, &str)], hook: Option<Hook>) -> Self {
        let redis = super::redis::Redis::start();
        let folder = tempfile::Builder::new().prefix("roger-world-").tempdir().unwrap();
        KeyPair::create(folder.path()).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let own = [
            ("redis.url", format!("{:?}", redis.url())),
            ("sql.url", format!("\"sqlite:{}\"", path("roger.db"))),
            ("auth.public_key_file", format!("{:?}", path("token.pub"))),
            ("auth.secret_key_file", format!("{:?}", path("token.secret"))),
            ("directory.listen", format!("\"127.0.0.1:{}\"", ports::free())),
            ("fleet.shards", "4".to_owned()),
        ];
        let all = own.into_iter().chain(overrides.iter().map(|(key, value)| (*key, (*value).to_owned())));
        fs::write(folder.path().join("roger.toml"), config_text(all)).unwrap();
        let sources = Sources { file: Some(folder.path().join("roger.toml")), ..Sources::default() };
        let config = Config::load(Program::Roger, &sources).unwrap();
        let mut world = Self { running: BTreeMap::new(), redis, config, clock, edges: Vec::new(), folder };
        world.run("directory", |config, clock, stop| async { roger::directory::run(config, clock, stop).await.unwrap() });
        world.run("offline", |config, clock, stop| async { roger::jobs::offline::run(config, clock, stop).await.unwrap() });
        match hook {
            None => world.run("delivery", |config, clock, stop| async { deliver::run(config, clock, stop).await.unwrap() }),
            Some(hook) => world.run("delivery", |config, clock, stop| deliver_with(hook, config, clock, stop)),
        }
        world
    }

    /// The configuration file, for programs beside this one.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("roger.toml")
    }

    fn run<F: Future<Output = ()> + Send + 'static>(&mut self, name: &str, program: impl FnOnce(Config, Clock, Shutdown) -> F) {
        let shutdown = Shutdown::manual();
        let task = tokio::spawn(program(self.config.clone(), self.clock.clone(), shutdown.clone()));
        self.running.insert(name.to_owned(), (shutdown, task));
    }

    /// Starts an edge, and waits until it listens.
    pub async fn start_edge(&mut self, name: &str) {
        let listen = format!("127.0.0.1:{}", ports::free()).parse().unwrap();
        let own = name.to_owned();
        self.run(name, |mut config, clock, stop| async move {
            (config.edge.name, config.edge.listen) = (own, listen);
            roger::edge::run(config, clock, stop).await.unwrap();
        });
        eventually("the edge listens", async || tokio::net::TcpStream::connect(listen).await.ok()).await;
        self.edges.push(format!("http://{listen}"));
    }

    /// Stops a program as SIGTERM would.
    pub async fn stop(&mut self, name: &str) {
        let (shutdown, task) = self.running.remove(name).unwrap();
        shutdown.start();
        task.await.unwrap();
    }

    /// Runs a command of `roger` against the fleet, to its end.
    pub fn roger(&self, args: &[&str]) -> Answer {
        let output = Command::new(binary("roger")).args(args).env("ROGER_CONFIG", self.file()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Answer { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// The program `delivery`, with a hook.
pub async fn deliver_with(hook: Hook, config: Config, clock: Clock, stop: Shutdown) {
    let shards = u32::from(config.fleet.shards);
    let redis = Redis::new(broker::Settings::from(&config.redis)).unwrap();
    eventually("Redis", async || redis.pin_shards(shards).await.ok()).await;
    let (batch_frames_max, checkpoint_interval) = (config.delivery.batch_frames_max, config.delivery.checkpoint_interval);
    let settings = deliver::Settings { shards, batch_frames_max, checkpoint_interval, floor: Limits::default() };
    let job = Deliver::new(redis.clone(), clock.clone(), settings);
    let leases = OrderedSettings::new(shards, config.delivery.lease_ttl).unwrap();
    let part = Readiness::new().part("shards");
    run_ordered(job.with_hook(hook), redis, leases, clock, stop, part).await;
}
