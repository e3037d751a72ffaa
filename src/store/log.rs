//! Reading the archived logs of topics.

use super::conn::{Conn, values};
use super::{Error, Store};
use crate::model::{Place, Span, TopicId};
use crate::topic::frame::{Entry, HeadRow};

/// Rows read at once: bodies may have 64 KiB.
const STEP_ROWS_MAX: u64 = 128;

impl Store {
    /// The entries of a topic in a span, in order: the first `entries_max` of them, and no more once the bodies have `bytes_max` bytes
    /// (but at least one). An empty answer means that there are none.
    pub async fn entries(&self, topic: TopicId, span: Span, entries_max: usize, bytes_max: usize) -> Result<Vec<Entry>, Error> {
        self.read(format!("entries of {topic} from {} to {}", span.after, span.upto), move |conn| {
            Box::pin(async move { read_span(conn, topic, span, entries_max.max(1), bytes_max).await })
        })
        .await
    }

    /// The head of a topic as far as it is archived.
    pub async fn head(&self, topic: TopicId) -> Result<Option<HeadRow>, Error> {
        self.read(format!("head of {topic}"), move |conn| Box::pin(async move { read_head(conn, topic).await })).await
    }
}

pub(super) async fn read_head(conn: &mut Conn, topic: TopicId) -> Result<Option<HeadRow>, Error> {
    let sql = "SELECT epoch, seq, time_ms, tenant, profile_version, manager, nickname FROM topic_head WHERE topic = ?";
    let row: Option<(i64, i64, i64, i64, i64, i64, String)> = conn.first(sql, values![topic]).await?;
    Ok(row.map(|(epoch, seq, time_ms, tenant, profile_version, manager, nickname)| HeadRow {
        topic: topic.packed(),
        head: Place::new(epoch.cast_unsigned(), seq.cast_unsigned()).into(),
        time_ms: time_ms.cast_unsigned(),
        tenant: tenant.cast_unsigned(),
        profile_version: profile_version.cast_unsigned(),
        manager: manager.cast_unsigned(),
        nickname,
    }))
}

/// Reads epoch by epoch. A comparison of pairs would be one statement, but MariaDB does not use an index for it, and with the
/// alternatives written out it reads the whole first epoch.
async fn read_span(conn: &mut Conn, topic: TopicId, span: Span, entries_max: usize, bytes_max: usize) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    let mut at = span.after;
    while at < span.upto {
        let seq_max = if at.epoch == span.upto.epoch { span.upto.seq } else { u64::MAX };
        let limit = STEP_ROWS_MAX.min((entries_max - entries.len()) as u64);
        let rows = read_step(conn, topic, at, seq_max, limit).await?;
        let full = rows.len() as u64 == limit;
        for entry in rows {
            at = entry.place();
            bytes += entry.body.len();
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(entry);
            if entries.len() == entries_max {
                return Ok(entries);
            }
        }
        if !full {
            let Some(epoch) = next_epoch(conn, topic, at.epoch, span.upto.epoch).await? else { break };
            at = Place::new(epoch, 0);
        }
    }
    Ok(entries)
}

type EntryRecord = (i64, i64, i64, i64, i64, i64, Vec<u8>);

async fn read_step(conn: &mut Conn, topic: TopicId, after: Place, seq_max: u64, limit: u64) -> Result<Vec<Entry>, Error> {
    let sql = "SELECT seq, time_ms, sender, installation, client_seq, kind, body FROM message \
               WHERE topic = ? AND epoch = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?";
    let values = values![topic, bounded(after.epoch), bounded(after.seq), bounded(seq_max), limit];
    let rows: Vec<EntryRecord> = conn.all(sql, values).await?;
    let entry = |(seq, time_ms, sender, installation, client_seq, kind, body): EntryRecord| {
        Ok(Entry {
            topic: topic.packed(),
            epoch: after.epoch,
            seq: seq.cast_unsigned(),
            time_ms: time_ms.cast_unsigned(),
            sender: sender.cast_unsigned(),
            installation: installation.cast_unsigned(),
            client_seq: client_seq.cast_unsigned(),
            kind: u32::try_from(kind).map_err(|source| conn.unreadable("message.kind", source))?,
            body: body.into(),
        })
    };
    rows.into_iter().map(entry).collect()
}

/// The first epoch behind `epoch` in which the topic has entries, up to `epoch_max`.
pub(super) async fn next_epoch(conn: &mut Conn, topic: TopicId, epoch: u64, epoch_max: u64) -> Result<Option<u64>, Error> {
    let sql = "SELECT epoch FROM message WHERE topic = ? AND epoch > ? AND epoch <= ? ORDER BY epoch LIMIT 1";
    let row: Option<(i64,)> = conn.first(sql, values![topic, bounded(epoch), bounded(epoch_max)]).await?;
    Ok(row.map(|(epoch,)| epoch.cast_unsigned()))
}

/// A part of a place as a bound: the end of everything does not fit into a signed column.
fn bounded(part: u64) -> i64 {
    i64::try_from(part).unwrap_or(i64::MAX)
}
