//! What the owner of a shard does to its keys: claim, load, commit, checkpoint, begin an epoch, release.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message as _;
use redis::Value;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::scripts::{ATTEMPT, BEGIN, CHECKPOINT, CLAIM, COMMIT, LOSE, RELEASE, RENEW, Script, WHEN_FULL};
use super::streams::{StreamEntry, StreamId, parse_entries};
use crate::topic::frame::{FORMAT, LogFrame, Row, RowKind};

/// How many rows one call writes or reads.
const ROWS_A_CALL: usize = 1_000;

/// What makes an owner the owner: the random nonce of its claim, and how often owners wrote so far. Every write names both and adds one to
/// the turn, so an owner notices that somebody else claimed the shard, and that Redis lost any of its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The shard.
    pub shard: u32,
    nonce: u64,
    turn: u64,
}

impl Fence {
    /// The fence of a claim that is still to be made.
    pub fn new(shard: u32) -> Self {
        Self { shard, nonce: rand::random(), turn: 0 }
    }

    /// Random per claim.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    fn answered(&mut self, done: i64) -> CommitAnswer {
        if done != 1 {
            return CommitAnswer::Fenced;
        }
        self.turn += 1;
        CommitAnswer::Done
    }

    /// The script called with the fence as its first arguments.
    fn call(&self, script: &Script, keys: &[&str]) -> redis::Cmd {
        let mut call = script.call(keys);
        call.arg(self.nonce.to_string()).arg(self.turn).arg(self.turn + 1);
        call
    }
}

/// What a new owner found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Orders owners within an epoch.
    pub token: u64,
    /// How often, since the last commit, an owner ended without a word that may have died over the work in front.
    pub deaths: u64,
    /// The index of the item, in the frame in front, that the last owner had in hand when it ended without a word.
    pub suspect: Option<usize>,
    /// The epoch; `None` when the shard has no state.
    pub epoch: Option<u64>,
    /// The last commit of the epoch.
    pub commit: u64,
    /// Up to where the input is taken in, by lane.
    pub taken: [StreamId; 2],
    /// The commit that the checkpoint holds.
    pub checkpoint: StreamId,
    /// What somebody found lost since the epoch began, if so.
    pub lost: Option<String>,
    /// The history of the Redis in which the epoch began, as [`super::Facts::history`].
    pub history: String,
}

/// What a shard's meta says of its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMarks {
    /// The last commit.
    pub last: StreamId,
    /// The commit that the checkpoint holds: a new owner reads on from there.
    pub checkpoint: StreamId,
}

/// One step forward of a shard.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The epoch.
    pub epoch: u64,
    /// The last commit before this one: the number of a commit that decides nothing.
    pub previous: u64,
    /// What to append to the log; `None` when the input decided nothing.
    pub frame: Option<LogFrame>,
    /// Up to where the input is taken in with this commit, by lane; `None` where nothing was.
    pub taken: [Option<StreamId>; 2],
}

/// Whether the shard moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitAnswer {
    /// It did.
    Done,
    /// Another one owns it, or Redis lost a write: nothing was changed, and the caller's memory is void.
    Fenced,
}

impl Redis {
    /// Takes or keeps a lease; false when somebody else has it.
    pub async fn renew_lease(&self, shard: u32, job: &str, holder: &str, lifetime_ms: u64) -> Result<bool, Error> {
        let mut call = RENEW.call(&[&keys::lease(shard, job)]);
        call.arg(holder).arg(lifetime_ms);
        self.command::<i64>("renew a lease", call).await.map(|answer| answer == 1)
    }

    /// Gives a lease up, and with `fence` the shard with it, cleanly.
    pub async fn release_lease(&self, shard: u32, job: &str, holder: &str, fence: Option<Fence>) -> Result<(), Error> {
        let mut call = RELEASE.call(&[&keys::meta(shard), &keys::lease(shard, job)]);
        call.arg(holder).arg(fence.map(|fence| fence.nonce.to_string()).unwrap_or_default());
        self.command("release a lease", call).await
    }

    /// Who holds the leases of a job, by shard.
    pub async fn lease_holders(&self, job: &str, shards: u32) -> Result<Vec<Option<String>>, Error> {
        let mut pipeline = redis::Pipeline::new();
        for shard in 0..shards {
            pipeline.cmd("GET").arg(keys::lease(shard, job));
        }
        self.pipe("read leases", &pipeline).await
    }

    /// Makes the holder of the lease the owner of the shard; `None` when it does not hold the lease.
    pub async fn claim(&self, fence: &mut Fence, job: &str, holder: &str) -> Result<Option<Claim>, Error> {
        const OPERATION: &str = "claim a shard";
        let mut call = CLAIM.call(&[&keys::meta(fence.shard), &keys::lease(fence.shard, job)]);
        call.arg(holder).arg(fence.nonce.to_string());
        let answer: Value = self.command(OPERATION, call).await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let unexpected = Error::answer(OPERATION, &answer);
        type Answer = (u64, u64, u64, String, HashMap<String, String>);
        let Ok((token, turn, deaths, item, meta)) = redis::from_redis_value::<Answer>(answer) else { return Err(unexpected) };
        fence.turn = turn;
        let number = |name: &str| meta.get(name).and_then(|text| text.parse::<u64>().ok());
        let id = |name: &str| meta.get(name).and_then(|text| text.parse::<StreamId>().ok()).unwrap_or_default();
        Ok(Some(Claim {
            token,
            deaths,
            suspect: item.parse().ok(),
            epoch: number("epoch"),
            commit: number("commit").unwrap_or(0),
            taken: [id("urgent"), id("in")],
            checkpoint: id("checkpoint"),
            lost: meta.get("lost").cloned(),
            history: meta.get("run_id").cloned().unwrap_or_default(),
        }))
    }

    /// All rows of the last checkpoint.
    pub async fn load_rows(&self, shard: u32) -> Result<Vec<RowKind>, Error> {
        const OPERATION: &str = "load a checkpoint";
        let key = keys::state(shard);
        let (mut cursor, mut rows) = (0_u64, Vec::new());
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(&key).arg(cursor).arg("COUNT").arg(ROWS_A_CALL);
            let (next, fields): (u64, Vec<(String, Vec<u8>)>) = self.command(OPERATION, scan).await?;
            for (field, value) in fields {
                let failed = |source| Error::Frame { stream: key.clone(), id: field.clone(), source };
                let row = Row::decode(value.as_slice()).map_err(|source| failed(Some(source)))?;
                rows.push(row.row.ok_or_else(|| failed(None))?);
            }
            if next == 0 {
                return Ok(rows);
            }
            cursor = next;
        }
    }

    /// Moves a shard forward. When the call fails, it may or may not have moved: the caller's memory is void.
    pub async fn commit(&self, fence: &mut Fence, commit: &Commit) -> Result<CommitAnswer, Error> {
        let shard = fence.shard;
        let call_keys = [keys::meta(shard), keys::log(shard), keys::input(shard), keys::urgent(shard)];
        let mut call = fence.call(&COMMIT, &call_keys.each_ref().map(String::as_str));
        let number = commit.frame.as_ref().map_or(commit.previous, |frame| frame.commit);
        call.arg(commit.epoch).arg(number).arg(bytes_of(commit.frame.as_ref())).arg(FORMAT);
        let [urgent, normal] = commit.taken;
        let text = |id: Option<StreamId>| id.map(|id| id.to_string()).unwrap_or_default();
        call.arg(text(normal)).arg(text(urgent)).arg(text(normal.map(StreamId::next))).arg(text(urgent.map(StreamId::next)));
        self.command("commit", call).await.map(|done| fence.answered(done))
    }

    /// Deletes fields of a checkpoint and writes rows, and then it holds everything up to `at`; without `at` the rows are for an epoch that
    /// is still to begin, and harmless if it does not: rows only rise, and who next begins one deletes the same again.
    pub async fn checkpoint(
        &self,
        fence: &mut Fence,
        at: Option<StreamId>,
        rows: &[RowKind],
        gone: &[String],
    ) -> Result<CommitAnswer, Error> {
        let call_keys = [keys::meta(fence.shard), keys::state(fence.shard)];
        let mut chunks = rows.chunks(ROWS_A_CALL).peekable();
        let mut first = true;
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let last = chunks.peek().is_none();
            let mut call = fence.call(&CHECKPOINT, &call_keys.each_ref().map(String::as_str));
            call.arg(at.filter(|_| last).map(|at| at.to_string()).unwrap_or_default());
            let gone = if first { gone } else { &[] };
            call.arg(gone.len()).arg(gone);
            for row in chunk {
                call.arg(row.key()).arg(Row::from(row.clone()).encode_to_vec());
            }
            let answer = self.command("write a checkpoint", call).await.map(|done| fence.answered(done))?;
            if last || answer == CommitAnswer::Fenced {
                return Ok(answer);
            }
            first = false;
        }
    }

    /// Begins a new epoch of a shard whose rows were just written, with its first commit if it has one.
    pub async fn begin_epoch(&self, fence: &mut Fence, epoch: u64, history: &str, first: Option<&LogFrame>) -> Result<CommitAnswer, Error> {
        let mut call = fence.call(&BEGIN, &[&keys::meta(fence.shard), &keys::log(fence.shard)]);
        call.arg(epoch).arg(history).arg(first.map_or(0, |frame| frame.commit)).arg(bytes_of(first)).arg(FORMAT);
        self.command("begin an epoch", call).await.map(|done| fence.answered(done))
    }

    /// Says, before stepping what earlier owners may have died over, that it is in hand: all that is in front, or one item of the first
    /// frame.
    pub async fn attempt(&self, fence: &mut Fence, item: Option<usize>) -> Result<CommitAnswer, Error> {
        let mut call = fence.call(&ATTEMPT, &[&keys::meta(fence.shard)]);
        call.arg(item.map(|item| item.to_string()).unwrap_or_default());
        self.command("say what is in hand", call).await.map(|done| fence.answered(done))
    }

    /// Whether the fence still holds, for an owner that has nothing to write.
    pub async fn still_owns(&self, fence: &Fence) -> Result<CommitAnswer, Error> {
        let mut command = redis::cmd("HMGET");
        command.arg(keys::meta(fence.shard)).arg("nonce").arg("turn");
        let (nonce, turn): (Option<String>, Option<u64>) = self.command("look at the fence", command).await?;
        let holds = nonce == Some(fence.nonce.to_string()) && turn == Some(fence.turn);
        Ok(if holds { CommitAnswer::Done } else { CommitAnswer::Fenced })
    }

    /// Notes that Redis lost a part of a shard and unseats its owner: whoever claims it next begins a new epoch. Without `fence` it comes
    /// from somebody who does not own the shard.
    pub async fn note_loss(&self, shard: u32, fence: Option<&Fence>, how: &str) -> Result<(), Error> {
        let mut call = LOSE.call(&[&keys::meta(shard)]);
        call.arg(fence.map(|fence| fence.nonce.to_string()).unwrap_or_default()).arg(how);
        self.command("note a loss", call).await
    }

    /// Says, to be said again within `lifetime`, that what SQL knows of a shard is being gathered for its owner.
    pub async fn note_gathering(&self, shard: u32, lifetime: Duration) -> Result<(), Error> {
        let mut command = redis::cmd("SET");
        command.arg(keys::floor_under_way(shard)).arg("").arg("PX").arg(lifetime.as_millis() as u64);
        self.command("say that a floor is under way", command).await
    }

    /// What the meta of a shard says of its log; `None` when there is no state.
    pub async fn log_marks(&self, shard: u32) -> Result<Option<LogMarks>, Error> {
        let meta = self.meta(shard).await?;
        let id = |name: &str| meta.get(name).and_then(|text| text.parse::<StreamId>().ok()).unwrap_or_default();
        let number = |name: &str| meta.get(name).and_then(|text| text.parse::<u64>().ok());
        let Some(epoch) = number("epoch") else { return Ok(None) };
        let last = StreamId(epoch, number("commit").unwrap_or(0));
        Ok(Some(LogMarks { last, checkpoint: id("checkpoint") }))
    }

    /// Which epoch a server has of a shard, `None` without a state, and what lies in the log behind a commit there, at most `count` frames.
    pub(super) async fn log_behind(&self, shard: u32, after: StreamId, count: usize) -> Result<(Option<u64>, Vec<StreamEntry>), Error> {
        const OPERATION: &str = "read a log and its epoch";
        // In this order: what is read of an epoch that begins in between is of a server that has it.
        let mut pipeline = redis::Pipeline::with_capacity(2);
        pipeline.cmd("HGET").arg(keys::meta(shard)).arg("epoch");
        pipeline.cmd("XRANGE").arg(keys::log(shard)).arg(after.next().to_string()).arg("+").arg("COUNT").arg(count);
        let (epoch, entries): (Option<u64>, Value) = self.pipe(OPERATION, &pipeline).await?;
        Ok((epoch, parse_entries(OPERATION, entries)?))
    }

    /// Notes up to where SQL holds the log, for people and for the owner.
    pub async fn set_archived(&self, shard: u32, upto: StreamId) -> Result<(), Error> {
        let mut command = WHEN_FULL.call(&[&keys::archived(shard)]);
        command.arg("SET").arg(upto.to_string());
        self.command("note what is archived", command).await
    }

    /// Up to where SQL holds the logs of some shards, as it was noted last; in their order.
    pub async fn archived(&self, shards: &[u32]) -> Result<Vec<Option<StreamId>>, Error> {
        let mut pipeline = redis::Pipeline::with_capacity(shards.len());
        for shard in shards {
            pipeline.cmd("GET").arg(keys::archived(*shard));
        }
        let noted: Vec<Option<String>> = self.pipe("read what is archived", &pipeline).await?;
        Ok(noted.into_iter().map(|text| text?.parse().ok()).collect())
    }

    /// How many bytes of Redis memory a key takes; 0 when it is not there. All of it is looked at: by default Redis takes the first five nodes of a
    /// stream for all the others, and a backlog that begins with small frames and goes on with large ones would be taken for a tenth of what it is.
    /// Costs Redis some milliseconds for 100,000 nodes.
    pub async fn memory_bytes(&self, key: &str) -> Result<u64, Error> {
        let mut command = redis::cmd("MEMORY");
        command.arg("USAGE").arg(key).arg("SAMPLES").arg(0);
        self.command::<Option<u64>>("measure a key", command).await.map(Option::unwrap_or_default)
    }

    /// The fields of a shard's meta, for people.
    pub async fn meta(&self, shard: u32) -> Result<HashMap<String, String>, Error> {
        let mut command = redis::cmd("HGETALL");
        command.arg(keys::meta(shard));
        self.command("read a shard's meta", command).await
    }

    /// Pins the number of shards at the first start; returns the number that is pinned.
    pub async fn pin_shards(&self, shards: u32) -> Result<u32, Error> {
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("SET").arg(keys::shards()).arg(shards).arg("NX").ignore();
        pipeline.cmd("GET").arg(keys::shards());
        self.pipe::<(u32,)>("pin the number of shards", &pipeline).await.map(|(pinned,)| pinned)
    }
}

fn bytes_of(frame: Option<&LogFrame>) -> Vec<u8> {
    frame.map(prost::Message::encode_to_vec).unwrap_or_default()
}
