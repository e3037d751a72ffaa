//! People, groups, tokens, and the outbox.

use std::collections::BTreeSet;

use roger::model::{GroupId, GroupKind, InstallationId, LeftWhy, MessageKind, TenantId, TopicId, UserId, UserKind};
use roger::retry::ErrorClass;
use roger::store::{Ensured, Error, GroupPage, LoginRecord, MembersChanged, NewAccount, ResumeToken, Rotation, Store};
use roger::topic::frame::{InItem, Input, Membership, NoticeBody, Profile, Register};

use super::{Database, over_both};

over_both!(
    accounts_are_found_and_changed,
    a_change_of_members_and_its_outbox_are_one,
    members_are_set_exactly,
    a_group_takes_another_name,
    the_outbox_shows_numbers_in_order,
    groups_come_in_pages_with_their_members,
    a_resume_token_is_used_once,
    logins_are_recorded,
);

fn radio(name: &str, tenant: TenantId) -> NewAccount {
    NewAccount {
        name: name.to_owned(),
        nickname: format!("Radio {name}"),
        kind: UserKind::Device,
        tenant,
        password_hash: "hash".to_owned(),
        parent: None,
    }
}

async fn users(store: &Store, tenant: TenantId, count: usize) -> Vec<UserId> {
    let mut users = Vec::new();
    for n in 0..count {
        users.push(store.create_account(radio(&format!("radio{n}"), tenant), 5).await.unwrap());
    }
    users
}

/// Empties the outbox.
pub(super) async fn drain(store: &Store) -> Vec<InItem> {
    let rows = store.outbox(0, 1_000).await.unwrap();
    assert!(rows.is_sorted_by(|a, b| a.id < b.id));
    if let Some(last) = rows.last() {
        assert_eq!(store.outbox_done(last.id).await.unwrap(), rows.len() as u64);
    }
    rows.into_iter().map(|row| row.item).collect()
}

async fn accounts_are_found_and_changed(database: &Database) {
    let store = &database.store;
    let Ensured::Created(tenant) = store.ensure_tenant("Acme").await.unwrap() else { panic!("the tenant was there") };
    assert_eq!(store.ensure_tenant("Acme").await.unwrap(), Ensured::Unchanged(tenant));
    let other = store.ensure_tenant("acme").await.unwrap().id();
    assert_eq!((tenant, other), (TenantId(1), TenantId(2)), "names that differ in case are two, and asking costs no number");

    let ann = store.create_account(radio("ann", tenant), 5).await.unwrap();
    let profile = Profile { topic: TopicId::inbox(ann).packed(), tenant: tenant.0, version: 1, manager: 0, nickname: "Radio ann".into() };
    assert_eq!(drain(store).await, [Input::Profile(profile).into()]);
    let error = store.create_account(radio("ann", other), 5).await.unwrap_err();
    assert!(matches!(&error, Error::NameTaken { id, .. } if *id == ann.0), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Permanent);
    assert!(matches!(store.create_account(radio("", tenant), 5).await, Err(Error::BadName { characters: 0, .. })));
    assert!(matches!(store.create_account(radio(&"é".repeat(101), tenant), 5).await, Err(Error::BadName { characters: 101, .. })));

    assert_eq!(store.ensure_account(radio("ann", tenant), 9).await.unwrap(), Ensured::Unchanged(ann));
    let dispatcher =
        NewAccount { kind: UserKind::Dispatcher, nickname: "Ann".into(), password_hash: "ignored".into(), ..radio("ann", tenant) };
    assert_eq!(store.ensure_account(dispatcher, 9).await.unwrap(), Ensured::Changed(ann));
    assert!(matches!(store.ensure_account(radio("ann", other), 9).await, Err(Error::OtherTenant { .. })));
    store.set_password_hash(ann, "another").await.unwrap();
    store.set_password_hash(ann, "another").await.unwrap();
    store.set_disabled(ann, true).await.unwrap();

    let account = store.account_by_name("ann").await.unwrap().unwrap();
    assert_eq!(store.account(ann).await.unwrap().unwrap(), account);
    assert_eq!((account.nickname.as_str(), account.kind, account.tenant), ("Ann", UserKind::Dispatcher, tenant));
    assert_eq!((account.password_hash.as_str(), account.created_ms, account.disabled), ("another", 5, true));
    assert!(store.account_by_name("Ann").await.unwrap().is_none());
    assert!(store.account(UserId(999)).await.unwrap().is_none());
    assert!(matches!(store.set_password_hash(UserId(999), "").await, Err(Error::NoAccount { user: UserId(999), .. })));
}

async fn a_change_of_members_and_its_outbox_are_one(database: &Database) {
    let store = &database.store;
    let tenant = store.ensure_tenant("Acme").await.unwrap().id();
    let user = users(store, tenant, 1).await[0];
    let group = store.create_group(tenant, "North").await.unwrap();
    assert!(matches!(store.create_group(tenant, "North").await, Err(Error::NameTaken { .. })));
    drain(store).await;

    let said = |version, joined| -> [InItem; 2] {
        let (topic, inbox) = (TopicId::group(group).packed(), TopicId::inbox(user).packed());
        let (name, kind) = ("North".to_owned(), GroupKind::Normal as u32);
        let why = if joined { 0 } else { LeftWhy::Removed as u32 };
        [
            Input::Membership(Membership { topic, user: user.0, version, joined }).into(),
            Input::Register(Register { topic: inbox, group: group.0, version, joined, name, kind, why }).into(),
        ]
    };
    assert!(!store.leave_group(group, user, 7).await.unwrap());
    assert!(store.join_group(group, user, 7).await.unwrap());
    assert_eq!(drain(store).await, said(1, true));
    assert!(!store.join_group(group, user, 7).await.unwrap());
    assert_eq!(drain(store).await, []);
    assert!(store.leave_group(group, user, 7).await.unwrap());
    assert!(!store.leave_group(group, user, 7).await.unwrap());
    assert_eq!(drain(store).await, said(2, false));

    // A change that fails half-way leaves neither.
    let stranger = store.create_account(radio("stranger", store.ensure_tenant("Other").await.unwrap().id()), 5).await.unwrap();
    drain(store).await;
    let error = store.set_members(group, &[user, stranger], 7).await.unwrap_err();
    assert!(matches!(error, Error::OtherTenant { user, .. } if user == stranger), "{error:?}");
    assert!(matches!(store.join_group(group, UserId(999), 7).await, Err(Error::NoAccount { user: UserId(999), .. })));
    assert!(matches!(store.join_group(GroupId(999), user, 7).await, Err(Error::NoGroup { group: GroupId(999), .. })));
    assert_eq!(drain(store).await, []);
    assert_eq!(store.group(group).await.unwrap().unwrap().version, 2);

    // Many at once: one of them does it.
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.join_group(group, user, 7).await.unwrap() })
        })
        .collect();
    let mut changed = 0;
    for call in calls {
        changed += u32::from(call.await.unwrap());
    }
    assert_eq!(changed, 1);
    assert_eq!(drain(store).await, said(3, true));
}

async fn members_are_set_exactly(database: &Database) {
    let store = &database.store;
    let tenant = store.ensure_tenant("Acme").await.unwrap().id();
    let users = users(store, tenant, 40).await;
    let Ensured::Created(group) = store.ensure_group(tenant, "North").await.unwrap() else { panic!("the group was there") };
    assert_eq!(store.ensure_group(tenant, "North").await.unwrap(), Ensured::Unchanged(group));
    drain(store).await;

    let check = async |members: &[UserId], joined, left| {
        let changed = store.set_members(group, members, 7).await.unwrap();
        assert_eq!(changed, MembersChanged { joined, left });
        let said = drain(store).await;
        assert_eq!(said.len() as u64, 2 * (joined + left));
        let of_group = store.groups_of(members[0], None, 10, 1_000).await.unwrap().groups;
        let present: BTreeSet<UserId> = of_group[0].members.iter().map(|member| member.id).collect();
        assert_eq!(present, members.iter().copied().collect());
    };
    check(&users[..30], 30, 0).await;
    check(&users[..30], 0, 0).await;
    check(&users[10..40], 10, 10).await;
    check(&[users[10], users[10]], 0, 29).await;
    check(&users, 39, 0).await;
    assert_eq!(store.group(group).await.unwrap().unwrap().version, 30 + 20 + 29 + 39);
}

async fn a_group_takes_another_name(database: &Database) {
    let store = &database.store;
    let tenant = store.ensure_tenant("Acme").await.unwrap().id();
    let users = users(store, tenant, 3).await;
    let group = store.create_group(tenant, "North").await.unwrap();
    store.create_group(tenant, "South").await.unwrap();
    store.set_members(group, &users, 7).await.unwrap();
    assert!(store.leave_group(group, users[2], 7).await.unwrap());
    drain(store).await;

    assert_eq!(store.rename_group(group, "North", 8).await.unwrap(), Ensured::Unchanged(4));
    assert!(matches!(store.rename_group(group, "South", 8).await, Err(Error::NameTaken { .. })));
    assert!(matches!(store.rename_group(GroupId(999), "East", 8).await, Err(Error::NoGroup { .. })));
    assert!(drain(store).await.is_empty());
    assert_eq!(store.rename_group(group, "East", 8).await.unwrap(), Ensured::Changed(5));
    let found = store.group_by_name(tenant, "East").await.unwrap().unwrap();
    assert_eq!((found.id, found.version), (group, 5));
    assert_eq!(store.group_by_name(tenant, "North").await.unwrap(), None);
    // The group hears of it once, and the registers of its present members follow.
    let said = drain(store).await;
    let expected = |user: &UserId| {
        let topic = TopicId::inbox(*user).packed();
        InItem::from(Input::Register(Register {
            topic,
            group: group.0,
            version: 5,
            joined: true,
            name: "East".to_owned(),
            kind: GroupKind::Normal as u32,
            why: 0,
        }))
    };
    let body = NoticeBody { group: group.0, version: 5, name: "East".to_owned(), ..NoticeBody::default() };
    let topic = TopicId::group(group);
    let renamed = InItem::from(Input::Notice(body.into_notice(topic, MessageKind::Renamed)));
    assert_eq!(said, std::iter::once(renamed).chain(users[..2].iter().map(expected)).collect::<Vec<_>>());
}

async fn the_outbox_shows_numbers_in_order(database: &Database) {
    let store = database.store.clone();
    let tenant = store.ensure_tenant("Acme").await.unwrap().id();
    let users = users(&store, tenant, 12).await;
    let mut writers = Vec::new();
    for (n, user) in users.into_iter().enumerate() {
        let group = store.create_group(tenant, &format!("group {n}")).await.unwrap();
        let store = store.clone();
        writers.push(tokio::spawn(async move {
            for round in 0..10 {
                let changed = match round % 2 {
                    0 => store.join_group(group, user, 7).await.unwrap(),
                    _ => store.leave_group(group, user, 7).await.unwrap(),
                };
                assert!(changed);
            }
        }));
    }
    // A reader that goes on behind the last number it saw must not miss one that becomes visible later.
    let mut seen = 0;
    let mut last = 0;
    loop {
        let over = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let rows = store.outbox(last, 7).await.unwrap();
        seen += rows.len();
        last = rows.last().map_or(last, |row| row.id);
        if rows.is_empty() && over {
            break;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(seen, 12 + 12 * 10 * 2, "the reader missed rows");
}

async fn groups_come_in_pages_with_their_members(database: &Database) {
    let store = &database.store;
    let tenant = store.ensure_tenant("Acme").await.unwrap().id();
    let users = users(store, tenant, 3).await;
    let mut groups = Vec::new();
    for n in 0..5 {
        let group = store.create_group(tenant, &format!("group {n}")).await.unwrap();
        store.set_members(group, &users[..1 + n % 3], 7).await.unwrap();
        groups.push(group);
    }
    store.leave_group(groups[1], users[0], 7).await.unwrap();
    let page = store.groups_of(users[0], None, 3, 1_000).await.unwrap();
    let ids = |page: &GroupPage| page.groups.iter().map(|of| of.group.id).collect::<Vec<_>>();
    assert_eq!(ids(&page), [groups[0], groups[2], groups[3]]);
    assert_eq!(page.groups.iter().map(|of| of.members.len()).collect::<Vec<_>>(), [1, 3, 1]);
    assert_eq!(page.groups[1].members[2].nickname, "Radio radio2");
    let page = store.groups_of(users[0], Some(groups[3]), 3, 1_000).await.unwrap();
    assert_eq!(ids(&page), [groups[4]]);
    assert!(store.groups_of(UserId(999), None, 3, 1_000).await.unwrap().groups.is_empty());
}

async fn a_resume_token_is_used_once(database: &Database) {
    let store = &database.store;
    let tenant = store.ensure_tenant("Acme").await.unwrap().id();
    let user = users(store, tenant, 1).await[0];
    let installation = InstallationId(u64::MAX);
    let hash = |n: u8| [n; 32];
    let token = ResumeToken { user, installation, expires_ms: 1_000 };
    store.create_resume_token(hash(0), token).await.unwrap();

    let calls: Vec<_> = (1..=8)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { (n, store.rotate_resume_token(hash(0), hash(n), 500, 2_000).await.unwrap()) })
        })
        .collect();
    let mut winners = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            (n, Rotation::Rotated { token: next, void_ms: 0 }) => {
                assert_eq!(next, ResumeToken { user, installation, expires_ms: 2_000 });
                winners.push(n);
            }
            (_, other) => assert_eq!(other, Rotation::Reused(token)),
        }
    }
    let [winner] = winners[..] else { panic!("used by {winners:?}") };

    let rotate = async |presented, next, now_ms| store.rotate_resume_token(presented, next, now_ms, 9_000).await.unwrap();
    assert!(matches!(rotate(hash(winner), hash(50), 2_000).await, Rotation::Expired(_)));
    assert_eq!(rotate(hash(99), hash(50), 500).await, Rotation::Unknown);
    assert!(matches!(rotate(hash(winner), hash(50), 1_999).await, Rotation::Rotated { .. }));
    assert_eq!(store.revoke_resume_tokens(user, Some(InstallationId(1))).await.unwrap(), 0);
    assert_eq!(store.revoke_resume_tokens(user, Some(installation)).await.unwrap(), 3);
    assert_eq!(rotate(hash(50), hash(51), 500).await, Rotation::Unknown);

    store.create_resume_token(hash(60), token).await.unwrap();
    assert_eq!(store.purge_resume_tokens(999).await.unwrap(), 0);
    assert_eq!(store.purge_resume_tokens(1_000).await.unwrap(), 1);
    store.create_resume_token(hash(61), token).await.unwrap();
    store.set_disabled(user, true).await.unwrap();
    assert_eq!(rotate(hash(61), hash(62), 500).await, Rotation::Unknown);
}

async fn logins_are_recorded(database: &Database) {
    let store = &database.store;
    for n in 0..5 {
        let record = LoginRecord {
            user: UserId(1 + n % 2),
            installation: InstallationId(u64::MAX - n),
            time_ms: n,
            outcome: "ok".into(),
            peer: "é".repeat(100),
            app: "x".repeat(100),
        };
        store.record_login(record).await.unwrap();
    }
    let records = store.login_records(UserId(1), 2).await.unwrap();
    assert_eq!(records.iter().map(|record| record.time_ms).collect::<Vec<_>>(), [4, 2]);
    assert_eq!((records[0].installation, records[0].peer.chars().count()), (InstallationId(u64::MAX - 4), 64));
    assert_eq!(records[0].app.len(), 64);
}
