//! The gRPC services of `people.proto`: each call is the desk's.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::login::Desk;
use super::service::refused;
use crate::proto::v1;

/// A service of which each call is a method of the desk with the same name.
macro_rules! desk {
    ($(#[doc = $doc:literal])* $service:ident: $module:ident :: $trait:ident { $($call:ident($request:ident) -> $answer:ident,)* }) => {
        $(#[doc = $doc])*
        pub(super) struct $service(pub(super) Arc<Desk>);

        #[tonic::async_trait]
        impl v1::$module::$trait for $service {
            $(
                async fn $call(&self, request: Request<v1::$request>) -> Result<Response<v1::$answer>, Status> {
                    let answer = self.0.$call(request.into_inner()).await;
                    metrics::counter!("roger_desk_calls_total", "call" => stringify!($call)).increment(1);
                    answer.map(Response::new).map_err(refused)
                }
            )*
        }
    };
}

desk! {
    /// The desk of dispatchers and whoever stands above them.
    Web: web_service_server::WebService {
        create_account(CreateAccountRequest) -> CreateAccountResponse,
        update_account(UpdateAccountRequest) -> UpdateAccountResponse,
        delete_account(DeleteAccountRequest) -> DeleteAccountResponse,
        change_password(ChangePasswordRequest) -> ChangePasswordResponse,
        get_junior_account(GetJuniorAccountRequest) -> GetJuniorAccountResponse,
        get_account(GetAccountRequest) -> GetAccountResponse,
        import_device_by_root(ImportDeviceByRootRequest) -> ImportDeviceByRootResponse,
        select_device_by_imei(SelectDeviceByImeiRequest) -> SelectDeviceByImeiResponse,
        get_devices_info(GetDevicesInfoRequest) -> GetDevicesInfoResponse,
        list_devices(ListDevicesRequest) -> ListDevicesResponse,
        update_device_info(UpdateDeviceInfoRequest) -> UpdateDeviceInfoResponse,
        multi_trans_device(MultiTransDeviceRequest) -> MultiTransDeviceResponse,
        renew_enrolment(RenewEnrolmentRequest) -> RenewEnrolmentResponse,
        retire_device(RetireDeviceRequest) -> RetireDeviceResponse,
        get_device_log_info(GetDeviceLogInfoRequest) -> GetDeviceLogInfoResponse,
        web_create_group(WebCreateGroupRequest) -> WebCreateGroupResponse,
        update_group(UpdateGroupRequest) -> UpdateGroupResponse,
        update_group_info(UpdateGroupInfoRequest) -> UpdateGroupInfoResponse,
        delete_group(DeleteGroupRequest) -> DeleteGroupResponse,
        update_group_manager(UpdateGroupManagerRequest) -> UpdateGroupManagerResponse,
        list_sessions(ListSessionsRequest) -> ListSessionsResponse,
        revoke_session(RevokeSessionRequest) -> RevokeSessionResponse,
    }
}

desk! {
    /// Groups, as apps see them.
    Groups: group_service_server::GroupService {
        create_group(CreateGroupRequest) -> CreateGroupResponse,
        join_group(JoinGroupRequest) -> JoinGroupResponse,
        invite_user_into_group(InviteUserIntoGroupRequest) -> InviteUserIntoGroupResponse,
        remove_grp_user(RemoveGrpUserRequest) -> RemoveGrpUserResponse,
        exit_grp(ExitGrpRequest) -> ExitGrpResponse,
        remove_grp(RemoveGrpRequest) -> RemoveGrpResponse,
        search_group(SearchGroupRequest) -> SearchGroupResponse,
        get_group_info(GetGroupInfoRequest) -> GetGroupInfoResponse,
    }
}

desk! {
    /// Friends within one tenant.
    Friends: friend_service_server::FriendService {
        add_friend(AddFriendRequest) -> AddFriendResponse,
        del_friend(DelFriendRequest) -> DelFriendResponse,
        get_friend_list(GetFriendListRequest) -> GetFriendListResponse,
        search_user_by_key(SearchUserByKeyRequest) -> SearchUserByKeyResponse,
    }
}
