//! Where the primary is: at one address for ever, where sentinels say it is, or at that of a server of a cluster.

use std::sync::Arc;
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{Client, ConnectionInfo, IntoConnectionInfo};

use super::cluster::Node;
use super::error::Error;
use super::sentinel::Sentinels;

/// What begins the URL of a Redis under Sentinel: `redis-sentinel://[user:password@]host:port,host:port,…[/database]#service`.
const SENTINEL: &str = "redis-sentinel://";

/// What is named as the primary.
pub(super) struct Named {
    pub(super) client: Client,
    /// The number of the answer: connections made by an older one are not used again.
    pub(super) generation: u64,
    /// Of the configuration of the sentinels or of the server in its cluster, which each promotion raises.
    pub(super) epoch: Option<u64>,
}

/// Of those who can say where the primary is, how many have to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// One of them.
    Any,
    /// More than half, as a failover has the votes of so many.
    Most,
}

/// The way to the primary.
pub(super) enum Route {
    /// One server.
    Fixed(Client),
    /// Whichever server the sentinels name.
    Sentinels(Sentinels),
    /// A server of a cluster.
    Node(Arc<Node>),
}

impl Route {
    /// Understands a URL of `redis.url`. `timeout` is for each question to a sentinel.
    ///
    /// # Errors
    /// [`Error::Url`], or [`Error::Unfit`] when a part of the URL of sentinels is missing.
    pub(super) fn parse(url: &str, timeout: Duration) -> Result<Self, Error> {
        let Some(rest) = url.strip_prefix(SENTINEL) else {
            return Client::open(information(url)?).map(Self::Fixed).map_err(Error::Url);
        };
        let unfit =
            |why: &str| Error::Unfit { why: format!("redis.url: {why} (redis-sentinel://host:port,host:port,…/database#service)") };
        let (rest, service) = rest.split_once('#').ok_or_else(|| unfit("what the sentinels call the primary is missing"))?;
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        if service.is_empty() || hosts.split(',').any(|host| host.trim().is_empty()) {
            return Err(unfit("a name is empty"));
        }
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let server = information(&format!("redis://{user}server/{database}"))?;
        let open = |host: &str| Client::open(information(&format!("redis://{}", host.trim()))?).map_err(Error::Url);
        let sentinels = hosts.split(',').map(|host| Ok((host.trim().to_owned(), open(host)?))).collect::<Result<_, Error>>()?;
        Ok(Self::Sentinels(Sentinels::new(service, sentinels, server, timeout)))
    }

    /// Where the primary is.
    pub(super) async fn primary(&self) -> Result<Named, Error> {
        match self {
            Self::Fixed(client) => Ok(Named { client: client.clone(), generation: 0, epoch: None }),
            Self::Sentinels(sentinels) => sentinels.primary().await,
            Self::Node(node) => Ok(node.named()),
        }
    }

    /// Asks whoever says where the primary is, whenever they were asked last; what changed shows in the generation. Who knows one server of a
    /// cluster asks the cluster.
    pub(super) async fn ask_now(&self, who: Asked) -> Result<(), Error> {
        match self {
            Self::Fixed(_) | Self::Node(_) => Ok(()),
            Self::Sentinels(sentinels) => sentinels.ask_now(who).await,
        }
    }

    /// The number of the newest answer.
    pub(super) fn generation(&self) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Sentinels(sentinels) => sentinels.generation(),
            Self::Node(node) => node.generation(),
        }
    }
}

/// How a server is reached.
pub(super) fn information(url: &str) -> Result<ConnectionInfo, Error> {
    // A peer that vanished without a word is noticed in 10 s + 3 * 3 s when idle, and in 10 s when something is unacknowledged.
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(3)).with_retries(3);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(Duration::from_secs(10));
    Ok(url.into_connection_info().map_err(Error::Url)?.set_tcp_settings(tcp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(url: &str) -> Result<String, String> {
        match Route::parse(url, Duration::from_secs(1)) {
            Ok(Route::Sentinels(sentinels)) => Ok(sentinels.to_string()),
            Ok(Route::Node(_)) => Err("a server of a cluster".to_owned()),
            Ok(Route::Fixed(client)) => Ok(client.get_connection_info().addr().to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_url_names_one_server_or_the_sentinels_of_a_service() {
        assert_eq!(service("redis://10.0.0.1:7000/2").unwrap(), "10.0.0.1:7000");
        let url = "redis-sentinel://roger:p%40ss@10.0.0.1:26379,10.0.0.2:26379, 10.0.0.3:26380/3#fleet";
        assert_eq!(service(url).unwrap(), "fleet at 10.0.0.1:26379, 10.0.0.2:26379, 10.0.0.3:26380");
        let Ok(Route::Sentinels(sentinels)) = Route::parse(url, Duration::from_secs(1)) else { panic!("{url}") };
        let server = sentinels.server().redis_settings();
        assert_eq!((server.username(), server.password(), server.db()), (Some("roger"), Some("p@ss"), 3));
    }

    #[test]
    fn a_url_of_sentinels_without_a_service_or_a_host_is_refused_by_name() {
        for (url, part) in [
            ("redis-sentinel://a:1,b:2/0", "call the primary"),
            ("redis-sentinel://a:1,,b:2/0#x", "empty"),
            ("http://x", "not a Redis URL"),
        ] {
            let error = service(url).unwrap_err();
            assert!(error.contains(part), "{url}: {error}");
        }
    }
}
