//! Temporary groups: one of a dispatcher at a time, for the while of a session.

use serde_json::json;

use super::super::conn::{Conn, values};
use super::super::{Error, Store};
use super::change::{Noted, note};
use super::dissolve::dissolve;
use super::group::{Group, lock_group};
use super::outbox::push_outbox;
use crate::model::{GroupId, InstallationId, SessionId, UserId};

/// What all of them are called.
pub const TEMPORARY_NAME: &str = "temporary";

/// What a temporary group lives as long as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tie {
    /// Of the owner.
    pub installation: InstallationId,
    /// Of the installation.
    pub session: SessionId,
}

/// A live temporary group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemporaryGroup {
    /// The group.
    pub group: GroupId,
    /// Whose it is.
    pub owner: UserId,
    /// What it lives as long as.
    pub tie: Tie,
}

type Row = (i64, i64, i64, i64);

impl Store {
    /// The live temporary groups by id, behind `after`, at most `limit`.
    pub async fn temporary_groups(&self, after: GroupId, limit: u32) -> Result<Vec<TemporaryGroup>, Error> {
        self.read("temporary groups".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = "SELECT id, owner, installation, session FROM grp \
                           WHERE kind = 2 AND dissolved_ms = 0 AND id > ? ORDER BY id LIMIT ?";
                let rows: Vec<Row> = conn.all(sql, values![after.0, limit]).await?;
                Ok(rows.into_iter().map(temporary_of).collect())
            })
        })
        .await
    }

    /// Dissolves the temporary group of an owner, if it lives as long as a session of this installation: as the given one, or any for `None`.
    /// Returns which; `None` when there is none, or it has come to belong to another session. Harmless when repeated.
    pub async fn dissolve_temporary(
        &self,
        owner: UserId,
        installation: InstallationId,
        session: Option<SessionId>,
        now_ms: u64,
    ) -> Result<Option<GroupId>, Error> {
        self.write(format!("dissolve the temporary group of account {owner}"), move |conn| {
            Box::pin(async move {
                let ended = |found: &TemporaryGroup| {
                    found.tie.installation == installation && session.is_none_or(|session| session == found.tie.session)
                };
                let Some(locked) = lock_temporary(conn, owner).await? else { return Ok(None) };
                // Judged under the lock: another session may have taken it over just now.
                if !of_owner(conn, owner).await?.is_some_and(|found| ended(&found)) {
                    return Ok(None);
                }
                let outgoing = dissolve(conn, &locked, now_ms).await?;
                push_outbox(conn, &outgoing, now_ms).await?;
                Ok(Some(locked.id))
            })
        })
        .await
    }
}

fn temporary_of((group, owner, installation, session): Row) -> TemporaryGroup {
    let tie = Tie { installation: InstallationId(installation.cast_unsigned()), session: SessionId(session.cast_unsigned()) };
    TemporaryGroup { group: GroupId(group.cast_unsigned()), owner: UserId(owner.cast_unsigned()), tie }
}

/// The live temporary group of an owner, locked.
pub(super) async fn lock_temporary(conn: &mut Conn, owner: UserId) -> Result<Option<Group>, Error> {
    let Some(TemporaryGroup { group, .. }) = of_owner(conn, owner).await? else { return Ok(None) };
    match lock_group(conn, group).await {
        Ok(locked) => Ok(Some(locked)),
        // Dissolved before it was locked.
        Err(Error::NoGroup { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The live temporary group of an owner.
async fn of_owner(conn: &mut Conn, owner: UserId) -> Result<Option<TemporaryGroup>, Error> {
    let sql = "SELECT id, owner, installation, session FROM grp WHERE owner = ? AND kind = 2 AND dissolved_ms = 0 ORDER BY id LIMIT 1";
    Ok(conn.first::<Row>(sql, values![owner.0]).await?.map(temporary_of))
}

/// Lets a locked temporary group live as long as a session. Sessions are secrets: the audit row names the installation.
pub(super) async fn tie_temporary(conn: &mut Conn, group: &Group, tie: Tie) -> Result<(), Error> {
    let sql = "SELECT id, owner, installation, session FROM grp WHERE id = ?";
    let before = temporary_of(conn.one::<Row>(sql, values![group.id.0]).await?).tie;
    if before == tie {
        return Ok(());
    }
    let Tie { installation, session } = tie;
    let sql = "UPDATE grp SET installation = ?, session = ? WHERE id = ?";
    conn.execute(sql, values![installation.0, session.0, group.id.0]).await?;
    let state = |tie: Tie| json!({ "installation": tie.installation });
    let (subject, before, after) = (format!("group:{}", group.id), state(before), state(tie));
    note(conn, Noted { what: "group.tied", subject, before, after }).await
}
