//! A cluster: which of its servers has which slot, as they say together.
//!
//! All are asked each second, and at once when one sends somebody on or does not answer. What counts is [`SlotMap::merge`]. A server whose epoch
//! changed has been something else meanwhile, or took slots over: connections to it are made anew, and whoever held one starts over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Client, ConnectionAddr, ConnectionInfo};
use tokio::time::Instant;

use super::connection::Settings;
use super::error::Error;
use super::peer::Peer;
use super::route::{Named, Route, information};
use super::server::Server;
use super::slots::{SlotMap, read_nodes};

/// What begins the URL of a cluster: `redis-cluster://[user:password@]host:port,host:port,…`.
const CLUSTER: &str = "redis-cluster://";
/// How often the servers are asked when nothing happens.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// An answer so young is not asked for again: after a failure everything looks at once.
const FRESH: Duration = Duration::from_millis(50);

/// A cluster, and what is known of it.
pub(super) struct Cluster {
    /// As they stand in the URL: asked as long as nothing else is known, and beside what is.
    seeds: Vec<String>,
    /// How its servers are reached, but for their address.
    server: ConnectionInfo,
    settings: Settings,
    map: RwLock<Arc<SlotMap>>,
    /// Every primary that was ever known, by address.
    nodes: Mutex<BTreeMap<String, Member>>,
    peers: Mutex<BTreeMap<String, Arc<Peer>>>,
    asked: tokio::sync::Mutex<Option<Instant>>,
    watched: AtomicBool,
}

struct Member {
    node: Arc<Node>,
    server: Arc<Server>,
}

/// One server of a cluster: what its connections have to know.
pub(super) struct Node {
    client: Client,
    generation: AtomicU64,
    epoch: AtomicU64,
}

impl Node {
    pub(super) fn named(&self) -> Named {
        let (generation, epoch) = (self.generation(), self.epoch.load(Ordering::Acquire));
        Named { client: self.client.clone(), generation, epoch: Some(epoch) }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// The connections that a handle stays with, by server. Once one of them is broken, so is the whole.
pub(super) struct Hold {
    home: u16,
    taken: tokio::sync::Mutex<BTreeMap<String, Arc<Server>>>,
    broken: AtomicBool,
}

impl Hold {
    pub(super) fn new(home: u16) -> Self {
        Self { home, taken: tokio::sync::Mutex::default(), broken: AtomicBool::new(false) }
    }

    /// The slot that it is about: when another server has it, the hold is broken.
    pub(super) fn home(&self) -> u16 {
        self.home
    }

    pub(super) fn give_up(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

impl Cluster {
    /// Understands a URL of a cluster; `None` for any other.
    ///
    /// # Errors
    /// [`Error::Url`], or [`Error::Unfit`] when it names a database: a cluster has one.
    pub(super) fn parse(settings: &Settings) -> Result<Option<Self>, Error> {
        let Some(rest) = settings.url.strip_prefix(CLUSTER) else { return Ok(None) };
        let unfit = |why: &str| Error::Unfit { why: format!("redis.url: {why} ({CLUSTER}host:port,host:port,…)") };
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(database, "" | "0") {
            return Err(unfit("a cluster has one database, 0"));
        }
        let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let seeds: Vec<String> = hosts.split(',').map(|host| host.trim().to_owned()).collect();
        if seeds.iter().any(String::is_empty) {
            return Err(unfit("a name is empty"));
        }
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let server = information(&format!("redis://{user}server/"))?;
        let cluster = Self {
            seeds,
            server,
            settings: settings.clone(),
            map: RwLock::default(),
            nodes: Mutex::default(),
            peers: Mutex::default(),
            asked: tokio::sync::Mutex::default(),
            watched: AtomicBool::new(false),
        };
        for seed in &cluster.seeds {
            cluster.client(seed)?;
        }
        Ok(Some(cluster))
    }

    fn client(&self, address: &str) -> Result<Client, Error> {
        let (host, port) = match information(&format!("redis://{address}"))?.addr() {
            ConnectionAddr::Tcp(host, port) => (host.clone(), *port),
            _ => return Err(Error::Unfit { why: format!("{address} is no host:port") }),
        };
        Client::open(self.server.clone().set_addr(ConnectionAddr::Tcp(host, port))).map_err(Error::Url)
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is known now, without asking.
    pub(super) fn known(&self) -> Arc<SlotMap> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known, asked for if nothing is.
    pub(super) async fn map(self: &Arc<Self>) -> Result<Arc<SlotMap>, Error> {
        if !self.watched.swap(true, Ordering::Relaxed) {
            tokio::spawn(watch(Arc::downgrade(self)));
        }
        let map = self.known();
        if !map.masters.is_empty() {
            return Ok(map);
        }
        self.learn(FRESH).await
    }

    /// The server that has a slot; any for none.
    pub(super) async fn server_at(self: &Arc<Self>, slot: Option<u16>) -> Result<Arc<Server>, Error> {
        let map = self.map().await?;
        let owner = match slot {
            Some(slot) => map.owner(slot),
            None => map.masters.first().map(|(address, _)| address.as_str()),
        };
        let owner = owner.ok_or(Error::NoOwner { slot: slot.unwrap_or(0) })?;
        self.server_named(owner).ok_or(Error::NoOwner { slot: slot.unwrap_or(0) })
    }

    /// The server at an address, if one was ever known there.
    pub(super) fn server_named(&self, address: &str) -> Option<Arc<Server>> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(address).map(|member| member.server.clone())
    }

    /// The server at an address that a redirection names.
    pub(super) fn server_sent_to(&self, address: &str) -> Result<Arc<Server>, Error> {
        self.member(address, 0)
    }

    /// Every server that has slots.
    pub(super) async fn servers(self: &Arc<Self>) -> Result<Vec<Arc<Server>>, Error> {
        let map = self.map().await?;
        Ok(map.masters.iter().filter_map(|(address, _)| self.server_named(address)).collect())
    }

    /// The connection that a hold has to who has a slot; takes the present one when it has none yet.
    pub(super) async fn held_server(self: &Arc<Self>, hold: &Hold, slot: u16) -> Result<Arc<Server>, Error> {
        let server = self.server_at(Some(slot)).await?;
        let map = self.known();
        let address = map.owner(slot).unwrap_or_default().to_owned();
        let mut taken = hold.taken.lock().await;
        for held in taken.values() {
            if held.current().await.is_err() {
                hold.give_up();
            }
        }
        if slot == hold.home && !taken.is_empty() && !taken.contains_key(&address) {
            hold.give_up();
        }
        if hold.broken.load(Ordering::Acquire) {
            return Err(Error::Broken);
        }
        if let Some(held) = taken.get(&address) {
            return Ok(held.clone());
        }
        let held = Arc::new(server.hold().await?);
        taken.insert(address, held.clone());
        Ok(held)
    }

    fn member(&self, address: &str, epoch: u64) -> Result<Arc<Server>, Error> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = nodes.get(address) {
            return Ok(member.server.clone());
        }
        let node = Arc::new(Node { client: self.client(address)?, generation: AtomicU64::new(0), epoch: AtomicU64::new(epoch) });
        let server = Arc::new(Server::new(Arc::new(Route::Node(node.clone())), self.settings.clone()));
        nodes.insert(address.to_owned(), Member { node, server: server.clone() });
        Ok(server)
    }

    /// Asks all, unless they were asked within `fresh`.
    pub(super) async fn learn(&self, fresh: Duration) -> Result<Arc<SlotMap>, Error> {
        // Who waits for the lock finds the answer of the one before.
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| asked.elapsed() < fresh) && !self.known().masters.is_empty() {
            return Ok(self.known());
        }
        let peers = self.peers()?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("CLUSTER").arg("NODES");
        let answers = join_all(peers.iter().map(|peer| peer.ask::<(String,)>(&pipeline))).await;
        let said: Vec<_> =
            answers.iter().zip(&peers).filter_map(|(answer, peer)| Some(read_nodes(&peer.name, &answer.as_ref().ok()?.0))).collect();
        let map = SlotMap::merge(&said);
        if map.masters.is_empty() {
            if !self.known().masters.is_empty() {
                // With nobody to ask the last good answer is as good as any.
                return Ok(self.known());
            }
            let why = answers.into_iter().zip(&peers).map(|(answer, peer)| match answer {
                Ok(_) => format!("{}: is of no cluster that has slots", peer.name),
                Err(error) => format!("{}: {error}", peer.name),
            });
            return Err(Error::NoCluster { why: why.collect::<Vec<_>>().join("; ") });
        }
        self.adopt(&map)?;
        *asked = Some(Instant::now());
        Ok(self.known())
    }

    /// Asks all, whenever they were asked last.
    pub(super) async fn learn_now(&self) -> Result<Arc<SlotMap>, Error> {
        self.learn(Duration::ZERO).await
    }

    /// Asks all, since somebody was sent on or got no answer.
    pub(super) async fn look_again(&self) {
        // Who gets no answer goes on with what is known.
        let _unknown = self.learn(FRESH).await;
    }

    /// Takes over what is known now.
    fn adopt(&self, map: &SlotMap) -> Result<(), Error> {
        let before = self.known();
        if *before == *map {
            return Ok(());
        }
        for (address, epoch) in &map.masters {
            self.member(address, *epoch)?;
        }
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        for (address, member) in nodes.iter() {
            let epoch = map.masters.iter().find(|(master, _)| master == address).map(|(_, epoch)| *epoch);
            let was = before.masters.iter().find(|(master, _)| master == address).map(|(_, epoch)| *epoch);
            if epoch != was {
                member.node.epoch.store(epoch.unwrap_or(0), Ordering::Release);
                member.node.generation.fetch_add(1, Ordering::AcqRel);
            }
        }
        drop(nodes);
        let shares: Vec<String> = map.shares().into_iter().map(|(address, slots)| format!("{address} ({slots})")).collect();
        tracing::info!(servers = shares.join(", "), without_owner = map.without_owner(), "the slots of the cluster");
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map.clone());
        Ok(())
    }

    /// Whoever can be asked: the primaries that are known, and who stands in the URL.
    fn peers(&self) -> Result<Vec<Arc<Peer>>, Error> {
        let map = self.known();
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked = Vec::new();
        for address in self.seeds.iter().chain(map.masters.iter().map(|(address, _)| address)) {
            if !peers.contains_key(address) {
                let peer = Peer::new(address, self.client(address)?, self.settings.connect_timeout);
                peers.insert(address.clone(), Arc::new(peer));
            }
            asked.push(address.clone());
        }
        asked.sort_unstable();
        asked.dedup();
        Ok(asked.iter().filter_map(|address| peers.get(address).cloned()).collect())
    }
}

/// Asks every second, until nobody uses the cluster any more.
async fn watch(cluster: Weak<Cluster>) {
    let mut silent = false;
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let Some(cluster) = cluster.upgrade() else { return };
        match cluster.learn(ASK_EVERY / 2).await {
            Ok(_) => silent = false,
            Err(error) if !silent => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no server of the cluster answers");
                silent = true;
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::replicate::Replication;
    use super::*;

    fn seeds(url: &str) -> Result<Option<Vec<String>>, String> {
        let second = Duration::from_secs(1);
        let settings =
            Settings { url: url.to_owned(), connect_timeout: second, response_timeout: second, replication: Replication::none() };
        Cluster::parse(&settings).map(|cluster| cluster.map(|cluster| cluster.seeds)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_names_servers_of_a_cluster_and_no_database() {
        assert_eq!(seeds("redis://127.0.0.1:7000/0").unwrap(), None);
        let hosts = seeds("redis-cluster://roger:p%40ss@10.0.0.1:7001, 10.0.0.2:7002").unwrap().unwrap();
        assert_eq!(hosts, ["10.0.0.1:7001", "10.0.0.2:7002"]);
        assert!(seeds("redis-cluster://10.0.0.1:7001/3").unwrap_err().contains("one database"));
        assert!(seeds("redis-cluster://10.0.0.1:7001,,x:1").unwrap_err().contains("empty"));
    }
}
