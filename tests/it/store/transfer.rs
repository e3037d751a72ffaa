//! Devices change hands: all of it, or nothing.

use std::sync::Arc;

use roger::model::{Digest, FileId, FilePurpose, GroupId, Imei, LeftWhy, MessageKind, TopicId, UserId, UserKind};
use roger::store::{ChangesWanted, Error, FileAdded, NewFile, NewGroup, Store};
use roger::topic::frame::{InItem, Input, Membership, NoticeBody, Profile, Register};

use super::devices::{imei, stock};
use super::directory::drain;
use super::tree::{Tree, by, child, not_permitted, tree};
use super::{Database, over_both};

over_both!(
    a_transfer_is_told_in_order,
    one_foreign_device_stops_them_all,
    whoever_may_not_transfer_changes_nothing,
    transfers_and_changes_of_groups_meet,
    whoever_inherits_a_group_may_read_its_recordings_and_not_its_attachments,
);

async fn a_transfer_is_told_in_order(database: &Database) {
    let store = &database.store;
    let Tree { acme, ann, bob, .. } = tree(store).await;
    let devices = stock(store, ann, 1..3).await;
    let tenant = store.account(ann).await.unwrap().unwrap().tenant;
    let north = store.create_group(tenant, "north").await.unwrap();
    let south = store.create_group(tenant, "south").await.unwrap();
    store.set_members(north, &[ann, devices[0], devices[1]], 5).await.unwrap();
    store.set_members(south, &[devices[1]], 5).await.unwrap();
    drain(store).await;

    let twice = vec![imei(2), imei(1), imei(2)];
    assert_eq!(by(store, acme).transfer_devices(twice, ann, bob, 9).await.unwrap(), 2);
    let profile = |user: UserId, serial| {
        let (topic, nickname) = (TopicId::inbox(user).packed(), imei(serial).last_six().to_owned());
        Input::Profile(Profile { topic, tenant: tenant.0, version: 2, manager: bob.0, nickname })
    };
    let leaves = |group: GroupId, name: &str, user: UserId, version| -> [Input; 2] {
        let (topic, inbox) = (TopicId::group(group).packed(), TopicId::inbox(user).packed());
        let (joined, name, why) = (false, name.to_owned(), LeftWhy::Transferred as u32);
        [
            Input::Membership(Membership { topic, user: user.0, version, joined }),
            Input::Register(Register { topic: inbox, group: group.0, version, joined, name, kind: 1, why }),
        ]
    };
    let told = |user: UserId, serial| {
        let nickname = imei(serial).last_six().to_owned();
        let body = NoticeBody { user: user.0, nickname, from: ann.0, to: bob.0, ..NoticeBody::default() };
        [user, ann, bob].map(|told| Input::Notice(body.clone().into_notice(TopicId::inbox(told), MessageKind::Transferred)))
    };
    let mut expected = vec![profile(devices[0], 1), profile(devices[1], 2)];
    expected.extend(leaves(north, "north", devices[0], 4));
    expected.extend(leaves(north, "north", devices[1], 5));
    expected.extend(leaves(south, "south", devices[1], 2));
    expected.extend(told(devices[0], 1));
    expected.extend(told(devices[1], 2));
    let said: Vec<Input> = drain(store).await.into_iter().filter_map(|item| item.input).collect();
    assert_eq!(said, expected);

    assert_eq!(store.account(devices[0]).await.unwrap().unwrap().parent, bob);
    assert!(store.groups_of(devices[1], None, 9, 10_000).await.unwrap().groups.is_empty());
    let left = store.groups_of(ann, None, 9, 10_000).await.unwrap().groups;
    assert_eq!((left[0].group.version, left[0].members.len()), (5, 1), "who was not transferred stays");
    // Who had them may no longer touch them, who has them may.
    not_permitted(by(store, ann).retire_device(devices[0], 9).await);
    assert_eq!(by(store, bob).devices(&devices).await.unwrap().len(), 2);
    let wanted = ChangesWanted { what: Some("device.transferred".into()), limit: 9, ..ChangesWanted::default() };
    let changes = store.changes(wanted).await.unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!((&changes[0].before["manager"], &changes[0].after["manager"]), (&ann.0.into(), &bob.0.into()));
    // A later join is heard: versions go on.
    store.join_group(north, devices[0], 9).await.unwrap();
    assert_eq!(store.group(north).await.unwrap().unwrap().version, 6);
}

/// Everything a transfer could change.
async fn everything(store: &Store, accounts: &[UserId]) -> String {
    let mut all = String::new();
    for user in accounts {
        let groups = store.groups_of(*user, None, 99, 10_000).await.unwrap().groups;
        all.push_str(&format!("{:?} {groups:?}", store.account(*user).await.unwrap()));
    }
    let changes = store.changes(ChangesWanted { limit: 1_000, ..ChangesWanted::default() }).await.unwrap();
    format!("{all} {} {}", changes.len(), store.outbox_last().await.unwrap())
}

async fn one_foreign_device_stops_them_all(database: &Database) {
    let store = &database.store;
    let Tree { acme, ann, bob, rival, .. } = tree(store).await;
    let mut devices = stock(store, ann, 1..200).await;
    devices.extend(stock(store, bob, 200..201).await);
    devices.extend(stock(store, rival, 201..202).await);
    let tenant = store.account(ann).await.unwrap().unwrap().tenant;
    let group = store.create_group(tenant, "all").await.unwrap();
    store.set_members(group, &devices[..199], 5).await.unwrap();
    let before = everything(store, &devices).await;
    let own: Vec<Imei> = (1..200).map(imei).collect();
    for foreign in [imei(200), imei(201), imei(999)] {
        let imeis = own.iter().copied().chain([foreign]).collect();
        not_permitted(by(store, acme).transfer_devices(imeis, ann, bob, 9).await);
        assert_eq!(everything(store, &devices).await, before, "{foreign}");
    }
    assert_eq!(by(store, acme).transfer_devices(own, ann, bob, 9).await.unwrap(), 199);
    assert!(store.groups_of(devices[0], None, 9, 10_000).await.unwrap().groups.is_empty());
}

async fn whoever_may_not_transfer_changes_nothing(database: &Database) {
    let store = &database.store;
    let Tree { root, acme, south, ann, bob, rival } = tree(store).await;
    let devices = stock(store, ann, 1..2).await;
    let walker = by(store, ann).create_child(child(ann, "walker", UserKind::Device), 5).await.unwrap();
    let before = everything(store, &devices).await;
    let cases = [
        ("the sender does not manage the receiver", ann, ann, bob),
        ("the receiver does not manage the sender", bob, ann, bob),
        ("a company does not manage another", rival, ann, rival),
        ("another tenant", root, ann, rival),
        ("the root's tenant", root, ann, root),
        ("not the sender's", acme, bob, south),
        ("from one to the same", acme, ann, ann),
        ("to a device", acme, ann, walker),
        ("to nobody", acme, ann, UserId(999)),
    ];
    for (why, who, sender, receiver) in cases {
        let refused = by(store, who).transfer_devices(vec![imei(1)], sender, receiver, 9).await;
        assert!(matches!(refused, Err(Error::NotPermitted { .. })), "{why}: {refused:?}");
        assert_eq!(everything(store, &devices).await, before, "{why}");
    }
    // A manager hands down to who stands below, and takes back.
    by(store, south).transfer_devices(vec![imei(1)], ann, south, 9).await.unwrap();
    by(store, south).transfer_devices(vec![imei(1)], south, ann, 9).await.unwrap();
}

/// Ten transfers to and fro beside changes of the devices' groups: all of them end, and nobody is half-way.
async fn transfers_and_changes_of_groups_meet(database: &Database) {
    let store = Arc::new(database.store.clone());
    let Tree { acme, ann, bob, .. } = tree(&store).await;
    let devices = Arc::new(stock(&store, ann, 1..6).await);
    let tenant = store.account(ann).await.unwrap().unwrap().tenant;
    let group = store.create_group(tenant, "all").await.unwrap();
    drain(&store).await;
    let transfers = {
        let store = store.clone();
        tokio::spawn(async move {
            let imeis: Vec<Imei> = (1..6).map(imei).collect();
            for (sender, receiver) in [(ann, bob), (bob, ann)].into_iter().cycle().take(10) {
                // One of two that wait for each other is sent away, and comes again.
                while let Err(error) = by(&store, acme).transfer_devices(imeis.clone(), sender, receiver, 9).await {
                    assert_eq!(error.class(), roger::retry::ErrorClass::Transient, "{error:?}");
                }
            }
        })
    };
    let joins = {
        let (store, devices) = (store.clone(), devices.clone());
        tokio::spawn(async move {
            for _ in 0..20 {
                while let Err(error) = store.set_members(group, &devices, 9).await {
                    assert_eq!(error.class(), roger::retry::ErrorClass::Transient, "{error:?}");
                }
            }
        })
    };
    transfers.await.unwrap();
    joins.await.unwrap();
    // The outbox of each member tells the same story as the rows: the last word on each is what stands.
    let members: Vec<UserId> = match store.groups_of(devices[0], None, 9, 10_000).await.unwrap().groups.into_iter().next() {
        Some(group) => group.members.into_iter().map(|member| member.id).collect(),
        None => Vec::new(),
    };
    let said: Vec<InItem> = drain(&store).await;
    for device in devices.iter() {
        let words = said.iter().filter_map(|item| match &item.input {
            Some(Input::Register(register)) if register.topic == TopicId::inbox(*device).packed() => Some(register),
            _ => None,
        });
        let versions: Vec<u64> = words.clone().map(|register| register.version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert_eq!(words.last().is_some_and(|register| register.joined), members.contains(device));
        assert_eq!(store.account(*device).await.unwrap().unwrap().parent, ann, "ten transfers bring them back");
    }
}

async fn whoever_inherits_a_group_may_read_its_recordings_and_not_its_attachments(database: &Database) {
    let store = &database.store;
    let Tree { acme, ann, bob, .. } = tree(store).await;
    let [radio, other] = stock(store, ann, 1..3).await[..] else { panic!("two") };
    let tenant = store.account(ann).await.unwrap().unwrap().tenant;
    let call = NewGroup::Call { name: Some("call".to_owned()) };
    let (group, _) = by(store, radio).create_group_of(radio, call, vec![other], 7).await.unwrap();
    by(store, acme).transfer_devices(vec![imei(1)], ann, bob, 8).await.unwrap();
    // It is told of the talk there, and no member.
    let (topic, sha256) = (Some(TopicId::group(group)), Digest([1; 32]));
    let (name, media_type) = ("talk.opus".to_owned(), "audio/ogg".to_owned());
    store.note_object("files/a", 9).await.unwrap();
    let stored = async |id, purpose| {
        let (name, media_type) = (name.clone(), media_type.clone());
        let new = NewFile { id: FileId(id), tenant, uploader: other, purpose, topic, name, media_type, bytes: 9, sha256, expires_ms: 99 };
        match store.add_file(new, (id == 1).then_some("files/a"), 0, 9).await.unwrap() {
            FileAdded::Added(file) => file,
            refused => panic!("{refused:?}"),
        }
    };
    let (recording, attachment) = (stored(1, FilePurpose::Recording).await, stored(2, FilePurpose::Attachment).await);
    for (user, file, may) in [(ann, &recording, true), (ann, &attachment, false), (bob, &recording, false), (other, &recording, true)] {
        assert_eq!(store.may_read_file(file, user, tenant).await.unwrap(), may, "{user} and {:?}", file.purpose);
    }
}
