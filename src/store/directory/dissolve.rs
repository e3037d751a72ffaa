//! The end of a group: all leave. Its row and its log stay, and nobody finds it any more.

use serde_json::json;

use super::super::conn::{Conn, values};
use super::super::{Error, Store};
use super::change::{Noted, note};
use super::grant::{Standing, check_standing};
use super::group::{Group, lock_group};
use super::members::{Change, apply_changes, present_members};
use super::outbox::{Outgoing, push_outbox};
use crate::model::{GroupId, LeftWhy};

impl Store {
    /// Dissolves a group. The author must be its owner, or manage its owner. [`Error::NoGroup`] when it was dissolved before.
    pub async fn dissolve_group(&self, group: GroupId, now_ms: u64) -> Result<(), Error> {
        self.write(format!("dissolve group {group}"), move |conn| {
            Box::pin(async move {
                let locked = lock_group(conn, group).await?;
                check_standing(conn, &locked, Standing::Owner).await?;
                let outgoing = dissolve(conn, &locked, now_ms).await?;
                push_outbox(conn, &outgoing, now_ms).await
            })
        })
        .await
    }
}

/// Dissolves a locked group. What it means for the shards is to be pushed.
pub(super) async fn dissolve(conn: &mut Conn, group: &Group, now_ms: u64) -> Result<Vec<Outgoing>, Error> {
    let members = present_members(conn, group.id).await?;
    let (subject, name) = (format!("group:{}", group.id), group.name.as_str());
    let before = json!({ "name": name, "kind": group.kind, "owner": group.owner, "members": members.len() });
    note(conn, Noted { what: "group.dissolved", subject, before, after: serde_json::Value::Null }).await?;
    let changes: Vec<Change> = members.into_iter().map(|user| Change::leave(user, LeftWhy::Dissolved)).collect();
    let applied = apply_changes(conn, group, &changes).await?;
    // At least 1: 0 says that it lives.
    conn.execute("UPDATE grp SET dissolved_ms = ? WHERE id = ?", values![now_ms.max(1), group.id.0]).await?;
    Ok(applied.outgoing)
}
