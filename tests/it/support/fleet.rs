//! A whole fleet: Redis, SQL, directory, delivery, offline and edges as real processes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::cluster::{self, Cluster};
use super::mariadb::{ADMIN_FILE, MariaDb};
use super::process::{Process, Program};
use super::redis::{Appendfsync, Redis};
use super::sentinel::Sentinels;
use super::supervisord::Supervisord;
use super::{clocks, ports};

/// How many shards a fleet has unless it is told otherwise.
pub const SHARDS: u32 = 16;

/// Which store a fleet runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SqlServer {
    /// A file in the fleet's folder.
    #[default]
    Sqlite,
    /// A private server.
    MariaDb,
    /// A primary and its standby.
    Pair,
}

/// What a fleet consists of.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// How many edges: `edge-0`, `edge-1`, …
    pub edges: usize,
    /// How many delivery processes: `delivery-0`, …
    pub delivery: usize,
    /// How many offline processes: `offline-0`, …
    pub offline: usize,
    /// How many sos processes: `sos-0`, …
    pub sos: usize,
    /// How many gps processes: `gps-0`, …
    pub gps: usize,
    /// How many janus processes: `janus-0`, …
    pub janus: usize,
    /// Whether there is a `gateway`.
    pub gateway: bool,
    /// The store.
    pub sql: SqlServer,
    /// Where a private server has its data; in a temporary folder unless set.
    pub sql_folder: Option<PathBuf>,
    /// How many replicas Redis has, with three sentinels over them; none when there are none.
    pub replicas: usize,
    /// How many primaries a Redis Cluster has and how many replicas each of them; `None` for no cluster.
    pub cluster: Option<(usize, usize)>,
    /// The durability of Redis.
    pub appendfsync: Appendfsync,
    /// Whether the clocks of the programs, and of Redis and its replicas under sentinels, can be set.
    pub clocks: bool,
    /// Whether the programs are run by [`Fleet::supervisord`], which starts again what ends, and not by the fleet itself.
    pub supervised: bool,
    /// Keys of the configuration with their values in TOML: `("edge.rate_burst", "5")`, `("log.level", "\"debug\"")`.
    pub overrides: Vec<(&'static str, String)>,
}

impl Default for FleetOptions {
    /// Two edges and one of each other that messages need, on SQLite, Redis with appendfsync always.
    fn default() -> Self {
        Self {
            edges: 2,
            delivery: 1,
            offline: 1,
            sos: 0,
            gps: 0,
            janus: 0,
            gateway: false,
            sql: SqlServer::Sqlite,
            sql_folder: None,
            replicas: 0,
            cluster: None,
            appendfsync: Appendfsync::Always,
            clocks: false,
            supervised: false,
            overrides: Vec::new(),
        }
    }
}

/// A running fleet. Programs go by the names `directory`, `delivery-0`, `offline-0`, `edge-0` and so on.
#[derive(Debug)]
pub struct Fleet {
    // In the order in which they are dropped: programs before the servers, the folder last.
    programs: BTreeMap<String, Process>,
    /// Who runs the programs, where the fleet itself has none.
    pub supervisord: Option<Supervisord>,
    /// The queue; the first primary where there are several servers.
    pub redis: Redis,
    /// Who watches over it.
    pub sentinels: Option<Sentinels>,
    /// The other servers of its cluster.
    pub cluster: Option<Cluster>,
    /// The store, when it is a server.
    pub mariadb: Option<MariaDb>,
    /// Its standby, when it has one.
    pub standby: Option<MariaDb>,
    edge_ports: Vec<u16>,
    directory_port: u16,
    gateway_port: u16,
    clocks: bool,
    folder: TempDir,
}

/// What a run of the command line gave.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// Itself, after it succeeded; panics with all it wrote otherwise.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The JSON on its standard output.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {:?}\nstderr:\n{}", self.stdout, self.stderr))
    }
}

/// A program of this package, as built beside this test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.is_file(), "{} is not built", path.display());
    path
}

impl Fleet {
    /// Starts everything and waits until every program makes progress.
    #[track_caller]
    pub fn start(options: FleetOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("roger-fleet-").tempdir().unwrap();
        let args = if options.cluster.is_some() { cluster::args() } else { Vec::new() };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let env = |name: &str| if options.clocks { clocks::environment(folder.path(), name) } else { Vec::new() };
        let redis = Redis::start_in(options.appendfsync, &args, env("redis"));
        let cluster = options.cluster.map(|(primaries, replicas)| Cluster::over(&redis, primaries, replicas, options.appendfsync));
        let replicas: Vec<_> = (0..options.replicas).map(|number| env(&format!("replica-{number}"))).collect();
        let sentinels = (!replicas.is_empty()).then(|| Sentinels::over(&redis, replicas, options.appendfsync));
        let (mariadb, standby) = match options.sql {
            SqlServer::Sqlite => (None, None),
            SqlServer::MariaDb => (Some(options.sql_folder.as_deref().map_or_else(MariaDb::start, MariaDb::start_in)), None),
            SqlServer::Pair => {
                let [primary, standby] = now(MariaDb::pair());
                (Some(primary), Some(standby))
            }
        };
        let (directory_port, gateway_port) = (ports::free(), ports::free());
        let edge_ports: Vec<u16> = (0..options.edges).map(|_| ports::free()).collect();
        let mut fleet = Self {
            programs: BTreeMap::new(),
            supervisord: None,
            redis,
            sentinels,
            cluster,
            mariadb,
            standby,
            edge_ports,
            directory_port,
            gateway_port,
            clocks: options.clocks,
            folder,
        };
        fleet.write_config(&options.overrides);
        fleet.roger(&["keys", "create", "--dir", fleet.folder().to_str().unwrap()]).succeeded();
        let mut programs = vec![fleet.describe("directory", "directory", &[])];
        if options.gateway {
            programs.push(fleet.describe("gateway", "gateway", &[]));
        }
        let counts = [options.delivery, options.offline, options.sos, options.gps, options.janus];
        for (program, count) in ["delivery", "offline", "sos", "gps", "janus"].into_iter().zip(counts) {
            programs.extend((0..count).map(|number| fleet.describe(&format!("{program}-{number}"), program, &[])));
        }
        for (number, port) in fleet.edge_ports.iter().enumerate() {
            let name = format!("edge-{number}");
            programs.push(fleet.describe(&name, "edge", &["--name", &name, "--listen", &format!("127.0.0.1:{port}")]));
        }
        if options.supervised {
            fleet.supervisord = Some(Supervisord::start(fleet.folder(), programs));
        } else {
            fleet.programs = programs.into_iter().map(|program| (program.name.clone(), Process::start(program))).collect();
        }
        fleet.wait_until_ready();
        fleet
    }

    /// Where configuration, keys, SQLite and logs are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration all programs run with.
    pub fn config(&self) -> PathBuf {
        self.folder().join("roger.toml")
    }

    /// `http://127.0.0.1:<port>` of an edge.
    pub fn edge(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}", self.edge_ports[number])
    }

    /// The same of all edges.
    pub fn edges(&self) -> Vec<String> {
        (0..self.edge_ports.len()).map(|number| self.edge(number)).collect()
    }

    /// `http://127.0.0.1:<port>` of the directory.
    pub fn directory(&self) -> String {
        format!("http://127.0.0.1:{}", self.directory_port)
    }

    /// `127.0.0.1:<port>` of the gateway.
    pub fn gateway(&self) -> String {
        format!("127.0.0.1:{}", self.gateway_port)
    }

    /// The names of all programs.
    pub fn names(&self) -> Vec<String> {
        self.programs.keys().cloned().collect()
    }

    /// A program by its name.
    #[track_caller]
    pub fn program(&mut self, name: &str) -> &mut Process {
        let names = self.names();
        self.programs.get_mut(name).unwrap_or_else(|| panic!("no program {name} among {names:?}"))
    }

    /// SIGKILL to a program, and waits until it is gone.
    #[track_caller]
    pub fn kill9(&mut self, name: &str) {
        self.program(name).kill();
    }

    /// SIGTERM to a program, and waits for its end.
    #[track_caller]
    pub fn terminate(&mut self, name: &str) -> ExitStatus {
        self.program(name).terminate()
    }

    /// SIGSTOP: a program that sleeps and does not know it.
    #[track_caller]
    pub fn stop(&mut self, name: &str) {
        self.program(name).signal(Signal::SIGSTOP);
    }

    /// SIGCONT, after [`Fleet::stop`].
    #[track_caller]
    pub fn cont(&mut self, name: &str) {
        self.program(name).signal(Signal::SIGCONT);
    }

    /// Sets the clock of a program, of `redis` or its `replica-0`, so many seconds ahead of the machine's, or behind it; of a fleet with clocks.
    pub fn set_clock(&self, name: &str, ahead_s: i64) {
        assert!(self.clocks, "the clocks of this fleet cannot be set");
        clocks::set(self.folder(), name, ahead_s);
    }

    /// Starts a program again without waiting for it; kills it first when it runs.
    #[track_caller]
    pub fn relaunch(&mut self, name: &str) {
        let process = self.program(name);
        process.kill();
        *process = Process::start(process.program().clone());
    }

    /// Starts a program again that writes its log elsewhere, without waiting for it; kills it first when it runs.
    #[track_caller]
    pub fn relaunch_with_log(&mut self, name: &str, log: PathBuf) {
        let process = self.program(name);
        process.kill();
        *process = Process::start(Program { log, ..process.program().clone() });
    }

    /// Starts a program again, and waits until it makes progress; kills it first when it runs.
    #[track_caller]
    pub fn restart(&mut self, name: &str) {
        self.relaunch(name);
        self.program(name).wait_for_log(": ready");
    }

    /// Waits until every program that runs makes progress.
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        for process in self.programs.values_mut() {
            process.wait_for_log(": ready");
        }
        if let Some(supervisord) = &mut self.supervisord {
            supervisord.wait_until_ready();
        }
    }

    /// Runs a command of `roger` against the fleet, to its end.
    #[track_caller]
    pub fn roger(&self, args: &[&str]) -> Answer {
        self.roger_with(args, [])
    }

    /// The same, with variables of the environment.
    #[track_caller]
    pub fn roger_with(&self, args: &[&str], env: impl IntoIterator<Item = (String, String)>) -> Answer {
        let output = self.command(args).envs(env).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Answer { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Writes a seed file and applies it.
    #[track_caller]
    pub fn apply(&self, seed: &str) {
        let path = self.folder().join("seed.toml");
        fs::write(&path, seed).unwrap();
        self.roger(&["apply", path.to_str().unwrap()]).succeeded();
    }

    /// A command of `roger` against the fleet, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("roger"));
        command.args(args).env("ROGER_CONFIG", self.config()).stdin(Stdio::null());
        command
    }

    /// How a program of the fleet is started.
    fn describe(&self, name: &str, program: &str, args: &[&str]) -> Program {
        let config = self.config();
        let mut env = vec![("RUST_BACKTRACE".to_owned(), "1".to_owned())];
        if self.clocks {
            env.extend(clocks::environment(self.folder(), name));
        }
        let args = ["--config", config.to_str().unwrap()].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        Program {
            name: name.to_owned(),
            executable: binary(program),
            package: "",
            args,
            env,
            log: self.folder().join(format!("{name}.log")),
            show: vec![config],
        }
    }

    fn write_config(&self, overrides: &[(&'static str, String)]) {
        let path = |name: &str| format!("{:?}", self.folder().join(name));
        let sql = match &self.mariadb {
            Some(server) => server.fleet_url(),
            None => format!("sqlite:{}", self.folder().join("roger.db").display()),
        };
        let (standby, admin_file) = match &self.standby {
            Some(server) => (server.fleet_url(), path("sql-admin.toml")),
            None => (String::new(), "\"\"".to_owned()),
        };
        let admin = self.folder().join("sql-admin.toml");
        fs::write(&admin, ADMIN_FILE).unwrap();
        fs::set_permissions(&admin, fs::Permissions::from_mode(0o600)).unwrap();
        let redis = match (&self.sentinels, &self.cluster) {
            (Some(sentinels), _) => sentinels.url(),
            (None, Some(cluster)) => cluster.url(),
            (None, None) => self.redis.url(),
        };
        let own = [
            ("redis.url", format!("{redis:?}")),
            ("sql.url", format!("{sql:?}")),
            ("sql.standby_url", format!("{standby:?}")),
            ("sql.admin_file", admin_file),
            ("auth.public_key_file", path("token.pub")),
            ("auth.secret_key_file", path("token.secret")),
            ("sms.file", path("sms.jsonl")),
            ("gateway.listen", format!("\"127.0.0.1:{}\"", self.gateway_port)),
            ("gateway.object_url", format!("\"file://{}\"", self.folder().join("objects").display())),
            ("gateway.spool_dir", path("spool")),
            ("directory.listen", format!("\"127.0.0.1:{}\"", self.directory_port)),
            // Beside other tests, which keep all processors busy, what yields would hardly get any.
            ("processor.yield", "false".to_owned()),
        ];
        let toml = config_text(own.into_iter().chain(overrides.iter().cloned()));
        fs::write(self.config(), toml).unwrap();
        // The URL of a server holds a password.
        fs::set_permissions(self.config(), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Waits for it on a thread of its own, for whoever is in a runtime or in none.
fn now<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

/// A configuration file of keys and values; later ones win.
pub fn config_text(keys: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut sections: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for (path, value) in keys {
        let (section, key) = path.split_once('.').unwrap();
        sections.entry(section).or_default().insert(key, value);
    }
    let mut text = String::new();
    for (section, keys) in sections {
        writeln!(text, "[{section}]").unwrap();
        for (key, value) in keys {
            writeln!(text, "{key} = {value}").unwrap();
        }
    }
    text
}
