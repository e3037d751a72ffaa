//! The line between a radio and its edge, to be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Carries the bytes of connections to one address. Cut when dropped.
pub struct Wire {
    address: String,
    directions: Arc<Directions>,
    cut: CancellationToken,
}

#[derive(Default)]
struct Directions {
    up_lost: AtomicBool,
    down_lost: AtomicBool,
}

impl Wire {
    /// A line to `http://HOST:PORT`.
    pub async fn to(far: &str) -> Self {
        let far = far.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (directions, cut) = (Arc::<Directions>::default(), CancellationToken::new());
        let (shared, stop) = (directions.clone(), cut.clone());
        tokio::spawn(async move {
            while let Some(Ok((near, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (near_down, near_up) = near.into_split();
                let (far_down, far_up) = TcpStream::connect(&far).await.unwrap().into_split();
                tokio::spawn(carry(near_down, far_up, shared.clone(), |shared| &shared.up_lost, stop.clone()));
                tokio::spawn(carry(far_down, near_up, shared.clone(), |shared| &shared.down_lost, stop.clone()));
            }
        });
        Self { address, directions, cut }
    }

    /// Where to connect.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From here on nothing that the client sends arrives.
    pub fn lose_up(&self) {
        self.directions.up_lost.store(true, Ordering::SeqCst);
    }

    /// From here on nothing that the edge sends arrives.
    pub fn lose_down(&self) {
        self.directions.down_lost.store(true, Ordering::SeqCst);
    }

    /// Ends its connections, for good.
    pub fn cut(&self) {
        self.cut.cancel();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Bytes in one direction, until one end is gone or the line is cut.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    directions: Arc<Directions>,
    lost: fn(&Directions) -> &AtomicBool,
    cut: CancellationToken,
) {
    let mut buffer = vec![0; 16_384];
    while let Some(Ok(read @ 1..)) = cut.run_until_cancelled(from.read(&mut buffer)).await {
        if !lost(&directions).load(Ordering::SeqCst) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
