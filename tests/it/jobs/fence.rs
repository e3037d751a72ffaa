//! What keeps a shard to one owner, over a real Redis.

use roger::broker::{Claim, Commit, CommitAnswer, Fence, Redis, StreamId, keys};
use roger::topic::frame::{LogFrame, Outcome};

use crate::store::{entry, topic};
use crate::support::{eventually, redis};
use crate::worker::handle;

async fn claim(redis: &Redis) -> (Fence, Claim) {
    assert!(redis.renew_lease(0, "deliver", "test", 600_000).await.unwrap());
    let mut fence = Fence::new(0);
    let claim = redis.claim(&mut fence, "deliver", "test").await.unwrap().unwrap();
    (fence, claim)
}

fn frame(epoch: u64, commit: u64) -> LogFrame {
    crate::store::frame(epoch, commit, [Outcome::Entry(entry(topic("g:1"), epoch, commit, commit))])
}

fn commit(epoch: u64, number: u64) -> Commit {
    Commit { epoch, previous: number - 1, frame: Some(frame(epoch, number)), ..Commit::default() }
}

#[tokio::test]
async fn an_owner_whose_write_redis_lost_is_fenced() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let (mut fence, _) = claim(&redis).await;
    assert_eq!(redis.begin_epoch(&mut fence, 1, "run", None).await.unwrap(), CommitAnswer::Done);
    let before = server.cli(&["HGET", &keys::meta(0), "turn"]);
    assert_eq!(redis.checkpoint(&mut fence, Some(StreamId(1, 0)), &[], &[]).await.unwrap(), CommitAnswer::Done);
    assert_eq!(redis.still_owns(&fence).await.unwrap(), CommitAnswer::Done);
    // As a Redis would have it that forgot the checkpoint; the number of the last commit still fits.
    server.cli(&["HSET", &keys::meta(0), "turn", &before]);
    assert_eq!(redis.still_owns(&fence).await.unwrap(), CommitAnswer::Fenced);
    assert_eq!(redis.commit(&mut fence, &commit(1, 1)).await.unwrap(), CommitAnswer::Fenced);
    assert_eq!(redis.lengths(&[keys::log(0)]).await.unwrap(), [0]);
}

#[tokio::test]
async fn an_owner_that_slept_while_another_claimed_is_fenced() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let (mut slept, _) = claim(&redis).await;
    assert_eq!(redis.begin_epoch(&mut slept, 1, "run", Some(&frame(1, 1))).await.unwrap(), CommitAnswer::Done);
    let (mut fence, found) = claim(&redis).await;
    assert_eq!((found.epoch, found.commit), (Some(1), 1));
    assert_eq!(redis.commit(&mut slept, &commit(1, 2)).await.unwrap(), CommitAnswer::Fenced);
    assert_eq!(redis.checkpoint(&mut slept, None, &[], &[]).await.unwrap(), CommitAnswer::Fenced);
    assert_eq!(redis.begin_epoch(&mut slept, 2, "run", None).await.unwrap(), CommitAnswer::Fenced);
    assert_eq!(redis.commit(&mut fence, &commit(1, 2)).await.unwrap(), CommitAnswer::Done);
}

#[tokio::test]
async fn a_loss_is_remembered_until_an_epoch_begins() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let (mut fence, first) = claim(&redis).await;
    assert_eq!((first.epoch, first.lost), (None, None));
    assert_eq!(redis.begin_epoch(&mut fence, 1, "run", None).await.unwrap(), CommitAnswer::Done);
    redis.note_loss(0, Some(&fence), "an edge saw more").await.unwrap();
    assert_eq!(redis.commit(&mut fence, &commit(1, 1)).await.unwrap(), CommitAnswer::Fenced);
    for _ in 0..2 {
        assert_eq!(claim(&redis).await.1.lost.as_deref(), Some("an edge saw more"));
    }
    let (mut fence, _) = claim(&redis).await;
    assert_eq!(redis.begin_epoch(&mut fence, 2, "run", None).await.unwrap(), CommitAnswer::Done);
    assert_eq!(claim(&redis).await.1.lost, None);
}

#[tokio::test]
async fn deaths_count_only_with_work_in_hand() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    // Owners that die without a word, again and again, with nothing in hand.
    for expected in [0, 1, 1, 1] {
        assert_eq!(claim(&redis).await.1.deaths, expected);
    }
    for expected in [2, 3] {
        let (mut fence, _) = claim(&redis).await;
        assert_eq!(redis.attempt(&mut fence, None).await.unwrap(), CommitAnswer::Done);
        assert_eq!(claim(&redis).await.1.deaths, expected);
    }
    // It got past it.
    let (mut fence, _) = claim(&redis).await;
    assert_eq!(redis.attempt(&mut fence, None).await.unwrap(), CommitAnswer::Done);
    assert_eq!(redis.begin_epoch(&mut fence, 1, "run", None).await.unwrap(), CommitAnswer::Done);
    assert_eq!(redis.commit(&mut fence, &commit(1, 1)).await.unwrap(), CommitAnswer::Done);
    redis.release_lease(0, "deliver", "test", Some(fence)).await.unwrap();
    assert_eq!(claim(&redis).await.1.deaths, 0);
}

#[tokio::test]
async fn a_held_connection_never_becomes_another_one() {
    let mut server = redis::Redis::start();
    let redis = handle(&server);
    let (held, before) = redis.hold(&keys::meta(0)).await.unwrap();
    assert!(held.exists("nothing").await.is_ok());
    server.kill();
    server.restart();
    let after = eventually("the server is back", async || redis.facts().await.ok()).await;
    eventually("a call over the new connection", async || redis.exists("nothing").await.ok()).await;
    for _ in 0..2 {
        assert!(held.exists("nothing").await.is_err());
    }
    let run = redis.facts().await.unwrap().history.clone();
    assert_ne!(before.history, run, "{after:?}");
}
