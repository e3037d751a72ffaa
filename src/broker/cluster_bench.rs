//! What the bench does with a cluster of its own: makes it, and sees how evenly it is used.

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::slots::SLOTS;

/// One server of a cluster, and its part of what there was to do since it started.
#[derive(Clone, Debug)]
pub struct ServerShare {
    /// `host:port`.
    pub address: String,
    /// Its process.
    pub pid: u32,
    /// The shards whose keys it has.
    pub shards: u32,
    /// Commands it did, those of scripts not counted.
    pub commands: u64,
    /// Entries that were appended to its streams: inputs of shards, their logs, and what edges and workers are told.
    pub entries: u64,
}

impl Redis {
    /// Makes a cluster of empty servers, each with its port and that of its bus; all on this machine. Each gets as many slots as the others. Returns
    /// before they have met.
    ///
    /// # Errors
    /// When one of them does not answer, or is of a cluster already.
    pub async fn bench_form_cluster(servers: &[(Self, u16, u16)]) -> Result<(), Error> {
        const OPERATION: &str = "form a cluster";
        let slots = |number: usize| number * usize::from(SLOTS) / servers.len();
        for (number, (server, _, _)) in servers.iter().enumerate() {
            let mut pipeline = redis::pipe();
            // Two servers with the same epoch would first have to agree on who is which.
            pipeline.cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(number + 1);
            pipeline.cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(slots(number)).arg(slots(number + 1) - 1);
            for (_, port, bus) in &servers[..number] {
                pipeline.cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(*port).arg(*bus);
            }
            server.pipe::<()>(OPERATION, &pipeline).await?;
        }
        Ok(())
    }

    /// Whether a server of a cluster knows as many others as it should, and every slot has its owner.
    pub async fn bench_is_whole(&self, servers: usize) -> bool {
        let mut command = redis::cmd("CLUSTER");
        command.arg("INFO");
        let said: String = self.command("look at the cluster", command).await.unwrap_or_default();
        let says = |line: &str| said.lines().any(|said| said.trim_end() == line);
        says("cluster_state:ok") && says(&format!("cluster_known_nodes:{servers}"))
    }

    /// What each server of the cluster had to do.
    pub async fn bench_shares(&self, shards: u32) -> Result<Vec<ServerShare>, Error> {
        let mut shares = Vec::new();
        for server in self.each().await? {
            let look = server.look_at_server().await?;
            let mut command = redis::cmd("INFO");
            command.arg("commandstats");
            let calls: String = server.command("look at the commands", command).await?;
            let entries = calls.lines().find_map(|line| line.strip_prefix("cmdstat_xadd:calls=")?.split(',').next()?.parse().ok());
            let mut share =
                ServerShare { address: look.address, pid: look.pid, shards: 0, commands: look.commands, entries: entries.unwrap_or(0) };
            for shard in 0..shards {
                let owner = self.server_of(Some(keys::log(shard).as_bytes())).await?;
                share.shards += u32::from(owner.current().await?.1.facts.server == share.address);
            }
            shares.push(share);
        }
        Ok(shares)
    }
}
