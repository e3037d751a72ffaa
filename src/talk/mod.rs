//! Talk as Janus tells of it: the JSON of its queue, and the files it is kept in. No Redis, no SQL.

mod said;

use std::time::Duration;

use sha2::{Digest as _, Sha256};

pub use said::{Burst, NotUnderstood, Said, announcement, parse};

use crate::model::FileId;

/// How long Redis remembers the id of what was announced; SQL remembers it for ever.
pub const ANNOUNCED_FOR: Duration = Duration::from_secs(7 * 86_400);

/// The id of the file of a recording: the same when it is stored again, and none that could be guessed without its content.
pub fn file_id(recording: &str, sha256: &[u8; 32]) -> FileId {
    let mut hash = Sha256::new();
    hash.update(recording);
    hash.update(sha256);
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = <[u8; 32]>::from(hash.finalize());
    FileId(u128::from_be_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]))
}
