//! Puts aside what panics the core or kills its owner: a dead letter with the whole payload, and word to the senders.

use prost::Message as _;

use super::Error;
use super::poison::{Aside, Poison, PutAside};
use super::turn::Owner;
use crate::broker::{Commit, StreamEntry, StreamId, keys};
use crate::topic::frame::{InFrame, Input, Lane};
use crate::topic::{Batch, Followers};
use crate::worker::deadletter::{self, DeadLetter};

impl Owner {
    /// Files a dead letter.
    pub(super) async fn bury(
        &self,
        stream: &str,
        entry: StreamId,
        payload: Option<&[u8]>,
        reason: String,
        attempts: u64,
    ) -> Result<(), Error> {
        let about = DeadLetter::about(stream, entry, payload);
        let letter = DeadLetter { job: "deliver".to_owned(), reason, attempts, time_ms: self.job.clock.now_ms(), ..about };
        deadletter::add(&self.job.redis, &letter).await.map(drop).map_err(|source| Error::Bury { shard: self.fence.shard, source })
    }

    pub(super) async fn put_item_aside(&mut self, stream: &str, aside: &Aside, batch: &mut Batch) -> Result<(), Error> {
        let frame = InFrame { items: vec![aside.item.clone()], ..InFrame::default() };
        self.bury(stream, aside.id, Some(&frame.encode_to_vec()), aside.reason.to_owned(), 3).await?;
        if let Some(post) = aside.post() {
            self.state.reject_quarantined(batch, post, self.job.clock.now_ms());
        }
        metrics::counter!("roger_quarantined_total", "job" => "deliver", "lane" => if aside.lane == Lane::Urgent { "urgent" } else { "normal" }).increment(1);
        Ok(())
    }

    /// Owners before this one may have died over what is in front: says what is in hand, looks at the items of the first frame one by one
    /// when it is down to that, and puts aside what killed too often. False when the whole frame went aside.
    pub(super) async fn suspect_first(
        &mut self,
        lane: Lane,
        entries: &[StreamEntry],
        limit: usize,
        put_aside: Option<PutAside>,
        poison: &mut Poison,
    ) -> Result<bool, Error> {
        let answer = self.redis.attempt(&mut self.fence, None).await;
        self.judge(answer)?;
        let Some(entry) = entries.first() else { return Ok(true) };
        match (put_aside, self.suspect) {
            (Some(PutAside::Item | PutAside::Told), Some(item)) => poison.condemn(lane, entry.id, item),
            (Some(aside @ (PutAside::Told | PutAside::Unseen)), _) => {
                return self.put_first_aside(lane, entry, aside).await.map(|()| false);
            }
            (None | Some(PutAside::Item), _) if limit == 1 => self.probe(lane, entry, poison).await?,
            (None | Some(PutAside::Item), _) => {}
        }
        Ok(true)
    }

    /// Steps the items of a frame one by one on a copy of the state, each after saying so: a death then shows which it was.
    async fn probe(&mut self, lane: Lane, entry: &StreamEntry, poison: &Poison) -> Result<(), Error> {
        let Ok(frame) = entry.decode::<InFrame>("") else { return Ok(()) };
        let (mut state, mut followers, mut batch) = (self.state.clone(), Followers::default(), Batch::default());
        let now_ms = self.job.clock.now_ms();
        for (index, item) in frame.items.into_iter().enumerate() {
            let answer = self.redis.attempt(&mut self.fence, Some(index)).await;
            self.judge(answer)?;
            let number = index as u64 + 1;
            let one = InFrame { producer: self.fence.nonce(), number, edge: frame.edge.clone(), seen: None, items: vec![item.clone()] };
            poison.probe(&item, || {
                // What an edge saw is judged where it counts.
                let _stepped = state.step(&mut batch, &mut followers, lane, one, now_ms);
            });
        }
        let answer = self.redis.attempt(&mut self.fence, None).await;
        self.judge(answer)
    }

    /// Puts a whole frame aside. Its senders are told, unless even looking at it for that seems to kill.
    async fn put_first_aside(&mut self, lane: Lane, entry: &StreamEntry, aside: PutAside) -> Result<(), Error> {
        let stream = match lane {
            Lane::Urgent => keys::urgent(self.fence.shard),
            Lane::Normal => keys::input(self.fence.shard),
        };
        let reason = format!("{} owners in a row died over it without a word", self.deaths);
        self.bury(&stream, entry.id, entry.payload.as_deref(), reason, self.deaths).await?;
        let (mut batch, now_ms) = (Batch::default(), self.job.clock.now_ms());
        if aside == PutAside::Told
            && let Ok(frame) = entry.decode::<InFrame>(&stream)
        {
            for item in frame.items {
                if let Some(Input::Post(post)) = item.input {
                    self.state.reject_quarantined(&mut batch, &post, now_ms);
                }
            }
        }
        let mut commit = Commit { epoch: self.state.epoch(), previous: self.state.commit(), ..Commit::default() };
        commit.taken[lane as usize] = Some(entry.id);
        commit.frame = self.state.seal(&mut batch, now_ms);
        self.commit(commit).await
    }
}
