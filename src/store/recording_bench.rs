//! All recordings one after the other, for `roger bench` to count.

use super::conn::values;
use super::{Error, Store};
use crate::model::{GroupId, UserId};

/// What is counted of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its number.
    pub id: u64,
    /// In whose room it was.
    pub group: GroupId,
    /// Who talked.
    pub speaker: UserId,
    /// Where it is.
    pub file: String,
}

impl Store {
    /// At most `limit` recordings behind the one of number `after`, in the order of their numbers; begin with 0.
    pub async fn bench_recordings(&self, after: u64, limit: u32) -> Result<Vec<Counted>, Error> {
        self.read("count recordings".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = "SELECT id, grp, speaker, file FROM recording WHERE id > ? ORDER BY id LIMIT ?";
                let rows: Vec<(i64, i64, i64, String)> = conn.all(sql, values![after, limit]).await?;
                let counted = |(id, group, speaker, file): (i64, i64, i64, String)| Counted {
                    id: id.cast_unsigned(),
                    group: GroupId(group.cast_unsigned()),
                    speaker: UserId(speaker.cast_unsigned()),
                    file,
                };
                Ok(rows.into_iter().map(counted).collect())
            })
        })
        .await
    }
}
