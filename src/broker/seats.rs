//! What is known of seats at a media server, and the streams that tell of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::connection::Redis;
use super::error::Error;
use super::keys;

impl Redis {
    /// Keeps the streams for the media server, of all shards, for `lifetime` from now on; those that are not there are made, empty.
    pub async fn keep_media_streams(&self, shards: u32, lifetime: Duration) -> Result<(), Error> {
        let streams: Vec<_> = (0..shards).map(keys::media).collect();
        let mut pipeline = redis::Pipeline::new();
        for stream in &streams {
            pipeline.cmd("PEXPIRE").arg(stream).arg(lifetime.as_millis() as u64);
        }
        let there: Vec<bool> = self.pipe("keep the streams for the media server", &pipeline).await?;
        for (stream, _) in streams.iter().zip(there).filter(|(_, there)| !there) {
            self.make_stream(stream, lifetime).await?;
        }
        Ok(())
    }

    /// What was noted of the seats, each under its name.
    pub async fn noted_seats(&self) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let mut command = redis::cmd("HGETALL");
        command.arg(keys::seats());
        self.command("load seats", command).await
    }

    /// Notes something of a seat under a name, or that there is nothing any more.
    pub async fn note_seat(&self, name: &str, what: Option<&[u8]>) -> Result<(), Error> {
        let command = match what {
            Some(what) => redis::cmd("HSET").arg(keys::seats()).arg(name).arg(what).to_owned(),
            None => redis::cmd("HDEL").arg(keys::seats()).arg(name).to_owned(),
        };
        self.command("note a seat", command).await
    }

    /// Forgets all seats.
    pub async fn forget_seats(&self) -> Result<(), Error> {
        self.delete(&keys::seats()).await
    }
}
