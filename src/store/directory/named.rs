//! Groups by their names, and what changes with a name.

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, values};
use super::super::{Error, Store};
use super::account::Ensured;
use super::change::{Noted, note};
use super::grant::{Standing, check_standing};
use super::group::{GROUP_COLUMNS, Group, GroupRow, group_of, lock_group};
use super::lock_counter;
use super::members::{present_members, register_of};
use super::outbox::{Outgoing, push_outbox};
use crate::model::{GroupId, GroupKind, MessageKind, TenantId, TopicId, UserId};
use crate::topic::frame::{Input, NoticeBody};

impl Store {
    /// The live group of a tenant and name. [`Error::Ambiguous`] when several owners have one of the name.
    pub async fn group_by_name(&self, tenant: TenantId, name: &str) -> Result<Option<Group>, Error> {
        let name = name.to_owned();
        self.read(format!("group {name:?} of tenant {tenant}"), move |conn| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT {GROUP_COLUMNS} FROM grp g WHERE g.tenant = ? AND g.name = ? AND g.dissolved_ms = 0 ORDER BY g.id LIMIT 100"
                );
                let rows: Vec<GroupRow> = conn.all(AssertSqlSafe(sql), values![tenant.0, name.as_str()]).await?;
                if rows.len() > 1 {
                    let ids = rows.iter().map(|row| GroupId(row.0.cast_unsigned())).collect();
                    return Err(Error::Ambiguous { operation: conn.operation.clone(), ids });
                }
                rows.into_iter().next().map(|row| group_of(conn, row)).transpose()
            })
        })
        .await
    }

    /// The live groups of a tenant by id, behind `after`, at most `limit`.
    pub async fn groups_of_tenant(&self, tenant: TenantId, after: GroupId, limit: u32) -> Result<Vec<Group>, Error> {
        self.read(format!("groups of tenant {tenant}"), move |conn| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT {GROUP_COLUMNS} FROM grp g WHERE g.tenant = ? AND g.dissolved_ms = 0 AND g.id > ? ORDER BY g.id LIMIT ?"
                );
                let rows: Vec<GroupRow> = conn.all(AssertSqlSafe(sql), values![tenant.0, after.0, limit]).await?;
                rows.into_iter().map(|row| group_of(conn, row)).collect()
            })
        })
        .await
    }

    /// Gives a group another name; the group's version says whether it had it. Its topic is told once, and the registers of its members
    /// follow. The author must be one of its managers. [`Error::NameTaken`] when another group of the owner has the name;
    /// [`Error::Invalid`] for a temporary group, whose name is fixed.
    pub async fn rename_group(&self, group: GroupId, name: &str, now_ms: u64) -> Result<Ensured<u64>, Error> {
        let name = name.to_owned();
        let operation = format!("rename group {group} to {name:?}");
        super::check_name(&operation, &name)?;
        self.write(operation, move |conn| {
            Box::pin(async move {
                lock_counter(conn, "grp").await?;
                let mut renamed = lock_group(conn, group).await?;
                check_standing(conn, &renamed, Standing::Manager).await?;
                if renamed.kind == GroupKind::Temporary {
                    let (field, rule) = ("group_id", "must not be that of a temporary group");
                    return Err(Error::Invalid { operation: conn.operation.clone(), field, rule });
                }
                if renamed.name == name {
                    return Ok(Ensured::Unchanged(renamed.version));
                }
                check_free(conn, renamed.tenant, renamed.owner, &name).await?;
                let (subject, before, after) = (format!("group:{group}"), json!({ "name": renamed.name }), json!({ "name": name }));
                note(conn, Noted { what: "group.renamed", subject, before, after }).await?;
                // A version of its own: a register that is not newer is not heard.
                let version = renamed.version + 1;
                renamed.name = name;
                conn.execute("UPDATE grp SET name = ?, version = ? WHERE id = ?", values![renamed.name.as_str(), version, group.0]).await?;
                let topic = TopicId::group(group);
                let body = NoticeBody { group: group.0, version, name: renamed.name.clone(), ..NoticeBody::default() };
                let notice = Input::Notice(body.into_notice(topic, MessageKind::Renamed));
                let mut outgoing = vec![Outgoing { topic, kind: "notice", input: notice }];
                let members = present_members(conn, group).await?;
                outgoing.extend(members.into_iter().map(|user| register_of(&renamed, version, user, None)));
                push_outbox(conn, &outgoing, now_ms).await?;
                Ok(Ensured::Changed(version))
            })
        })
        .await
    }
}

/// The live group of an owner and name; temporary ones, which are all called alike, left out. To be asked under the lock of the counter.
pub(super) async fn named(conn: &mut Conn, tenant: TenantId, owner: Option<UserId>, name: &str) -> Result<Option<GroupId>, Error> {
    let sql = "SELECT id FROM grp WHERE tenant = ? AND name = ? AND owner = ? AND dissolved_ms = 0 AND kind <> 2";
    let found: Option<(i64,)> = conn.first(sql, values![tenant.0, name, owner.unwrap_or_default().0]).await?;
    Ok(found.map(|(id,)| GroupId(id.cast_unsigned())))
}

/// [`Error::NameTaken`] when the owner has a live group of this name.
pub(super) async fn check_free(conn: &mut Conn, tenant: TenantId, owner: Option<UserId>, name: &str) -> Result<(), Error> {
    match named(conn, tenant, owner, name).await? {
        Some(id) => Err(Error::NameTaken { operation: conn.operation.clone(), id: id.0 }),
        None => Ok(()),
    }
}
