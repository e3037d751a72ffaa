//! Who calls: of everything the directory serves, each call asks.

use std::time::Duration;

use roger::model::Reason;
use roger::proto::status::Refused;
use roger::proto::v1;
use roger::proto::v1::alert_service_client::AlertServiceClient;
use roger::proto::v1::friend_service_client::FriendServiceClient;
use roger::proto::v1::group_service_client::GroupServiceClient;
use roger::proto::v1::location_service_client::LocationServiceClient;
use roger::proto::v1::talk_cloud_client::TalkCloudClient;
use roger::proto::v1::web_service_client::WebServiceClient;
use roger::token::KeyPair;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::tenants::methods;
use super::{CREW, Ground, NO_REDIS, by_password, log_in};

/// What each of some calls answers to a request that has a token and nothing else.
macro_rules! answers {
    ($client:expr, $token:expr; $($call:ident($request:ident)),* $(,)?) => {{
        let mut client = $client;
        vec![$({
            let request = v1::$request { token: $token.to_owned(), ..v1::$request::default() };
            (stringify!($call), client.$call(request).await.map(drop))
        }),*]
    }};
}

/// What everything that the directory serves, but the login itself, answers to a token.
async fn answers(channel: &Channel, token: &str) -> Vec<(&'static str, Result<(), Status>)> {
    let mut all = answers!(WebServiceClient::new(channel.clone()), token;
        create_account(CreateAccountRequest), update_account(UpdateAccountRequest), delete_account(DeleteAccountRequest),
        change_password(ChangePasswordRequest), get_junior_account(GetJuniorAccountRequest), get_account(GetAccountRequest),
        import_device_by_root(ImportDeviceByRootRequest), select_device_by_imei(SelectDeviceByImeiRequest),
        get_devices_info(GetDevicesInfoRequest), list_devices(ListDevicesRequest), update_device_info(UpdateDeviceInfoRequest),
        multi_trans_device(MultiTransDeviceRequest), renew_enrolment(RenewEnrolmentRequest), retire_device(RetireDeviceRequest),
        get_device_log_info(GetDeviceLogInfoRequest), web_create_group(WebCreateGroupRequest), update_group(UpdateGroupRequest),
        update_group_info(UpdateGroupInfoRequest), delete_group(DeleteGroupRequest), update_group_manager(UpdateGroupManagerRequest),
        list_sessions(ListSessionsRequest), revoke_session(RevokeSessionRequest),
    );
    all.extend(answers!(GroupServiceClient::new(channel.clone()), token;
        create_group(CreateGroupRequest), join_group(JoinGroupRequest), invite_user_into_group(InviteUserIntoGroupRequest),
        remove_grp_user(RemoveGrpUserRequest), exit_grp(ExitGrpRequest), remove_grp(RemoveGrpRequest),
        search_group(SearchGroupRequest), get_group_info(GetGroupInfoRequest),
    ));
    all.extend(answers!(FriendServiceClient::new(channel.clone()), token;
        add_friend(AddFriendRequest), del_friend(DelFriendRequest), get_friend_list(GetFriendListRequest),
        search_user_by_key(SearchUserByKeyRequest),
    ));
    all.extend(answers!(LocationServiceClient::new(channel.clone()), token;
        get_gps_data(GetGpsDataRequest), find_devices_within(FindDevicesWithinRequest), get_gps_for_trace(GetGpsForTraceRequest),
        get_fate(GetFateRequest), post_wifi_info(PostWifiInfoRequest), get_wifi_info(GetWifiInfoRequest),
        put_geofence(PutGeofenceRequest), delete_geofence(DeleteGeofenceRequest), get_geofences(GetGeofencesRequest),
    ));
    let trace = Some(v1::GetGpsForTraceRequest { token: token.to_owned(), ..Default::default() });
    let export = LocationServiceClient::new(channel.clone()).export_trace(v1::ExportTraceRequest { trace, format: 0 }).await;
    all.push(("export_trace", export.map(drop)));
    all.extend(answers!(AlertServiceClient::new(channel.clone()), token;
        list_alerts(ListAlertsRequest), get_alert_events(GetAlertEventsRequest), put_escalation(PutEscalationRequest),
        get_escalation(GetEscalationRequest),
    ));
    all.extend(answers!(TalkCloudClient::new(channel.clone()), token; get_group_list(GetGroupListRequest)));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_asks_who_calls_before_anything_else() {
    let ground = Ground::new(NO_REDIS);
    ground.apply(CREW).await.unwrap();
    let (running, hand) = ground.start_still(&[]).await;
    let mut client = running.client().await;
    let [capcom, buzz] = [("capcom", "go"), ("buzz", "lunar")].map(|(name, password)| by_password(name, password));
    let (capcom, buzz) = (log_in(&mut client, capcom).await.token, log_in(&mut client, buzz).await.token);
    let channel = Endpoint::from_shared(running.url.clone()).unwrap().connect().await.unwrap();

    let check = async |what: &str, token: &str, reason: Reason| {
        let answers = answers(&channel, token).await;
        for method in methods() {
            assert!(answers.iter().any(|(call, _)| *call == method), "{method} was not tried");
        }
        for (call, answer) in answers {
            let refused = Refused::of(&answer.expect_err(call));
            assert_eq!(refused, Some(Refused::new(reason).field("token")), "{call} with {what}");
        }
    };
    let elsewhere = tempfile::tempdir().unwrap();
    KeyPair::create(elsewhere.path()).unwrap();
    let claims = ground.verifier().verify(&capcom, super::START_MS).unwrap();
    let foreign = roger::token::Signer::load(&elsewhere.path().join("token.secret")).unwrap().sign(&claims).unwrap();
    check("no token", "", Reason::FieldMissing).await;
    check("what is no token", "v4.public.AAAA", Reason::TokenUnknown).await;
    check("a token of another fleet", &foreign, Reason::TokenUnknown).await;
    ground.registry().await.set_disabled("buzz", true).await.unwrap();
    check("the token of an account that was disabled", &buzz, Reason::TokenRevoked).await;
    hand.advance(Duration::from_secs(900));
    check("a token that has run out", &capcom, Reason::TokenExpired).await;
}
