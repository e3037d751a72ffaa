//! Friends: both have to want it.

use roger::model::{FriendState, MessageKind, TopicId, UserId, UserKind};
use roger::store::{ChangesWanted, Error, FRIENDS_MAX};
use roger::topic::frame::{Input, NoticeBody};

use super::groups::{account, by, drain, firm};
use super::{Database, over_both};

over_both!(friends_are_so_both_ways, requests_that_cross_make_friends, friends_have_a_bound, people_are_found_within_their_tenant);

fn told(to: UserId, about: UserId, nickname: &str, kind: MessageKind) -> Input {
    let body = NoticeBody { user: about.0, nickname: nickname.to_owned(), ..NoticeBody::default() };
    Input::Notice(body.into_notice(TopicId::inbox(to), kind))
}

async fn states(database: &Database, user: UserId) -> Vec<(UserId, FriendState)> {
    let friends = database.store.friends_of(user, UserId(0), 2_000).await.unwrap();
    friends.into_iter().map(|friend| (friend.id, friend.state)).collect()
}

async fn friends_are_so_both_ways(database: &Database) {
    let firm = firm(database).await;
    let ([neil, buzz], [mike, fred]) = (firm.radios, firm.other_radios);
    let ask = async |user, other| by(database, user).add_friend(user, other, 7).await;
    let end = async |user, other| by(database, user).remove_friend(user, other, 8).await.unwrap();
    assert!(!ask(neil, mike).await.unwrap());
    assert_eq!(drain(&database.store).await, [told(mike, neil, "neil!", MessageKind::FriendAsked)]);
    assert!(!ask(neil, mike).await.unwrap());
    assert_eq!(drain(&database.store).await, []);
    assert_eq!(states(database, neil).await, [(mike, FriendState::Asked)]);
    assert_eq!(states(database, mike).await, [(neil, FriendState::Asks)]);

    assert!(ask(mike, neil).await.unwrap());
    let added = [told(mike, neil, "neil!", MessageKind::FriendAdded), told(neil, mike, "mike!", MessageKind::FriendAdded)];
    assert_eq!(drain(&database.store).await, added);
    assert!(ask(mike, neil).await.unwrap() && ask(neil, mike).await.unwrap());
    for (user, other) in [(neil, mike), (mike, neil)] {
        assert_eq!(states(database, user).await, [(other, FriendState::Friends)]);
    }
    assert_eq!(drain(&database.store).await, []);
    // Friends come by id, in pages.
    ask(buzz, neil).await.unwrap();
    ask(neil, fred).await.unwrap();
    assert_eq!(states(database, neil).await, [(buzz, FriendState::Asks), (mike, FriendState::Friends), (fred, FriendState::Asked)]);
    let page = database.store.friends_of(neil, buzz, 1).await.unwrap();
    assert_eq!((page.len(), page[0].id, page[0].nickname.as_str()), (1, mike, "mike!"));

    // Either ends it on both sides; a wish is taken back, or declined.
    drain(&database.store).await;
    assert!(end(mike, neil).await && end(neil, fred).await && end(neil, buzz).await);
    let removed = [(neil, mike, "mike!"), (fred, neil, "neil!"), (buzz, neil, "neil!")];
    assert_eq!(drain(&database.store).await, removed.map(|(to, about, name)| told(to, about, name, MessageKind::FriendRemoved)));
    assert!(!end(mike, neil).await && !end(neil, UserId(999)).await && !end(neil, firm.stranger).await);
    for user in [neil, buzz, mike, fred] {
        assert_eq!(states(database, user).await, []);
    }
    for other in [firm.stranger, UserId(999), UserId(0)] {
        assert!(matches!(ask(neil, other).await, Err(Error::NotPermitted { .. })), "{other}");
    }
    assert!(matches!(ask(neil, neil).await, Err(Error::Invalid { field: "user_id", .. })));
    assert!(matches!(by(database, neil).add_friend(mike, fred, 7).await, Err(Error::NotPermitted { .. })), "for somebody else");
    let changes =
        database.store.changes(ChangesWanted { what: Some("friend".to_owned()), limit: 100, ..Default::default() }).await.unwrap();
    let whats: Vec<&str> = changes.iter().rev().map(|change| change.what.as_str()).collect();
    let [asked, added, removed] = ["friend.asked", "friend.added", "friend.removed"];
    assert_eq!(whats, [asked, added, asked, asked, removed, removed, removed]);
}

async fn requests_that_cross_make_friends(database: &Database) {
    let firm = firm(database).await;
    let [neil, buzz] = firm.radios;
    for round in 0..8 {
        let calls = [(neil, buzz), (buzz, neil)].map(|(user, other)| {
            let store = by(database, user);
            tokio::spawn(async move { store.add_friend(user, other, 7).await.unwrap() })
        });
        let mut friends = Vec::new();
        for call in calls {
            friends.push(call.await.unwrap());
        }
        assert!(friends.iter().filter(|friends| **friends).count() == 1, "round {round}: one asked, the other consented: {friends:?}");
        assert_eq!(states(database, neil).await, [(buzz, FriendState::Friends)]);
        assert_eq!(states(database, buzz).await, [(neil, FriendState::Friends)]);
        assert_eq!(drain(&database.store).await.len(), 3, "asked once, and both are told that they are friends");
        assert!(by(database, buzz).remove_friend(buzz, neil, 8).await.unwrap());
        drain(&database.store).await;
    }
}

async fn friends_have_a_bound(database: &Database) {
    let firm = firm(database).await;
    let neil = firm.radios[0];
    let mut last = neil;
    for number in 0..=FRIENDS_MAX {
        last = account(database, firm.tenant, &format!("fan {number}"), UserKind::Device).await;
        if number < FRIENDS_MAX {
            assert!(!database.store.add_friend(last, neil, 7).await.unwrap());
        }
    }
    let full = |answer: &Result<bool, Error>| matches!(answer, Err(Error::Full { max: FRIENDS_MAX, .. }));
    assert!(full(&database.store.add_friend(last, neil, 7).await));
    assert!(full(&database.store.add_friend(neil, last, 7).await));
    // Consent needs no room.
    let fan = states(database, neil).await[0].0;
    assert!(database.store.add_friend(neil, fan, 7).await.unwrap());
    assert!(database.store.remove_friend(neil, fan, 7).await.unwrap());
    assert!(!database.store.add_friend(neil, last, 7).await.unwrap());
}

async fn people_are_found_within_their_tenant(database: &Database) {
    let firm = firm(database).await;
    let [neil, buzz] = firm.radios;
    let [mike, fred] = firm.other_radios;
    let odd = account(database, firm.tenant, "Müller_50%", UserKind::Device).await;
    by(database, neil).add_friend(neil, buzz, 7).await.unwrap();
    by(database, mike).add_friend(mike, neil, 7).await.unwrap();
    let found = async |text: &str| {
        let users = database.store.search_users(neil, text, 100).await.unwrap();
        users.into_iter().map(|user| (user.id, user.state)).collect::<Vec<_>>()
    };
    assert_eq!(found("zz!").await, [(buzz, Some(FriendState::Asked))], "the nickname");
    assert_eq!(found("MIK").await, [(mike, Some(FriendState::Asks))]);
    assert_eq!(found("ed").await, [(fred, None)]);
    assert_eq!(found("Müller").await, [(odd, None)]);
    assert_eq!(found("r_50%").await, [(odd, None)]);
    for text in ["neil", "alexei", "f%d", "f__d", "%%"] {
        assert_eq!(found(text).await, [], "{text}");
    }
    assert_eq!(database.store.search_users(neil, "e", 2).await.unwrap().len(), 2);
}
