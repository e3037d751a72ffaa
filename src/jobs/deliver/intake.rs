//! What comes into a shard. Each lane is read by itself and ahead of its owner, so that alerts stand behind nothing but the turn under way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::broker::{self, Reader, Redis, StreamEntry, StreamId, keys};
use crate::topic::frame::Lane;

/// How long a read waits for input; also how soon a stop is seen when nothing comes.
pub(super) const BLOCK: Duration = Duration::from_millis(500);
/// The most bytes of frames in one commit, but for the first: Redis serves nobody else meanwhile.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// How long other input may wait for alerts.
const PATIENCE: Duration = Duration::from_millis(200);
/// In KiB, what all shards of a program together may have under way to Redis, alerts aside. Redis takes in turns what its clients send: an alert
/// of one shard waits for all of it.
const UNDER_WAY_KIB: u32 = 512;

/// What one program may have under way.
#[derive(Clone, Debug)]
pub(super) struct UnderWay(Arc<Semaphore>);

impl Default for UnderWay {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(UNDER_WAY_KIB as usize)))
    }
}

/// The input of a shard, read ahead.
pub(super) struct Intake {
    urgent: Ahead,
    normal: Ahead,
    under_way: UnderWay,
    frames_max: usize,
    /// Since when there is other input that waits.
    waits: Option<Instant>,
}

/// What goes into one commit.
pub(super) struct Bite {
    pub(super) lane: Lane,
    pub(super) entries: Vec<StreamEntry>,
    /// Of what may be under way; held until the edges are told too.
    pub(super) share: Option<OwnedSemaphorePermit>,
}

impl Intake {
    /// Reads behind `taken`; at most `frames_max` frames go into one commit. What alerts there are by now is at hand.
    pub(super) async fn open(
        redis: &Redis,
        shard: u32,
        taken: [StreamId; 2],
        frames_max: usize,
        under_way: UnderWay,
    ) -> Result<Self, broker::Error> {
        let ahead = |lane, key| Ahead::open(redis, key, taken[lane as usize], frames_max);
        let (urgent, normal) = tokio::join!(ahead(Lane::Urgent, keys::urgent(shard)), ahead(Lane::Normal, keys::input(shard)));
        Ok(Self { urgent: urgent?, normal: normal?, under_way, frames_max, waits: None })
    }

    /// What comes next: alerts as long as nothing else waits too long for them. `None` when nothing came for a while. Dropping it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Bite>, broker::Error> {
        let idle = tokio::time::sleep(BLOCK);
        tokio::pin!(idle);
        loop {
            self.urgent.look()?;
            self.normal.look()?;
            if self.normal.entries.is_empty() {
                self.waits = None;
            } else {
                self.waits.get_or_insert_with(Instant::now);
            }
            let in_turn = self.waits.is_some_and(|since| since.elapsed() >= PATIENCE);
            if !self.urgent.entries.is_empty() && !in_turn {
                return Ok(Some(Bite { lane: Lane::Urgent, entries: self.urgent.bite(self.frames_max), share: None }));
            }
            if self.waits.is_none() {
                tokio::select! {
                    () = self.urgent.more() => {}
                    () = self.normal.more() => {}
                    () = &mut idle => return Ok(None),
                }
                continue;
            }
            let room = self.under_way.0.clone().acquire_many_owned(self.normal.bite_kib(self.frames_max).min(UNDER_WAY_KIB));
            tokio::select! {
                biased;
                () = self.urgent.more(), if !in_turn => {}
                share = room => {
                    self.waits = None;
                    // The semaphore is never closed.
                    return Ok(Some(Bite { lane: Lane::Normal, entries: self.normal.bite(self.frames_max), share: share.ok() }));
                }
            }
        }
    }
}

/// What one read brought.
type Read = Result<Vec<StreamEntry>, broker::Error>;

/// One stream, read ahead of who needs it.
struct Ahead {
    entries: VecDeque<StreamEntry>,
    read: mpsc::Receiver<Read>,
    failed: Option<broker::Error>,
    _reader: AbortOnDropHandle<()>,
}

impl Ahead {
    async fn open(redis: &Redis, key: String, after: StreamId, frames_max: usize) -> Result<Self, broker::Error> {
        let mut reader = Reader::new(redis, BLOCK);
        let entries = VecDeque::from(reader.behind(&key, after, frames_max).await?);
        let after = entries.back().map_or(after, |last| last.id);
        let (sender, read) = mpsc::channel(1);
        let reader = AbortOnDropHandle::new(tokio::spawn(read_on(reader, key, after, frames_max, sender)));
        Ok(Self { entries, read, failed: None, _reader: reader })
    }

    fn take(&mut self, read: Option<Read>) {
        match read {
            Some(Ok(entries)) => self.entries.extend(entries),
            Some(Err(error)) => self.failed = Some(error),
            // The reader ends with its first failure.
            None => self.failed = Some(self.failed.take().unwrap_or(broker::Error::Broken)),
        }
    }

    /// Takes in what was read, if the last of it is used up.
    fn look(&mut self) -> Result<(), broker::Error> {
        if self.entries.is_empty() {
            match self.read.try_recv() {
                Ok(read) => self.take(Some(read)),
                Err(mpsc::error::TryRecvError::Empty) => {}
                Err(mpsc::error::TryRecvError::Disconnected) => self.take(None),
            }
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Waits for more than there is.
    async fn more(&mut self) {
        let read = self.read.recv().await;
        self.take(read);
    }

    /// How many frames make one commit, and their bytes.
    fn fitting(&self, frames_max: usize) -> (usize, usize) {
        let (mut fitting, mut bytes) = (0, 0);
        for entry in self.entries.iter().take(frames_max) {
            let more = entry.payload.as_ref().map_or(0, |payload| payload.len());
            if fitting > 0 && bytes + more > BATCH_BYTES_MAX {
                break;
            }
            (fitting, bytes) = (fitting + 1, bytes + more);
        }
        (fitting, bytes)
    }

    fn bite_kib(&self, frames_max: usize) -> u32 {
        u32::try_from(self.fitting(frames_max).1.div_ceil(1 << 10)).unwrap_or(u32::MAX)
    }

    fn bite(&mut self, frames_max: usize) -> Vec<StreamEntry> {
        let (fitting, _) = self.fitting(frames_max);
        self.entries.drain(..fitting).collect()
    }
}

/// Reads until nobody needs it any more, or a read fails: then the owner claims its shard again, and reads from where it was taken in.
async fn read_on(mut reader: Reader, key: String, after: StreamId, frames_max: usize, sender: mpsc::Sender<Read>) {
    let mut behind = BTreeMap::from([(key.clone(), after)]);
    while !sender.is_closed() {
        let read = reader.read(frames_max, &behind).await;
        let read = read.map(|streams| streams.into_iter().flat_map(|(_, entries)| entries).collect::<Vec<_>>());
        let failed = read.is_err();
        match read.as_ref().map(|entries| entries.last()) {
            Ok(Some(last)) => behind.insert(key.clone(), last.id),
            Ok(None) => continue,
            Err(_) => None,
        };
        // An owner that is gone has no use for it.
        if sender.send(read).await.is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(sizes: &[usize]) -> (Ahead, mpsc::Sender<Read>) {
        let (sender, read) = mpsc::channel(1);
        let entry = |(at, size): (usize, &usize)| StreamEntry { id: StreamId(1, at as u64), payload: Some(vec![0; *size].into()) };
        let entries = sizes.iter().enumerate().map(entry).collect();
        (Ahead { entries, read, failed: None, _reader: AbortOnDropHandle::new(tokio::spawn(async {})) }, sender)
    }

    fn intake(urgent: &[usize], normal: &[usize]) -> (Intake, [mpsc::Sender<Read>; 2]) {
        let ((urgent, one), (normal, other)) = (ahead(urgent), ahead(normal));
        (Intake { urgent, normal, under_way: UnderWay::default(), frames_max: 4, waits: None }, [one, other])
    }

    async fn bitten(intake: &mut Intake) -> Option<(Lane, usize)> {
        intake.next().await.unwrap().map(|bite| (bite.lane, bite.entries.len()))
    }

    #[tokio::test]
    async fn a_commit_is_bounded_by_bytes_and_frames_and_has_at_least_one_frame() {
        let quarter = BATCH_BYTES_MAX / 4;
        let check = async |sizes: &[usize], expected: &[usize]| {
            let (mut intake, _open) = intake(&[], sizes);
            for fitting in expected {
                assert_eq!(bitten(&mut intake).await, Some((Lane::Normal, *fitting)), "{sizes:?}");
            }
            assert_eq!(bitten(&mut intake).await, None);
        };
        check(&[quarter, quarter, quarter], &[3]).await;
        check(&[quarter * 3, quarter * 2, 1], &[1, 2]).await;
        check(&[quarter * 9, 1], &[1, 1]).await;
        check(&[1; 9], &[4, 4, 1]).await;
    }

    #[tokio::test]
    async fn alerts_go_first_and_wait_for_no_room_and_everything_else_has_its_turn() {
        let (mut intake, [urgent, _open]) = intake(&[1; 6], &[1]);
        let all = intake.under_way.0.clone().acquire_many_owned(UNDER_WAY_KIB).await.unwrap();
        assert_eq!(bitten(&mut intake).await, Some((Lane::Urgent, 4)));
        assert_eq!(bitten(&mut intake).await, Some((Lane::Urgent, 2)));
        let entry = StreamEntry { id: StreamId(2, 0), payload: Some(vec![0].into()) };
        // Runs once the intake waits: both share a thread.
        let later = tokio::spawn(async move { (urgent.send(Ok(vec![entry])).await, urgent) });
        assert_eq!(bitten(&mut intake).await, Some((Lane::Urgent, 1)), "although other input waits for room");
        drop(all);
        assert_eq!(bitten(&mut intake).await, Some((Lane::Normal, 1)));
        // An endless row of alerts.
        intake.normal.entries.push_back(StreamEntry { id: StreamId(3, 0), payload: None });
        let mut before = 0;
        loop {
            intake.urgent.entries.push_back(StreamEntry { id: StreamId(3, 0), payload: None });
            match bitten(&mut intake).await {
                Some((Lane::Urgent, _)) => before += 1,
                other => break assert_eq!(other, Some((Lane::Normal, 1))),
            }
            tokio::time::sleep(PATIENCE / 4).await;
        }
        assert!((1..=4).contains(&before), "{before} alerts went before it");
        drop(later);
    }
}
