//! What a shard starts from.

use std::collections::BTreeSet;

use roger::model::{MessageKind, Place, Reason, TenantId, TopicId, UserId, UserKind};
use roger::store::{NewAccount, Store};

use roger::topic::frame::{
    Forward, InItem, Input, LogFrame, Mark, MemberRow, Membership, MembershipAt, Notice, Outcome, Post, Profile, Register, Room, Row,
    RowKind, rejected_body,
};

use super::{Database, batch, entry, frame, over_both, topic};

over_both!(
    a_floor_is_complete_in_pages_of_any_size,
    a_refused_number_stays_refused,
    intervals_go_on_over_batches,
    epochs_are_given_once,
    the_directory_is_current,
    rooms_and_profiles_come_back
);

async fn floor(store: &Store, shard: u32, limit: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.floor_rows(shard, cursor, limit).await.unwrap();
        assert!(page.rows.len() <= limit as usize);
        rows.extend(page.rows);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return rows,
        }
    }
}

fn joined(topic: TopicId, user: u64, version: u64, joined: bool, place: Place) -> Outcome {
    let membership = Membership { topic: topic.packed(), user, version, joined };
    Outcome::Membership(MembershipAt { membership, place: place.into(), time_ms: 0 })
}

async fn rooms_and_profiles_come_back(database: &Database) {
    const SHARDS: u32 = 4;
    let store = &database.store;
    let inbox = topic("u:7");
    let shard = inbox.shard(SHARDS);
    let room = |group, version, joined, settled| Outcome::Room(Room { topic: inbox.packed(), group, version, joined, settled });
    let profile = Profile { topic: inbox.packed(), tenant: 1, version: 2, manager: 4, nickname: "Früh".into() };
    // A move from one room to the next; the archive meets it in two batches, one of them twice.
    let begun = [Outcome::Profile(profile.clone()), room(3, 1, true, true), room(3, 2, false, false), room(5, 2, true, false)];
    for (commit, outcomes) in [(1, begun.to_vec()), (2, vec![room(3, 2, false, true), room(5, 2, true, true)]), (1, begun.to_vec())] {
        let mut batch = roger::store::ArchiveBatch::new(shard);
        batch.take(LogFrame { epoch: 1, commit, outcomes: outcomes.into_iter().map(Into::into).collect(), ..LogFrame::default() }).unwrap();
        store.archive(batch).await.unwrap();
    }
    let rows: Vec<RowKind> = floor(store, shard, 3).await.into_iter().filter_map(|row| row.row).collect();
    let settled = |group, joined| RowKind::Room(Room { topic: inbox.packed(), group, version: 2, joined, settled: true });
    let rooms: Vec<&RowKind> = rows.iter().filter(|row| matches!(row, RowKind::Room(_))).collect();
    assert_eq!(rooms, [&settled(3, false), &settled(5, true)]);
    let Some(RowKind::Head(head)) = rows.iter().find(|row| matches!(row, RowKind::Head(_))) else { panic!("{rows:?}") };
    assert_eq!((head.tenant, head.profile_version, head.manager, head.nickname.as_str()), (1, 2, 4, "Früh"));
    // An older profile changes nothing.
    let mut late = roger::store::ArchiveBatch::new(shard);
    let older = Profile { version: 1, manager: 9, nickname: "Spät".into(), ..profile };
    late.take(LogFrame { epoch: 1, commit: 3, outcomes: vec![Outcome::Profile(older).into()], ..LogFrame::default() }).unwrap();
    store.archive(late).await.unwrap();
    assert_eq!(store.head(inbox).await.unwrap().unwrap().nickname, "Früh");

    assert_eq!(store.rooms_of(&[UserId(7), UserId(8)].into(), SHARDS).await.unwrap(), [(UserId(7), roger::model::GroupId(5))].into());
    // The rooms of other shards hear of it when they lost what they knew.
    for (group, joined) in [(3, false), (5, true)] {
        let topic = TopicId::room(roger::model::GroupId(group));
        let member = Input::Membership(Membership { topic: topic.packed(), user: 7, version: 2, joined }).into();
        assert!(store.current(SHARDS, topic.shard(SHARDS)).await.unwrap().contains(&member), "{topic}");
    }
}

async fn a_floor_is_complete_in_pages_of_any_size(database: &Database) {
    let store = &database.store;
    let mut outcomes = Vec::new();
    let mut expected = BTreeSet::new();
    for id in 1..=5 {
        let (group, inbox) = (topic(&format!("g:{id}")), topic(&format!("u:{id}")));
        outcomes.push(Outcome::Profile(Profile { topic: inbox.packed(), tenant: 1, version: 1, ..Profile::default() }));
        expected.extend([format!("head {group}"), format!("head {inbox}"), format!("register {inbox} {id}")]);
        outcomes.push(Outcome::Register(Register {
            topic: inbox.packed(),
            group: id,
            version: 1,
            joined: true,
            name: "g".into(),
            ..Register::default()
        }));
        for user in 1..=4 {
            outcomes.push(joined(group, user, user, true, Place::new(1, 0)));
            expected.insert(format!("member {group} {user}"));
            for installation in [1, u64::MAX - user] {
                let seq = outcomes.len() as u64;
                let mut message = entry(group, 1, seq, 1);
                (message.sender, message.installation) = (user, installation);
                outcomes.push(Outcome::Entry(message));
                let place = Place::new(1, seq).into();
                outcomes.push(Outcome::Mark(Mark { topic: group.packed(), user, installation, place }));
                expected.insert(format!("producer {group} {user} {installation:x}"));
                expected.insert(format!("mark {group} {user} {installation:x}"));
            }
        }
    }
    store.archive(batch([frame(1, 1, outcomes)])).await.unwrap();
    for limit in [1, 2, 3, 7, 40, 1_000] {
        let rows = floor(store, 3, limit).await;
        let keys: BTreeSet<String> = rows.iter().map(|row| row.row.as_ref().unwrap().key()).collect();
        assert_eq!(keys, expected, "pages of {limit}");
        assert_eq!(rows.len(), expected.len(), "pages of {limit} repeat rows");
    }
    assert!(floor(store, 4, 10).await.is_empty(), "rows of another shard");
}

async fn a_refused_number_stays_refused(database: &Database) {
    let store = &database.store;
    let refuse = |client_seq| {
        let post = Post { topic: topic("g:1").packed(), sender: 9, installation: 5, client_seq, ..Post::default() };
        let body = rejected_body(&post, Reason::NotMember, 0);
        let notice = Notice { topic: topic("u:9").packed(), kind: MessageKind::Rejected as u32, body };
        Outcome::Forward(Forward { item: Input::Notice(notice).into() })
    };
    let mut accepted = entry(topic("g:1"), 1, 1, 1);
    (accepted.sender, accepted.installation, accepted.client_seq) = (9, 5, 3);
    store.archive(batch([frame(1, 1, [Outcome::Entry(accepted), refuse(5)])])).await.unwrap();
    store.archive(batch([frame(1, 2, [refuse(4)])])).await.unwrap();
    let rows = floor(store, 3, 100).await;
    let producer = rows.into_iter().find_map(|row| match row.row {
        Some(RowKind::Producer(producer)) => Some(producer),
        _ => None,
    });
    let producer = producer.unwrap();
    assert_eq!((producer.user, producer.installation, producer.client_seq, producer.refused), (9, 5, 3, 5));
}

async fn intervals_go_on_over_batches(database: &Database) {
    let store = &database.store;
    let group = topic("g:1");
    let member = |version, is, seq| joined(group, 9, version, is, Place::new(1, seq));
    let batches = [
        batch([frame(1, 1, [member(1, true, 0)]), frame(1, 2, [member(2, false, 10)])]),
        batch([frame(1, 3, [member(3, true, 20)])]),
        // Late, and again.
        batch([frame(1, 2, [member(2, false, 10)])]),
    ];
    for batch in batches {
        store.archive(batch).await.unwrap();
    }
    let rows = floor(store, 3, 100).await;
    let [Row { row: Some(RowKind::Member(MemberRow { user: 9, version: 3, spans, .. })) }] = &rows[..] else { panic!("{rows:?}") };
    let spans: Vec<(Place, Place)> = spans.iter().map(|span| (span.after.into(), span.upto.into())).collect();
    assert_eq!(spans, [(Place::new(1, 0), Place::new(1, 10)), (Place::new(1, 20), Place::END)]);
}

async fn epochs_are_given_once(database: &Database) {
    let store = &database.store;
    store.archive(batch([frame(6, 1, [])])).await.unwrap();
    assert_eq!(store.allocate_epoch(3, 0).await.unwrap(), 7, "not above the archive's");
    assert_eq!(store.allocate_epoch(3, 20).await.unwrap(), 21);
    assert_eq!(store.allocate_epoch(4, 0).await.unwrap(), 1);
    let others = super::open(&database.url);
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let store = if n % 2 == 0 { store.clone() } else { others.clone() };
            tokio::spawn(async move { store.allocate_epoch(3, 30).await.unwrap() })
        })
        .collect();
    let mut given = BTreeSet::new();
    for call in calls {
        given.insert(call.await.unwrap());
    }
    assert_eq!(given.len(), 20, "an epoch was given twice: {given:?}");
    assert_eq!(given.first(), Some(&31));
    // An archive that is behind does not take an epoch back.
    store.archive(batch([frame(7, 1, [])])).await.unwrap();
    assert_eq!(store.allocate_epoch(3, 0).await.unwrap(), 51);
}

async fn the_directory_is_current(database: &Database) {
    let store = &database.store;
    let tenant: TenantId = store.ensure_tenant("Acme").await.unwrap().id();
    let mut users = Vec::new();
    for n in 0..20 {
        let account = NewAccount {
            name: format!("radio{n}"),
            nickname: "Radio".into(),
            kind: UserKind::Device,
            tenant,
            password_hash: String::new(),
            parent: None,
        };
        users.push(store.create_account(account, 0).await.unwrap());
    }
    let group = store.create_group(tenant, "North").await.unwrap();
    store.set_members(group, &users, 0).await.unwrap();
    store.leave_group(group, users[3], 0).await.unwrap();

    let mut items: Vec<InItem> = Vec::new();
    for shard in 0..4 {
        let of_shard = store.current(4, shard).await.unwrap();
        for item in &of_shard {
            let packed = match item.input.as_ref().unwrap() {
                Input::Membership(membership) => membership.topic,
                Input::Register(register) => register.topic,
                Input::Profile(profile) => profile.topic,
                other => panic!("{other:?}"),
            };
            assert_eq!(TopicId::from_packed(packed).unwrap().shard(4), shard, "{item:?}");
        }
        items.extend(of_shard);
    }
    for (n, user) in users.iter().enumerate() {
        let (version, joined) = if n == 3 { (21, false) } else { (n as u64 + 1, true) };
        let (inbox, topic) = (TopicId::inbox(*user).packed(), TopicId::group(group).packed());
        let UserId(id) = *user;
        let expected: [InItem; 3] = [
            Input::Membership(Membership { topic, user: id, version, joined }).into(),
            Input::Register(Register { topic: inbox, group: group.0, version, joined, name: "North".into(), ..Register::default() }).into(),
            Input::Profile(Profile { topic: inbox, tenant: tenant.0, version: 1, manager: 0, nickname: "Radio".into() }).into(),
        ];
        for item in expected {
            assert_eq!(items.iter().filter(|held| **held == item).count(), 1, "{item:?}");
        }
    }
    assert_eq!(items.len(), 60);
}
