//! Whether what Redis answered for is on its replicas, too.

use std::time::Duration;

use roger::broker::{Redis, Replication, Settings};
use roger::model::Durability;

use crate::support::eventually;
use crate::support::redis::{self, Appendfsync};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_is_missing_also_where_it_may_take_longer_than_redis_itself() {
    let server = redis::Redis::start();
    let port = server.port().to_string();
    let replica = redis::Redis::start_with(Appendfsync::Always, &["--replicaof", "127.0.0.1", &port]);
    let response_timeout = Duration::from_secs(5);
    let replication = Replication { replicas: 1, patience: response_timeout + Duration::from_millis(500) };
    let settings = Settings { url: server.url(), connect_timeout: Duration::from_secs(10), response_timeout, replication };
    let redis = Redis::new(settings).unwrap();
    let said = async || {
        let takers = redis.add_all(&[("said".to_owned(), b"roger".to_vec())]).await?;
        redis.secured(&takers, Durability::Replica).await
    };
    eventually("the replica follows", async || (said().await.ok()? == Durability::Replica).then_some(())).await;
    replica.stop();
    assert_eq!(said().await.unwrap(), Durability::Fsync);
    replica.cont();
    eventually("the replica follows again", async || (said().await.ok()? == Durability::Replica).then_some(())).await;
}
