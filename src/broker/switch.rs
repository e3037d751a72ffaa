//! The primary of a service under Sentinel and its replicas, and the planned switch to one of them.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::connection::Redis;
use super::error::{Error, code};
use super::keys;
use super::route::Route;
use super::scripts::WHEN_FULL;
use super::sentinel::Sentinels;
use super::server::Live;

/// How long replicas may take to have everything; they say how far they are once a second.
const CATCH_UP: Duration = Duration::from_secs(3);
/// How long sentinels may take to promote a replica.
const PROMOTION: Duration = Duration::from_secs(15);
/// How long writes wait at most: as long as all of the switch may take, or the old primary would take writes that nobody has afterwards.
const PAUSE: Duration = Duration::from_secs(20);
/// How long nobody else switches after one that was broken off: until its pause is over.
const CLAIM: Duration = Duration::from_secs(25);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How the primary stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Primary {
    /// `host:port`.
    pub address: String,
    /// How many bytes it wrote for replicas since its history began.
    pub offset: u64,
    /// Who follows it.
    pub replicas: Vec<Replica>,
}

/// Who follows a primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replica {
    /// `host:port`.
    pub address: String,
    /// `online`, or what it is about instead.
    pub state: String,
    /// How many bytes behind the primary.
    pub behind: u64,
    /// Seconds since it last said how far it is.
    pub silent_s: u64,
}

/// A switch that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Switched {
    /// The primary before, `host:port`.
    pub from: String,
    /// The primary now.
    pub to: String,
    /// How long nothing was written. Milliseconds.
    pub paused_ms: u64,
}

impl Redis {
    /// Each primary with its replicas: one, or those of a cluster.
    pub async fn primaries(&self) -> Result<Vec<Primary>, Error> {
        let mut primaries = Vec::new();
        for server in self.each().await? {
            primaries.push(look(&mut server.connect(None, CATCH_UP).await?).await?);
        }
        Ok(primaries)
    }

    /// Makes another server the primary without losing anything: writes wait, replicas catch up, sentinels promote one. Programs follow by
    /// themselves. When it fails the old primary goes on: at once, or, once sentinels were asked, when the pause is over.
    ///
    /// # Errors
    /// [`Error::Unfit`] when there are no sentinels or no replica that has everything; what Redis says otherwise.
    pub async fn switch(&self) -> Result<Switched, Error> {
        if self.is_cluster() {
            return Err(unfit(
                "a cluster switches each server by itself: send CLUSTER FAILOVER to the replica that is to be the primary".to_owned(),
            ));
        }
        let server = self.server_of(None).await?;
        let Route::Sentinels(sentinels) = server.route() else {
            return Err(unfit("redis.url names one server and no sentinels: there is nothing to switch to".to_owned()));
        };
        let mut old = self.connect(None, CATCH_UP).await?;
        let from = look(&mut old).await?.address;
        sentinels.have_no_failover().await?;
        claim(&mut old).await?;
        let begun = Instant::now();
        let mut pause = redis::cmd("CLIENT");
        pause.arg("PAUSE").arg(PAUSE.as_millis() as u64).arg("WRITE");
        let paused = pause.query_async::<()>(&mut old.connection).await;
        paused.map_err(|source| Error::of("let writes wait", source))?;
        let (switched, ready) = match ask_for_promotion(&mut old, sentinels).await {
            Ok(()) => {
                let switched = self.promoted(&from).await;
                // Sentinels would get to the old one after ten seconds and more, in which nothing is replicated. Before it takes writes again. Where
                // nobody was promoted yet, somebody may be: what the old one took until then would be lost.
                let ready = match &switched {
                    Ok(to) => follow(&mut old, to).await,
                    Err(_) => false,
                };
                (switched, ready)
            }
            Err(error) => {
                let ready = !may_be_under_way(&error);
                (Err(error), ready)
            }
        };
        let paused_ms = begun.elapsed().as_millis() as u64;
        if ready {
            // The pause ends by itself otherwise, and so does the claim.
            let _late = redis::cmd("CLIENT").arg("UNPAUSE").query_async::<()>(&mut old.connection).await;
            let mut disclaim = redis::cmd("DEL");
            disclaim.arg(keys::switch());
            let _late = self.command::<()>("end a switch", disclaim).await;
        }
        Ok(Switched { from, to: switched?, paused_ms })
    }

    /// The address of the new primary, once it takes writes.
    async fn promoted(&self, from: &str) -> Result<String, Error> {
        let promoted = async {
            loop {
                if let Ok(mut live) = self.connect(None, CATCH_UP).await
                    && let Ok(primary) = look(&mut live).await
                    && primary.address != from
                {
                    return primary.address;
                }
                sleep(LOOK_EVERY).await;
            }
        };
        let late = || unfit(format!("the sentinels promoted nobody within {} s; their logs say why", PROMOTION.as_secs()));
        timeout(PROMOTION, promoted).await.map_err(|_| late())
    }
}

/// Has the sentinels promote a replica, once they have everything.
async fn ask_for_promotion(old: &mut Live, sentinels: &Sentinels) -> Result<(), Error> {
    caught_up(old).await?;
    let mut sentinel = sentinels.somebody().await?;
    let asked = redis::cmd("SENTINEL").arg("FAILOVER").arg(sentinels.service()).query_async::<()>(&mut sentinel).await;
    asked.map_err(|source| Error::of("have a replica promoted", source))
}

/// Whether a replica may be promoted all the same: it was asked for without an answer, or by somebody else.
fn may_be_under_way(error: &Error) -> bool {
    match error {
        Error::Unanswered { .. } => true,
        Error::Rejected { source, .. } => code(source).as_deref() == Some("INPROG"),
        _ => false,
    }
}

/// One switch at a time: the end of the pause of one would end that of the other.
async fn claim(live: &mut Live) -> Result<(), Error> {
    let mut claim = WHEN_FULL.call(&[&keys::switch()]);
    claim.arg("SET").arg(std::process::id()).arg("NX").arg("PX").arg(CLAIM.as_millis() as u64);
    let claimed = claim.query_async::<Option<String>>(&mut live.connection).await.map_err(|source| Error::of("begin a switch", source))?;
    match claimed {
        Some(_) => Ok(()),
        None => Err(unfit(format!("another switch is under way, or was broken off less than {} s ago", CLAIM.as_secs()))),
    }
}

/// Makes a former primary follow the new one; false when it does not yet.
async fn follow(old: &mut Live, primary: &str) -> bool {
    let Some((host, port)) = primary.rsplit_once(':') else { return false };
    let followed = redis::cmd("REPLICAOF").arg(host).arg(port).query_async::<()>(&mut old.connection).await;
    if let Err(error) = &followed {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            server = old.facts.server,
            "does not follow the new primary yet; sentinels will see to it"
        );
    }
    followed.is_ok()
}

fn unfit(why: String) -> Error {
    Error::Unfit { why }
}

/// Until every replica has all that was written.
async fn caught_up(live: &mut Live) -> Result<(), Error> {
    let begun = Instant::now();
    let aim = look(live).await?.offset;
    loop {
        let replicas = look(live).await?.replicas;
        let behind: Vec<_> = replicas.iter().filter(|replica| replica.state != "online" || replica.behind > 0).collect();
        if replicas.is_empty() {
            return Err(unfit("the primary has no replica: there is nothing to switch to".to_owned()));
        }
        if behind.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > CATCH_UP {
            let names: Vec<String> = behind.iter().map(|replica| format!("{} ({})", replica.address, replica.state)).collect();
            return Err(unfit(format!(
                "replicas that lack a part of the {aim} bytes written: {}; a switch to one of them would lose it",
                names.join(", ")
            )));
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn look(live: &mut Live) -> Result<Primary, Error> {
    const OPERATION: &str = "look at the replicas";
    let asked = redis::cmd("INFO").arg("replication").query_async::<String>(&mut live.connection).await;
    let info = asked.map_err(|source| Error::of(OPERATION, source))?;
    Ok(read(&live.facts.server, &info))
}

fn read(address: &str, info: &str) -> Primary {
    let fact = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let offset: u64 = fact("master_repl_offset").and_then(|text| text.parse().ok()).unwrap_or(0);
    let replica = |line: &str| {
        // slave0:ip=127.0.0.1,port=26501,state=online,offset=4242,lag=0
        let (name, parts) = line.split_once(':')?;
        name.strip_prefix("slave")?.parse::<u32>().ok()?;
        let part = |name: &str| parts.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
        Some(Replica {
            address: format!("{}:{}", part("ip"), part("port")),
            state: part("state").to_owned(),
            behind: offset.saturating_sub(part("offset").parse().unwrap_or(0)),
            silent_s: part("lag").parse().unwrap_or(0),
        })
    };
    Primary { address: address.to_owned(), offset, replicas: info.lines().filter_map(replica).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_read_with_how_far_they_are() {
        let info = "role:master\r\nconnected_slaves:2\r\nslave0:ip=10.0.0.2,port=7002,state=online,offset=90,lag=1\r\n\
                    slave1:ip=10.0.0.3,port=7003,state=wait_bgsave,offset=0,lag=0\r\nmaster_repl_offset:100\r\n";
        let primary = read("10.0.0.1:7001", info);
        let replicas: Vec<_> =
            primary.replicas.iter().map(|one| (one.address.as_str(), one.state.as_str(), one.behind, one.silent_s)).collect();
        assert_eq!(replicas, [("10.0.0.2:7002", "online", 10, 1), ("10.0.0.3:7003", "wait_bgsave", 100, 0)]);
        assert_eq!(primary.offset, 100);
    }
}
