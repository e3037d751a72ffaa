//! The tree of accounts: who may make, see and delete whom.

use roger::clock::Clock;
use roger::model::{MessageKind, TenantId, TopicId, UserId, UserKind};
use roger::store::{AccountProfile, AccountUpdate, Author, ChangesWanted, Ensured, Error, Named, NewAccount, NewChild, ResumeToken, Store};
use roger::topic::frame::{Input, NoticeBody, Profile};

use super::directory::drain;
use super::{Database, over_both};

over_both!(
    kinds_fall_from_parent_to_child,
    whoever_stands_beside_or_above_is_out_of_reach,
    juniors_are_found_whichever_id_is_higher,
    an_account_in_use_stays,
    a_deleted_account_is_gone_and_its_name_is_free,
    a_nickname_reaches_the_inbox,
);

/// The store as an account uses it.
pub(super) fn by(store: &Store, user: UserId) -> Store {
    store.on_behalf_of(Author::Account(user), Clock::manual(77).0)
}

pub(super) fn child(parent: UserId, name: &str, kind: UserKind) -> NewChild {
    NewChild { parent, name: name.into(), nickname: name.into(), kind, password_hash: "hash".into(), profile: AccountProfile::default() }
}

/// A root, and below it two companies, the first of them with a distributor and two dispatchers.
pub(super) struct Tree {
    pub(super) root: UserId,
    pub(super) acme: UserId,
    pub(super) south: UserId,
    pub(super) ann: UserId,
    pub(super) bob: UserId,
    pub(super) rival: UserId,
}

pub(super) async fn tree(store: &Store) -> Tree {
    let tenant = store.ensure_tenant("root").await.unwrap().id();
    let root = NewAccount {
        name: "root".into(),
        nickname: "root".into(),
        kind: UserKind::Root,
        tenant,
        password_hash: String::new(),
        parent: None,
    };
    let root = store.create_account(root, 5).await.unwrap();
    let make = |parent, name: &'static str, kind| by(store, root).create_child_of(parent, name, kind);
    let acme = make(root, "acme", UserKind::Company).await;
    let south = make(acme, "south", UserKind::Distributor).await;
    let ann = make(south, "ann", UserKind::Dispatcher).await;
    let bob = make(acme, "bob", UserKind::Dispatcher).await;
    let rival = make(root, "rival", UserKind::Company).await;
    Tree { root, acme, south, ann, bob, rival }
}

trait Making {
    async fn create_child_of(self, parent: UserId, name: &str, kind: UserKind) -> UserId;
}

impl Making for Store {
    async fn create_child_of(self, parent: UserId, name: &str, kind: UserKind) -> UserId {
        self.create_child(child(parent, name, kind), 5).await.unwrap()
    }
}

#[track_caller]
pub(super) fn not_permitted<T: std::fmt::Debug>(answer: Result<T, Error>) {
    assert!(matches!(answer, Err(Error::NotPermitted { .. })), "{answer:?}");
}

async fn kinds_fall_from_parent_to_child(database: &Database) {
    let store = &database.store;
    let Tree { root, acme, south, ann, .. } = tree(store).await;
    let account = |user| async move { store.account(user).await.unwrap().unwrap() };
    let tenants: Vec<TenantId> =
        [account(root).await, account(acme).await, account(south).await, account(ann).await].map(|a| a.tenant).into();
    assert!(tenants[1] == tenants[2] && tenants[2] == tenants[3] && tenants[0] != tenants[1], "{tenants:?}");
    let named = store.tenants().await.unwrap().into_iter().find(|tenant| tenant.id == tenants[1]).unwrap();
    assert_eq!((named.name.as_str(), account(ann).await.parent), ("acme", south));

    let above = by(store, south).create_child(child(south, "x", UserKind::Distributor), 5).await;
    not_permitted(above);
    not_permitted(by(store, ann).create_child(child(ann, "x", UserKind::Company), 5).await);
    // The parent's kind counts as well as the author's.
    let beside = by(store, root).create_child(child(ann, "x", UserKind::Dispatcher), 5).await;
    assert!(matches!(beside, Err(Error::Invalid { field: "kind", .. })), "{beside:?}");
    let person = by(store, ann).create_child(child(ann, "walker", UserKind::Device), 5).await.unwrap();
    let below = by(store, root).create_child(child(person, "x", UserKind::Device), 5).await;
    assert!(matches!(below, Err(Error::Invalid { field: "kind", .. })), "{below:?}");

    let taken = by(store, root).create_child(child(root, "ann", UserKind::Dispatcher), 5).await;
    assert!(matches!(taken, Err(Error::NameTaken { id, .. }) if id == ann.0), "{taken:?}");
    store.ensure_tenant("zeta").await.unwrap();
    let tenant = by(store, root).create_child(child(root, "zeta", UserKind::Company), 5).await;
    assert!(matches!(tenant, Err(Error::NameTaken { .. })), "{tenant:?}");
    for bad in ["", "a/b", &"é".repeat(65)] {
        let refused = by(store, root).create_child(child(acme, bad, UserKind::Device), 5).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "name", .. })), "{bad}: {refused:?}");
    }
    let profile = AccountProfile { phone: "1".repeat(33), ..AccountProfile::default() };
    let long = by(store, root).create_child(NewChild { profile, ..child(acme, "x", UserKind::Device) }, 5).await;
    assert!(matches!(long, Err(Error::Invalid { field: "profile.phone", .. })), "{long:?}");
    assert!(store.account_by_name("x").await.unwrap().is_none());
}

async fn whoever_stands_beside_or_above_is_out_of_reach(database: &Database) {
    let store = &database.store;
    let Tree { root, acme, south, ann, bob, rival } = tree(store).await;
    let nobody = UserId(999);
    for (who, foreign) in [(ann, bob), (ann, south), (south, acme), (bob, ann), (acme, rival), (rival, ann), (acme, root), (root, nobody)] {
        let store = by(store, who);
        not_permitted(store.create_child(child(foreign, "x", UserKind::Device), 5).await);
        not_permitted(store.update_account(foreign, AccountUpdate { nickname: Some("x".into()), ..Default::default() }, 5).await);
        not_permitted(store.delete_account(foreign, 5).await);
        not_permitted(store.juniors(foreign, UserId(0), 9).await);
        not_permitted(store.account_card(Named::Id(foreign)).await);
        not_permitted(store.devices_below(foreign, true, UserId(0), 9).await);
    }
    not_permitted(by(store, ann).account_card(Named::Name("bob".into())).await);
    not_permitted(by(store, ann).account_card(Named::Name("nobody".into())).await);
    not_permitted(by(store, ann).delete_account(ann, 5).await);
    // One who may no longer log in is nobody, whatever the token says.
    by(store, acme).update_account(south, AccountUpdate { disabled: Some(true), ..Default::default() }, 5).await.unwrap();
    not_permitted(by(store, south).account_card(Named::Id(ann)).await);
    let oneself = by(store, acme).update_account(acme, AccountUpdate { disabled: Some(true), ..Default::default() }, 5).await;
    assert!(matches!(oneself, Err(Error::Invalid { field: "disabled", .. })), "{oneself:?}");
    by(store, root).account_card(Named::Id(ann)).await.unwrap();
}

async fn juniors_are_found_whichever_id_is_higher(database: &Database) {
    let store = &database.store;
    let Tree { root, acme, south, ann, bob, rival } = tree(store).await;
    // Made last, put above those who were there before.
    let late = by(store, root).create_child_of(acme, "late", UserKind::Distributor).await;
    let tenant = store.account(acme).await.unwrap().unwrap().tenant;
    for (user, name) in [(ann, "ann"), (bob, "bob")] {
        let below = NewAccount {
            name: name.into(),
            nickname: name.into(),
            kind: UserKind::Dispatcher,
            tenant,
            password_hash: String::new(),
            parent: Some(late),
        };
        assert_eq!(store.ensure_account(below, 5).await.unwrap(), Ensured::Changed(user));
    }
    assert!(ann < late && bob < late);
    by(store, root).create_child_of(ann, "walker", UserKind::Device).await;
    let ids = |top, after, limit| async move {
        let found = by(store, root).juniors(top, after, limit).await.unwrap();
        found.into_iter().map(|account| account.id).collect::<Vec<_>>()
    };
    let nobody = UserId(0);
    assert_eq!(ids(late, nobody, 9).await, [ann, bob]);
    assert_eq!(ids(south, nobody, 9).await, []);
    assert_eq!(ids(acme, nobody, 9).await, [south, ann, bob, late]);
    assert_eq!(ids(acme, nobody, 2).await, [south, ann]);
    assert_eq!(ids(acme, ann, 2).await, [bob, late]);
    assert_eq!(ids(ann, nobody, 9).await, [], "devices are left out");
    // What operators made without a parent stands below a root.
    let orphan = NewAccount {
        name: "orphan".into(),
        nickname: "orphan".into(),
        kind: UserKind::Dispatcher,
        tenant,
        password_hash: String::new(),
        parent: None,
    };
    let orphan = store.create_account(orphan, 5).await.unwrap();
    assert_eq!(ids(root, nobody, 9).await, [acme, south, ann, bob, rival, late, orphan]);
    not_permitted(by(store, acme).account_card(Named::Id(orphan)).await);
    let card = by(store, acme).account_card(Named::Id(acme)).await.unwrap();
    assert_eq!((card.children, card.devices), (2, 0));
    let card = by(store, late).account_card(Named::Name("ann".into())).await.unwrap();
    assert_eq!((card.children, card.devices, card.account.parent), (0, 1, late));
}

async fn an_account_in_use_stays(database: &Database) {
    let store = &database.store;
    let Tree { root, acme, south, ann, bob, .. } = tree(store).await;
    let walker = by(store, ann).create_child_of(ann, "walker", UserKind::Device).await;
    let in_use = |answer: Result<(), Error>| match answer {
        Err(Error::InUse { children, devices, groups, .. }) => (children, devices, groups),
        other => panic!("{other:?}"),
    };
    assert_eq!(in_use(by(store, root).delete_account(acme, 5).await), (2, 0, 0));
    assert_eq!(in_use(by(store, acme).delete_account(ann, 5).await), (0, 1, 0));
    by(store, ann).delete_account(walker, 5).await.unwrap();
    by(store, acme).delete_account(ann, 5).await.unwrap();
    by(store, acme).delete_account(south, 5).await.unwrap();
    by(store, acme).delete_account(bob, 5).await.unwrap();
    by(store, root).delete_account(acme, 5).await.unwrap();
}

async fn a_deleted_account_is_gone_and_its_name_is_free(database: &Database) {
    let store = &database.store;
    let Tree { root, acme, bob, .. } = tree(store).await;
    let tenant = store.account(bob).await.unwrap().unwrap().tenant;
    let profile = AccountProfile { email: "bob@example.org".into(), ..AccountProfile::default() };
    by(store, acme).update_account(bob, AccountUpdate { profile: Some(profile), ..Default::default() }, 5).await.unwrap();
    assert_eq!(by(store, bob).account_card(Named::Id(bob)).await.unwrap().profile.email, "bob@example.org");
    let token = ResumeToken { user: bob, installation: roger::model::InstallationId(1), expires_ms: 1_000 };
    store.create_resume_token([1; 32], token).await.unwrap();
    let group = store.create_group(tenant, "north").await.unwrap();
    store.join_group(group, bob, 5).await.unwrap();
    drain(store).await;

    by(store, acme).delete_account(bob, 9).await.unwrap();
    let said = drain(store).await;
    let inbox = TopicId::inbox(bob).packed();
    let profile = Profile { topic: inbox, tenant: 0, version: 2, manager: acme.0, nickname: "bob".into() };
    assert_eq!(said[0].input, Some(Input::Profile(profile)), "nobody may write there");
    let left: Vec<(bool, u32)> = said
        .iter()
        .filter_map(|item| match &item.input {
            Some(Input::Register(register)) => Some((register.joined, register.why)),
            _ => None,
        })
        .collect();
    assert_eq!((said.len(), left), (3, vec![(false, roger::model::LeftWhy::Removed as u32)]));
    assert!(store.account(bob).await.unwrap().is_none() && store.account_by_name("bob").await.unwrap().is_none());
    assert_eq!(store.revoke_resume_tokens(bob, None).await.unwrap(), 0);
    assert!(store.groups_of(bob, None, 9, 10_000).await.unwrap().groups.is_empty());
    not_permitted(by(store, acme).delete_account(bob, 9).await);
    not_permitted(by(store, root).account_card(Named::Id(bob)).await);
    let wanted = ChangesWanted { what: Some("account.deleted".into()), limit: 9, ..ChangesWanted::default() };
    let changes = store.changes(wanted).await.unwrap();
    assert_eq!((changes.len(), &changes[0].who, changes[0].time_ms), (1, &format!("account:{acme}"), 77));
    assert_eq!((&changes[0].before["name"], &changes[0].before["profile"]["email"]), (&"bob".into(), &"bob@example.org".into()));

    let again = by(store, acme).create_child_of(acme, "bob", UserKind::Dispatcher).await;
    assert!(again > bob);
    assert_eq!(store.account_by_name("bob").await.unwrap().unwrap().id, again);
}

async fn a_nickname_reaches_the_inbox(database: &Database) {
    let store = &database.store;
    let Tree { acme, south, ann, .. } = tree(store).await;
    let tenant = store.account(ann).await.unwrap().unwrap().tenant;
    drain(store).await;
    let wanted = AccountUpdate { nickname: Some("O'Ann \\ % 🌕".into()), ..Default::default() };
    for _ in 0..2 {
        by(store, acme).update_account(ann, wanted.clone(), 9).await.unwrap();
    }
    let (topic, nickname) = (TopicId::inbox(ann), "O'Ann \\ % 🌕".to_owned());
    let profile = Profile { topic: topic.packed(), tenant: tenant.0, version: 2, manager: south.0, nickname: nickname.clone() };
    let body = NoticeBody { user: ann.0, nickname, ..NoticeBody::default() };
    let expected = [Input::Profile(profile).into(), Input::Notice(body.into_notice(topic, MessageKind::ProfileChanged)).into()];
    assert_eq!(drain(store).await, expected, "once, for the second changed nothing");
    for bad in ["", &"x".repeat(101)] {
        let update = AccountUpdate { nickname: Some(bad.to_owned()), ..Default::default() };
        let refused = by(store, acme).update_account(ann, update, 9).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "nickname", .. })), "{refused:?}");
    }
}
