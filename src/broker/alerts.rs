//! Alerts on Redis: their states, and what is to be done about them, changed by one script.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Value;

use super::connection::Redis;
use super::error::Error;
use super::keys;
use super::scripts::{ALERT_CANCEL, ALERT_COMMIT};
use super::streams::StreamId;
use crate::model::{AlertId, UserId};
use crate::topic::frame::FORMAT;

/// How long an alert that is over stays.
const OVER_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long a press is known. Clients that were off the air send theirs again.
const PRESS_LIFETIME: Duration = Duration::from_secs(48 * 3_600);

/// Both, of what nobody asks for later.
const BRIEF_LIFETIME: Duration = Duration::from_secs(120);

/// A change of an alert, with everything that is to be done about it.
#[derive(Clone, Debug, Default)]
pub struct AlertCommit {
    /// The alert.
    pub id: AlertId,
    /// Of which version the change was made; 0 for a new alert.
    pub from_version: u64,
    /// Of the state; above `from_version`.
    pub version: u64,
    /// Who pressed.
    pub device: UserId,
    /// JSON.
    pub state: String,
    /// When something is to happen by itself, UTC ms.
    pub due_ms: Option<u64>,
    /// It is over.
    pub over: bool,
    /// Nobody asks for it later: what is known of it stays for minutes, not days.
    pub brief: bool,
    /// The press that is taken in, as [`keys::alert_press`] names it.
    pub press: Option<String>,
    /// Of a new alert: the entry of the stream that opens it.
    pub opened_by: Option<StreamId>,
    /// Entries of the streams of tells, texts and events.
    pub tells: Vec<Vec<u8>>,
    /// As above.
    pub texts: Vec<Vec<u8>>,
    /// As above.
    pub events: Vec<Vec<u8>>,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertAnswer {
    /// It is done.
    Done,
    /// Somebody else changed the alert, or the device has an open one: read again.
    Stale,
    /// The press was taken in before, or taken back by a later entry.
    Known,
}

impl Redis {
    /// Commits a change of an alert.
    pub async fn commit_alert(&self, commit: &AlertCommit) -> Result<AlertAnswer, Error> {
        const OPERATION: &str = "commit an alert";
        let alert = keys::alert(commit.id);
        let press = commit.press.as_deref().map_or_else(|| alert.clone(), keys::alert_press);
        let all = [
            &alert,
            &keys::alerts_open(),
            &keys::alerts_due(),
            &keys::alert_tells(),
            &keys::alert_texts(),
            &keys::alert_events(),
            &press,
            &keys::alert_cancels(),
        ];
        let mut call = ALERT_COMMIT.call(&all.map(String::as_str));
        call.arg(commit.id.0).arg(commit.from_version).arg(commit.version).arg(commit.device.0).arg(&commit.state);
        call.arg(commit.due_ms.map(|ms| ms.to_string()).unwrap_or_default()).arg(if commit.over { "1" } else { "0" });
        let (over, press) = if commit.brief { (BRIEF_LIFETIME, BRIEF_LIFETIME) } else { (OVER_LIFETIME, PRESS_LIFETIME) };
        call.arg(over.as_millis() as u64).arg(press.as_millis() as u64).arg(FORMAT);
        call.arg(commit.opened_by.map(|id| id.to_string()).unwrap_or_default());
        call.arg(commit.tells.len()).arg(commit.texts.len());
        for entry in commit.tells.iter().chain(&commit.texts).chain(&commit.events) {
            call.arg(entry.as_slice());
        }
        match self.command::<i64>(OPERATION, call).await? {
            1 => Ok(AlertAnswer::Done),
            0 => Ok(AlertAnswer::Stale),
            2 => Ok(AlertAnswer::Known),
            other => Err(Error::answer(OPERATION, &Value::Int(other))),
        }
    }

    /// The state of an alert, JSON; `None` when there is none.
    pub async fn alert(&self, id: AlertId) -> Result<Option<String>, Error> {
        let mut command = redis::cmd("HGET");
        command.arg(keys::alert(id)).arg("state");
        self.command("read an alert", command).await
    }

    /// The open alert of a device.
    pub async fn open_alert_of(&self, device: UserId) -> Result<Option<AlertId>, Error> {
        let mut command = redis::cmd("HGET");
        command.arg(keys::alerts_open()).arg(device.0);
        self.command::<Option<u64>>("look for the open alert of a device", command).await.map(|id| id.map(AlertId))
    }

    /// All open alerts, but for that of the probe.
    pub async fn open_alerts(&self) -> Result<Vec<AlertId>, Error> {
        let mut command = redis::cmd("HGETALL");
        command.arg(keys::alerts_open());
        let open = self.command::<BTreeMap<u64, u64>>("list the open alerts", command).await?;
        Ok(open.into_iter().filter(|(device, _)| *device != UserId::PROBE.0).map(|(_, alert)| AlertId(alert)).collect())
    }

    /// Notes that a device takes back what it pressed before an entry of the stream, unless a later entry said so already.
    pub async fn note_cancel(&self, device: UserId, entry: StreamId) -> Result<(), Error> {
        let mut call = ALERT_CANCEL.call(&[&keys::alert_cancels()]);
        call.arg(device.0).arg(entry.to_string());
        self.command::<i64>("note that SOS is taken back", call).await.map(drop)
    }

    /// Whether a press was taken in.
    pub async fn knows_press(&self, press: &str) -> Result<bool, Error> {
        self.exists(&keys::alert_press(press)).await
    }

    /// Alerts for which it is time that something happens by itself, the longest overdue first.
    pub async fn due_alerts(&self, now_ms: u64, count: usize) -> Result<Vec<AlertId>, Error> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(keys::alerts_due()).arg("-inf").arg(now_ms).arg("LIMIT").arg(0).arg(count);
        self.command::<Vec<u64>>("look for due alerts", command).await.map(|ids| ids.into_iter().map(AlertId).collect())
    }

    /// How the alerts of an account's devices are escalated: JSON; `None` when nothing is known of the account.
    pub async fn alert_desk(&self, account: UserId) -> Result<Option<String>, Error> {
        let mut command = redis::cmd("HGET");
        command.arg(keys::alert_desks()).arg(account.0);
        self.command("ask how alerts are escalated", command).await
    }

    /// Puts all desks, JSON by account, in the place of what was there.
    pub async fn set_alert_desks(&self, desks: &BTreeMap<UserId, String>) -> Result<(), Error> {
        let mut pipeline = redis::Pipeline::new();
        pipeline.atomic();
        pipeline.cmd("DEL").arg(keys::alert_desks()).ignore();
        let command = pipeline.cmd("HSET").arg(keys::alert_desks()).arg("made").arg("1");
        for (account, desk) in desks {
            command.arg(account.0).arg(desk);
        }
        command.ignore();
        self.pipe("note how alerts are escalated", &pipeline).await
    }

    /// Whether the desks were ever set: what an emptied Redis does not have.
    pub async fn has_alert_desks(&self) -> Result<bool, Error> {
        let mut command = redis::cmd("HEXISTS");
        command.arg(keys::alert_desks()).arg("made");
        self.command("ask whether Redis knows the desks", command).await
    }
}
