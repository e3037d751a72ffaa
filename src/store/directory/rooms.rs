//! In whose room users are, as far as the archive knows: some hundred milliseconds behind their inboxes.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::AssertSqlSafe;

use super::super::conn::{Value, pieces, places};
use super::super::{Error, Store};
use crate::model::{GroupId, TopicId, UserId};

impl Store {
    /// The rooms of some users; those in none are left out.
    pub async fn rooms_of(&self, users: &BTreeSet<UserId>, shards: u32) -> Result<BTreeMap<UserId, GroupId>, Error> {
        let mut by_shard: BTreeMap<u32, Vec<TopicId>> = BTreeMap::new();
        for inbox in users.iter().copied().map(TopicId::inbox) {
            by_shard.entry(inbox.shard(shards)).or_default().push(inbox);
        }
        self.read(format!("rooms of {} accounts", users.len()), move |conn| {
            Box::pin(async move {
                let mut rooms = BTreeMap::new();
                for (shard, inboxes) in by_shard {
                    for piece in pieces(&inboxes, usize::MAX, |_| 0) {
                        let sql = format!(
                            "SELECT topic, grp FROM topic_room WHERE shard = ? AND joined = 1 AND topic IN {}",
                            places(1, piece.len())
                        );
                        let mut values = vec![Value::from(shard)];
                        values.extend(piece.iter().map(|inbox| Value::from(*inbox)));
                        for (topic, group) in conn.all::<(String, i64)>(AssertSqlSafe(sql), &values).await? {
                            let user = UserId(conn.topic("topic_room.topic", &topic)?.id());
                            rooms.insert(user, GroupId(group.cast_unsigned()));
                        }
                    }
                }
                Ok(rooms)
            })
        })
        .await
    }
}
