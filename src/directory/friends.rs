//! Friends.

use super::login::Desk;
use crate::model::Reason;
use crate::proto::status::Refused;
use crate::proto::v1;

impl Desk {
    pub(super) async fn add_friend(&self, _request: v1::AddFriendRequest) -> Result<v1::AddFriendResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn del_friend(&self, _request: v1::DelFriendRequest) -> Result<v1::DelFriendResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn get_friend_list(&self, _request: v1::GetFriendListRequest) -> Result<v1::GetFriendListResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn search_user_by_key(&self, _request: v1::SearchUserByKeyRequest) -> Result<v1::SearchUserByKeyResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }
}
