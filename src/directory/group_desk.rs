//! Groups of dispatchers.

use super::login::Desk;
use crate::model::Reason;
use crate::proto::status::Refused;
use crate::proto::v1;

impl Desk {
    pub(super) async fn web_create_group(&self, _request: v1::WebCreateGroupRequest) -> Result<v1::WebCreateGroupResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn update_group(&self, _request: v1::UpdateGroupRequest) -> Result<v1::UpdateGroupResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn update_group_info(&self, _request: v1::UpdateGroupInfoRequest) -> Result<v1::UpdateGroupInfoResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn delete_group(&self, _request: v1::DeleteGroupRequest) -> Result<v1::DeleteGroupResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn update_group_manager(
        &self,
        _request: v1::UpdateGroupManagerRequest,
    ) -> Result<v1::UpdateGroupManagerResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }
}
