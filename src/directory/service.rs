//! The gRPC service: what the directory serves of `TalkCloud`, and the door to all else.

use std::net::IpAddr;
use std::sync::Arc;

use tokio_stream::Empty;
use tonic::{Request, Response, Status, Streaming};

use super::login::Desk;
use crate::model::Reason;
use crate::proto::status::Refused;
use crate::proto::v1::talk_cloud_server::TalkCloud;
use crate::proto::v1::{
    AcknowledgeRequest, AcknowledgeResponse, ClientFrame, GetGroupListRequest, GetGroupListResponse, HeartbeatRequest, HeartbeatResponse,
    Hello, ImMessagePublishRequest, ImMessagePublishResponse, LoginRequest, LoginResponse, LogoutRequest, LogoutResponse, ServerFrame,
    SetLockGroupIdRequest, SetLockGroupIdResponse,
};

/// The service.
pub(super) struct Service(pub(super) Arc<Desk>);

/// Counts what was refused, and puts it into a status.
pub(super) fn refused(refused: Refused) -> Status {
    metrics::counter!("roger_refusals_total", "reason" => refused.reason.as_str()).increment(1);
    refused.into()
}

fn wrong_door<T>() -> Result<Response<T>, Status> {
    Err(refused(Reason::WrongDoor.into()))
}

/// The client's address, or that of the proxy in front: what a proxy says of its client is anybody's word.
fn peer<T>(request: &Request<T>) -> Option<IpAddr> {
    request.remote_addr().map(|address| address.ip())
}

#[tonic::async_trait]
impl TalkCloud for Service {
    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        let peer = peer(&request);
        let answer = self.0.login(request.into_inner(), peer).await;
        let outcome = answer
            .as_ref()
            .map_or_else(|refused| refused.reason.as_str(), |answer| if answer.upgrade.is_some() { "upgrade" } else { "ok" });
        metrics::counter!("roger_logins_total", "outcome" => outcome).increment(1);
        answer.map(Response::new).map_err(refused)
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        self.0.logout(request.into_inner()).await.map(Response::new).map_err(refused)
    }

    async fn get_group_list(&self, request: Request<GetGroupListRequest>) -> Result<Response<GetGroupListResponse>, Status> {
        self.0.group_list(request.into_inner()).await.map(Response::new).map_err(refused)
    }

    type DataPublishStream = Empty<Result<ServerFrame, Status>>;

    async fn data_publish(&self, _: Request<Streaming<ClientFrame>>) -> Result<Response<Self::DataPublishStream>, Status> {
        wrong_door()
    }

    type SubscribeStream = Empty<Result<ServerFrame, Status>>;

    async fn subscribe(&self, _: Request<Hello>) -> Result<Response<Self::SubscribeStream>, Status> {
        wrong_door()
    }

    async fn im_message_publish(&self, _: Request<ImMessagePublishRequest>) -> Result<Response<ImMessagePublishResponse>, Status> {
        wrong_door()
    }

    async fn acknowledge(&self, _: Request<AcknowledgeRequest>) -> Result<Response<AcknowledgeResponse>, Status> {
        wrong_door()
    }

    async fn set_lock_group_id(&self, _: Request<SetLockGroupIdRequest>) -> Result<Response<SetLockGroupIdResponse>, Status> {
        wrong_door()
    }

    async fn heartbeat(&self, _: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        wrong_door()
    }
}
