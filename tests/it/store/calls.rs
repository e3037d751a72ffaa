//! Groups as people use them by themselves, their bounds, and many who change one at once.

use roger::model::{LeftWhy, UserId};
use roger::store::{Error, GROUP_MEMBERS_MAX, MembersChanged, NewGroup, OWNER_GROUPS_MAX};
use sqlx::{Connection as _, Executor as _};

use super::groups::{by, call, drain, firm, members, normal, notices, refused, registers, tie};
use super::{Database, over_both};

over_both!(groups_have_bounds, people_join_leave_and_find_groups, two_who_change_a_group_at_once_change_it_one_after_the_other,);

async fn groups_have_bounds(database: &Database) {
    let firm = firm(database).await;
    let desk = by(database, firm.desk);
    for number in 0..OWNER_GROUPS_MAX {
        desk.create_group_of(firm.desk, normal(&format!("group {number}")), vec![], 7).await.unwrap();
    }
    let full = desk.create_group_of(firm.desk, normal("one more"), vec![], 7).await;
    assert!(matches!(full, Err(Error::Full { max: OWNER_GROUPS_MAX, .. })), "{full:?}");
    let last = database.store.group_by_name(firm.tenant, "group 3").await.unwrap().unwrap();
    desk.dissolve_group(last.id, 7).await.unwrap();
    let (group, _) = desk.create_group_of(firm.desk, normal("one more"), vec![], 7).await.unwrap();

    // As many members as may be: accounts enough are made by a statement of the test's own.
    let sql = format!(
        "INSERT INTO account (id, name, nickname, kind, tenant, password, version, created_ms, disabled, parent) \
         WITH RECURSIVE n (i) AS (SELECT 10001 UNION ALL SELECT i + 1 FROM n WHERE i < {}) \
         SELECT i, CONCAT('many ', i), 'many', 1, {}, '', 1, 0, 0, {} FROM n",
        10_001 + GROUP_MEMBERS_MAX,
        firm.tenant,
        firm.desk
    );
    if database.url.starts_with("sqlite:") {
        sqlx::SqliteConnection::connect(&database.url).await.unwrap().execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    } else {
        let mut connection = sqlx::MySqlConnection::connect(&database.url).await.unwrap();
        connection.execute("SET max_recursive_iterations = 10000").await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    }
    let many: Vec<UserId> = (0..GROUP_MEMBERS_MAX).map(|number| UserId(10_001 + number)).collect();
    let (changed, _) = desk.update_group(group, many.clone(), vec![], 7).await.unwrap();
    assert_eq!(changed.joined, GROUP_MEMBERS_MAX);
    let full = desk.update_group(group, vec![UserId(10_001 + GROUP_MEMBERS_MAX)], vec![], 7).await;
    assert!(matches!(full, Err(Error::Full { max: GROUP_MEMBERS_MAX, .. })), "{full:?}");
    desk.update_group(group, vec![UserId(10_001 + GROUP_MEMBERS_MAX)], vec![many[0]], 7).await.unwrap();
}

async fn people_join_leave_and_find_groups(database: &Database) {
    let firm = firm(database).await;
    let (desk, [radio, mate]) = (by(database, firm.desk), firm.radios);
    let (fred, mike) = (firm.other_radios[1], firm.other_radios[0]);
    let (patrol, _) = desk.create_group_of(firm.desk, normal("Patrol 100%"), vec![radio], 7).await.unwrap();
    let (called, _) = by(database, mike).create_group_of(mike, call("patrol_1"), vec![], 7).await.unwrap();
    let found = async |user, text: &str| {
        let groups = by(database, user).search_groups(user, text, 100).await.unwrap();
        groups.into_iter().map(|group| (group.id, group.member)).collect::<Vec<_>>()
    };
    assert_eq!(found(radio, "patrol").await, [(patrol, true)]);
    assert_eq!(found(mate, "PATROL").await, [(patrol, false)]);
    assert_eq!(found(mate, "100%").await, [(patrol, false)]);
    for (user, text) in [(mate, "1%0"), (mate, "P_trol"), (fred, "atrol 1"), (firm.stranger, "a"), (mate, "!")] {
        assert_eq!(found(user, text).await, [], "{text}");
    }
    assert_eq!(found(mike, "l_1").await, [(called, true)]);

    by(database, mate).join_by_wish(patrol, mate, 7).await.unwrap();
    assert_eq!(by(database, mate).join_by_wish(patrol, mate, 7).await.unwrap(), MembersChanged::default());
    refused(by(database, fred).join_by_wish(patrol, fred, 7).await);
    refused(by(database, fred).join_by_wish(patrol, radio, 7).await);
    // Into a call group by a friend who is in it, or taken in by one.
    refused(by(database, radio).join_by_wish(called, radio, 7).await);
    assert_eq!(found(radio, "patrol_").await, []);
    assert!(!by(database, mike).add_friend(mike, radio, 7).await.unwrap());
    refused(by(database, radio).join_by_wish(called, radio, 7).await);
    assert!(by(database, radio).add_friend(radio, mike, 7).await.unwrap());
    assert_eq!(found(radio, "patrol_").await, [(called, false)]);
    by(database, radio).join_by_wish(called, radio, 7).await.unwrap();
    assert_eq!(by(database, radio).invite(called, &[fred, mike], 7).await.unwrap(), MembersChanged { joined: 1, left: 0 });
    refused(by(database, radio).invite(called, &[firm.stranger], 7).await);
    refused(by(database, radio).invite(patrol, &[fred], 7).await);
    refused(by(database, radio).leave_group(called, fred, 7).await);
    assert!(by(database, mike).leave_group(called, fred, 7).await.unwrap());
    assert!(matches!(by(database, mike).exit_group(called, mike, 7).await, Err(Error::OwnerStays { .. })));
    drain(&desk).await;
    by(database, radio).exit_group(called, radio, 7).await.unwrap();
    assert_eq!(registers(&drain(&desk).await)[0].why, LeftWhy::Exited as u32);
    refused(by(database, radio).exit_group(called, radio, 7).await);
    // The desk manages mate's call groups.
    let (own, _) = by(database, mate).create_group_of(mate, call("own"), vec![fred], 7).await.unwrap();
    assert!(desk.leave_group(own, fred, 7).await.unwrap());
    desk.dissolve_group(own, 7).await.unwrap();
    assert!(notices(&drain(&desk).await).is_empty());
}

async fn two_who_change_a_group_at_once_change_it_one_after_the_other(database: &Database) {
    let firm = firm(database).await;
    let company = by(database, firm.company);
    let (group, _) = company.create_group_of(firm.company, NewGroup::Temporary(tie(1, 1)), vec![], 7).await.unwrap();
    drain(&company).await;
    let wanted = [firm.radios.to_vec(), firm.other_radios.to_vec()];
    let calls: Vec<_> = (0..10)
        .map(|number: usize| {
            let (store, users, owner) = (company.clone(), wanted[number % 2].clone(), firm.company);
            tokio::spawn(async move { store.create_group_of(owner, NewGroup::Temporary(tie(1, number as u64)), users, 7).await.unwrap().0 })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), group);
    }
    let mut members = members(&company, group).await;
    members.retain(|user| *user != firm.company);
    assert!(wanted.contains(&members), "{members:?}");
    // Every change has a version of its own, in the order of the outbox.
    let versions: Vec<u64> = registers(&drain(&company).await).iter().map(|register| register.version).collect();
    assert!(versions.is_sorted_by(|a, b| a + 1 == *b), "{versions:?}");
}
