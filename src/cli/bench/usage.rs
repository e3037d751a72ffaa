//! What processes use, from /proc.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::Process;
use procfs::{CpuInfo, Current as _, WithCurrentSystemInfo as _};
use serde::Serialize;

use super::super::error::Error;
use crate::store::Store;

/// The programs of a fleet.
pub(super) const PROGRAMS: [&str; 7] = ["edge", "directory", "delivery", "offline", "sos", "gps", "janus"];

/// What the processes of one program used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Usage {
    /// User and system time, that of ended children included.
    pub(super) cpu_s: f64,
    /// Peak memory, of all its processes together.
    pub(super) rss_peak_kib: u64,
    /// Memory now.
    pub(super) rss_kib: u64,
}

/// Every session is an open file here, and another one at the edge, which inherits the limit. Where it cannot be raised, sessions that do not
/// come about say so.
pub(super) fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _as_it_was = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The machine a result belongs to.
#[derive(Debug, Default, Serialize)]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) cpu: String,
    pub(super) kernel: String,
    pub(super) profile: &'static str,
}

impl Machine {
    pub(super) fn this() -> Self {
        let cpu = CpuInfo::current().ok().and_then(|cpus| cpus.model_name(0).map(str::to_owned)).unwrap_or_default();
        let kernel =
            procfs::sys::kernel::Version::current().map(|version| format!("{}.{}.{}", version.major, version.minor, version.patch));
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu,
            kernel: kernel.unwrap_or_default(),
            profile: if cfg!(debug_assertions) { "dev" } else { "release" },
        }
    }
}

/// Processes by the name of their program.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(Vec<(String, i32)>);

impl Watched {
    pub(super) fn only(name: &str, pid: u32) -> Self {
        let mut watched = Self::default();
        watched.add(name, pid);
        watched
    }

    pub(super) fn add(&mut self, name: &str, pid: u32) {
        self.0.push((name.to_owned(), i32::try_from(pid).unwrap_or(0)));
    }

    /// The programs that run from where this one does, and Redis if it is on this machine.
    pub(super) fn find(redis: u32) -> Self {
        let mut watched = Self::only("redis", redis);
        let folder = std::env::current_exe().ok().and_then(|path| path.parent().map(std::path::Path::to_owned));
        for process in procfs::process::all_processes().into_iter().flatten().flatten() {
            let Ok(path) = process.exe() else { continue };
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.parent() == folder.as_deref() && PROGRAMS.contains(&name.as_str()) {
                watched.0.push((name, process.pid));
            }
        }
        watched
    }

    /// By program, as of now. A process that is gone counts as nothing.
    pub(super) fn usage(&self) -> BTreeMap<String, Usage> {
        let mut all: BTreeMap<String, Usage> = BTreeMap::new();
        let own = ("bench".to_owned(), i32::try_from(std::process::id()).unwrap_or(0));
        for (name, pid) in self.0.iter().chain([&own]) {
            let usage = all.entry(name.clone()).or_default();
            let Ok(process) = Process::new(*pid) else { continue };
            if let Ok(stat) = process.stat() {
                let ended = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
                usage.cpu_s += (stat.utime + stat.stime + ended) as f64 / procfs::ticks_per_second() as f64;
                usage.rss_kib += stat.rss_bytes().get() / 1024;
            }
            usage.rss_peak_kib += process.status().ok().and_then(|status| status.vmhwm).unwrap_or(0);
        }
        all
    }

    /// `mariadb` when there is one, else `sqlite`.
    pub(super) fn database(&self) -> &'static str {
        if self.0.iter().any(|(name, _)| name == "mariadb") { "mariadb" } else { "sqlite" }
    }

    /// CPU seconds of the database so far: of MariaDB, else of the threads in which a program, `bench` for this one, runs SQLite.
    pub(super) fn database_cpu_s(&self, program: &str) -> f64 {
        if let Some(usage) = self.usage().get("mariadb") {
            return usage.cpu_s;
        }
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let pids = self.0.iter().filter(|(name, _)| name == program).map(|(_, pid)| *pid);
        let pids = pids.chain((program == "bench").then_some(own));
        let tasks = pids.filter_map(|pid| Process::new(pid).ok()?.tasks().ok()).flatten().flatten();
        let stats = tasks.filter_map(|task| task.stat().ok()).filter(|stat| stat.comm.starts_with("sqlx-sqlite"));
        stats.map(|stat| (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64).sum()
    }

    /// Keeps the database from working for a while: MariaDB sleeps, and of SQLite somebody else has the lock for writing.
    pub(super) async fn hold_database(&self, store: &Store, held: Duration) -> Result<(), Error> {
        let Some((_, pid)) = self.0.iter().find(|(name, _)| name == "mariadb") else {
            return Ok(store.bench_hold(held).await?);
        };
        let signal = |signal| kill(Pid::from_raw(*pid), signal).map_err(|errno| Error::Usage(format!("mariadbd takes no signal: {errno}")));
        signal(Signal::SIGSTOP)?;
        tokio::time::sleep(held).await;
        signal(Signal::SIGCONT)
    }

    /// What was used since `before`.
    pub(super) fn since(&self, before: &BTreeMap<String, Usage>) -> BTreeMap<String, Usage> {
        let mut now = self.usage();
        for (name, usage) in &mut now {
            usage.cpu_s -= before.get(name).map_or(0.0, |before| before.cpu_s);
        }
        now
    }
}

/// What the fleet and Redis used, without the bench itself.
pub(super) fn fleet_cpu_s(usage: &BTreeMap<String, Usage>) -> f64 {
    usage.iter().filter(|(name, _)| *name != "bench").map(|(_, usage)| usage.cpu_s).sum()
}
