//! Devices come into stock, are changed, and go.

use roger::clock::Clock;
use roger::model::{Imei, MessageKind, TopicId, UserId, UserKind};
use roger::store::{Author, ChangesWanted, DeviceUpdate, Error, NewDevice, Store};
use roger::topic::frame::{Input, NoticeBody, Profile};

use super::directory::drain;
use super::tree::{Tree, by, child, not_permitted, tree};
use super::{Database, over_both};

over_both!(
    an_import_answers_each_in_order,
    ten_thousand_devices_are_one_import,
    only_companies_and_roots_import,
    a_device_is_changed_and_its_inbox_hears,
    devices_come_in_pages_near_and_deep,
    a_retired_device_makes_room_for_its_imei,
    a_code_is_renewed,
);

/// The IMEI of a serial number.
pub(super) fn imei(serial: u64) -> Imei {
    let find = |digit: u64| format!("{:015}", (35_000_000_000_000 + serial) * 10 + digit).parse().ok();
    (0..10).find_map(find).expect("one of ten digits checks")
}

pub(super) fn new(serial: u64) -> NewDevice {
    let imei = imei(serial);
    NewDevice {
        imei,
        model: "R-1".into(),
        nickname: imei.last_six().to_owned(),
        activated_ms: 0,
        sold_ms: 0,
        password_hash: format!("$enrol${serial}"),
    }
}

/// Devices with these serial numbers, for an account.
pub(super) async fn stock(store: &Store, receiver: UserId, serials: std::ops::Range<u64>) -> Vec<UserId> {
    let operator = store.on_behalf_of(Author::Operator("ann".into()), Clock::manual(77).0);
    let answers = operator.import_devices(receiver, serials.map(new).collect(), 5).await.unwrap();
    answers.into_iter().map(Option::unwrap).collect()
}

async fn an_import_answers_each_in_order(database: &Database) {
    let store = &database.store;
    let Tree { root, ann, bob, .. } = tree(store).await;
    let tenant = store.account(ann).await.unwrap().unwrap().tenant;
    let [first] = stock(store, bob, 1..2).await[..] else { panic!("one") };
    // Somebody has what looks like an IMEI for a login name.
    let squatter = child(ann, imei(4).as_str(), UserKind::Device);
    by(store, ann).create_child(squatter, 5).await.unwrap();
    drain(store).await;

    let wanted = [2, 1, 3, 2, 4, 3].map(new);
    let answers = by(store, root).import_devices(ann, wanted.to_vec(), 9).await.unwrap();
    let taken: Vec<bool> = answers.iter().map(Option::is_some).collect();
    assert_eq!(taken, [true, false, true, false, false, false]);
    let (two, three) = (answers[0].unwrap(), answers[2].unwrap());
    assert!(first < two && two < three);
    let profile = |user: UserId, serial| {
        let (topic, nickname) = (TopicId::inbox(user).packed(), imei(serial).last_six().to_owned());
        Input::Profile(Profile { topic, tenant: tenant.0, version: 1, manager: ann.0, nickname }).into()
    };
    assert_eq!(drain(store).await, [profile(two, 2), profile(three, 3)]);
    let account = store.account_by_name(imei(2).as_str()).await.unwrap().unwrap();
    assert_eq!((account.id, account.parent, account.kind, account.tenant), (two, ann, UserKind::Device, tenant));
    assert_eq!((account.password_hash.as_str(), account.created_ms), ("$enrol$2", 9));
    let again = by(store, root).import_devices(bob, wanted.to_vec(), 9).await.unwrap();
    assert_eq!(again, [None; 6]);
    assert_eq!(drain(store).await, []);
    let wanted = ChangesWanted { what: Some("device.imported".into()), limit: 9, ..ChangesWanted::default() };
    let changes = store.changes(wanted).await.unwrap();
    assert_eq!(changes.len(), 3);
    assert_eq!((changes[0].subject.clone(), &changes[0].after["imei"]), (format!("account:{three}"), &imei(3).as_str().into()));
}

async fn ten_thousand_devices_are_one_import(database: &Database) {
    let store = &database.store;
    let Tree { acme, ann, .. } = tree(store).await;
    drain(store).await;
    let devices: Vec<NewDevice> = (0..10_000).map(new).collect();
    let begun = std::time::Instant::now();
    let answers = by(store, acme).import_devices(ann, devices, 9).await.unwrap();
    assert!(answers.iter().all(Option::is_some) && answers.is_sorted(), "{:?}", begun.elapsed());
    assert_eq!(store.outbox_last().await.unwrap() - store.outbox_first().await.unwrap().unwrap(), 9_999);
    let last = by(store, ann).devices_below(ann, false, answers[9_998].unwrap(), 9).await.unwrap();
    assert_eq!((last.len(), last[0].imei.as_str()), (1, imei(9_999).as_str()));
}

async fn only_companies_and_roots_import(database: &Database) {
    let store = &database.store;
    let Tree { root, acme, south, ann, rival, .. } = tree(store).await;
    let walker = by(store, ann).create_child(child(ann, "walker", UserKind::Device), 5).await.unwrap();
    let one = || vec![new(1)];
    for (who, receiver) in [(south, ann), (ann, ann), (rival, ann), (acme, rival), (acme, walker), (root, root), (root, UserId(999))] {
        not_permitted(by(store, who).import_devices(receiver, one(), 5).await);
    }
    for receiver in [acme, south, ann] {
        assert_eq!(by(store, acme).import_devices(receiver, vec![new(receiver.0)], 5).await.unwrap().len(), 1);
    }
    assert!(by(store, root).import_devices(ann, one(), 5).await.unwrap()[0].is_some());
}

async fn a_device_is_changed_and_its_inbox_hears(database: &Database) {
    let store = &database.store;
    let Tree { ann, bob, .. } = tree(store).await;
    let [device] = stock(store, ann, 1..2).await[..] else { panic!("one") };
    drain(store).await;
    let both = DeviceUpdate { nickname: Some("Falcon One".into()), log_upload: Some(true) };
    not_permitted(by(store, bob).update_device(device, both.clone(), 9).await);
    not_permitted(by(store, ann).update_device(ann, both.clone(), 9).await);
    for _ in 0..2 {
        by(store, ann).update_device(device, both.clone(), 9).await.unwrap();
    }
    let tenant = store.account(ann).await.unwrap().unwrap().tenant;
    let topic = TopicId::inbox(device);
    let profile = Profile { topic: topic.packed(), tenant: tenant.0, version: 2, manager: ann.0, nickname: "Falcon One".into() };
    let renamed = NoticeBody { user: device.0, nickname: "Falcon One".into(), ..NoticeBody::default() };
    let log = NoticeBody { on: true, ..NoticeBody::default() };
    let expected = [
        Input::Profile(profile).into(),
        Input::Notice(renamed.into_notice(topic, MessageKind::ProfileChanged)).into(),
        Input::Notice(log.into_notice(topic, MessageKind::LogUpload)).into(),
    ];
    assert_eq!(drain(store).await, expected);
    let row = by(store, ann).devices(&[device]).await.unwrap().remove(0);
    assert_eq!((row.nickname.as_str(), row.log_upload, row.manager, row.model.as_str()), ("Falcon One", true, ann, "R-1"));
    assert_eq!(by(store, ann).device_of_imei(imei(1)).await.unwrap(), Some(device));
    assert_eq!(by(store, bob).device_of_imei(imei(1)).await.unwrap(), None);
    assert!(by(store, bob).devices(&[device]).await.unwrap().is_empty());
    let walker = by(store, ann).create_child(child(ann, "walker", UserKind::Device), 5).await.unwrap();
    let log = DeviceUpdate { log_upload: Some(true), ..DeviceUpdate::default() };
    let refused = by(store, ann).update_device(walker, log, 9).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "log_upload", .. })), "{refused:?}");
}

async fn devices_come_in_pages_near_and_deep(database: &Database) {
    let store = &database.store;
    let Tree { root, acme, south, ann, bob, .. } = tree(store).await;
    let (anns, bobs, souths) = (stock(store, ann, 0..3).await, stock(store, bob, 3..5).await, stock(store, south, 5..6).await);
    let ids = |who, top, deep, after, limit| async move {
        let found = by(store, who).devices_below(top, deep, after, limit).await.unwrap();
        found.into_iter().map(|device| device.id).collect::<Vec<_>>()
    };
    let nobody = UserId(0);
    assert_eq!(ids(ann, ann, false, nobody, 9).await, anns);
    assert_eq!(ids(ann, ann, true, nobody, 2).await, anns[..2]);
    assert_eq!(ids(ann, ann, true, anns[1], 2).await, anns[2..]);
    assert_eq!(ids(acme, acme, false, nobody, 9).await, []);
    assert_eq!(ids(south, south, true, nobody, 9).await, [&anns[..], &souths].concat());
    let all = [&anns[..], &bobs, &souths].concat();
    assert_eq!(ids(acme, acme, true, nobody, 9).await, all);
    assert_eq!(ids(root, root, true, nobody, 9).await, all);
    let some = by(store, ann).devices(&[bobs[0], anns[2], ann, anns[0], UserId(999)]).await.unwrap();
    assert_eq!(some.into_iter().map(|device| device.id).collect::<Vec<_>>(), [anns[0], anns[2]]);
}

async fn a_retired_device_makes_room_for_its_imei(database: &Database) {
    let store = &database.store;
    let Tree { acme, ann, bob, .. } = tree(store).await;
    let [device] = stock(store, ann, 1..2).await[..] else { panic!("one") };
    not_permitted(by(store, bob).retire_device(device, 9).await);
    not_permitted(by(store, acme).retire_device(ann, 9).await);
    by(store, ann).retire_device(device, 9).await.unwrap();
    not_permitted(by(store, ann).retire_device(device, 9).await);
    assert!(store.account_by_name(imei(1).as_str()).await.unwrap().is_none());
    assert_eq!(by(store, acme).device_of_imei(imei(1)).await.unwrap(), None);
    let wanted = ChangesWanted { what: Some("device.retired".into()), limit: 9, ..ChangesWanted::default() };
    assert_eq!(store.changes(wanted).await.unwrap()[0].before["device"]["imei"], imei(1).as_str());
    let [again] = stock(store, bob, 1..2).await[..] else { panic!("one") };
    assert!(again > device);
    assert_eq!(by(store, bob).device_of_imei(imei(1)).await.unwrap(), Some(again));
}

async fn a_code_is_renewed(database: &Database) {
    let store = &database.store;
    let Tree { ann, bob, .. } = tree(store).await;
    let [device] = stock(store, ann, 1..2).await[..] else { panic!("one") };
    let token = roger::store::ResumeToken { user: device, installation: roger::model::InstallationId(1), expires_ms: 1_000 };
    store.create_resume_token([1; 32], token).await.unwrap();
    not_permitted(by(store, bob).renew_enrolment(device, "x").await);
    not_permitted(by(store, ann).renew_enrolment(ann, "x").await);
    by(store, ann).renew_enrolment(device, "$enrol$new").await.unwrap();
    assert_eq!(store.account(device).await.unwrap().unwrap().password_hash, "$enrol$new");
    assert_eq!(store.revoke_resume_tokens(device, None).await.unwrap(), 0, "they are void");
}
