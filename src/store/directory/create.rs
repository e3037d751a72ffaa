//! New groups.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::super::conn::{Conn, values};
use super::super::{Error, Store};
use super::account::{Ensured, kind_of};
use super::change::{Noted, note};
use super::grant::{Standing, check_may_add};
use super::group::Group;
use super::members::{Applied, Change, apply_changes, lock_accounts};
use super::named::{check_free, named};
use super::outbox::push_outbox;
use super::scope::{author, not_permitted};
use super::temporary::{TEMPORARY_NAME, Tie, lock_temporary, tie_temporary};
use super::{check_name, lock_counter, next_numbers};
use crate::model::{GroupId, GroupKind, TenantId, UserId, UserKind};

/// The most live groups of an owner.
pub const OWNER_GROUPS_MAX: u64 = 512;

/// A group that somebody makes.
#[derive(Clone, Debug)]
pub enum NewGroup {
    /// Of a dispatcher, or who stands above one.
    Normal {
        /// 1 to 100 characters.
        name: String,
    },
    /// Of the same, for the while of a session.
    Temporary(Tie),
    /// Of anybody, for a call.
    Call {
        /// 1 to 100 characters; `None` for one of the fleet's.
        name: Option<String>,
    },
}

impl NewGroup {
    fn kind(&self) -> GroupKind {
        match self {
            Self::Normal { .. } => GroupKind::Normal,
            Self::Temporary(_) => GroupKind::Temporary,
            Self::Call { .. } => GroupKind::Call,
        }
    }
}

impl Store {
    /// Creates a normal group without owner and members. [`Error::NameTaken`] when the tenant has one of this name.
    pub async fn create_group(&self, tenant: TenantId, name: &str) -> Result<GroupId, Error> {
        let operation = format!("create group {name:?} of tenant {tenant}");
        match self.put_group(operation.clone(), tenant, name).await? {
            Ensured::Created(group) => Ok(group),
            Ensured::Changed(group) | Ensured::Unchanged(group) => Err(Error::NameTaken { operation, id: group.0 }),
        }
    }

    /// The group of a tenant and name that has no owner, created without members if there is none.
    pub async fn ensure_group(&self, tenant: TenantId, name: &str) -> Result<Ensured<GroupId>, Error> {
        self.put_group(format!("ensure group {name:?} of tenant {tenant}"), tenant, name).await
    }

    async fn put_group(&self, operation: String, tenant: TenantId, name: &str) -> Result<Ensured<GroupId>, Error> {
        let name = name.to_owned();
        check_name(&operation, &name)?;
        self.write(operation, move |conn| {
            Box::pin(async move {
                lock_counter(conn, "grp").await?;
                if let Some(group) = named(conn, tenant, None, &name).await? {
                    return Ok(Ensured::Unchanged(group));
                }
                let id = GroupId(next_numbers(conn, "grp", 1).await?);
                insert_group(conn, &Group { id, tenant, name, version: 0, kind: GroupKind::Normal, owner: None }, 0).await?;
                Ok(Ensured::Created(id))
            })
        })
        .await
    }

    /// Makes a group of an owner, who is its first member, and takes others in; also its version. The author must be the owner, or an operator.
    /// Temporary: takes the place of the one the owner has, if there is one. [`Error::NotPermitted`] when the owner is a device and
    /// the group is no call group, or one of the members is not the owner's to take in; [`Error::NameTaken`]; [`Error::Full`].
    pub async fn create_group_of(
        &self,
        owner: UserId,
        wanted: NewGroup,
        members: Vec<UserId>,
        now_ms: u64,
    ) -> Result<(GroupId, u64), Error> {
        let operation = format!("make a {:?} group of account {owner}", wanted.kind());
        if let NewGroup::Normal { name } | NewGroup::Call { name: Some(name) } = &wanted {
            check_name(&operation, name)?;
        }
        self.write(operation, move |conn| {
            Box::pin(async move {
                let members: BTreeSet<UserId> = members.into_iter().filter(|user| *user != owner).collect();
                let accounts: Vec<UserId> = std::iter::once(owner).chain(members.iter().copied()).collect();
                lock_accounts(conn, &accounts).await?;
                if author(conn).is_some_and(|author| author != owner) {
                    return Err(not_permitted(conn));
                }
                let tenant = check_owner(conn, owner, wanted.kind()).await?;
                lock_counter(conn, "grp").await?;
                let group = match wanted {
                    NewGroup::Normal { name } => new_group(conn, tenant, owner, GroupKind::Normal, Some(name), now_ms).await?,
                    NewGroup::Call { name } => new_group(conn, tenant, owner, GroupKind::Call, name, now_ms).await?,
                    NewGroup::Temporary(tie) => {
                        let group = match lock_temporary(conn, owner).await? {
                            Some(group) => group,
                            None => new_group(conn, tenant, owner, GroupKind::Temporary, Some(TEMPORARY_NAME.to_owned()), now_ms).await?,
                        };
                        tie_temporary(conn, &group, tie).await?;
                        group
                    }
                };
                let mut changes = vec![Change::join(owner)];
                changes.extend(super::members::replacing(conn, &group, &members).await?);
                check_may_add(conn, &group, Standing::Owner, &changes).await?;
                let Applied { version, outgoing, .. } = apply_changes(conn, &group, &changes).await?;
                push_outbox(conn, &outgoing, now_ms).await?;
                Ok((group.id, version))
            })
        })
        .await
    }
}

/// The tenant of an account that may own a group of a kind.
async fn check_owner(conn: &mut Conn, owner: UserId, kind: GroupKind) -> Result<TenantId, Error> {
    let sql = "SELECT tenant, kind FROM account WHERE id = ? AND deleted_ms = 0 AND disabled = 0";
    let Some((tenant, account_kind)) = conn.first::<(i64, i64)>(sql, values![owner.0]).await? else { return Err(not_permitted(conn)) };
    if kind != GroupKind::Call && kind_of(conn, account_kind)? < UserKind::Dispatcher {
        return Err(not_permitted(conn));
    }
    Ok(TenantId(tenant.cast_unsigned()))
}

/// Inserts a group of an owner, under the lock of the counter. Without a name it is called by its number.
async fn new_group(
    conn: &mut Conn,
    tenant: TenantId,
    owner: UserId,
    kind: GroupKind,
    name: Option<String>,
    now_ms: u64,
) -> Result<Group, Error> {
    let (groups,): (i64,) = conn.one("SELECT COUNT(*) FROM grp WHERE owner = ? AND dissolved_ms = 0", values![owner.0]).await?;
    if groups.cast_unsigned() >= OWNER_GROUPS_MAX {
        return Err(Error::Full { operation: conn.operation.clone(), what: "groups of an account", max: OWNER_GROUPS_MAX });
    }
    let id = GroupId(next_numbers(conn, "grp", 1).await?);
    let name = match name {
        Some(name) => {
            if kind != GroupKind::Temporary {
                check_free(conn, tenant, Some(owner), &name).await?;
            }
            name
        }
        None => {
            let mut name = format!("call {id}");
            // Who calls a group by the number of a later one finds that one called otherwise.
            while named(conn, tenant, Some(owner), &name).await?.is_some() {
                name.push('+');
            }
            name
        }
    };
    let group = Group { id, tenant, name, version: 0, kind, owner: Some(owner) };
    insert_group(conn, &group, now_ms).await?;
    Ok(group)
}

async fn insert_group(conn: &mut Conn, group: &Group, now_ms: u64) -> Result<(), Error> {
    let Group { id, tenant, name, kind, owner, .. } = group;
    let sql = "INSERT INTO grp (id, tenant, name, version, owner, kind, created_ms) VALUES (?, ?, ?, 0, ?, ?, ?)";
    let values = values![id.0, tenant.0, name.as_str(), owner.unwrap_or_default().0, *kind as u32, now_ms];
    conn.execute(sql, values).await?;
    let (subject, after) = (format!("group:{id}"), json!({ "name": name, "tenant": tenant, "kind": kind, "owner": owner }));
    note(conn, Noted { what: "group.added", subject, before: Json::Null, after }).await
}
