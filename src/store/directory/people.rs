//! Looking for people.

use sqlx::AssertSqlSafe;

use super::super::conn::{Value, values};
use super::super::{Error, Store};
use super::account::kind_of;
use super::text::contains;
use crate::model::{FriendState, UserId, UserKind};

/// Somebody of the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundUser {
    /// The account.
    pub id: UserId,
    /// Its login name.
    pub name: String,
    /// What others see.
    pub nickname: String,
    /// Radio or dispatcher.
    pub kind: UserKind,
    /// How the one who looks stands with them; `None` for strangers.
    pub state: Option<FriendState>,
}

type Row = (i64, String, String, i64, i64, i64);

impl Store {
    /// The people of a user's tenant, the user left out, whose login name, nickname or IMEI contains a text; at most `limit`, by id.
    pub async fn search_users(&self, user: UserId, text: &str, limit: u32) -> Result<Vec<FoundUser>, Error> {
        let text = text.to_owned();
        self.read(format!("people that account {user} looks for"), move |conn| {
            Box::pin(async move {
                let (contains, patterns) = contains(&["a.name", "a.nickname", "d.imei"], &text);
                let sql = format!(
                    "SELECT a.id, a.name, a.nickname, a.kind, COALESCE(own.state, 0), COALESCE(theirs.state, 0) FROM account me \
                     JOIN account a ON a.tenant = me.tenant AND a.id <> me.id AND a.deleted_ms = 0 \
                     LEFT JOIN device d ON d.account = a.id \
                     LEFT JOIN friend own ON own.account = me.id AND own.other = a.id \
                     LEFT JOIN friend theirs ON theirs.account = a.id AND theirs.other = me.id \
                     WHERE me.id = ? AND {contains} ORDER BY a.id LIMIT ?"
                );
                let mut values = vec![Value::from(user.0)];
                values.extend(patterns.iter().map(|pattern| Value::from(pattern.as_str())));
                values.extend_from_slice(values![limit]);
                let rows: Vec<Row> = conn.all(AssertSqlSafe(sql), &values).await?;
                let found = |(id, name, nickname, kind, own, theirs): Row| {
                    let state = match (own, theirs) {
                        (2, _) => Some(FriendState::Friends),
                        (1, _) => Some(FriendState::Asked),
                        (_, 1) => Some(FriendState::Asks),
                        _ => None,
                    };
                    Ok(FoundUser { id: UserId(id.cast_unsigned()), name, nickname, kind: kind_of(conn, kind)?, state })
                };
                rows.into_iter().map(found).collect()
            })
        })
        .await
    }
}
