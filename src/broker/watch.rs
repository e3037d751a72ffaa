//! Who wants to see where devices are.

use std::collections::BTreeMap;

use prost::Message as _;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use crate::model::UserId;
use crate::topic::frame::{OutFrame, Output, Positions};

/// How many frames of positions wait for an edge at most, about.
const FRAMES_KEPT: usize = 100;

impl Redis {
    /// Says that sessions at `edge` watch the devices of `accounts` until `deadline_ms`, and forgets watches that lapsed before `now_ms`.
    pub async fn watch_positions(&self, edge: &str, accounts: &[UserId], deadline_ms: u64, now_ms: u64) -> Result<(), Error> {
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("ZREMRANGEBYSCORE").arg(keys::watchers()).arg("-inf").arg(format!("({now_ms}")).ignore();
        if !accounts.is_empty() {
            let command = pipeline.cmd("ZADD").arg(keys::watchers());
            for account in accounts {
                command.arg(deadline_ms).arg(format!("{account} {edge}"));
            }
            command.ignore();
        }
        self.pipe("watch positions", &pipeline).await
    }

    /// Tells edges where devices are; each gets one frame. What an edge does not read soon is lost, and newer follows.
    pub async fn tell_positions(&self, told: BTreeMap<String, Vec<Positions>>) -> Result<(), Error> {
        let frames = told.into_iter().map(|(edge, positions)| {
            let items = positions.into_iter().map(|positions| Output::Positions(positions).into()).collect();
            (keys::out_positions(&edge), OutFrame { items, ..OutFrame::default() }.encode_to_vec())
        });
        self.add_existing(FRAMES_KEPT, frames).await
    }

    /// The accounts whose devices are watched, each with an edge that wants to hear of them.
    pub async fn watchers(&self, now_ms: u64) -> Result<Vec<(UserId, String)>, Error> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(keys::watchers()).arg(now_ms).arg("+inf");
        let members: Vec<String> = self.command("ask who watches positions", command).await?;
        let read = |member: String| member.split_once(' ').and_then(|(account, edge)| Some((account.parse().ok()?, edge.to_owned())));
        Ok(members.into_iter().filter_map(read).collect())
    }
}
