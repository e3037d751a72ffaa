//! What a batch is fenced by: the row of its shard.

use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, values};
use super::super::dialect::{set_greater, set_later};
use super::{ArchiveBatch, Error, Position, upsert};

pub(super) async fn write_position(conn: &mut Conn, batch: &ArchiveBatch) -> Result<(), Error> {
    let Position { epoch, commit } = batch.upto;
    let set = set_later("archived_epoch", "archived_commit") + ", " + &set_greater("epoch");
    let row = [batch.shard.into(), epoch.into(), epoch.into(), commit.into()];
    upsert(conn, "shard (shard, epoch, archived_epoch, archived_commit)", "shard", &set, &[row]).await
}

/// Locks the shard's row, so that no epoch can be allocated until this transaction ends, and looks whether one was, and whether what the batch
/// goes on from is there.
pub(super) async fn check_fence(conn: &mut Conn, batch: &ArchiveBatch) -> Result<(), Error> {
    let shard = batch.shard;
    let insert = conn.dialect().insert_ignore().to_owned() + " shard (shard, epoch, archived_epoch, archived_commit) VALUES (?, 0, 0, 0)";
    conn.execute(AssertSqlSafe(insert), values![shard]).await?;
    conn.execute("UPDATE shard SET epoch = epoch WHERE shard = ?", values![shard]).await?;
    let sql = "SELECT epoch, archived_epoch, archived_commit FROM shard WHERE shard = ?";
    let (epoch, archived, commit): (i64, i64, i64) = conn.one(sql, values![shard]).await?;
    let (epoch, stored) = (epoch.cast_unsigned(), Position { epoch: archived.cast_unsigned(), commit: commit.cast_unsigned() });
    if let Some(allocated) = batch.allocated.filter(|allocated| epoch > *allocated) {
        return Err(Error::Fenced { shard, allocated, epoch });
    }
    match batch.behind {
        Some(expected) if stored < expected => Err(Error::Regressed { shard, expected, stored }),
        _ => Ok(()),
    }
}
