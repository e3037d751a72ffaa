//! A private fleet in a temporary folder.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::super::args::Sql;
use super::super::error::Error;
use super::janus::Janus;
use super::mariadb::MariaDb;
use super::server::Server;
use super::usage::{PROGRAMS, Watched};
use crate::clock::Clock;
use crate::config::{Config, Program, Sources};
use crate::token::KeyPair;

/// A folder that goes with its value.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Self, Error> {
        let name = format!("roger-bench-{}-{:x}", std::process::id(), rand::random::<u32>());
        // Absolute, for programs that work elsewhere.
        let path = std::path::absolute(std::env::temp_dir().join(&name)).map_err(|source| Error::File { path: name.into(), source })?;
        fs::create_dir_all(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn free_port() -> Result<u16, Error> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map(|address| address.port());
    port.map_err(|source| Error::File { path: "a free port".into(), source })
}

/// Ends with this process, and at the latest with its value. It works in the folder of its log: Janus leaves things there, and so does the kernel of
/// a program that crashes.
pub(super) fn start(program: &Path, args: &[String], log: &Path) -> Result<Child, Error> {
    let failed = |source| Error::Program { program: program.display().to_string(), source };
    // What was said before it was killed stays.
    let file = fs::File::options().create(true).append(true).open(log).map_err(failed)?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args).kill_on_drop(true);
    command.current_dir(log.parent().unwrap_or(Path::new("/")));
    command.stdin(Stdio::null()).stdout(file.try_clone().map_err(failed)?).stderr(file);
    // What overrides the configuration of another fleet is not for this one.
    for (variable, _) in std::env::vars_os().filter(|(variable, _)| variable.to_string_lossy().starts_with("ROGER_")) {
        command.env_remove(variable);
    }
    command.spawn().map_err(failed)
}

pub(super) async fn until(within: Duration, what: &str, mut done: impl AsyncFnMut() -> bool) -> Result<(), Error> {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let late = |_| Error::Late { what: what.to_owned(), seconds: within.as_secs() };
    tokio::time::timeout(within, waiting).await.map_err(late)
}

/// Which programs a private fleet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crew {
    /// One of each that messages need.
    Messages,
    /// Those, a second edge, and one of each that SOS and positions need.
    WithAlerts,
    /// Those of messages, and a Janus with the program that works it.
    WithTalk,
    /// Those of messages, and the program that works off a list of Janus, without a Janus.
    WithList,
    /// One of each, without a Janus; with metrics or without.
    AtRest { measured: bool },
}

/// A program of a private fleet.
struct Member {
    /// Unique in the fleet.
    name: String,
    program: &'static str,
    args: Vec<String>,
    child: Child,
}

/// A private database.
pub(super) enum Database {
    Sqlite { url: String, _folder: Folder },
    MariaDb(MariaDb),
}

impl Database {
    pub(super) async fn start(sql: Sql, within: Duration) -> Result<Self, Error> {
        match sql {
            Sql::Mariadb => MariaDb::start(within).await.map(Self::MariaDb),
            Sql::Sqlite => {
                let folder = Folder::new()?;
                Ok(Self::Sqlite { url: format!("sqlite:{}/roger.db", folder.0.display()), _folder: folder })
            }
        }
    }

    pub(super) fn url(&self) -> &str {
        match self {
            Self::Sqlite { url, .. } => url,
            Self::MariaDb(server) => &server.url,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "sqlite",
            Self::MariaDb(_) => "mariadb",
        }
    }

    async fn stop(self) {
        if let Self::MariaDb(mut server) = self {
            let _gone = server.child.kill().await;
        }
    }
}

/// A private fleet.
pub(super) struct Fleet {
    pub(super) config: Config,
    members: Vec<Member>,
    edges: usize,
    /// Where programs serve metrics.
    pub(super) metrics: Vec<String>,
    server: Server,
    database: Database,
    _janus: Option<Janus>,
}

impl Fleet {
    pub(super) async fn start(server: Server, sql: Sql, crew: Crew, within: Duration) -> Result<Self, Error> {
        let database = Database::start(sql, within).await?;
        let folder = server.folder.0.clone();
        let keys = KeyPair::create(&folder)?;
        let janus = if crew == Crew::WithTalk { Some(Janus::start(&folder, within).await?) } else { None };
        let mut text = format!(
            "[redis]\nurl = \"{}\"\n[sql]\nurl = \"{}\"\n[auth]\npublic_key_file = \"{}\"\nsecret_key_file = \"{}\"\n\
             [edge]\nlisten = \"127.0.0.1:{}\"\nrate_messages_per_s = 0\nrate_burst = 0\n\
             [directory]\nlisten = \"127.0.0.1:{}\"\naccount_logins_per_min = 0\naddress_logins_per_min = 0\n\
             [sms]\nprovider = \"off\"\n",
            server.url,
            database.url(),
            keys.public.display(),
            keys.secret.display(),
            free_port()?,
            free_port()?,
        );
        let mut metrics = Vec::new();
        if crew == (Crew::AtRest { measured: true }) {
            text.push_str("[metrics]\n");
            for program in PROGRAMS {
                let address = format!("127.0.0.1:{}", free_port()?);
                text.push_str(&format!("{program}_listen = \"{address}\"\n"));
                metrics.push(address);
            }
        }
        text.extend(janus.iter().map(Janus::section));
        let file = folder.join("roger.toml");
        fs::write(&file, text).map_err(|source| Error::File { path: file.clone(), source })?;
        let config = Config::load(Program::Roger, &Sources { file: Some(file.clone()), ..Sources::default() })?;
        let args = vec!["--config".to_owned(), file.display().to_string()];
        let mut crewed: Vec<_> = PROGRAMS.iter().map(|program| ((*program).to_owned(), *program, args.clone())).collect();
        crewed.retain(|(_, program, _)| match *program {
            "sos" | "gps" => matches!(crew, Crew::WithAlerts | Crew::AtRest { .. }),
            "janus" => matches!(crew, Crew::WithTalk | Crew::WithList | Crew::AtRest { .. }),
            _ => true,
        });
        if crew == Crew::WithAlerts {
            let second = ["--name", "edge-2", "--listen", &format!("127.0.0.1:{}", free_port()?)].map(str::to_owned);
            crewed.push(("edge-2".to_owned(), "edge", args.iter().cloned().chain(second).collect()));
        }
        let edges = crewed.iter().filter(|(_, program, _)| *program == "edge").count();
        let mut members = Vec::new();
        for (name, program, args) in crewed {
            let child = start(&beside(program)?, &args, &folder.join(format!("{name}.log")))?;
            members.push(Member { name, program, args, child });
        }
        let mut fleet = Self { config, members, edges, metrics, server, database, _janus: janus };
        fleet.wait(within).await?;
        Ok(fleet)
    }

    /// All processes by name, without Redis.
    pub(super) fn names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name.clone()).collect()
    }

    fn member(&mut self, name: &str) -> Result<&mut Member, Error> {
        self.members.iter_mut().find(|member| member.name == name).ok_or_else(|| Error::Usage(format!("there is no process {name}")))
    }

    /// The id of a process.
    pub(super) fn pid(&mut self, name: &str) -> Result<u32, Error> {
        Ok(self.member(name)?.child.id().unwrap_or(0))
    }

    /// SIGKILL to a process, without waiting for its end.
    pub(super) fn kill(&mut self, name: &str) -> Result<(), Error> {
        let member = self.member(name)?;
        let failed = |source| Error::Program { program: member.program.to_owned(), source };
        member.child.start_kill().map_err(failed)
    }

    /// Starts a process again as soon as it has ended, as a supervisor does.
    pub(super) async fn revive(&mut self, name: &str) -> Result<(), Error> {
        let log = self.server.folder.0.join(format!("{name}.log"));
        let member = self.member(name)?;
        let failed = |source| Error::Program { program: member.program.to_owned(), source };
        member.child.wait().await.map_err(failed)?;
        member.child = start(&beside(member.program)?, &member.args, &log)?;
        Ok(())
    }

    /// Until all edges are there, and every shard has its owner.
    pub(super) async fn wait(&mut self, within: Duration) -> Result<(), Error> {
        let (redis, clock, shards) = (self.server.redis.clone(), Clock::system(), u32::from(self.config.fleet.shards));
        let wanted = self.edges;
        let ready = async || {
            let edges = redis.describe_edges(clock.now_ms()).await.unwrap_or_default();
            let looks = redis.look_at_shards(shards).await.unwrap_or_default();
            edges.len() >= wanted && !looks.is_empty() && looks.iter().all(|look| look.deliver.is_some() && look.archive.is_some())
        };
        let waited = until(within, "the start of a private fleet", ready).await;
        if waited.is_err() {
            for Member { name, .. } in &self.members {
                let log = fs::read_to_string(self.server.folder.0.join(format!("{name}.log"))).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                super::note(&format!("bench: the end of the log of {name}, latest first:\n{}", last.join("\n")));
            }
        }
        waited
    }

    pub(super) fn watched(&self) -> Watched {
        let mut watched = Watched::default();
        let children = self.members.iter().map(|member| (member.program, member.child.id()));
        children.for_each(|(program, pid)| watched.add(program, pid.unwrap_or(0)));
        self.server.pids().for_each(|pid| watched.add("redis", pid));
        if let Database::MariaDb(server) = &self.database {
            watched.add("mariadb", server.child.id().unwrap_or(0));
        }
        watched
    }

    pub(super) async fn stop(mut self) {
        for member in &mut self.members {
            let _gone = member.child.kill().await;
        }
        self.server.stop().await;
        self.database.stop().await;
    }
}

/// A program that lies where this one does.
fn beside(program: &str) -> Result<PathBuf, Error> {
    let own = std::env::current_exe().map_err(|source| Error::Program { program: "this program".to_owned(), source })?;
    Ok(own.with_file_name(program))
}
