//! Pipelines and scripts over a Redis Cluster whose slots are just being moved.

use std::time::{Duration, Instant};

use roger::broker::{Redis, Replication, Settings, StreamId, keys};

use crate::support::cluster::{Cluster, args};
use crate::support::redis::{self, Appendfsync};

fn start() -> (redis::Redis, Cluster, Redis) {
    let args = args();
    let first = redis::Redis::start_with(Appendfsync::Always, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let cluster = Cluster::over(&first, 3, 0, Appendfsync::Always);
    // Nobody's death is looked at here: one that stands still beside other tests is waited for.
    for server in std::iter::once(&first).chain(&cluster.primaries) {
        assert_eq!(server.cli(&["CONFIG", "SET", "cluster-node-timeout", "30000"]), "OK");
    }
    let settings = Settings {
        url: cluster.url(),
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(2),
        replication: Replication::none(),
    };
    (first, cluster, Redis::new(settings).unwrap())
}

/// The server of a port, of a cluster with its first one.
fn at<'a>(first: &'a redis::Redis, cluster: &'a Cluster, port: u16) -> &'a redis::Redis {
    std::iter::once(first).chain(&cluster.primaries).find(|server| server.port() == port).unwrap()
}

#[tokio::test]
async fn a_pipeline_over_all_servers_is_answered_in_its_order() {
    let (_first, _cluster, redis) = start();
    let entries: Vec<(String, Vec<u8>)> = (0..64).map(|shard| (keys::input(shard), vec![shard as u8; shard as usize + 1])).collect();
    assert_eq!(redis.add_all(&entries).await.unwrap().len(), 3, "not at every server");
    let lengths = redis.lengths(&entries.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(lengths, vec![1; 64]);
    for (key, payload) in &entries {
        assert_eq!(redis.last(key).await.unwrap().unwrap().payload.unwrap(), payload.as_slice());
    }
    // What is about servers goes to each.
    assert_eq!(redis.look_at_servers().await.unwrap().len(), 3);
}

#[tokio::test]
async fn while_a_slot_moves_what_is_new_goes_to_its_new_server_and_scripts_over_both_wait() {
    let (first, cluster, redis) = start();
    let [log, meta] = [keys::log(3), keys::meta(3)];
    let lease = async || redis.renew_lease(3, "deliver", "me", 60_000).await;
    assert!(lease().await.unwrap());
    redis.add(&log, b"old").await.unwrap();
    redis.pin_shards(16).await.unwrap();
    let from = at(&first, &cluster, cluster.port_of(&first, &log));
    let to = std::iter::once(&first).chain(&cluster.primaries).find(|server| server.port() != from.port()).unwrap();
    let slot = first.cli(&["CLUSTER", "KEYSLOT", &log]);
    from.cli(&["HSET", &meta, "epoch", "1"]);
    Cluster::begin_move(from.port(), to.port(), &slot).unwrap();

    // The log is here still, the input was never here.
    redis.add(&log, b"new").await.unwrap();
    assert_eq!(from.cli(&["XLEN", &log]), "2");
    redis.add_all(&[(keys::input(3), b"input".to_vec()), (keys::input(4), b"elsewhere".to_vec())]).await.unwrap();
    assert_eq!(redis.lengths(&[keys::input(3), keys::input(4)]).await.unwrap(), [1, 1]);
    assert!(from.cli(&["EXISTS", &keys::input(3)]).contains("ASK"), "it stands where the slot comes from");

    // Lease and meta are apart: no script gets both, and that is told in time.
    Cluster::move_key(from.port(), to.port(), &meta).unwrap();
    let begun = Instant::now();
    let mut fence = roger::broker::Fence::new(3);
    let error = redis.claim(&mut fence, "deliver", "me").await.unwrap_err();
    assert!(format!("{error:?}").to_uppercase().contains("TRYAGAIN"), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());

    // Once the rest has moved it works, whoever still has the old map.
    cluster.move_slot(&log, to.port());
    assert!(lease().await.unwrap());
    assert_eq!(redis.claim(&mut fence, "deliver", "me").await.unwrap().unwrap().epoch, Some(1));
    let read = redis.range(&log, StreamId::default(), StreamId(u64::MAX, u64::MAX), 10).await.unwrap();
    assert_eq!(read.len(), 2);
}
