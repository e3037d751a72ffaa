//! One connection to one edge.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::error::Error;
use super::floor::Media;
use crate::model::{GroupId, SessionId};
use crate::proto::v1;
use crate::proto::v1::talk_cloud_client::TalkCloudClient;
use crate::proto::v1::voice_service_client::VoiceServiceClient;

/// For the TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For the edge to take the session, from the hello on.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// For a unary call.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// What a radio reads ahead of its app.
const WINDOW_BYTES: u32 = 512 << 10;

/// An open `DataPublish`.
pub(super) struct Link {
    pub(super) frames: mpsc::Sender<v1::ClientFrame>,
    pub(super) inbound: Streaming<v1::ServerFrame>,
}

/// The address as a connection that is yet to be made.
pub(super) fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|source| Error::Address { address: address.to_owned(), source })?;
    // Networks between radios and edges forget idle connections without a word.
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .buffer_size(4))
}

pub(super) async fn connect(endpoint: &Endpoint) -> Result<Channel, Error> {
    let address = endpoint.uri().to_string();
    endpoint.connect().await.map_err(|source| Error::Unreachable { address, source })
}

/// Connects and says hello.
pub(super) async fn open(endpoint: &Endpoint, hello: v1::ClientFrame) -> Result<Link, Error> {
    let channel = connect(endpoint).await?;
    // One frame waits while one is on its way: what comes meanwhile shares the next.
    let (frames, outbound) = mpsc::channel(1);
    // The channel is empty and its receiver is here.
    let _sent = frames.try_send(hello);
    let mut client = TalkCloudClient::new(channel);
    let call = client.data_publish(ReceiverStream::new(outbound));
    match tokio::time::timeout(OPEN_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(Link { frames, inbound: answer.into_inner() }),
        Ok(Err(status)) => Err(Error::refused("open a session", status)),
        Err(_) => Err(Error::TimedOut { address: endpoint.uri().to_string(), after_ms: OPEN_TIMEOUT.as_millis() as u64 }),
    }
}

/// Moves the user of a session into the room of a group, or out of any (0).
pub(super) async fn enter(endpoint: &Endpoint, session: SessionId, group: GroupId) -> Result<(), Error> {
    let mut client = TalkCloudClient::new(connect(endpoint).await?);
    let call = client.set_lock_group_id(v1::SetLockGroupIdRequest { session_id: session.0, group_id: group.0 });
    in_time(endpoint, "enter a room", call).await.map(drop)
}

/// Takes a seat at the media server of a room.
pub(super) async fn join_voice(endpoint: &Endpoint, session: SessionId, group: GroupId, media: Media) -> Result<Media, Error> {
    const CALL: &str = "join the voice of a room";
    let mut client = VoiceServiceClient::new(connect(endpoint).await?);
    let call = client.join_voice(v1::JoinVoiceRequest { session_id: session.0, group_id: group.0, media: Some(media.into()) });
    let answer = in_time(endpoint, CALL, call).await?;
    let unread = || Error::refused(CALL, tonic::Status::internal("the answer names no media"));
    answer.media.and_then(Media::answered).ok_or_else(unread)
}

/// Gives the seat at the media server back.
pub(super) async fn leave_voice(endpoint: &Endpoint, session: SessionId, group: GroupId) -> Result<(), Error> {
    let mut client = VoiceServiceClient::new(connect(endpoint).await?);
    let call = client.leave_voice(v1::LeaveVoiceRequest { session_id: session.0, group_id: group.0 });
    in_time(endpoint, "leave the voice of a room", call).await.map(drop)
}

async fn in_time<T>(
    endpoint: &Endpoint,
    operation: &'static str,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Error::refused(operation, status)),
        Err(_) => Err(Error::TimedOut { address: endpoint.uri().to_string(), after_ms: CALL_TIMEOUT.as_millis() as u64 }),
    }
}
