//! What the shards must still hear of changes in the directory.

use prost::Message as _;
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use super::next_numbers;
use crate::model::{MessageKind, TopicId};
use crate::topic::frame::{InItem, Input, NoticeBody};

/// One input for a topic's shard, to be pushed as a frame with the row's id as its number.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// From 1, rising in the order in which rows become visible; gaps are legal.
    pub id: u64,
    /// The topic it is for.
    pub topic: TopicId,
    /// `membership`, `register`, `profile` or `notice`, for people.
    pub kind: String,
    /// What to push.
    pub item: InItem,
    /// When it was written, UTC milliseconds.
    pub created_ms: u64,
}

/// An input on its way into the outbox.
pub(in crate::store) struct Outgoing {
    pub(super) topic: TopicId,
    pub(super) kind: &'static str,
    pub(super) input: Input,
}

impl Store {
    /// The first `limit` rows with ids above `after_id`, in order.
    pub async fn outbox(&self, after_id: u64, limit: u32) -> Result<Vec<OutboxRow>, Error> {
        self.read(format!("outbox after {after_id}"), move |conn| {
            Box::pin(async move {
                let sql = "SELECT id, topic, kind, item, created_ms FROM outbox WHERE id > ? ORDER BY id LIMIT ?";
                let rows: Vec<(i64, String, String, Vec<u8>, i64)> = conn.all(sql, values![after_id, limit]).await?;
                let row = |(id, topic, kind, item, created_ms): (i64, String, String, Vec<u8>, i64)| {
                    Ok(OutboxRow {
                        id: id.cast_unsigned(),
                        topic: conn.topic("outbox.topic", &topic)?,
                        kind,
                        item: InItem::decode(&*item).map_err(|source| conn.unreadable("outbox.item", source))?,
                        created_ms: created_ms.cast_unsigned(),
                    })
                };
                rows.into_iter().map(row).collect()
            })
        })
        .await
    }

    /// The id of the last row ever written; 0 for none.
    pub async fn outbox_last(&self) -> Result<u64, Error> {
        self.read("last row of the outbox".to_owned(), |conn| {
            Box::pin(async move {
                let (last,): (i64,) = conn.one("SELECT value FROM counter WHERE name = 'outbox'", &[]).await?;
                Ok(last.cast_unsigned())
            })
        })
        .await
    }

    /// The id of the first row that waits; `None` when none does.
    pub async fn outbox_first(&self) -> Result<Option<u64>, Error> {
        self.read("first row of the outbox".to_owned(), |conn| {
            Box::pin(async move {
                let first: Option<(i64,)> = conn.first("SELECT id FROM outbox ORDER BY id LIMIT 1", &[]).await?;
                Ok(first.map(|(id,)| id.cast_unsigned()))
            })
        })
        .await
    }

    /// Removes the rows up to and including `upto_id`: they are on their way. Returns how many there were.
    pub async fn outbox_done(&self, upto_id: u64) -> Result<u64, Error> {
        self.write(format!("outbox done up to {upto_id}"), move |conn| {
            Box::pin(async move { conn.execute("DELETE FROM outbox WHERE id <= ?", values![upto_id]).await })
        })
        .await
    }
}

/// A notice on its way into a topic.
pub(in crate::store) fn notice(topic: TopicId, kind: MessageKind, body: NoticeBody) -> Outgoing {
    Outgoing { topic, kind: "notice", input: Input::Notice(body.into_notice(topic, kind)) }
}

/// Appends to the outbox, in order. The last thing a transaction does: from here on all others that append wait for its end.
pub(in crate::store) async fn push_outbox(conn: &mut Conn, items: &[Outgoing], now_ms: u64) -> Result<(), Error> {
    if items.is_empty() {
        return Ok(());
    }
    let mut id = next_numbers(conn, "outbox", items.len() as u64).await?;
    for piece in pieces(items, usize::MAX, |_| 0) {
        let encoded: Vec<Vec<u8>> = piece.iter().map(|item| InItem::from(item.input.clone()).encode_to_vec()).collect();
        let mut row_values: Vec<Value<'_>> = Vec::with_capacity(piece.len() * 5);
        for (item, bytes) in piece.iter().zip(&encoded) {
            row_values.extend_from_slice(values![id, item.topic, item.kind, &**bytes, now_ms]);
            id += 1;
        }
        let sql = format!("INSERT INTO outbox (id, topic, kind, item, created_ms) VALUES {}", places(piece.len(), 5));
        conn.execute(AssertSqlSafe(sql), &row_values).await?;
    }
    Ok(())
}
