//! Serving HTTP/1.1 with bounds: the defaults of the libraries have none for connections and for clients that stand still.
//!
//! What gives at each bound: a connection above the most is closed at once; so is one that does not get its headers through within
//! [`HEADERS_TIMEOUT`], and one that takes nothing of what it is sent for as long as `gateway.stall_ms`. What an upload may cost is for
//! [`super::spool`].

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_util::task::TaskTracker;

use crate::shutdown::Shutdown;

/// How long the headers of a request may take, and how long a connection may be idle between two.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(20);
/// The most bytes of a request's line and headers.
const HEADER_BYTES_MAX: usize = 16_384;
/// How long to wait when no connection can be accepted, as when files have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who asks: the client's address, or that of the proxy in front; what a proxy says of its client is anybody's word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// The bounds of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) connections_max: usize,
    pub(super) stall: Duration,
}

/// Serves until `shutdown`, and then for at most `drain` until what is under way is done; the rest is dropped.
pub(super) async fn serve(routes: Router, listener: TcpListener, limits: Limits, shutdown: &Shutdown, drain: Duration) {
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let connections = TaskTracker::new();
    // Dropped at the end: what is still served then is no longer waited for.
    let dropped = tokio_util::sync::CancellationToken::new();
    let _drop = dropped.clone().drop_guard();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            metrics::counter!("roger_connections_refused_total").increment(1);
            continue;
        };
        // Downloads are large writes, answers small ones: neither waits for more.
        let _slower = stream.set_nodelay(true);
        let service = TowerToHyperService::new(routes.clone().layer(Extension(Peer(address.ip().to_canonical()))));
        let (shutdown, dropped) = (shutdown.clone(), dropped.clone());
        connections.spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT).max_buf_size(HEADER_BYTES_MAX.max(8_192));
            let connection = http.serve_connection(TokioIo::new(Unstalled::new(stream, limits.stall)), service);
            tokio::pin!(connection);
            let done = tokio::select! {
                done = connection.as_mut() => done,
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        done = connection => done,
                        () = dropped.cancelled() => Ok(()),
                    }
                }
            };
            if let Err(error) = done {
                tracing::debug!(error = &error as &dyn std::error::Error, "connection ended early");
            }
            drop(permit);
        });
    }
    // Nobody else waits in the backlog for a program that stops.
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::info!(drain_ms = drain.as_millis() as u64, "clients are still connected: dropping them");
    }
}

/// A connection whose writes must get on.
struct Unstalled {
    stream: TcpStream,
    stall: Duration,
    since: Option<Pin<Box<Sleep>>>,
}

impl Unstalled {
    fn new(stream: TcpStream, stall: Duration) -> Self {
        Self { stream, stall, since: None }
    }

    fn judged<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.since = None;
            return done;
        }
        let stall = self.stall;
        ready!(self.since.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Unstalled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Unstalled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judged(cx, done)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judged(cx, done)
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
