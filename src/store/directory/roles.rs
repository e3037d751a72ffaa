//! Who is a manager of a group.

use serde_json::json;
use sqlx::AssertSqlSafe;

use std::collections::{BTreeMap, BTreeSet};

use super::super::conn::{Conn, Value, pieces, places};
use super::super::{Error, Store};
use super::change::{Noted, note_all};
use super::grant::{Standing, check_standing};
use super::group::{Group, lock_group, role_of};
use super::outbox::{Outgoing, push_outbox};
use super::scope::not_permitted;
use crate::model::{GroupId, MemberRole, MessageKind, TopicId, UserId};
use crate::topic::frame::{Input, NoticeBody};

impl Store {
    /// Gives members of a group a role, manager or mere member: all of them, or none. Returns how many had another one; of each the group
    /// hears. The author must be the owner, or manage the owner. [`Error::NotPermitted`] when one is no member; [`Error::OwnerStays`]
    /// when the owner is among them, or the role is the owner's.
    pub async fn set_roles(&self, group: GroupId, users: &[UserId], role: MemberRole, now_ms: u64) -> Result<u64, Error> {
        let users: BTreeSet<UserId> = users.iter().copied().collect();
        self.write(format!("make {} members of group {group} {role:?}", users.len()), move |conn| {
            Box::pin(async move {
                let locked = lock_group(conn, group).await?;
                check_standing(conn, &locked, Standing::Owner).await?;
                let has = roles(conn, &locked, &users).await?;
                if has.len() != users.len() {
                    return Err(not_permitted(conn));
                }
                let owner = has.iter().find(|(_, has)| **has == MemberRole::Owner || role == MemberRole::Owner);
                if let Some((user, _)) = owner {
                    return Err(Error::OwnerStays { operation: conn.operation.clone(), group, user: *user });
                }
                let changing: Vec<UserId> = has.iter().filter(|(_, has)| **has != role).map(|(user, _)| *user).collect();
                for piece in pieces(&changing, usize::MAX, |_| 0) {
                    let sql = format!("UPDATE grp_member SET role = ? WHERE grp = ? AND account IN {}", places(1, piece.len()));
                    let mut values = vec![Value::from(role as u32), Value::from(group.0)];
                    values.extend(piece.iter().map(|user| Value::from(user.0)));
                    conn.execute(AssertSqlSafe(sql), &values).await?;
                }
                let state = |user: &UserId, role: MemberRole| json!({ "group": locked.name, "account": user, "role": role });
                let noted = |user| Noted {
                    what: "member.role",
                    subject: format!("group:{group}"),
                    before: state(user, has[user]),
                    after: state(user, role),
                };
                note_all(conn, &changing.iter().map(noted).collect::<Vec<_>>()).await?;
                let outgoing: Vec<Outgoing> = changing.iter().map(|user| role_changed(group, *user, role)).collect();
                push_outbox(conn, &outgoing, now_ms).await?;
                Ok(changing.len() as u64)
            })
        })
        .await
    }
}

fn role_changed(group: GroupId, user: UserId, role: MemberRole) -> Outgoing {
    let topic = TopicId::group(group);
    let body = NoticeBody { group: group.0, user: user.0, role: role as u32, ..NoticeBody::default() };
    Outgoing { topic, kind: "notice", input: Input::Notice(body.into_notice(topic, MessageKind::RoleChanged)) }
}

/// The roles of those that are members.
async fn roles(conn: &mut Conn, group: &Group, users: &BTreeSet<UserId>) -> Result<BTreeMap<UserId, MemberRole>, Error> {
    let mut found = BTreeMap::new();
    for piece in pieces(&users.iter().copied().collect::<Vec<_>>(), usize::MAX, |_| 0) {
        let sql = format!("SELECT account, role FROM grp_member WHERE grp = ? AND present = 1 AND account IN {}", places(1, piece.len()));
        let mut values = vec![Value::from(group.id.0)];
        values.extend(piece.iter().map(|user| Value::from(user.0)));
        for (user, role) in conn.all::<(i64, i64)>(AssertSqlSafe(sql), &values).await? {
            found.insert(UserId(user.cast_unsigned()), role_of(conn, role)?);
        }
    }
    Ok(found)
}
