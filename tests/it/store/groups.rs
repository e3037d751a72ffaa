//! Groups that people make: who may change them, and what others hear of it.

use std::collections::BTreeSet;

use roger::clock::Clock;
use roger::model::{GroupId, GroupKind, InstallationId, LeftWhy, MemberRole, MessageKind, SessionId, TenantId, TopicId, UserId, UserKind};
use roger::store::{Author, ChangesWanted, Ensured, Error, MembersChanged, NewAccount, NewGroup, Store, Tie, UserGroup};
use roger::topic::frame::{Input, Membership, Notice, NoticeBody, Register};
use sqlx::{Connection as _, Executor as _};

use super::{Database, over_both};

over_both!(
    a_group_of_only_its_owner_is_one,
    who_is_in_the_old_and_the_new_temporary_group_hears_nothing,
    a_temporary_group_ends_with_its_own_session,
    names_are_unique_among_the_live_groups_of_an_owner,
    roles_are_given_to_all_or_none,
    only_who_may_changes_a_group,
    all_leave_what_is_dissolved,
);

/// A company above two desks, each with two radios; and a desk of another company.
pub(super) struct Firm {
    pub(super) tenant: TenantId,
    pub(super) company: UserId,
    pub(super) desk: UserId,
    pub(super) radios: [UserId; 2],
    pub(super) other_desk: UserId,
    pub(super) other_radios: [UserId; 2],
    pub(super) stranger: UserId,
}

pub(super) async fn account(database: &Database, tenant: TenantId, name: &str, kind: UserKind) -> UserId {
    let (name, nickname) = (name.to_owned(), format!("{name}!"));
    let account = NewAccount { name, nickname, kind, tenant, password_hash: String::new(), parent: None };
    database.store.create_account(account, 5).await.unwrap()
}

/// Puts accounts below another one.
async fn put_below(database: &Database, parent: UserId, children: &[UserId]) {
    for child in children {
        let sql = format!("UPDATE account SET parent = {parent} WHERE id = {child}");
        if database.url.starts_with("sqlite:") {
            sqlx::SqliteConnection::connect(&database.url).await.unwrap().execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        } else {
            sqlx::MySqlConnection::connect(&database.url).await.unwrap().execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        }
    }
}

pub(super) async fn firm(database: &Database) -> Firm {
    let tenant = database.store.ensure_tenant("Acme").await.unwrap().id();
    let other = database.store.ensure_tenant("Other").await.unwrap().id();
    let company = account(database, tenant, "company", UserKind::Company).await;
    let desk = account(database, tenant, "desk", UserKind::Dispatcher).await;
    let other_desk = account(database, tenant, "desk_2", UserKind::Dispatcher).await;
    let mut radios = Vec::new();
    for name in ["neil", "buzz", "mike", "fred"] {
        radios.push(account(database, tenant, name, UserKind::Device).await);
    }
    let stranger = account(database, other, "alexei", UserKind::Dispatcher).await;
    put_below(database, company, &[desk, other_desk]).await;
    put_below(database, desk, &radios[..2]).await;
    put_below(database, other_desk, &radios[2..]).await;
    drain(&database.store).await;
    let (radios, other_radios) = ([radios[0], radios[1]], [radios[2], radios[3]]);
    Firm { tenant, company, desk, radios, other_desk, other_radios, stranger }
}

/// The store in the hands of an account.
pub(super) fn by(database: &Database, user: UserId) -> Store {
    database.store.on_behalf_of(Author::Account(user), Clock::system())
}

/// Empties the outbox.
pub(super) async fn drain(store: &Store) -> Vec<Input> {
    let rows = store.outbox(0, 20_000).await.unwrap();
    if let Some(last) = rows.last() {
        store.outbox_done(last.id).await.unwrap();
    }
    rows.into_iter().map(|row| row.item.input.unwrap()).collect()
}

pub(super) fn normal(name: &str) -> NewGroup {
    NewGroup::Normal { name: name.to_owned() }
}

pub(super) fn call(name: &str) -> NewGroup {
    NewGroup::Call { name: Some(name.to_owned()) }
}

pub(super) fn tie(installation: u64, session: u64) -> Tie {
    Tie { installation: InstallationId(installation), session: SessionId(session) }
}

async fn shown(store: &Store, group: GroupId) -> UserGroup {
    store.group_with_members(group).await.unwrap()
}

pub(super) async fn members(store: &Store, group: GroupId) -> Vec<UserId> {
    shown(store, group).await.members.iter().map(|member| member.id).collect()
}

/// A join or leave in the group, and in the inbox.
fn told(group: (GroupId, &str, GroupKind), user: UserId, version: u64, left: Option<LeftWhy>) -> [Input; 2] {
    let (group, name, kind) = group;
    let (topic, inbox) = (TopicId::group(group).packed(), TopicId::inbox(user).packed());
    let (joined, why, name) = (left.is_none(), left.map_or(0, |why| why as u32), name.to_owned());
    let register = Register { topic: inbox, group: group.0, version, joined, name, kind: kind as u32, why };
    [Input::Membership(Membership { topic, user: user.0, version, joined }), Input::Register(register)]
}

fn notice(group: GroupId, kind: MessageKind, body: NoticeBody) -> Input {
    Input::Notice(body.into_notice(TopicId::group(group), kind))
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) {
    let error = answer.unwrap_err();
    let secret = matches!(error, Error::NotPermitted { .. } | Error::NoGroup { .. } | Error::NoAccount { .. } | Error::OtherTenant { .. });
    assert!(secret, "{error:?}");
}

async fn a_group_of_only_its_owner_is_one(database: &Database) {
    let firm = firm(database).await;
    let desk = by(database, firm.desk);
    let (group, version) = desk.create_group_of(firm.desk, normal("alone"), Vec::new(), 7).await.unwrap();
    assert_eq!(version, 1);
    assert_eq!(drain(&desk).await, told((group, "alone", GroupKind::Normal), firm.desk, 1, None));
    let found = shown(&desk, group).await;
    assert_eq!((found.group.owner, found.group.kind, found.group.tenant), (Some(firm.desk), GroupKind::Normal, firm.tenant));
    assert_eq!(found.members.iter().map(|member| (member.id, member.role)).collect::<Vec<_>>(), [(firm.desk, MemberRole::Owner)]);
    // Naming the owner, or somebody twice, adds nobody.
    let radio = firm.radios[0];
    let (group, version) = desk.create_group_of(firm.desk, normal("two"), vec![radio, firm.desk, radio], 7).await.unwrap();
    assert_eq!((members(&desk, group).await, version), (vec![firm.desk, radio], 2));
    // The owner stays.
    assert!(matches!(desk.update_group(group, vec![], vec![firm.desk], 7).await, Err(Error::OwnerStays { .. })));
    assert!(matches!(desk.exit_group(group, firm.desk, 7).await, Err(Error::OwnerStays { .. })));
    database.store.set_members(group, &[], 7).await.unwrap();
    assert_eq!(members(&desk, group).await, [firm.desk]);
}

async fn who_is_in_the_old_and_the_new_temporary_group_hears_nothing(database: &Database) {
    let firm = firm(database).await;
    let company = by(database, firm.company);
    let all: Vec<UserId> = [firm.radios, firm.other_radios].concat();
    let make = async |session, users: &[UserId]| {
        company.create_group_of(firm.company, NewGroup::Temporary(tie(9, session)), users.to_vec(), 7).await.unwrap()
    };
    let (group, version) = make(1, &all[..3]).await;
    assert_eq!((version, drain(&company).await.len()), (4, 8));

    // One goes, one comes, two stay.
    let (again, version) = make(2, &all[1..]).await;
    assert_eq!((again, version), (group, 6));
    let named = (group, "temporary", GroupKind::Temporary);
    let expected = [told(named, all[0], 5, Some(LeftWhy::Removed)), told(named, all[3], 6, None)].concat();
    assert_eq!(drain(&company).await, expected);
    let temporary = company.temporary_groups(GroupId(0), 10).await.unwrap();
    assert_eq!(temporary.iter().map(|found| (found.group, found.tie)).collect::<Vec<_>>(), [(group, tie(9, 2))]);

    // The same by UpdateGroup, where the list is all that is wanted, and the dispatcher stays unasked.
    let changed = company.update_group(group, all[..2].to_vec(), vec![], 7).await.unwrap();
    assert_eq!(changed, (MembersChanged { joined: 1, left: 2 }, 9));
    let expected =
        [told(named, all[2], 7, Some(LeftWhy::Removed)), told(named, all[3], 8, Some(LeftWhy::Removed)), told(named, all[0], 9, None)];
    assert_eq!(drain(&company).await, expected.concat());
    assert_eq!(company.update_group(group, all[..2].to_vec(), vec![], 7).await.unwrap(), (MembersChanged::default(), 9));
    assert!(drain(&company).await.is_empty());
    let error = company.update_group(group, vec![all[0]], vec![all[1]], 7).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { field: "remove_ids", .. }), "{error:?}");
    let error = company.rename_group(group, "mine", 7).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { field: "group_id", .. }), "{error:?}");
    assert_eq!(members(&company, group).await.len(), 3);
    // A normal group may have that name, and another account has its own temporary group.
    company.create_group_of(firm.company, normal("temporary"), vec![], 7).await.unwrap();
    let (other, _) = by(database, firm.desk).create_group_of(firm.desk, NewGroup::Temporary(tie(9, 1)), vec![all[0]], 7).await.unwrap();
    assert_ne!(other, group);
}

async fn a_temporary_group_ends_with_its_own_session(database: &Database) {
    let firm = firm(database).await;
    let desk = by(database, firm.desk);
    let make = async |tie| desk.create_group_of(firm.desk, NewGroup::Temporary(tie), firm.radios.to_vec(), 7).await.unwrap().0;
    let group = make(tie(9, 1)).await;
    let end = async |installation, session: Option<u64>| {
        desk.dissolve_temporary(firm.desk, InstallationId(installation), session.map(SessionId), 8).await.unwrap()
    };
    assert_eq!(end(8, None).await, None, "another installation");
    assert_eq!(end(9, Some(2)).await, None, "another session");
    make(tie(9, 2)).await;
    assert_eq!(end(9, Some(1)).await, None, "it lives as long as the second one by now");
    drain(&desk).await;
    assert_eq!(end(9, Some(2)).await, Some(group));
    let left: Vec<Register> = registers(&drain(&desk).await);
    assert!(left.len() == 3 && left.iter().all(|register| !register.joined && register.why == LeftWhy::Dissolved as u32), "{left:?}");
    assert_eq!(end(9, Some(2)).await, None);
    assert!(desk.temporary_groups(GroupId(0), 10).await.unwrap().is_empty());
    assert_ne!(make(tie(9, 3)).await, group);
    assert!(end(9, None).await.is_some());

    // Of many that end it, one does.
    make(tie(9, 4)).await;
    drain(&desk).await;
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let (store, owner) = (desk.clone(), firm.desk);
            tokio::spawn(async move { store.dissolve_temporary(owner, InstallationId(9), Some(SessionId(4)), 8).await.unwrap() })
        })
        .collect();
    let mut ended = 0;
    for call in calls {
        ended += u32::from(call.await.unwrap().is_some());
    }
    assert_eq!((ended, drain(&desk).await.len()), (1, 6));
}

pub(super) fn registers(inputs: &[Input]) -> Vec<Register> {
    let register = |input: &Input| if let Input::Register(register) = input { Some(register.clone()) } else { None };
    inputs.iter().filter_map(register).collect()
}

pub(super) fn notices(inputs: &[Input]) -> Vec<Notice> {
    let notice = |input: &Input| if let Input::Notice(notice) = input { Some(notice.clone()) } else { None };
    inputs.iter().filter_map(notice).collect()
}

async fn names_are_unique_among_the_live_groups_of_an_owner(database: &Database) {
    let firm = firm(database).await;
    let (desk, other) = (by(database, firm.desk), by(database, firm.other_desk));
    let (north, _) = desk.create_group_of(firm.desk, normal("North"), firm.radios.to_vec(), 7).await.unwrap();
    assert!(matches!(desk.create_group_of(firm.desk, normal("North"), vec![], 7).await, Err(Error::NameTaken { id, .. }) if id == north.0));
    let (theirs, _) = other.create_group_of(firm.other_desk, normal("North"), vec![], 7).await.unwrap();
    let (south, _) = desk.create_group_of(firm.desk, normal("South"), vec![], 7).await.unwrap();
    assert!(matches!(desk.rename_group(south, "North", 7).await, Err(Error::NameTaken { .. })));
    let error = database.store.group_by_name(firm.tenant, "North").await.unwrap_err();
    assert!(error.to_string().ends_with(&format!("several have this name: g:{north}, g:{theirs}")), "{error}");
    database.store.create_group(firm.tenant, "North").await.unwrap();
    drain(&desk).await;

    // A new name is told once, and never a list.
    let (radio, mate) = (firm.radios[0], firm.radios[1]);
    assert_eq!(desk.rename_group(north, "East", 7).await.unwrap(), Ensured::Changed(4));
    let said = drain(&desk).await;
    let body = NoticeBody { group: north.0, version: 4, name: "East".to_owned(), ..NoticeBody::default() };
    assert_eq!(said[0], notice(north, MessageKind::Renamed, body));
    let inboxes = [firm.desk, radio, mate].map(|user| TopicId::inbox(user).packed());
    assert_eq!(registers(&said).iter().map(|register| register.topic).collect::<Vec<_>>(), inboxes);
    assert!(said.len() == 4 && registers(&said).iter().all(|register| register.version == 4 && register.name == "East"));

    // Of a group that is no more the name is free, and it is not found.
    desk.dissolve_group(north, 8).await.unwrap();
    desk.rename_group(south, "East", 8).await.unwrap();
    assert_eq!(database.store.group_by_name(firm.tenant, "East").await.unwrap().unwrap().id, south);
    assert_eq!(database.store.group(north).await.unwrap(), None);
    for answer in [desk.dissolve_group(north, 8).await, desk.rename_group(north, "x", 8).await.map(drop)] {
        assert!(matches!(answer, Err(Error::NoGroup { .. })), "{answer:?}");
    }
    // The fleet's own names give way.
    let (first, _) = desk.create_group_of(firm.desk, NewGroup::Call { name: None }, vec![], 7).await.unwrap();
    let next = format!("call {}", first.0 + 2);
    desk.create_group_of(firm.desk, call(&next), vec![], 7).await.unwrap();
    let (second, _) = desk.create_group_of(firm.desk, NewGroup::Call { name: None }, vec![], 7).await.unwrap();
    assert_eq!(shown(&desk, second).await.group.name, format!("{next}+"));
}

async fn roles_are_given_to_all_or_none(database: &Database) {
    let firm = firm(database).await;
    let (desk, [radio, mate]) = (by(database, firm.desk), firm.radios);
    let (group, _) = desk.create_group_of(firm.desk, normal("North"), firm.radios.to_vec(), 7).await.unwrap();
    drain(&desk).await;
    refused(desk.set_roles(group, &[radio, firm.other_radios[0]], MemberRole::Manager, 7).await);
    for (users, role) in [(vec![radio, firm.desk], MemberRole::Manager), (vec![radio], MemberRole::Owner)] {
        assert!(matches!(desk.set_roles(group, &users, role, 7).await, Err(Error::OwnerStays { .. })));
    }
    assert!(drain(&desk).await.is_empty());
    assert_eq!(desk.set_roles(group, &[mate, radio, mate], MemberRole::Manager, 7).await.unwrap(), 2);
    let changed = |user: UserId, role| {
        let body = NoticeBody { group: group.0, user: user.0, role: role as u32, ..NoticeBody::default() };
        notice(group, MessageKind::RoleChanged, body)
    };
    assert_eq!(drain(&desk).await, [changed(radio, MemberRole::Manager), changed(mate, MemberRole::Manager)]);
    assert_eq!(desk.set_roles(group, &[mate], MemberRole::Manager, 7).await.unwrap(), 0);
    assert_eq!(desk.set_roles(group, &[mate, radio], MemberRole::Member, 7).await.unwrap(), 2);
    desk.set_roles(group, &[mate], MemberRole::Manager, 7).await.unwrap();
    drain(&desk).await;

    // A manager takes in whom they see, and out; they cannot make managers. Who comes back is a mere member.
    let manager = by(database, mate);
    let foreign = firm.other_radios[0];
    let (changed, version) = manager.update_group(group, vec![foreign], vec![radio], 7).await.unwrap();
    assert_eq!((changed, version), (MembersChanged { joined: 1, left: 1 }, 5));
    refused(manager.update_group(group, vec![firm.stranger], vec![], 7).await);
    refused(manager.set_roles(group, &[foreign], MemberRole::Manager, 7).await);
    refused(manager.dissolve_group(group, 7).await);
    manager.rename_group(group, "South", 7).await.unwrap();
    desk.update_group(group, vec![], vec![mate], 7).await.unwrap();
    desk.update_group(group, vec![mate], vec![], 7).await.unwrap();
    refused(manager.rename_group(group, "East", 7).await);
    let roles = shown(&desk, group).await.members.into_iter().map(|member| member.role).collect::<BTreeSet<_>>();
    assert_eq!(roles, BTreeSet::from([MemberRole::Member, MemberRole::Owner]));
    let changes =
        database.store.changes(ChangesWanted { what: Some("member.role".to_owned()), limit: 100, ..Default::default() }).await.unwrap();
    assert_eq!(changes.len(), 5);
    assert_eq!((&changes[0].before["role"], &changes[0].after["role"]), (&"member".into(), &"manager".into()));
}

async fn only_who_may_changes_a_group(database: &Database) {
    let firm = firm(database).await;
    let desk = by(database, firm.desk);
    let [radio, mate] = firm.radios;
    // Only whom they manage, and nobody below a dispatcher.
    refused(desk.create_group_of(firm.desk, normal("North"), vec![firm.other_radios[0]], 7).await);
    refused(desk.create_group_of(firm.desk, normal("North"), vec![firm.stranger], 7).await);
    refused(desk.create_group_of(firm.desk, normal("North"), vec![UserId(999)], 7).await);
    refused(desk.create_group_of(firm.other_desk, normal("North"), vec![], 7).await);
    refused(by(database, radio).create_group_of(radio, normal("North"), vec![], 7).await);
    refused(by(database, radio).create_group_of(radio, NewGroup::Temporary(tie(1, 1)), vec![], 7).await);
    let (group, _) = desk.create_group_of(firm.desk, normal("North"), vec![radio], 7).await.unwrap();
    drain(&desk).await;
    for user in [firm.stranger, firm.other_desk, radio, mate, firm.other_radios[0]] {
        let store = by(database, user);
        refused(store.update_group(group, vec![mate], vec![], 7).await);
        refused(store.update_group(group, vec![], vec![radio], 7).await);
        refused(store.rename_group(group, "mine", 7).await);
        refused(store.dissolve_group(group, 7).await);
        refused(store.set_roles(group, &[radio], MemberRole::Manager, 7).await);
        refused(store.leave_group(group, radio, 7).await);
        refused(store.invite(group, &[mate], 7).await);
        if user != radio {
            refused(store.group_with_members(group).await);
            refused(store.exit_group(group, user, 7).await);
        }
        // As of a group that there is not.
        refused(store.update_group(GroupId(999), vec![mate], vec![], 7).await);
    }
    refused(desk.update_group(group, vec![mate, firm.other_radios[0]], vec![], 7).await);
    let error = desk.update_group(group, vec![mate], vec![mate], 7).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { field: "remove_ids", .. }), "{error:?}");
    assert!(drain(&desk).await.is_empty(), "something was changed");
    // The company is as good as the owner, and takes in all below it.
    let company = by(database, firm.company);
    let (changed, _) = company.update_group(group, vec![mate, firm.other_radios[0]], vec![], 7).await.unwrap();
    assert_eq!(changed, MembersChanged { joined: 2, left: 0 });
    // Who is in already needs no permission; who was never in is simply not there.
    let (changed, _) = desk.update_group(group, vec![firm.other_radios[0]], vec![UserId(999), firm.stranger], 7).await.unwrap();
    assert_eq!(changed, MembersChanged::default());
    // An author that may not log in any more may nothing.
    database.store.set_disabled(firm.company, true).await.unwrap();
    refused(company.rename_group(group, "x", 7).await);
}

async fn all_leave_what_is_dissolved(database: &Database) {
    let firm = firm(database).await;
    let desk = by(database, firm.desk);
    let (group, _) = desk.create_group_of(firm.desk, normal("North"), firm.radios.to_vec(), 7).await.unwrap();
    drain(&desk).await;
    by(database, firm.company).dissolve_group(group, 9).await.unwrap();
    let named = (group, "North", GroupKind::Normal);
    let everybody = [firm.desk, firm.radios[0], firm.radios[1]];
    let expected: Vec<Input> =
        (4..).zip(everybody).flat_map(|(version, user)| told(named, user, version, Some(LeftWhy::Dissolved))).collect();
    assert_eq!(drain(&desk).await, expected);
    for user in everybody {
        assert!(database.store.groups_of(user, None, 10, 100).await.unwrap().groups.is_empty());
    }
    refused(desk.group_with_members(group).await);
    refused(database.store.join_group(group, firm.desk, 9).await);
    let changes = database.store.changes(ChangesWanted { what: Some("group".to_owned()), limit: 1, ..Default::default() }).await.unwrap();
    assert_eq!((changes[0].what.as_str(), &changes[0].before["members"]), ("group.dissolved", &3.into()));
}
