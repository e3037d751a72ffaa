//! What metrics and the doctor want to know of a stream, from the counters that Redis keeps of it.

use std::collections::HashMap;

use redis::Value;

use super::connection::Redis;
use super::error::Error;
use super::groups::GroupState;
use super::keys;
use super::streams::StreamId;

/// How a stream stands, by the counters of Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamMeasure {
    /// How many entries it has.
    pub length: u64,
    /// How many it ever got.
    pub added: u64,
    /// The first entry it has.
    pub first: Option<StreamId>,
    /// The last entry that was deleted or trimmed from it.
    pub deleted: StreamId,
    /// The clock of Redis. UTC ms.
    pub time_ms: u64,
}

impl StreamMeasure {
    /// For how long the first entry has stood there, ms.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.first.map(|first| self.time_ms.saturating_sub(first.0))
    }
}

/// An entry whose attempts fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The entry.
    pub id: String,
    /// How often.
    pub failures: u64,
    /// What went wrong the first time.
    pub why: String,
}

/// What may hold a consumer group up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupTrouble {
    /// Consumers with what they were given and have not finished, by name.
    pub held: Vec<(String, u64)>,
    /// Entries whose attempts fail, those first that fail most often.
    pub failing: Vec<Failing>,
    /// Entries were deleted that nobody was given.
    pub trimmed: bool,
}

impl Redis {
    /// What may hold the consumer group of a stream up; nothing when there is none.
    pub async fn look_for_trouble(&self, stream: &str, group: &str) -> Result<GroupTrouble, Error> {
        const OPERATION: &str = "look for trouble of a consumer group";
        let Some(measure) = self.measure_stream(stream).await? else { return Ok(GroupTrouble::default()) };
        // Behind the measure: whatever was deleted by then and was given out at all, was given out before.
        let groups = self.groups(stream).await?;
        let Some(GroupState { given, .. }) = groups.into_iter().find(|state| state.name == group) else {
            return Ok(GroupTrouble::default());
        };
        let mut command = redis::cmd("XPENDING");
        command.arg(stream).arg(group);
        type Summary = (u64, Option<String>, Option<String>, Option<Vec<(String, String)>>);
        let (_, _, _, held): Summary = self.command(OPERATION, command).await?;
        let held = held.unwrap_or_default().into_iter().filter_map(|(name, count)| Some((name, count.parse().ok()?))).collect();
        let mut command = redis::cmd("HGETALL");
        command.arg(keys::failures(stream));
        let fields: HashMap<String, String> = self.command(OPERATION, command).await?;
        let failing = fields.iter().filter_map(|(id, count)| {
            let failures = if id.contains(':') { None } else { count.parse().ok() }?;
            let why = fields.get(&format!("{id}:why")).cloned().unwrap_or_default();
            Some(Failing { id: id.clone(), failures, why })
        });
        let mut failing: Vec<Failing> = failing.collect();
        failing.sort_by(|one, other| other.failures.cmp(&one.failures).then_with(|| one.id.cmp(&other.id)));
        Ok(GroupTrouble { held, failing, trimmed: measure.deleted > given })
    }

    /// Measures a stream; `None` when there is none.
    pub async fn measure_stream(&self, stream: &str) -> Result<Option<StreamMeasure>, Error> {
        const OPERATION: &str = "measure a stream";
        let mut command = redis::cmd("XINFO");
        command.arg("STREAM").arg(stream);
        let facts: HashMap<String, Value> = match self.command(OPERATION, command).await {
            Err(Error::Rejected { source, .. }) if source.to_string().contains("no such key") => return Ok(None),
            facts => facts?,
        };
        let number = |name: &str| match facts.get(name) {
            Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
            _ => 0,
        };
        let id = |value: Option<&Value>| match value {
            Some(Value::BulkString(text)) => std::str::from_utf8(text).ok().and_then(|text| text.parse::<StreamId>().ok()),
            _ => None,
        };
        let first = match facts.get("first-entry") {
            Some(Value::Array(parts)) => id(parts.first()),
            _ => None,
        };
        let (seconds, micros): (u64, u64) = self.command(OPERATION, redis::cmd("TIME")).await?;
        Ok(Some(StreamMeasure {
            length: number("length"),
            added: number("entries-added"),
            first,
            deleted: id(facts.get("max-deleted-entry-id")).unwrap_or_default(),
            time_ms: seconds * 1_000 + micros / 1_000,
        }))
    }
}
