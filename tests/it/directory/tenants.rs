//! What belongs to another tenant is as if it did not exist: every call of the directory is tried with the ids and names of another company.

use prost::Message as _;
use prost_types::FileDescriptorSet;
use roger::proto::v1;
use roger::store::ChangesWanted;
use tonic::{Code, Response, Status};

use super::Ground;
use crate::support::company::{Desk, Somebody};
use crate::support::redis::Redis;

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

/// Whether an answer tells nothing: that it is not permitted, or an empty message.
fn tells_nothing<T: prost::Message + Default + PartialEq + std::fmt::Debug>(answer: Result<Response<T>, Status>) -> Result<(), String> {
    match answer {
        Err(status) if status.code() == Code::PermissionDenied => Ok(()),
        Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
        Ok(answer) if *answer.get_ref() == T::default() => Ok(()),
        Ok(answer) => Err(format!("{:?}", answer.get_ref())),
    }
}

/// The methods of the services of people.proto.
pub(super) fn methods() -> Vec<String> {
    let files = FileDescriptorSet::decode(roger::proto::DESCRIPTORS).unwrap();
    let people = files.file.iter().find(|file| file.name() == "roger/v1/people.proto").unwrap();
    people.service.iter().flat_map(|service| service.method.iter().map(|method| snake(method.name()))).collect()
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
async fn call_everything(desk: &mut Desk, token: &str, theirs: &Company) -> (Vec<String>, Vec<&'static str>) {
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
    }
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

    let changes = async || store.changes(ChangesWanted { limit: 10_000, ..Default::default() }).await.unwrap();
    let before = changes().await;
    let mut called = Vec::new();
    for token in &ours.tokens {
        let (told, names) = call_everything(&mut desk, token, &theirs).await;
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
    running.stop().await;
}
