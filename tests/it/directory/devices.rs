//! Devices over their calls: enrolment, what is known of them, and who may do what.

use std::time::Instant;

use roger::broker::{self, Opening};
use roger::model::{GroupId, Position, PositionSource, Reason, TopicId, UserId};
use roger::proto::status::Refused;
use roger::proto::v1::{self, ImportOutcome, PresenceState, UserKind};
use roger::store::ArchiveBatch;
use roger::topic::frame::{LogFrame, Outcome, Room};

use super::{Ground, SETTLES, by_password, refused};
use crate::support::PATIENCE;
use crate::support::company::{self, Desk, Somebody};
use crate::support::redis::Redis;

const IMEIS: [&str; 2] = ["356938035643809", "490154203237518"];
const SHARDS: u32 = 16;

/// A company with two desks; both radios are the first one's.
struct Company {
    top: Somebody,
    first: Somebody,
    second: Somebody,
    radios: Vec<Somebody>,
}

async fn company(desk: &mut Desk) -> Company {
    let root = desk.root().await;
    let top = desk.account(&root, UserKind::Company, "apollo").await;
    let first = desk.account(&top, UserKind::Dispatcher, "first").await;
    let second = desk.account(&top, UserKind::Dispatcher, "second").await;
    let radios = desk.radios(&top, &first, &IMEIS).await;
    Company { top, first, second, radios }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_told_once_and_enrols_one_device() {
    let redis = Redis::start();
    let ground = Ground::new(&redis.url());
    let store = ground.store().await;
    company::root(&store).await;
    let running = ground.start(&[]).await;
    let mut desk = Desk::at(&running.url).await;
    let Company { top, first, radios, .. } = company(&mut desk).await;
    let (radio, code) = (&radios[0], radios[0].password.clone());
    assert!(!store.account(UserId(radio.id)).await.unwrap().unwrap().password_hash.contains(&code.replace('-', "")));
    let mut talk = running.client().await;
    for written in [code.to_lowercase(), code.replace('-', "")] {
        assert_eq!(talk.login(by_password(IMEIS[0], &written)).await.unwrap().into_inner().user_id, radio.id);
    }
    let void = Refused::from(Reason::BadCredentials);
    for wrong in [radios[1].password.as_str(), &code[1..], "643809"] {
        assert_eq!(refused(talk.login(by_password(IMEIS[0], wrong)).await), void, "{wrong}");
    }

    let device = |imei: &str, nickname: String| v1::ImportedDevice { imei: imei.to_owned(), nickname, ..Default::default() };
    let devices =
        [("490154203237519", 0), (IMEIS[1], 0), ("260531793113837", 101), ("260531793113837", 7), ("260531793113837", 7), ("x", 0)];
    let devices = devices.map(|(imei, length)| device(imei, "n".repeat(length))).to_vec();
    let import = v1::ImportDeviceByRootRequest { token: top.token(), receiver_id: first.id, devices };
    let answers = desk.web.import_device_by_root(import.clone()).await.unwrap().into_inner().answers;
    let outcomes: Vec<ImportOutcome> = answers.iter().map(|answer| answer.outcome()).collect();
    use ImportOutcome::{Duplicate, Imported, MalformedField, MalformedImei};
    assert_eq!(outcomes, [MalformedImei, Duplicate, MalformedField, Imported, Duplicate, MalformedImei]);
    let told: Vec<bool> = answers.iter().map(|answer| answer.device_id != 0 && !answer.enrolment_code.is_empty()).collect();
    assert_eq!(told, [false, false, false, true, false, false]);
    let none = v1::ImportDeviceByRootRequest { devices: vec![], ..import.clone() };
    assert_eq!(refused(desk.web.import_device_by_root(none).await), Refused::new(Reason::FieldMissing).field("devices"));
    let many = v1::ImportDeviceByRootRequest { devices: vec![device("1", String::new()); 10_001], ..import.clone() };
    assert_eq!(refused(desk.web.import_device_by_root(many).await), Refused::new(Reason::TooMany).field("devices"));
    let by_desk = v1::ImportDeviceByRootRequest { token: first.token(), ..import };
    assert_eq!(refused(desk.web.import_device_by_root(by_desk).await), Reason::NotPermitted.into());

    let renew = v1::RenewEnrolmentRequest { token: first.token(), device_id: radio.id };
    let renewed = desk.web.renew_enrolment(renew).await.unwrap().into_inner().enrolment_code;
    assert_eq!(refused(talk.login(by_password(IMEIS[0], &code)).await), void);
    talk.login(by_password(IMEIS[0], &renewed)).await.unwrap();
    let retire = v1::RetireDeviceRequest { token: first.token(), device_id: radio.id };
    desk.web.retire_device(retire).await.unwrap();
    assert_eq!(refused(talk.login(by_password(IMEIS[0], &renewed)).await), void);
    let again = desk.radios(&top, &first, &IMEIS[..1]).await;
    assert!(again[0].id > radio.id, "the same IMEI is another device");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_devices_is_told_to_who_manages_them() {
    let redis = Redis::start();
    let ground = Ground::new(&redis.url());
    let store = ground.store().await;
    company::root(&store).await;
    let running = ground.start(&[]).await;
    let mut desk = Desk::at(&running.url).await;
    let Company { top, first, second, radios } = company(&mut desk).await;
    let [one, two] = [UserId(radios[0].id), UserId(radios[1].id)];

    let update = v1::UpdateDeviceInfoRequest {
        token: first.token(),
        imei: IMEIS[0].to_owned(),
        nickname: Some("Falcon One".to_owned()),
        log_upload: Some(true),
        ..Default::default()
    };
    let begun = Instant::now();
    desk.web.update_device_info(update.clone()).await.unwrap();
    assert!(store.outbox_first().await.unwrap().is_none() || begun.elapsed() > SETTLES, "the shards have heard when the call answers");
    let settings = broker::Settings {
        url: redis.url(),
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        replication: roger::broker::Replication::none(),
    };
    let broker = broker::Redis::new(settings).unwrap();
    let json = r#"{"member":"m"}"#;
    let opening = Opening {
        user: one,
        installation: "7",
        json,
        member: "m",
        deadline_ms: u64::MAX >> 16,
        exclusive: true,
        issued_ms: 1,
        again: false,
    };
    broker.open_session(SHARDS, opening).await.unwrap();
    broker.note_battery(TopicId::inbox(one).shard(SHARDS), SHARDS, &[(one, 80, 11), (one, 79, 12)]).await.unwrap();
    let source = PositionSource::Gps;
    let position =
        Position { source, latitude: 51.5, longitude: -0.12, fix_ms: 13, accuracy_m: 4.5, speed_mps: None, course_deg: Some(90.0) };
    broker.note_position(one, SHARDS, &position).await.unwrap();
    let inbox = TopicId::inbox(one);
    let mut batch = ArchiveBatch::new(inbox.shard(SHARDS));
    let room = Outcome::Room(Room { topic: inbox.packed(), group: 5, version: 1, joined: true, settled: true });
    batch.take(LogFrame { epoch: 1, commit: 1, outcomes: vec![room.into()], ..LogFrame::default() }).unwrap();
    store.archive(batch).await.unwrap();

    let ask = |token: String| v1::GetDevicesInfoRequest { token, device_ids: vec![two.0, first.id, one.0, 999] };
    let known = desk.web.get_devices_info(ask(first.token())).await.unwrap().into_inner().devices;
    let expected = v1::Device {
        device_id: one.0,
        imei: IMEIS[0].to_owned(),
        nickname: "Falcon One".to_owned(),
        manager_id: first.id,
        log_upload: true,
        presence: PresenceState::InRoom.into(),
        current_group_id: GroupId(5).0,
        battery_percent: Some(79),
        battery_ms: 12,
        last_position: Some(position.into()),
        ..Default::default()
    };
    assert_eq!(known[0], expected);
    let nothing = v1::Device {
        device_id: two.0,
        imei: IMEIS[1].to_owned(),
        nickname: "237518".to_owned(),
        manager_id: first.id,
        presence: PresenceState::Offline.into(),
        ..Default::default()
    };
    assert_eq!(known[1..], [nothing]);
    assert!(desk.web.get_devices_info(ask(second.token())).await.unwrap().into_inner().devices.is_empty());

    let list = |token: String, deep, limit| v1::ListDevicesRequest { token, deep, limit, ..Default::default() };
    let page = desk.web.list_devices(list(top.token(), true, 1)).await.unwrap().into_inner();
    assert_eq!((page.devices.as_slice(), page.more, page.online), ([expected].as_slice(), true, 1));
    let near = desk.web.list_devices(list(top.token(), false, 0)).await.unwrap().into_inner();
    assert!(near.devices.is_empty() && !near.more);
    let over = desk.web.list_devices(list(top.token(), false, 1_001)).await;
    assert_eq!(refused(over), Refused::new(Reason::TooMany).field("limit"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_manage_a_device_is_told_nothing_of_it() {
    let redis = Redis::start();
    let ground = Ground::new(&redis.url());
    company::root(&ground.store().await).await;
    let running = ground.start(&[]).await;
    let mut desk = Desk::at(&running.url).await;
    let Company { top, first, second, radios } = company(&mut desk).await;
    let (web, device_id) = (&mut desk.web, radios[0].id);
    let not_permitted = Refused::from(Reason::NotPermitted);
    // The other desk, and the other radio.
    for who in [&second, &radios[1]] {
        let token = || who.token();
        let select = v1::SelectDeviceByImeiRequest { token: token(), imei: IMEIS[0].to_owned() };
        assert_eq!(web.select_device_by_imei(select).await.unwrap().into_inner().device_id, 0);
        for (device_id, imei) in [(device_id, ""), (0, IMEIS[0]), (first.id, ""), (999, ""), (0, "260531793113837")] {
            let update = v1::UpdateDeviceInfoRequest { token: token(), device_id, imei: imei.to_owned(), ..Default::default() };
            assert_eq!(refused(web.update_device_info(update).await), not_permitted);
        }
        assert_eq!(refused(web.renew_enrolment(v1::RenewEnrolmentRequest { token: token(), device_id }).await), not_permitted);
        assert_eq!(refused(web.retire_device(v1::RetireDeviceRequest { token: token(), device_id }).await), not_permitted);
        assert_eq!(refused(web.get_device_log_info(v1::GetDeviceLogInfoRequest { token: token(), device_id }).await), not_permitted);
        let list = v1::ListDevicesRequest { token: token(), account_id: first.id, ..Default::default() };
        assert_eq!(refused(web.list_devices(list).await), not_permitted);
        let transfer =
            v1::MultiTransDeviceRequest { token: token(), imeis: vec![IMEIS[0].to_owned()], sender_id: first.id, receiver_id: second.id };
        assert_eq!(refused(web.multi_trans_device(transfer).await), not_permitted);
    }
    let select = v1::SelectDeviceByImeiRequest { token: first.token(), imei: IMEIS[0].to_owned() };
    assert_eq!(web.select_device_by_imei(select).await.unwrap().into_inner().device_id, device_id);
    let log = v1::GetDeviceLogInfoRequest { token: first.token(), device_id };
    assert_eq!(web.get_device_log_info(log).await.unwrap().into_inner(), v1::GetDeviceLogInfoResponse::default());
    // Who manages both may hand over, and then it is the other's.
    let imeis = vec![IMEIS[0].to_owned()];
    let transfer = v1::MultiTransDeviceRequest { token: top.token(), imeis, sender_id: first.id, receiver_id: second.id };
    let bad = v1::MultiTransDeviceRequest { imeis: vec!["123".to_owned()], ..transfer.clone() };
    assert_eq!(refused(web.multi_trans_device(bad).await), Refused::new(Reason::FieldInvalid).field("imeis"));
    let none = v1::MultiTransDeviceRequest { imeis: vec![], ..transfer.clone() };
    assert_eq!(refused(web.multi_trans_device(none).await), Refused::new(Reason::FieldMissing).field("imeis"));
    assert_eq!(web.multi_trans_device(transfer).await.unwrap().into_inner().transferred, 1);
    let list = v1::ListDevicesRequest { token: second.token(), ..Default::default() };
    assert_eq!(web.list_devices(list).await.unwrap().into_inner().devices[0].device_id, device_id);
    let retire = v1::RetireDeviceRequest { token: first.token(), device_id };
    assert_eq!(refused(web.retire_device(retire).await), not_permitted);
    running.stop().await;
}
