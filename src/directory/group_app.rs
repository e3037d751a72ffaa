//! Groups of apps.

use super::login::Desk;
use crate::model::Reason;
use crate::proto::status::Refused;
use crate::proto::v1;

impl Desk {
    pub(super) async fn create_group(&self, _request: v1::CreateGroupRequest) -> Result<v1::CreateGroupResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn join_group(&self, _request: v1::JoinGroupRequest) -> Result<v1::JoinGroupResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn invite_user_into_group(
        &self,
        _request: v1::InviteUserIntoGroupRequest,
    ) -> Result<v1::InviteUserIntoGroupResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn remove_grp_user(&self, _request: v1::RemoveGrpUserRequest) -> Result<v1::RemoveGrpUserResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn exit_grp(&self, _request: v1::ExitGrpRequest) -> Result<v1::ExitGrpResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn remove_grp(&self, _request: v1::RemoveGrpRequest) -> Result<v1::RemoveGrpResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn search_group(&self, _request: v1::SearchGroupRequest) -> Result<v1::SearchGroupResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn get_group_info(&self, _request: v1::GetGroupInfoRequest) -> Result<v1::GetGroupInfoResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }
}
