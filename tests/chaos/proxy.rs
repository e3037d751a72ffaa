//! What lies between radios and an edge: a network that can break, hang and be slow.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the network does to every connection over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// Carries what it is given.
    #[default]
    Fine,
    /// Holds everything up by so much.
    Slow(Duration),
    /// Carries nothing, and says nothing: half-open connections.
    Silent,
    /// Carries nothing up, and what comes down: messages and acknowledgements are lost on the way.
    DownOnly,
    /// Carries nothing down, and what goes up: receipts are lost on the way.
    UpOnly,
    /// Breaks connections and takes no new ones.
    Cut,
}

/// A network to one edge.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: Arc<watch::Sender<Weather>>,
}

impl Proxy {
    /// A network to an address, as `http://127.0.0.1:7701`.
    pub async fn to(edge: &str) -> Self {
        let server = edge.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let weather = Arc::new(watch::channel(Weather::Fine).0);
        let changes = weather.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *changes.borrow() == Weather::Cut {
                    continue;
                }
                let (server, up, down) = (server.clone(), changes.subscribe(), changes.subscribe());
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(server).await else { return };
                    let _no_delay = (near.set_nodelay(true), far.set_nodelay(true));
                    let ((from_radio, to_radio), (from_edge, to_edge)) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = carry(from_radio, to_edge, up, Weather::DownOnly) => {}
                        () = carry(from_edge, to_radio, down, Weather::UpOnly) => {}
                    }
                });
            }
        });
        Self { port, weather }
    }

    /// `http://127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Changes what it does.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

/// Carries bytes one way until either end closes or the network breaks. `held` is the weather, besides silence, in which it carries nothing.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>, held: Weather) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let now = *weather.borrow_and_update();
        let carries = now != Weather::Silent && now != held;
        tokio::select! {
            changed = weather.changed() => {
                if changed.is_err() || *weather.borrow() == Weather::Cut {
                    return;
                }
            }
            read = from.read(&mut buffer), if carries => {
                let Ok(bytes @ 1..) = read else { return };
                if let Weather::Slow(by) = now {
                    tokio::time::sleep(by).await;
                }
                if to.write_all(&buffer[..bytes]).await.is_err() {
                    return;
                }
            }
        }
    }
}
