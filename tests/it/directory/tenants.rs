//! What belongs to another tenant is as if it did not exist: every call of the directory is tried with the ids and names of another company.

use prost::Message as _;
use prost_types::FileDescriptorSet;
use roger::location::frame::{Fix, FixFrame, Received};
use roger::model::UserId;
use roger::proto::v1;
use roger::proto::v1::geofence::Shape;
use roger::store::{ChangesWanted, Store};
use tonic::{Code, Response, Status};

use super::{Ground, START_MS, alerts};
use crate::support::company::{Desk, Somebody};
use crate::support::redis::Redis;
use crate::worker::handle;

/// All that a company has.
struct Company {
    account: u64,
    dispatcher: u64,
    device: u64,
    /// A person without a radio, who is no friend of anybody.
    person: u64,
    imei: String,
    group: u64,
    temporary: u64,
    call: u64,
    /// Of the company, the dispatcher and the device.
    tokens: [String; 3],
}

async fn company(desk: &mut Desk, root: &Somebody, name: &str, imei: &str) -> Company {
    let top = desk.account(root, v1::UserKind::Company, name).await;
    let dispatcher = desk.account(&top, v1::UserKind::Dispatcher, &format!("{name}-desk")).await;
    let person = desk.account(&dispatcher, v1::UserKind::Device, &format!("{name}-person")).await;
    let radio = desk.radios(&top, &dispatcher, &[imei]).await.remove(0);
    let group = desk.group(&dispatcher, "patrol", &[&radio]).await;
    let temporary = v1::WebCreateGroupRequest {
        token: dispatcher.token(),
        kind: v1::GroupKind::Temporary.into(),
        device_ids: vec![radio.id],
        session_id: 5,
        installation_id: 7,
        ..Default::default()
    };
    let temporary = desk.web.web_create_group(temporary).await.unwrap().into_inner().group_id;
    let call = v1::CreateGroupRequest { token: radio.token(), name: format!("call of {name}"), user_ids: vec![person.id] };
    let call = desk.groups.create_group(call).await.unwrap().into_inner().group_id;
    let tokens = [top.token(), dispatcher.token(), radio.token()];
    Company {
        account: top.id,
        dispatcher: dispatcher.id,
        device: radio.id,
        person: person.id,
        imei: radio.name,
        group,
        temporary,
        call,
        tokens,
    }
}

/// As all grounds here have.
const SHARDS: u32 = 16;
const BSSID: &str = "00:1a:2b:3c:4d:5e";
const ALERT: u64 = 99;
/// The services that edges serve. All others are the directory's, so that a new one is not forgotten.
const OF_EDGES: [&str; 4] = ["TalkCloud", "TalkCloudLocation", "EmergencyService", "VoiceService"];

/// What a company has besides people: a geofence, whose id it returns, an access point, an escalation, a position and an alert.
async fn equip(desk: &mut Desk, store: &Store, redis: &Redis, company: &Company) -> u64 {
    let token = || company.tokens[1].clone();
    let fence = v1::PutGeofenceRequest { token: token(), fence: Some(fence(0)) };
    let fence = desk.locations.put_geofence(fence).await.unwrap().into_inner().fence_id;
    let request = v1::PostWifiInfoRequest { token: token(), operation: v1::WifiOperation::Save.into(), points: vec![wifi()] };
    desk.locations.post_wifi_info(request).await.unwrap();
    desk.alerts.put_escalation(escalation(company.tokens[0].clone(), company.dispatcher, company.account)).await.unwrap();
    let device = company.device;
    let tenant = store.account(UserId(device)).await.unwrap().unwrap().tenant.0;
    let fix = Fix { device, tenant, fix_ms: START_MS - 10, source: 1, latitude: 45.0, longitude: 13.0, ..Fix::default() };
    let (fixes, received) = (vec![fix], vec![Received { device, count: 1 }]);
    handle(redis).note_fixes(&fixes, SHARDS).await.unwrap();
    let frame = FixFrame { producer: 1, number: 1, arrival_ms: START_MS, fixes, received, ..FixFrame::default() };
    store.take_fixes(vec![frame]).await.unwrap();
    alerts::kept(store, ALERT, device, company.dispatcher).await;
    fence
}

fn fence(fence_id: u64) -> v1::Geofence {
    let shape = Some(Shape::Circle(v1::Circle { latitude: 45.0, longitude: 13.0, radius_m: 200.0 }));
    v1::Geofence { fence_id, name: "yard".into(), shape, enter: true, leave: false, stay_ms: 0 }
}

fn wifi() -> v1::WifiPoint {
    v1::WifiPoint { bssid: BSSID.into(), latitude: "45".into(), longitude: "13".into(), description: "gate".into(), learned: false }
}

fn escalation(token: String, account_id: u64, step: u64) -> v1::PutEscalationRequest {
    let steps = vec![v1::EscalationStep { account_id: step, wait_ms: 60_000 }];
    let escalation = v1::Escalation { first_wait_ms: 30_000, steps, numbers: vec![], text_every_ms: 60_000 };
    v1::PutEscalationRequest { token, account_id, escalation: Some(escalation) }
}

fn trace(token: String, device: u64) -> v1::GetGpsForTraceRequest {
    v1::GetGpsForTraceRequest { token, device_ids: vec![device], to_ms: START_MS, wifi: true, ..Default::default() }
}

/// Whether an answer tells nothing: that it is not permitted, or an empty message.
fn tells_nothing<T: prost::Message + Default + PartialEq + std::fmt::Debug>(answer: Result<Response<T>, Status>) -> Result<(), String> {
    match answer {
        Err(status) if status.code() == Code::PermissionDenied => Ok(()),
        Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
        Ok(answer) if *answer.get_ref() == T::default() => Ok(()),
        Ok(answer) => Err(format!("{:?}", answer.get_ref())),
    }
}

/// The methods of all services of the directory, but the login itself and its group list.
pub(super) fn methods() -> Vec<String> {
    let files = FileDescriptorSet::decode(roger::proto::DESCRIPTORS).unwrap();
    let services = files.file.iter().flat_map(|file| &file.service);
    let own = services.filter(|service| !OF_EDGES.contains(&service.name()));
    own.flat_map(|service| service.method.iter().map(|method| snake(method.name()))).collect()
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Calls everything about `theirs` with a token of another tenant; what told something, and the calls that were made.
async fn call_everything(
    desk: &mut Desk,
    token: &str,
    ours: &Company,
    theirs: &Company,
    fence_id: u64,
) -> (Vec<String>, Vec<&'static str>) {
    let token = || token.to_owned();
    let (mut told, mut called) = (Vec::new(), Vec::new());
    macro_rules! calls {
        ($($client:ident.$call:ident($request:ident { $($field:ident: $value:expr),* $(,)? });)*) => {
            $(
                #[allow(clippy::needless_update)]
                let request = v1::$request { token: token(), $($field: $value,)* ..Default::default() };
                if let Err(what) = tells_nothing(desk.$client.$call(request).await) {
                    told.push(format!("{}: {what}", stringify!($call)));
                }
                called.push(stringify!($call));
            )*
        };
    }
    let kind = |kind: v1::UserKind| i32::from(kind);
    let members = || vec![theirs.device];
    calls! {
        web.create_account(CreateAccountRequest {
            parent_id: theirs.dispatcher, name: "intruder".into(), kind: kind(v1::UserKind::Device), password: "a long password".into(),
        });
        web.update_account(UpdateAccountRequest { account_id: theirs.dispatcher, nickname: Some("mine".into()) });
        web.update_account(UpdateAccountRequest { account_id: theirs.person, disabled: Some(true) });
        web.delete_account(DeleteAccountRequest { account_id: theirs.person });
        web.change_password(ChangePasswordRequest { account_id: theirs.dispatcher, new_password: "another password".into() });
        web.get_junior_account(GetJuniorAccountRequest { account_id: theirs.account });
        web.get_account(GetAccountRequest { account_id: theirs.dispatcher });
        web.get_account(GetAccountRequest { name: "soyuz-desk".into() });
        web.import_device_by_root(ImportDeviceByRootRequest {
            receiver_id: theirs.dispatcher, devices: vec![v1::ImportedDevice { imei: "490154203237518".into(), ..Default::default() }],
        });
        web.select_device_by_imei(SelectDeviceByImeiRequest { imei: theirs.imei.clone() });
        web.get_devices_info(GetDevicesInfoRequest { device_ids: vec![theirs.device, theirs.person] });
        web.list_devices(ListDevicesRequest { account_id: theirs.dispatcher, deep: true });
        web.update_device_info(UpdateDeviceInfoRequest { device_id: theirs.device, nickname: Some("mine".into()) });
        web.update_device_info(UpdateDeviceInfoRequest { imei: theirs.imei.clone(), log_upload: Some(true) });
        web.multi_trans_device(MultiTransDeviceRequest {
            imeis: vec![theirs.imei.clone()], sender_id: theirs.dispatcher, receiver_id: theirs.account,
        });
        web.renew_enrolment(RenewEnrolmentRequest { device_id: theirs.device });
        web.retire_device(RetireDeviceRequest { device_id: theirs.device });
        web.get_device_log_info(GetDeviceLogInfoRequest { device_id: theirs.device });
        web.web_create_group(WebCreateGroupRequest {
            kind: v1::GroupKind::Normal.into(), name: "mixed".into(), device_ids: members(),
        });
        web.update_group(UpdateGroupRequest { group_id: theirs.group, add_ids: vec![], remove_ids: members() });
        web.update_group(UpdateGroupRequest { group_id: theirs.temporary, add_ids: members() });
        web.update_group_info(UpdateGroupInfoRequest { group_id: theirs.group, name: "mine".into() });
        web.delete_group(DeleteGroupRequest { group_id: theirs.group });
        web.update_group_manager(UpdateGroupManagerRequest {
            group_id: theirs.group, user_ids: members(), role: v1::MemberRole::Manager.into(),
        });
        web.list_sessions(ListSessionsRequest { account_id: theirs.device });
        web.revoke_session(RevokeSessionRequest { account_id: theirs.device });
        groups.create_group(CreateGroupRequest { name: "mixed call".into(), user_ids: members() });
        groups.join_group(JoinGroupRequest { group_id: theirs.call });
        groups.invite_user_into_group(InviteUserIntoGroupRequest { group_id: theirs.call, user_ids: members() });
        groups.remove_grp_user(RemoveGrpUserRequest { group_id: theirs.call, user_id: theirs.person });
        groups.exit_grp(ExitGrpRequest { group_id: theirs.call });
        groups.remove_grp(RemoveGrpRequest { group_id: theirs.call });
        groups.search_group(SearchGroupRequest { text: "call of soyuz".into() });
        groups.get_group_info(GetGroupInfoRequest { group_id: theirs.group });
        friends.add_friend(AddFriendRequest { user_id: theirs.person });
        friends.del_friend(DelFriendRequest { user_id: theirs.person });
        friends.get_friend_list(GetFriendListRequest {});
        friends.search_user_by_key(SearchUserByKeyRequest { text: "soyuz".into() });
        locations.get_gps_data(GetGpsDataRequest { device_ids: vec![theirs.device, theirs.person] });
        locations.find_devices_within(FindDevicesWithinRequest { latitude: 45.0, longitude: 13.0, radius_m: 500_000.0 });
        locations.get_gps_for_trace(GetGpsForTraceRequest { device_ids: members(), to_ms: START_MS });
        locations.get_gps_for_trace(GetGpsForTraceRequest { device_ids: vec![ours.device, theirs.device], to_ms: START_MS });
        locations.get_fate(GetFateRequest { device_id: theirs.device, day: (START_MS / 86_400_000) as u32 });
        locations.post_wifi_info(PostWifiInfoRequest {
            operation: v1::WifiOperation::Update.into(), points: vec![v1::WifiPoint { latitude: "1".into(), ..wifi() }],
        });
        locations.post_wifi_info(PostWifiInfoRequest { operation: v1::WifiOperation::Delete.into(), points: vec![wifi()] });
        locations.get_wifi_info(GetWifiInfoRequest {});
        locations.put_geofence(PutGeofenceRequest { fence: Some(fence(fence_id)) });
        locations.delete_geofence(DeleteGeofenceRequest { fence_id: fence_id });
        locations.get_geofences(GetGeofencesRequest {});
        alerts.list_alerts(ListAlertsRequest {});
        alerts.get_alert_events(GetAlertEventsRequest { alert_id: ALERT });
        alerts.get_escalation(GetEscalationRequest { account_id: theirs.dispatcher });
        alerts.put_escalation(PutEscalationRequest { account_id: theirs.dispatcher });
        // Nobody is told of our alerts who is not ours.
        alerts.put_escalation(PutEscalationRequest {
            account_id: ours.dispatcher, escalation: escalation(token(), ours.dispatcher, theirs.dispatcher).escalation,
        });
    }
    let export = v1::ExportTraceRequest { trace: Some(trace(token(), theirs.device)), format: v1::TraceFormat::Gpx.into() };
    match desk.locations.export_trace(export).await {
        Err(status) if status.code() == Code::PermissionDenied => {}
        Err(status) => told.push(format!("export_trace: {status:?}")),
        Ok(_) => told.push("export_trace: a file".to_owned()),
    }
    called.push("export_trace");
    (told, called)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_about_another_tenant_is_refused_or_answered_empty_and_changes_nothing() {
    let redis = Redis::start();
    let ground = Ground::new(&redis.url());
    let store = ground.store().await;
    crate::support::company::root(&store).await;
    // The clock stands still, so that the temporary groups, whose sessions nobody has, stay.
    let (running, _hand) = ground.start_still(&[]).await;
    let mut desk = Desk::at(&running.url).await;
    let root = desk.root().await;
    let ours = company(&mut desk, &root, "apollo", "356938035643809").await;
    let theirs = company(&mut desk, &root, "soyuz", "490154203237518").await;
    let fence_id = equip(&mut desk, &store, &redis, &theirs).await;

    let changes = async || store.changes(ChangesWanted { limit: 10_000, ..Default::default() }).await.unwrap();
    let before = changes().await;
    let mut called = Vec::new();
    for token in &ours.tokens {
        let (told, names) = call_everything(&mut desk, token, &ours, &theirs, fence_id).await;
        assert!(told.is_empty(), "{told:#?}");
        called = names;
    }
    // Nothing left a trace, and no call was forgotten.
    assert_eq!(changes().await, before);
    for method in methods() {
        assert!(called.contains(&method.as_str()), "{method} was not tried");
    }
    // The same ids are good for those whose they are.
    let info = v1::GetGroupInfoRequest { token: theirs.tokens[2].clone(), group_id: theirs.call };
    assert_eq!(desk.groups.get_group_info(info).await.unwrap().into_inner().group.unwrap().members.len(), 2);
    let token = || theirs.tokens[1].clone();
    let wifi_points = desk.locations.get_wifi_info(v1::GetWifiInfoRequest { token: token(), ..Default::default() }).await.unwrap();
    assert_eq!(wifi_points.into_inner().points, [wifi()]);
    let fences = desk.locations.get_geofences(v1::GetGeofencesRequest { token: token(), ..Default::default() }).await.unwrap();
    assert_eq!(fences.into_inner().fences, [fence(fence_id)]);
    let near = v1::FindDevicesWithinRequest { token: token(), latitude: 45.0, longitude: 13.0, radius_m: 10.0, limit: 0 };
    assert_eq!(desk.locations.find_devices_within(near).await.unwrap().into_inner().devices.len(), 1);
    assert_eq!(desk.locations.get_gps_for_trace(trace(token(), theirs.device)).await.unwrap().into_inner().points.len(), 1);
    let open = desk.alerts.list_alerts(v1::ListAlertsRequest { token: token(), ..Default::default() }).await.unwrap();
    assert_eq!(open.into_inner().alerts.len(), 1);
    let chain = v1::GetEscalationRequest { token: token(), account_id: theirs.dispatcher };
    let chain = desk.alerts.get_escalation(chain).await.unwrap().into_inner().escalation;
    assert_eq!(chain, escalation(String::new(), 0, theirs.account).escalation);
    running.stop().await;
}
