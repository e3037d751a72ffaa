//! Accounts in their tree.

use super::login::Desk;
use crate::model::Reason;
use crate::proto::status::Refused;
use crate::proto::v1;

impl Desk {
    pub(super) async fn create_account(&self, _request: v1::CreateAccountRequest) -> Result<v1::CreateAccountResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn update_account(&self, _request: v1::UpdateAccountRequest) -> Result<v1::UpdateAccountResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn delete_account(&self, _request: v1::DeleteAccountRequest) -> Result<v1::DeleteAccountResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn get_junior_account(&self, _request: v1::GetJuniorAccountRequest) -> Result<v1::GetJuniorAccountResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn get_account(&self, _request: v1::GetAccountRequest) -> Result<v1::GetAccountResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }
}
