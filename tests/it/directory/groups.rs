//! Groups, their pages, seed files and the registry.

use roger::directory::RegistryError;
use roger::directory::seed::Summary;
use roger::model::Reason;
use roger::proto::status::Refused;
use roger::proto::v1;
use roger::store;

use super::{CREW, Client, Ground, NO_REDIS, by_password, log_in, refused};

async fn pages(client: &mut Client, token: &str, limit: u32) -> Vec<Vec<v1::Group>> {
    let (mut pages, mut after_group_id) = (Vec::new(), 0);
    loop {
        let request = v1::GetGroupListRequest { token: token.to_owned(), after_group_id, limit };
        let page = client.get_group_list(request).await.unwrap().into_inner();
        after_group_id = page.groups.last().map_or(after_group_id, |group| group.group_id);
        pages.push(page.groups);
        if !page.more {
            return pages;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_groups_come_in_pages() {
    let ground = Ground::new(NO_REDIS);
    ground.apply(CREW).await.unwrap();
    let store = ground.store().await;
    let [neil, alexei] = ["neil", "alexei"].map(|name| {
        let store = store.clone();
        async move { store.account_by_name(name).await.unwrap().unwrap() }
    });
    let (neil, alexei) = (neil.await, alexei.await);
    for number in 1..500 {
        let group = store.create_group(neil.tenant, &format!("group {number}")).await.unwrap();
        assert!(store.join_group(group, neil.id, 1).await.unwrap());
    }
    let foreign = store.create_group(alexei.tenant, "loop").await.unwrap();
    store.join_group(foreign, alexei.id, 1).await.unwrap();

    let running = ground.start(&[]).await;
    let mut client = running.client().await;
    let token = log_in(&mut client, by_password("neil", "eagle")).await.token;
    for (limit, expected) in [(0, 5), (100, 5), (99, 6), (1, 500)] {
        let pages = pages(&mut client, &token, limit).await;
        assert_eq!(pages.len(), expected, "pages of {limit}");
        let ids: Vec<u64> = pages.iter().flatten().map(|group| group.group_id).collect();
        assert!(ids.len() == 500 && ids.is_sorted_by(|a, b| a < b) && !ids.contains(&foreign.0));
    }
    let first = &pages(&mut client, &token, 0).await[0][0];
    let members: Vec<(&str, &str)> = first.members.iter().map(|member| (member.name.as_str(), member.nickname.as_str())).collect();
    assert_eq!(members, [("neil", "Neil 🌕"), ("buzz", "buzz"), ("capcom", "Houston")]);
    assert_eq!((first.name.as_str(), first.version, first.members[2].kind()), ("loop", 3, v1::UserKind::Dispatcher));

    // With Redis away nobody is said to be anywhere.
    assert!(first.members.iter().all(|member| member.presence() == v1::PresenceState::Unspecified));
    assert_eq!((first.online, first.in_room, first.kind(), first.owner_id), (0, 0, v1::GroupKind::Normal, 0));

    let over = v1::GetGroupListRequest { token, after_group_id: 0, limit: 101 };
    assert_eq!(refused(client.get_group_list(over).await), Refused::new(Reason::TooMany).field("limit"));
    let token = log_in(&mut client, by_password("alexei", "mir")).await.token;
    assert_eq!(pages(&mut client, &token, 0).await.concat().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_makes_the_difference_and_no_more() {
    let ground = Ground::new(NO_REDIS);
    let first = ground.apply(CREW).await.unwrap();
    let expected = Summary {
        entries: 7,
        tenants_created: 2,
        accounts_created: 4,
        passwords_set: 4,
        groups_created: 1,
        members_joined: 3,
        ..Summary::default()
    };
    assert_eq!(first, expected);
    let store = ground.store().await;
    let outbox = store.outbox(0, 100).await.unwrap();
    assert_eq!(outbox.len(), 4 + 3 * 2, "a profile each account, a membership and a register each member");

    let again = ground.apply(CREW).await.unwrap();
    assert!(!again.changed(), "{again}");
    assert_eq!(again.to_string(), "nothing to change: all 7 entries are as wanted");
    assert_eq!(store.outbox(0, 100).await.unwrap(), outbox);

    let changed = CREW
        .replace(r#"members = ["neil", "buzz", "capcom"]"#, r#"members = ["capcom", "neil"]"#)
        .replace(r#"nickname = "Houston""#, r#"nickname = "CAPCOM""#)
        .replace(r#"password = "eagle""#, r#"password = "columbia""#);
    let summary = ground.apply(&changed).await.unwrap();
    assert_eq!(summary, Summary { entries: 7, accounts_changed: 1, passwords_set: 1, members_left: 1, ..Summary::default() });
    assert_eq!(summary.to_string(), "1 accounts changed, 1 passwords set, 1 members left");
    assert!(!ground.apply(&changed).await.unwrap().changed());

    // A part of it: what it does not name stays; what it names may stand in the store.
    let part = "[[group]]\nname = \"two\"\ntenant = \"apollo\"\nmembers = [\"neil\", \"buzz\"]\n";
    assert_eq!(ground.apply(part).await.unwrap(), Summary { entries: 1, groups_created: 1, members_joined: 2, ..Summary::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_with_a_mistake_changes_nothing() {
    let ground = Ground::new(NO_REDIS);
    let cases = [
        (
            r#"members = ["neil", "buzz", "capcom"]"#,
            r#"members = ["neil", "bazz"]"#,
            "crew.toml: group \"loop\" names the account \"bazz\"",
        ),
        (
            "name = \"loop\"\ntenant = \"apollo\"",
            "name = \"loop\"\ntenant = \"apolo\"",
            "crew.toml: group \"loop\" names the tenant \"apolo\"",
        ),
        ("name = \"buzz\"", "name = \"neil\"", "crew.toml: account \"neil\" is there twice"),
    ];
    for (from, to, complaint) in cases {
        assert!(CREW.contains(from));
        let error = ground.apply(&CREW.replace(from, to)).await.unwrap_err();
        assert!(error.to_string().starts_with(complaint), "{error}");
        assert!(ground.store().await.tenants().await.unwrap().is_empty(), "{complaint}: something was written");
    }
    let foreign = CREW.replace(r#""capcom"]"#, r#""alexei"]"#);
    let error = ground.apply(&foreign).await.unwrap_err();
    assert_eq!(error.to_string(), "crew.toml: cannot apply group \"loop\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_refuses_by_name() {
    let ground = Ground::new(NO_REDIS);
    ground.apply(CREW).await.unwrap();
    let registry = ground.registry().await;
    assert!(matches!(registry.add_group("gemini", "x", None).await, Err(RegistryError::NoTenant { .. })));
    assert!(matches!(registry.add_member("apollo", "x", "neil").await, Err(RegistryError::NoGroup { .. })));
    assert!(matches!(registry.add_member("apollo", "loop", "x").await, Err(RegistryError::NoAccount { .. })));
    assert!(matches!(registry.set_password("x", "y").await, Err(RegistryError::NoAccount { .. })));
    assert!(matches!(registry.set_password("neil", "").await, Err(RegistryError::PasswordLength { bytes: 0, .. })));
    let foreign = registry.add_member("apollo", "loop", "alexei").await;
    assert!(matches!(foreign, Err(RegistryError::Store { source: store::Error::OtherTenant { .. } })));

    registry.add_group("apollo", "two", None).await.unwrap();
    let taken = registry.rename_group("apollo", "two", "loop").await;
    assert!(matches!(taken, Err(RegistryError::Store { source: store::Error::NameTaken { .. } })));
    assert!(registry.add_member("apollo", "two", "neil").await.unwrap());
    assert!(!registry.add_member("apollo", "two", "neil").await.unwrap());
    assert!(registry.rename_group("apollo", "two", "three").await.unwrap());
    assert!(!registry.rename_group("apollo", "three", "three").await.unwrap());
    assert!(registry.remove_member("apollo", "three", "neil").await.unwrap());
    assert!(!registry.remove_member("apollo", "three", "neil").await.unwrap());
}
