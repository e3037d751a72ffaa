//! Sessions, listed and ended.

use super::login::Desk;
use crate::model::Reason;
use crate::proto::status::Refused;
use crate::proto::v1;

impl Desk {
    pub(super) async fn list_sessions(&self, _request: v1::ListSessionsRequest) -> Result<v1::ListSessionsResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn revoke_session(&self, _request: v1::RevokeSessionRequest) -> Result<v1::RevokeSessionResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }
}
