//! The probe of SOS on Redis: whose turn it is, who listens, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::scripts::WHEN_FULL;

/// What came of the probes so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// When one came through last, UTC ms; `None` when none ever did.
    pub passed_ms: Option<u64>,
    /// How long that one took, from the press until it was heard. Milliseconds.
    pub took_ms: u64,
    /// When the last one ended, UTC ms.
    pub tried_ms: u64,
    /// How many failed since one came through.
    pub failed: u64,
    /// Why the last of them did; empty when none did.
    pub why: String,
}

impl Redis {
    /// Takes the turn to probe, for `lifetime` at most; false when another has it, or it is too early.
    pub async fn take_probe_turn(&self, boot: &str, lifetime: Duration) -> Result<bool, Error> {
        let mut command = WHEN_FULL.call(&[&keys::sos_probe_turn()]);
        command.arg("SET").arg(boot).arg("NX").arg("PX").arg(lifetime.as_millis() as u64);
        self.command::<Option<String>>("take the turn to probe", command).await.map(|answer| answer.is_some())
    }

    /// The probe is over; the next turn begins in `rest`.
    pub async fn end_probe_turn(&self, rest: Duration) -> Result<(), Error> {
        let mut command = redis::cmd("PEXPIRE");
        command.arg(keys::sos_probe_turn()).arg(rest.as_millis().max(1) as u64);
        self.command("end the turn to probe", command).await
    }

    /// Owners of shards write to `boot` as to an edge until `deadline_ms`. Clients never see it.
    pub async fn listen_as_edge(&self, boot: &str, deadline_ms: u64) -> Result<(), Error> {
        let mut command = WHEN_FULL.call(&[&keys::edges()]);
        command.arg("ZADD").arg(deadline_ms).arg(boot);
        self.command("listen as an edge", command).await
    }

    /// Owners of shards no longer write to `boot`.
    pub async fn leave_as_edge(&self, boot: &str) -> Result<(), Error> {
        let mut command = redis::cmd("ZREM");
        command.arg(keys::edges()).arg(boot);
        self.command("listen as an edge no longer", command).await
    }

    /// Notes that a probe came through.
    pub async fn note_probe_passed(&self, took: Duration, now_ms: u64) -> Result<(), Error> {
        let mut command = WHEN_FULL.call(&[&keys::sos_probe()]);
        command.arg("HSET").arg("passed_ms").arg(now_ms).arg("took_ms").arg(took.as_millis() as u64);
        command.arg("tried_ms").arg(now_ms).arg("failed").arg(0).arg("why").arg("");
        self.command("note what came of a probe", command).await
    }

    /// Notes that a probe did not come through.
    pub async fn note_probe_failed(&self, why: &str, now_ms: u64) -> Result<(), Error> {
        let key = keys::sos_probe();
        let mut pipeline = redis::Pipeline::new();
        let mut command = WHEN_FULL.call(&[&key]);
        command.arg("HSET").arg("tried_ms").arg(now_ms).arg("why").arg(why);
        pipeline.add_command(command).ignore();
        let mut command = WHEN_FULL.call(&[&key]);
        command.arg("HINCRBY").arg("failed").arg(1);
        pipeline.add_command(command).ignore();
        self.pipe("note what came of a probe", &pipeline).await
    }

    /// What came of the probes; `None` when none was ever made.
    pub async fn probes(&self) -> Result<Option<Probes>, Error> {
        let mut command = redis::cmd("HGETALL");
        command.arg(keys::sos_probe());
        let fields: BTreeMap<String, String> = self.command("ask what came of the probes", command).await?;
        let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok());
        let probes = Probes {
            passed_ms: number("passed_ms"),
            took_ms: number("took_ms").unwrap_or(0),
            tried_ms: number("tried_ms").unwrap_or(0),
            failed: number("failed").unwrap_or(0),
            why: fields.get("why").cloned().unwrap_or_default(),
        };
        Ok((!fields.is_empty()).then_some(probes))
    }
}
