//! What the fleet refuses for now.

use roger::clock::Clock;
use roger::proto::v1;

use super::bare::Bare;
use super::cast::Cast;
use crate::support::world::World;

/// What became of the last message.
fn answer(frame: &v1::ServerFrame) -> Option<Result<u64, v1::Reason>> {
    let refused = frame.refusals.first().map(|refusal| Err(refusal.reason()));
    refused.or_else(|| frame.receipts.first().map(|receipt| Ok(receipt.client_seq)))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_receipt_covers_a_message_that_was_refused_for_now() {
    // One message at a time, and the next one soon.
    let limits = [("edge.rate_messages_per_s", "10"), ("edge.rate_burst", "1")];
    let mut world = World::start(Clock::system(), &limits, None).await;
    world.start_edge("edge-0").await;
    let mut cast = Cast::new(&world.config, Clock::system(), world.edges.clone()).await;
    cast.join(["alice"]).await;
    let topic = cast.group("air", ["alice"]).await;
    let topic = v1::Topic { kind: topic.kind() as i32, id: topic.id() };
    let mut alice = Bare::open(&world.edges[0], &cast, "alice").await;
    alice.until("alice follows", |frame| frame.follows.iter().any(|follow| follow.topic == Some(topic)).then_some(())).await;
    // In one frame, so that no time passes between the two.
    alice.say(topic, [(1, 0), (2, 1)]).await;
    let (mut receipt, mut refusal) = (None, None);
    let both = alice.until("both answers", |frame| {
        receipt = receipt.or(frame.receipts.first().map(|one| one.client_seq));
        refusal = refusal.or(frame.refusals.first().map(|one| (one.client_seq, one.reason())));
        receipt.zip(refusal)
    });
    assert_eq!(both.await, (1, (2, v1::Reason::RateLimited)));
    // It was on its way already when the refusal of the one before it came, and finds that there is room again.
    let third = loop {
        alice.say(topic, [(3, 2)]).await;
        match alice.until("an answer", |frame| answer(&frame)).await {
            Err(v1::Reason::RateLimited) => {}
            other => break other,
        }
    };
    assert_eq!(third, Err(v1::Reason::PredecessorMissing));
}
