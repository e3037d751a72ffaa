//! A link between a client and a server of this machine that a test can cut.

use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Carries TCP from a port of its own to that of a server. Ends with the runtime of the test.
#[derive(Debug)]
pub struct Link {
    port: u16,
    held: watch::Sender<bool>,
    up: std::sync::Arc<Mutex<CancellationToken>>,
}

impl Link {
    /// A link to a port on 127.0.0.1.
    pub async fn to(server: u16) -> Self {
        Self::slow(server, Duration::ZERO).await
    }

    /// The same, over which whatever the server says comes so much later.
    pub async fn slow(server: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let up = std::sync::Arc::new(Mutex::new(CancellationToken::new()));
        let current = up.clone();
        let held = watch::Sender::new(false);
        let waits = held.subscribe();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let cut = current.lock().unwrap().clone();
                let mut waits = waits.clone();
                tokio::spawn(async move {
                    if waits.wait_for(|held| !held).await.is_err() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", server)).await else { return };
                    tokio::select! {
                        biased;
                        () = cut.cancelled() => {}
                        () = carry(&mut near, &mut far, delay) => {}
                    }
                });
            }
        });
        Self { port, held, up }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks all connections over it, and carries nothing over new ones until [`Link::release`].
    pub fn hold(&self) {
        self.held.send_replace(true);
        self.cut();
    }

    /// Carries all again, also what was said meanwhile.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Breaks all connections over it; new ones may be made at once.
    pub fn cut(&self) {
        std::mem::take(&mut *self.up.lock().unwrap()).cancel();
    }
}

/// Carries what both say until one of them ends.
async fn carry(near: &mut TcpStream, far: &mut TcpStream, delay: Duration) {
    if delay.is_zero() {
        let _ended = copy_bidirectional(near, far).await;
        return;
    }
    let ((mut asks, mut hears), (mut answers, mut asked)) = (near.split(), far.split());
    // Apart, so that what comes in two pieces is no later than in one.
    let (sender, mut pieces) = tokio::sync::mpsc::channel::<(Instant, Vec<u8>)>(1_024);
    let hears_all = async move {
        let mut said = vec![0; 1 << 16];
        while let Ok(bytes @ 1..) = answers.read(&mut said).await {
            if sender.send((Instant::now() + delay, said[..bytes].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let tells_late = async {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if hears.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = copy(&mut asks, &mut asked) => {}
        _ = async { tokio::join!(hears_all, tells_late) } => {}
    }
}
