//! Logs into SQL and back.

use roger::model::{Place, Span};
use roger::retry::ErrorClass;
use roger::store::{Archived, Error, Position, Store};
use roger::topic::frame::{Entry, Mark, Outcome, Profile, Register, RowKind};

use super::{Database, archive, batch, entry, frame, over_both, places, topic};

over_both!(
    a_replayed_batch_changes_nothing,
    another_message_at_a_place_is_a_conflict,
    nothing_goes_back,
    spans_are_read_across_epochs,
    a_page_is_bounded_by_entries_and_bytes,
    batches_of_any_size_arrive_whole,
    tables_are_made_once_by_many,
    shards_are_pinned,
);

const EVERYTHING: Span = Span { after: Place::START, upto: Place::END };

async fn all(store: &Store, name: &str) -> Vec<Entry> {
    store.entries(topic(name), EVERYTHING, usize::MAX, usize::MAX).await.unwrap()
}

async fn a_replayed_batch_changes_nothing(database: &Database) {
    let store = &database.store;
    let group = topic("g:1");
    let first: Vec<Entry> = (1..=10).map(|seq| entry(group, 1, seq, seq)).collect();
    let second: Vec<Entry> = (11..=15).map(|seq| entry(group, 1, seq, seq)).collect();
    assert_eq!(store.archive_position(3).await.unwrap(), Position { epoch: 0, commit: 0 });
    assert_eq!(archive(store, 1, first.clone()).await.unwrap(), Archived { inserted: 10, repeated: 0 });
    assert_eq!(archive(store, 2, second.clone()).await.unwrap(), Archived { inserted: 5, repeated: 0 });
    let head = store.head(group).await.unwrap();

    assert_eq!(archive(store, 1, first.clone()).await.unwrap(), Archived { inserted: 0, repeated: 10 });
    let overlapping = first.iter().skip(5).chain(&second).cloned().chain([entry(group, 1, 16, 16)]);
    assert_eq!(archive(store, 2, overlapping).await.unwrap(), Archived { inserted: 1, repeated: 10 });

    let expected: Vec<Entry> = first.into_iter().chain(second).chain([entry(group, 1, 16, 16)]).collect();
    assert_eq!(all(store, "g:1").await, expected);
    assert_eq!(store.archive_position(3).await.unwrap(), Position { epoch: 1, commit: 2 });
    assert_eq!(Place::from(head.unwrap().head), Place::new(1, 15));
    assert_eq!(Place::from(store.head(group).await.unwrap().unwrap().head), Place::new(1, 16));
}

async fn another_message_at_a_place_is_a_conflict(database: &Database) {
    let store = &database.store;
    let group = topic("g:1");
    archive(store, 1, (1..=5).map(|seq| entry(group, 1, seq, seq))).await.unwrap();

    let mut other = entry(group, 1, 5, 99);
    other.kind = 2;
    let error = archive(store, 2, [entry(group, 1, 6, 6), other]).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Defect);
    let Error::Conflict { topic: at, place, differing } = &error else { panic!("{error:?}") };
    assert_eq!((*at, *place, differing.as_str()), (group, Place::new(1, 5), "client_seq, kind, body"));

    assert_eq!(all(store, "g:1").await.len(), 5, "a refused batch left entries behind");
    assert_eq!(store.archive_position(3).await.unwrap(), Position { epoch: 1, commit: 1 });
    // Twice in one batch is compared as well.
    let mut twin = entry(group, 1, 7, 7);
    twin.body = "other".into();
    assert!(matches!(archive(store, 2, [entry(group, 1, 7, 7), twin]).await, Err(Error::Conflict { .. })));
    assert_eq!(archive(store, 2, [entry(group, 1, 7, 7), entry(group, 1, 7, 7)]).await.unwrap(), Archived { inserted: 1, repeated: 1 });
}

async fn nothing_goes_back(database: &Database) {
    let store = &database.store;
    let inbox = topic("u:7");
    let mark = |epoch, seq| Outcome::Mark(Mark { topic: inbox.packed(), user: 7, installation: 5, place: Place::new(epoch, seq).into() });
    let register = |version, joined, name: &str| {
        Outcome::Register(Register { topic: inbox.packed(), group: 4, version, joined, name: name.to_owned(), ..Register::default() })
    };
    let profile = |version, tenant| Outcome::Profile(Profile { topic: inbox.packed(), tenant, version, ..Profile::default() });
    let old = batch([frame(1, 5, [Outcome::Entry(entry(inbox, 1, 9, 9)), mark(1, 9), register(2, true, "old"), profile(1, 10)])]);
    let new = batch([frame(2, 1, [Outcome::Entry(entry(inbox, 2, 4, 12)), mark(2, 3), register(3, false, "new"), profile(2, 20)])]);
    for batch in [&old, &new, &old] {
        store.archive(batch.clone()).await.unwrap();
    }

    assert_eq!(store.archive_position(3).await.unwrap(), Position { epoch: 2, commit: 1 });
    let head = store.head(inbox).await.unwrap().unwrap();
    assert_eq!((Place::from(head.head), head.time_ms, head.tenant, head.profile_version), (Place::new(2, 4), 1_000_009, 20, 2));
    let rows = store.floor_rows(3, None, 100).await.unwrap().rows;
    let mut seen = 0;
    for row in rows.into_iter().filter_map(|row| row.row) {
        match row {
            RowKind::Mark(mark) => assert_eq!(Place::from(mark.place), Place::new(2, 3)),
            RowKind::Register(register) => assert_eq!((register.version, register.joined, register.name.as_str()), (3, false, "new")),
            RowKind::Producer(producer) => assert_eq!(producer.client_seq, 12),
            RowKind::Head(_) => {}
            other => panic!("{other:?}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 4);
}

async fn spans_are_read_across_epochs(database: &Database) {
    let store = &database.store;
    let group = topic("g:1");
    let stored = [(1, 1), (1, 2), (1, 3), (2, 3), (2, 4), (5, 5)];
    archive(store, 1, stored.iter().enumerate().map(|(n, (epoch, seq))| entry(group, *epoch, *seq, n as u64 + 1))).await.unwrap();
    // Neighbours in the key.
    archive(store, 2, [entry(topic("g:10"), 1, 1, 1), entry(topic("u:1"), 1, 1, 1)]).await.unwrap();

    let check = async |after: (u64, u64), upto: (u64, u64), expected: &[(u64, u64)]| {
        let span = Span::new(Place::new(after.0, after.1), Place::new(upto.0, upto.1));
        let entries = store.entries(group, span, 1_000, usize::MAX).await.unwrap();
        let expected: Vec<Place> = expected.iter().map(|(epoch, seq)| Place::new(*epoch, *seq)).collect();
        assert_eq!(places(&entries), expected, "{} to {}", span.after, span.upto);
    };
    check((0, 0), (u64::MAX, u64::MAX), &stored).await;
    check((0, 0), (1, 2), &[(1, 1), (1, 2)]).await;
    check((1, 2), (1, 2), &[]).await;
    check((1, 3), (2, 3), &[(2, 3)]).await;
    check((1, 2), (2, 0), &[(1, 3)]).await;
    check((1, u64::MAX), (5, 4), &[(2, 3), (2, 4)]).await;
    check((2, 4), (5, 5), &[(5, 5)]).await;
    check((5, 5), (u64::MAX, u64::MAX), &[]).await;
    check((3, 0), (4, 9), &[]).await;
    check((2, 4), (1, 1), &[]).await;
}

async fn a_page_is_bounded_by_entries_and_bytes(database: &Database) {
    let store = &database.store;
    let group = topic("g:1");
    let body = vec![b'x'; 1_000];
    let entries = (1..=300).map(|seq| Entry { body: body.clone().into(), ..entry(group, 1 + seq / 150, seq, seq) });
    archive(store, 1, entries).await.unwrap();
    let check = async |entries_max, bytes_max, expected: usize| {
        let page = store.entries(group, EVERYTHING, entries_max, bytes_max).await.unwrap();
        assert_eq!(page.len(), expected, "at most {entries_max} entries, {bytes_max} bytes");
    };
    check(1, usize::MAX, 1).await;
    check(200, usize::MAX, 200).await;
    check(128, usize::MAX, 128).await;
    check(1_000, usize::MAX, 300).await;
    check(1_000, 10_500, 10).await;
    check(1_000, 1, 1).await;
}

async fn batches_of_any_size_arrive_whole(database: &Database) {
    let store = &database.store;
    // More bytes than MariaDB takes in one statement.
    let large = (1..=300).map(|seq| Entry { body: vec![seq as u8; 65_536].into(), ..entry(topic("g:1"), 1, seq, seq) });
    assert_eq!(archive(store, 1, large).await.unwrap().inserted, 300);
    let entries = all(store, "g:1").await;
    assert!(entries.iter().all(|entry| entry.body.len() == 65_536 && entry.body[0] == entry.seq as u8));

    let many = (0..1_111).map(|n| entry(topic(&format!("u:{}", 1 + n % 97)), 1, 1 + n / 97, 1 + n));
    assert_eq!(archive(store, 2, many.clone()).await.unwrap(), Archived { inserted: 1_111, repeated: 0 });
    assert_eq!(archive(store, 2, many).await.unwrap(), Archived { inserted: 0, repeated: 1_111 });
    assert_eq!(archive(store, 3, []).await.unwrap(), Archived::default());
    assert_eq!(store.archive_position(3).await.unwrap().commit, 3);
}

async fn tables_are_made_once_by_many(database: &Database) {
    let url = match database.url.strip_prefix("sqlite:") {
        Some(path) => format!("sqlite:{path}-fresh"),
        None => crate::support::mariadb::MariaDb::shared().database().await,
    };
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let store = super::open(&url);
            tokio::spawn(async move { store.migrate().await.map(|()| store) })
        })
        .collect();
    for start in starts {
        let store = start.await.unwrap().unwrap();
        assert_eq!(store.archive_position(0).await.unwrap(), Position::default());
        store.migrate().await.unwrap();
    }
}

async fn shards_are_pinned(database: &Database) {
    let store = &database.store;
    store.pin_shards(16).await.unwrap();
    store.pin_shards(16).await.unwrap();
    let error = store.pin_shards(32).await.unwrap_err();
    assert_eq!(error.to_string(), "the store was set up for 16 shards, this program is configured for 32");
    assert_eq!(error.class(), ErrorClass::Permanent);
}
