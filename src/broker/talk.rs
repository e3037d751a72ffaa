//! The lists that a media server and Roger write to, and the streams they are worked off from.
//!
//! Whoever waits moves one item to a second list, which takes nothing away; the script that moves both lists into the stream begins with that one.

use std::time::Duration;

use redis::Value;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::look::StreamLook;
use super::route::Asked;
use super::scripts::{TALK_ANNOUNCE, TALK_MOVE};
use super::streams::Reader;
use crate::model::Durability;
use crate::topic::frame::FORMAT;

impl Reader {
    /// Waits until there is something on a list, or for a while; takes nothing away.
    pub async fn wait_for_list(&mut self, list: &str) -> Result<bool, Error> {
        const OPERATION: &str = "wait for a list";
        let mut command = redis::cmd("BLMOVE");
        let seconds = Duration::from_millis(self.block_ms()).as_secs_f64();
        command.arg(list).arg(keys::talk_hand(list)).arg("LEFT").arg("RIGHT").arg(seconds);
        Ok(self.blocking(OPERATION, &command).await? != Value::Nil)
    }
}

impl Redis {
    /// Moves at most `count` items from a list into its stream, the oldest first; how many that were.
    pub async fn move_list(&self, list: &str, count: usize) -> Result<usize, Error> {
        let mut call = TALK_MOVE.call(&[&keys::talk_hand(list), list, &keys::talk(list)]);
        call.arg(count).arg(FORMAT);
        self.command("move a list into its stream", call).await
    }

    /// Puts an item onto the list, as Janus does.
    pub async fn say_talk(&self, list: &str, item: &[u8]) -> Result<(), Error> {
        let mut command = redis::cmd("RPUSH");
        command.arg(list).arg(item);
        self.command("put talk onto its list", command).await
    }

    /// Puts items onto the list, in their order.
    pub async fn say_all(&self, list: &str, items: &[String]) -> Result<(), Error> {
        if items.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("RPUSH");
        command.arg(list).arg(items);
        self.command("put talk onto its list", command).await
    }

    /// How many items are on the list and behind it, at one moment.
    pub async fn waiting_talk(&self, list: &str) -> Result<u64, Error> {
        let mut pipeline = redis::Pipeline::new();
        pipeline.atomic().cmd("LLEN").arg(list).cmd("LLEN").arg(keys::talk_hand(list)).cmd("XLEN").arg(keys::talk(list));
        let lengths: Vec<u64> = self.pipe("count what waits of talk", &pipeline).await?;
        Ok(lengths.into_iter().sum())
    }

    /// Puts an item onto the list unless one of this id was put there within `remember`; whether it did. For somebody who then forgets it,
    /// so replicas have it by then, where some follow. After a failure it is to be called again: a server that lost the item forgot with it
    /// that it had been put there.
    ///
    /// # Errors
    /// [`Error::Broken`] when who took it is the primary no more; or what failed.
    pub async fn announce_talk(&self, list: &str, id: &str, item: &str, remember: Duration) -> Result<bool, Error> {
        let mut call = TALK_ANNOUNCE.call(&[&keys::talk_announced(list, id), list]);
        call.arg(item).arg(remember.as_secs());
        let mut pipeline = redis::Pipeline::with_capacity(1);
        pipeline.add_command(call);
        let ((put,), takers) = self.pipe_to::<(bool,)>("announce a recording", &pipeline).await?;
        // One that was put there before, too: perhaps only a primary of before remembers it.
        self.secured(&takers, Durability::Replica).await?;
        self.confirm(&takers, Asked::Most).await?;
        Ok(put)
    }

    /// What waits of talk, on the list and behind it; it goes by the name of the list. `job` is who works it off.
    pub async fn look_at_talk(&self, list: &str, job: &str, now_ms: u64) -> Result<StreamLook, Error> {
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("LLEN").arg(list).cmd("LLEN").arg(keys::talk_hand(list));
        let (waiting, in_hand): (u64, u64) = self.pipe("look at the list of talk", &pipeline).await?;
        let look = self.look_at_stream(&keys::talk(list), Some(job), now_ms).await?;
        Ok(StreamLook { stream: list.to_owned(), length: look.length + waiting + in_hand, ..look })
    }
}
