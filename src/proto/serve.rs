//! Serving gRPC and gRPC-Web with bounds: the defaults of the libraries have none for connections, headers and silent clients.
//!
//! What gives at each bound: a connection above the most is closed at once, so that the client tries elsewhere; one that says nothing
//! within [`FIRST_BYTE_TIMEOUT`] is closed; a stream above the most of its connection waits in the client; a larger message, or a larger
//! list of headers, is refused by status. A client that is silent beyond the keepalive is gone.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, future};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};
use tonic_web::GrpcWebLayer;
use tower_http::cors::CorsLayer;

use super::status::{FIELD_KEY, REASON_KEY, RETRY_AFTER_KEY};
use crate::shutdown::Shutdown;

/// How long a new connection may say nothing.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent client is asked whether it is there; also how soon TCP asks.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to answer.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes in the headers of a call.
pub const HEADER_BYTES_MAX: u32 = 16_384;

/// How long nobody is accepted after that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// How many connections may wait to be accepted, if the kernel allows as many. Above that a client's first packet is dropped and sent again a
/// second later: when an edge dies, all its clients come to another one at once.
const BACKLOG: u32 = 4_096;

/// The bounds of a server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most connections at once.
    pub connections_max: usize,
    /// The most calls and streams at once in one connection.
    pub streams_max: u32,
    /// The longest a call may take until its first answer; `None` for no bound.
    pub call_timeout: Option<Duration>,
    /// How old a connection may become before the client is asked to make a new one, and how long what is under way on it may then take;
    /// `None` for any age.
    pub age: Option<(Duration, Duration)>,
    /// The origins of web pages that may call; empty for none.
    pub cors_origins: Vec<String>,
}

/// Listens on an address.
///
/// # Errors
/// When the address is taken or not one of this machine's.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As tokio does: a program that starts again finds its address in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown`, and then for at most `drain` until clients have gone; whoever is still there is dropped, for a client that
/// never finishes its handshake or ignores the goodbye would keep the program for an hour (hyper#4170).
///
/// # Errors
/// When the server cannot be set up.
pub async fn serve(
    routes: Routes,
    listener: TcpListener,
    limits: &Limits,
    shutdown: &Shutdown,
    drain: Duration,
) -> Result<(), tonic::transport::Error> {
    let mut server = Server::builder()
        .accept_http1(true) // gRPC-Web comes over either version.
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(limits.streams_max)
        .concurrency_limit_per_connection(limits.streams_max as usize);
    if let Some(timeout) = limits.call_timeout {
        server = server.timeout(timeout);
    }
    if let Some((age, grace)) = limits.age {
        // Always both: without the grace a connection is never closed.
        server = server.max_connection_age(age).max_connection_age_grace(grace);
    }
    let stop = shutdown.clone();
    let serving = server
        .layer(cors(&limits.cors_origins))
        .layer(GrpcWebLayer::new())
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming(listener, limits.connections_max), async move { stop.cancelled().await });
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        done = serving => done,
        () = deadline => {
            tracing::info!(drain_ms = drain.as_millis() as u64, "clients are still connected: dropping them");
            Ok(())
        }
    }
}

/// Lets web pages of these origins call, and read what a refusal says.
fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    let ours = [REASON_KEY, FIELD_KEY, RETRY_AFTER_KEY];
    let exposed = ["grpc-status", "grpc-message"].into_iter().chain(ours).map(HeaderName::from_static);
    let asked = ["x-grpc-web", "x-user-agent", "grpc-timeout"].map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([http::Method::POST])
        .allow_headers([CONTENT_TYPE].into_iter().chain(asked).collect::<Vec<_>>())
        .expose_headers(exposed.collect::<Vec<_>>())
        .max_age(Duration::from_secs(3_600))
}

fn incoming(listener: TcpListener, connections_max: usize) -> impl Stream<Item = io::Result<Connection>> {
    let room = Arc::new(Semaphore::new(connections_max));
    let accepted = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE_INTERVAL));
    // Without files, or memory for them, there is no end of failures: what goes on meanwhile needs the processor more.
    let accepted = accepted.then(async |accepted| {
        if let Err(error) = &accepted {
            tracing::warn!(error = error as &dyn std::error::Error, "a connection cannot be accepted, and waits");
            tokio::time::sleep(ACCEPT_AGAIN).await;
        }
        accepted
    });
    accepted.filter_map(move |accepted| {
        let connection = match (accepted, room.clone().try_acquire_owned()) {
            (Ok(stream), Ok(permit)) => Some(Ok(Connection::new(stream, permit))),
            (Ok(stream), Err(_)) => {
                metrics::counter!("roger_connections_refused_total").increment(1);
                drop(stream);
                None
            }
            (Err(error), _) => Some(Err(error)),
        };
        future::ready(connection)
    })
}

/// A connection that counts against the most, and must say something soon.
struct Connection {
    stream: TcpStream,
    silent: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit) -> Self {
        Self { stream, silent: Some(Box::pin(tokio::time::sleep(FIRST_BYTE_TIMEOUT))), _permit: permit }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                self.silent = None;
                Poll::Ready(read)
            }
            Poll::Pending => {
                let Some(silent) = self.silent.as_mut() else { return Poll::Pending };
                ready!(silent.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
