//! A receipt names what its Redis has done, and never more.

use roger::proto::v1::Durability;

use super::stage::Stage;
use crate::support::fleet::FleetOptions;
use crate::support::redis::Appendfsync;

async fn receipts_name(appendfsync: Appendfsync, expected: Durability) {
    let stage = Stage::with(FleetOptions { edges: 1, appendfsync, ..FleetOptions::default() }).await;
    let mut neil = stage.radio(0, "neil").await;
    for number in 1..=3 {
        neil.say(stage.group, number, "roger").await;
        assert_eq!(neil.receipt(stage.group, number).await.durability(), expected);
    }
    // Of a repeat too.
    neil.heard.receipts.clear();
    neil.say(stage.group, 2, "roger").await;
    assert_eq!(neil.receipt(stage.group, 2).await.durability(), expected);
    assert_eq!(stage.radio(0, "buzz").await.heard.welcome.durability(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_appendfsync_always_a_receipt_says_fsync() {
    receipts_name(Appendfsync::Always, Durability::Fsync).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_appendfsync_everysec_a_receipt_says_memory() {
    receipts_name(Appendfsync::Everysec, Durability::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_appendfsync_no_a_receipt_says_written() {
    receipts_name(Appendfsync::No, Durability::Written).await;
}
