//! A private Redis: one server, or the primaries of a cluster.

use std::path::Path;
use std::time::Duration;

use tokio::process::Child;

use super::super::args::Appendfsync;
use super::super::error::Error;
use super::name;
use super::spawn::{Folder, free_port, start, until};
use crate::broker::{Redis, Replication, Settings};

/// A private Redis.
pub(super) struct Server {
    pub(super) redis: Redis,
    pub(super) url: String,
    children: Vec<Child>,
    pub(super) folder: Folder,
}

impl Server {
    /// One server, or a cluster of so many primaries.
    pub(super) async fn start(appendfsync: Appendfsync, primaries: Option<u16>, within: Duration) -> Result<Self, Error> {
        let folder = Folder::new()?;
        let Some(primaries) = primaries else {
            let port = free_port()?;
            let child = start_server(&folder.0, port, appendfsync, &[])?;
            let url = format!("redis://127.0.0.1:{port}/0");
            let redis = handle(&url)?;
            until(within, STARTS, async || redis.facts().await.is_ok()).await?;
            return Ok(Self { redis, url, children: vec![child], folder });
        };
        let (mut children, mut servers) = (Vec::new(), Vec::new());
        for number in 1..=primaries {
            let (port, bus) = (free_port()?, free_port()?);
            let directory = folder.0.join(format!("redis-{number}"));
            std::fs::create_dir_all(&directory).map_err(|source| Error::File { path: directory.clone(), source })?;
            let clustered = ["--cluster-enabled", "yes", "--cluster-port", &bus.to_string(), "--cluster-node-timeout", "2000"];
            children.push(start_server(&directory, port, appendfsync, &clustered)?);
            let server = handle(&format!("redis://127.0.0.1:{port}/0"))?;
            until(within, STARTS, async || server.facts().await.is_ok()).await?;
            servers.push((server, port, bus));
        }
        Redis::bench_form_cluster(&servers).await?;
        for (server, _, _) in &servers {
            until(within, "a private cluster", async || server.bench_is_whole(servers.len()).await).await?;
        }
        let addresses: Vec<_> = servers.iter().map(|(_, port, _)| format!("127.0.0.1:{port}")).collect();
        let url = format!("redis-cluster://{}", addresses.join(","));
        Ok(Self { redis: handle(&url)?, url, children, folder })
    }

    /// The processes.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        self.children.iter().map(|child| child.id().unwrap_or(0))
    }

    pub(super) async fn stop(mut self) {
        for child in &mut self.children {
            let _gone = child.kill().await;
        }
    }
}

const STARTS: &str = "the start of a private redis-server (package redis-server)";

fn start_server(folder: &Path, port: u16, appendfsync: Appendfsync, further: &[&str]) -> Result<Child, Error> {
    let (port, directory) = (port.to_string(), folder.display().to_string());
    let fsync = name(appendfsync);
    let args = ["--port", &port, "--bind", "127.0.0.1", "--dir", &directory, "--appendonly", "yes", "--appendfsync", fsync];
    let args = args.into_iter().chain(["--save", "", "--maxmemory-policy", "noeviction"]).chain(further.iter().copied());
    start(Path::new("redis-server"), &args.map(str::to_owned).collect::<Vec<_>>(), &folder.join("redis.log"))
}

fn handle(url: &str) -> Result<Redis, Error> {
    let (connect_timeout, response_timeout) = (Duration::from_secs(2), Duration::from_secs(10));
    Ok(Redis::new(Settings { url: url.to_owned(), connect_timeout, response_timeout, replication: Replication::none() })?)
}
