//! Groups by their names, and what changes with a name.

use serde_json::json;

use super::super::conn::values;
use super::super::{Error, Store};
use super::change::{Noted, note};
use super::group::{Group, group_of, lock_group};
use super::outbox::{Outgoing, push_outbox};
use crate::model::{GroupId, TenantId, TopicId, UserId};
use crate::topic::frame::{Input, Register};

impl Store {
    /// The group of a tenant and name.
    pub async fn group_by_name(&self, tenant: TenantId, name: &str) -> Result<Option<Group>, Error> {
        let name = name.to_owned();
        self.read(format!("group {name:?} of tenant {tenant}"), move |conn| {
            Box::pin(async move {
                let sql = "SELECT id, tenant, name, version FROM grp WHERE tenant = ? AND name = ?";
                let row: Option<(i64, i64, String, i64)> = conn.first(sql, values![tenant.0, name.as_str()]).await?;
                Ok(row.map(group_of))
            })
        })
        .await
    }

    /// Gives a group another name, and tells its members' inboxes. False when it has the name already. [`Error::NameTaken`] when another
    /// group of the tenant has it.
    pub async fn rename_group(&self, group: GroupId, name: &str, now_ms: u64) -> Result<bool, Error> {
        let name = name.to_owned();
        let operation = format!("rename group {group} to {name:?}");
        super::check_name(&operation, &name)?;
        self.write(operation, move |conn| {
            Box::pin(async move {
                let locked = lock_group(conn, group).await?;
                if locked.name == name {
                    return Ok(false);
                }
                let sql = "SELECT id FROM grp WHERE tenant = ? AND name = ?";
                if let Some((id,)) = conn.first::<(i64,)>(sql, values![locked.tenant.0, name.as_str()]).await? {
                    return Err(Error::NameTaken { operation: conn.operation.clone(), id: id.cast_unsigned() });
                }
                let (subject, before, after) = (format!("group:{group}"), json!({ "name": locked.name }), json!({ "name": name }));
                note(conn, Noted { what: "group.renamed", subject, before, after }).await?;
                // A version of its own: a register that is not newer is not heard.
                let version = locked.version + 1;
                conn.execute("UPDATE grp SET name = ?, version = ? WHERE id = ?", values![name.as_str(), version, group.0]).await?;
                let sql = "SELECT account FROM grp_member WHERE grp = ? AND present = 1 ORDER BY account";
                let members: Vec<(i64,)> = conn.all(sql, values![group.0]).await?;
                let register = |(user,): (i64,)| {
                    let topic = TopicId::inbox(UserId(user.cast_unsigned()));
                    let (joined, name) = (true, name.clone());
                    let register = Register { topic: topic.packed(), group: group.0, version, joined, name, ..Register::default() };
                    Outgoing { topic, kind: "register", input: Input::Register(register) }
                };
                let outgoing: Vec<Outgoing> = members.into_iter().map(register).collect();
                push_outbox(conn, &outgoing, now_ms).await?;
                Ok(true)
            })
        })
        .await
    }
}
