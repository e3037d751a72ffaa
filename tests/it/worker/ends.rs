//! Streams that end before what was read of them.

use std::collections::BTreeMap;
use std::time::Duration;

use roger::broker::{Reader, StreamId};

use super::handle;
use crate::support::redis;

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_a_stream_that_lost_an_end_from_the_future_is_read() {
    let server = redis::Redis::start();
    let redis = handle(&server);
    let mut reader = Reader::new(&redis, Duration::from_millis(50));
    let read = async |reader: &mut Reader, after: &mut BTreeMap<String, StreamId>| {
        reader.rewind(after).await.unwrap();
        let entries = reader.read(10, after).await.unwrap().into_iter().flat_map(|(_, entries)| entries).collect::<Vec<_>>();
        if let Some(last) = entries.last() {
            after.insert("told".to_owned(), last.id);
        }
        entries.into_iter().map(|entry| entry.id.0).collect::<Vec<_>>()
    };
    let add = |ms: u64| server.cli(&["XADD", "told", &format!("{ms}-1"), "x", ""]);
    let mut after = BTreeMap::from([("told".to_owned(), StreamId::default())]);
    add(1_000);
    assert_eq!(read(&mut reader, &mut after).await, [1_000]);
    add(9_000);
    assert_eq!(read(&mut reader, &mut after).await, [9_000]);
    // Another server in its place, which has only what was read first.
    server.cli(&["DEL", "told"]);
    add(1_000);
    add(2_000);
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    let broken = reader.read(10, &after).await;
    assert!(broken.is_err(), "{broken:?}");
    assert_eq!(read(&mut reader, &mut after).await, [1_000, 2_000]);
    // One that has all of it is read on from there.
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(reader.read(10, &after).await.is_err());
    assert_eq!(read(&mut reader, &mut after).await, [0_u64; 0]);
    add(3_000);
    assert_eq!(read(&mut reader, &mut after).await, [3_000]);
    // And one that is not there at all.
    server.cli(&["DEL", "told"]);
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(reader.read(10, &after).await.is_err());
    assert_eq!(read(&mut reader, &mut after).await, [0_u64; 0]);
    add(1_500);
    assert_eq!(read(&mut reader, &mut after).await, [1_500]);
}
