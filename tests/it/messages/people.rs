//! What dispatchers change, and what radios hear of it: over a whole fleet.

use roger::model::{GroupId, TopicId};
use roger::proto::v1::{self, PresenceState};
use roger::store::Store;

use super::radio::{Heard, Radio};
use super::stage::hello;
use crate::support::company::{self, Desk, Somebody};
use crate::support::fleet::{Fleet, FleetOptions};

const RADIOS: [&str; 2] = ["356938035643809", "490154203237518"];

/// A company with two desks; the radios are the first one's.
struct Scene {
    fleet: Fleet,
    desk: Desk,
    first: Somebody,
    second: Somebody,
    radios: Vec<Somebody>,
}

impl Scene {
    async fn start() -> Self {
        let fleet = Fleet::start(FleetOptions::default());
        let store = Store::open(&format!("sqlite:{}", fleet.folder().join("roger.db").display())).unwrap();
        company::root(&store).await;
        let mut desk = Desk::at(&fleet.directory()).await;
        let root = desk.root().await;
        let top = desk.account(&root, v1::UserKind::Company, "apollo").await;
        let first = desk.account(&top, v1::UserKind::Dispatcher, "first").await;
        let second = desk.account(&top, v1::UserKind::Dispatcher, "second").await;
        let radios = desk.radios(&top, &first, &RADIOS).await;
        Self { fleet, desk, first, second, radios }
    }

    async fn on(&self, edge: usize, who: &Somebody) -> Radio {
        Radio::open(&self.fleet.edge(edge), hello(&who.login, 7)).await.unwrap()
    }
}

fn group(id: u64) -> TopicId {
    TopicId::group(GroupId(id))
}

/// The notices of one kind in what was heard.
fn notices<T>(heard: &Heard, of: impl Fn(&v1::entry::Notice) -> Option<T>) -> Vec<T> {
    heard.entries.iter().filter_map(|entry| of(entry.notice.as_ref()?)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_word_of_a_radio_coming_on_the_air_has_its_new_nickname() {
    let mut scene = Scene::start().await;
    let (first, radio) = (scene.first.clone(), scene.radios[0].clone());
    let patrol = scene.desk.group(&first, "patrol", &[&radio]).await;
    let mut desk = scene.on(0, &first).await;
    desk.follows(group(patrol)).await;
    let air = scene.on(1, &radio).await;
    let seen = desk.sees(radio.id, patrol, PresenceState::Online).await;
    assert_eq!(seen.nickname, RADIOS[0][9..], "the last six digits until somebody says otherwise");
    air.send(v1::ClientFrame { goodbye: true, ..Default::default() }).await;
    desk.sees(radio.id, patrol, PresenceState::Offline).await;

    // By the IMEI as by the id; the radio comes back with the token that has the old name in it, as soon as the call has answered.
    for (device_id, imei, nickname) in [(radio.id, "", "Falcon One"), (0, RADIOS[0], "Falcon Two")] {
        let (token, imei, nickname) = (first.token(), imei.to_owned(), nickname.to_owned());
        let update = v1::UpdateDeviceInfoRequest { token, device_id, imei, nickname: Some(nickname.clone()), ..Default::default() };
        scene.desk.web.update_device_info(update).await.unwrap();
        let told = desk.heard.presences.len();
        let mut air = scene.on(1, &radio).await;
        let next = desk.until("the next word of the radio", |heard| {
            heard.presences.get(told..)?.iter().find(|told| (told.user_id, told.group_id) == (radio.id, patrol)).cloned()
        });
        let next = next.await;
        assert_eq!((next.state(), next.nickname.as_str()), (PresenceState::Online, nickname.as_str()));
        // The radio itself is told too.
        let renamed = |heard: &Heard| {
            let names = notices(heard, |notice| match notice {
                v1::entry::Notice::ProfileChanged(profile) => Some(profile.nickname.clone()),
                _ => None,
            });
            names.contains(&nickname).then_some(())
        };
        air.until("its new name", renamed).await;
        air.send(v1::ClientFrame { goodbye: true, ..Default::default() }).await;
        desk.until("it goes", |heard| heard.presence(radio.id, patrol).filter(|told| told.state() == PresenceState::Offline).map(drop))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_only_the_dispatcher_is_one() {
    let mut scene = Scene::start().await;
    let first = scene.first.clone();
    let alone = scene.desk.group(&first, "alone", &[]).await;
    let mut desk = scene.on(0, &first).await;
    desk.follows(group(alone)).await;
    desk.say(group(alone), 1, "a note to myself").await;
    desk.receipt(group(alone), 1).await;
    desk.hears(group(alone), &[""]).await;
    desk.enter(&scene.fleet.edge(0), alone).await.unwrap();
    desk.follows(TopicId::room(GroupId(alone))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transferred_device_leaves_the_old_dispatcher_with_its_groups_and_everybody_is_told() {
    let mut scene = Scene::start().await;
    let (first, second) = (scene.first.clone(), scene.second.clone());
    let [radio, mate] = [scene.radios[0].clone(), scene.radios[1].clone()];
    let patrol = scene.desk.group(&first, "patrol", &[&radio, &mate]).await;
    let (token, kind, device_ids) = (first.token(), v1::GroupKind::Temporary.into(), vec![radio.id]);
    let mut desk = scene.on(0, &first).await;
    desk.follows(group(patrol)).await;
    let session_id = desk.heard.welcome.session_id;
    let temporary = v1::WebCreateGroupRequest { token, kind, device_ids, session_id, installation_id: 7, ..Default::default() };
    let temporary = scene.desk.web.web_create_group(temporary).await.unwrap().into_inner().group_id;

    let mut other = scene.on(1, &second).await;
    let mut air = scene.on(1, &radio).await;
    let mut listener = scene.on(0, &mate).await;
    for radio in [&mut air, &mut listener, &mut desk] {
        radio.follows(group(patrol)).await;
    }
    air.follows(group(temporary)).await;
    air.enter(&scene.fleet.edge(1), patrol).await.unwrap();
    air.follows(TopicId::room(GroupId(patrol))).await;
    listener.sees(radio.id, patrol, PresenceState::InRoom).await;

    let (token, imeis) = (first.token(), vec![radio.name.clone()]);
    let transfer = v1::MultiTransDeviceRequest { token, imeis, sender_id: first.id, receiver_id: second.id };
    // One who manages neither may not; nor may the receiver take.
    for caller in [&second, &radio] {
        let refused = scene.desk.web.multi_trans_device(v1::MultiTransDeviceRequest { token: caller.token(), ..transfer.clone() }).await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied);
    }
    // Both desks are the company's.
    let company = scene.desk.log_in("apollo", "a long password", 9).await.token;
    let moved = scene.desk.web.multi_trans_device(v1::MultiTransDeviceRequest { token: company, ..transfer }).await.unwrap().into_inner();
    assert_eq!(moved.transferred, 1);

    // The device is told, is out of all groups and of the room.
    for topic in [group(patrol), group(temporary), TopicId::room(GroupId(patrol))] {
        air.leaves(topic).await;
    }
    let transferred = |heard: &Heard| {
        notices(heard, |notice| match notice {
            v1::entry::Notice::Transferred(notice) => Some((notice.device_id, notice.from_account_id, notice.to_account_id)),
            _ => None,
        })
    };
    let expected = vec![(radio.id, first.id, second.id)];
    for radio in [&mut air, &mut desk, &mut other] {
        radio.until("the transfer", |heard| Some(transferred(heard)).filter(|told| *told == expected)).await;
    }
    let left = |heard: &Heard| {
        let whys = notices(heard, |notice| match notice {
            v1::entry::Notice::Left(left) => Some((left.group_id, left.why())),
            _ => None,
        });
        let why = v1::LeftWhy::Transferred;
        (whys.contains(&(patrol, why)) && whys.contains(&(temporary, why))).then_some(())
    };
    air.until("why", left).await;
    // Nothing of the old groups comes any more, and nothing goes there.
    listener.say(group(patrol), 1, "are you still there?").await;
    listener.receipt(group(patrol), 1).await;
    air.beat().await;
    assert!(air.heard.texts(group(patrol)).is_empty());
    air.say(group(patrol), 1, "no").await;
    let refusal = air.until("the refusal", |heard| heard.refusals.first().cloned()).await;
    assert_eq!(refusal.reason(), v1::Reason::NotMember);
    // From now on the new desk hears where it is, and the old one does not.
    air.send(v1::ClientFrame { goodbye: true, ..Default::default() }).await;
    other.sees(radio.id, 0, PresenceState::Offline).await;
    desk.beat().await;
    assert!(desk.heard.presence(radio.id, 0).is_none_or(|told| told.state() != PresenceState::Offline));
    let theirs = v1::ListDevicesRequest { token: second.token(), ..Default::default() };
    let theirs = scene.desk.web.list_devices(theirs).await.unwrap().into_inner().devices;
    assert_eq!(theirs.iter().map(|device| (device.device_id, device.manager_id)).collect::<Vec<_>>(), [(radio.id, second.id)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_sees_the_battery_the_room_and_the_presence_of_its_radios() {
    let mut scene = Scene::start().await;
    let (first, radio) = (scene.first.clone(), scene.radios[0].clone());
    let patrol = scene.desk.group(&first, "patrol", &[&radio]).await;
    let mut air = scene.on(1, &radio).await;
    air.follows(group(patrol)).await;
    air.enter(&scene.fleet.edge(1), patrol).await.unwrap();
    // What is no percentage is refused by name, and the session lives on.
    for battery_percent in [Some(101), Some(57)] {
        air.send(v1::ClientFrame { beat: Some(v1::Beat { battery_percent }), ..Default::default() }).await;
    }
    let refusal = air.until("the refusal", |heard| heard.refusals.first().cloned()).await;
    assert_eq!((refusal.reason(), refusal.field.as_str()), (v1::Reason::FieldInvalid, "beat.battery_percent"));
    let asked = v1::GetDevicesInfoRequest { token: first.token(), device_ids: vec![radio.id] };
    let desk = scene.desk.web.clone();
    crate::support::eventually("the desk sees it all", async || {
        let mut desk = desk.clone();
        let device = desk.get_devices_info(asked.clone()).await.unwrap().into_inner().devices.remove(0);
        let seen = (device.battery_percent, device.presence(), device.current_group_id);
        (seen == (Some(57), PresenceState::InRoom, patrol) && device.battery_ms > 0).then_some(())
    })
    .await;
}
