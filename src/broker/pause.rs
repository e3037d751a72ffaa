//! Jobs that operators have stopped for a while.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::scripts::WHEN_FULL;

/// A job, or a shard of one, that stands still because somebody wants it to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who, as the operating system knows them.
    pub by: String,
    /// Since when. UTC ms.
    pub since_ms: u64,
    /// Until when, whatever else happens. UTC ms.
    pub until_ms: u64,
    /// What they said of it; may be empty.
    pub why: String,
}

/// What is paused: by the name of a job, or of a job and a shard as `deliver/3`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses(pub BTreeMap<String, Pause>);

impl Pauses {
    /// The pause of a job as a whole.
    pub fn of(&self, job: &str) -> Option<&Pause> {
        self.0.get(job)
    }

    /// The pause of a shard of a job: its own, or that of the job.
    pub fn of_shard(&self, job: &str, shard: u32) -> Option<&Pause> {
        self.of(job).or_else(|| self.0.get(&format!("{job}/{shard}")))
    }
}

impl Redis {
    /// Pauses a job, or a shard of one, as [`Pauses`] names them; a pause it has is replaced.
    pub async fn pause(&self, what: &str, pause: &Pause) -> Result<(), Error> {
        // All of it is text and numbers.
        let json = serde_json::to_string(pause).unwrap_or_default();
        let mut command = WHEN_FULL.call(&[&keys::paused()]);
        command.arg("HSET").arg(what).arg(json);
        self.command("pause a job", command).await
    }

    /// Ends a pause; false when there was none.
    pub async fn resume(&self, what: &str) -> Result<bool, Error> {
        let mut command = redis::cmd("HDEL");
        command.arg(keys::paused()).arg(what);
        self.command::<u64>("resume a job", command).await.map(|ended| ended > 0)
    }

    /// What is paused now. What lapsed, and what this program cannot read, pauses nothing.
    pub async fn pauses(&self, now_ms: u64) -> Result<Pauses, Error> {
        let mut command = redis::cmd("HGETALL");
        command.arg(keys::paused());
        let all: HashMap<String, String> = self.command("look for pauses", command).await?;
        let pauses = all.into_iter().filter_map(|(what, json)| Some((what, serde_json::from_str::<Pause>(&json).ok()?)));
        Ok(Pauses(pauses.filter(|(_, pause)| pause.until_ms > now_ms).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_pauses_its_shards_and_a_shard_only_itself() {
        let pause = |by: &str| Pause { by: by.to_owned(), since_ms: 1, until_ms: 9, why: String::new() };
        let pauses = Pauses(BTreeMap::from([("archive".to_owned(), pause("kari")), ("deliver/3".to_owned(), pause("ola"))]));
        let by = |job, shard| pauses.of_shard(job, shard).map(|pause| pause.by.as_str());
        assert_eq!([by("archive", 0), by("deliver", 3), by("deliver", 30), by("talk", 3)], [Some("kari"), Some("ola"), None, None]);
        assert_eq!((pauses.of("deliver"), pauses.of("archive")), (None, Some(&pause("kari"))));
    }
}
