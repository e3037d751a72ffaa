//! Files: a row for each upload, a row for each content, and which objects belong to neither any more.
//!
//! A content is stored once, however often it is uploaded. Its object has a key of its own, chosen by whoever stores it first: when a
//! content goes and comes back meanwhile, the old object's removal does not touch the new one. An object is noted as stray before it is
//! written, and adopted in the transaction of its first file, so that a program that dies between the two leaves something to sweep.
//!
//! Transactions lock the tenant's use first, then contents in order: uploads and sweeps wait for each other and never in a circle.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::AssertSqlSafe;

use super::conn::{Conn, Value, values};
use super::{Error, Store};
use crate::model::{Digest, FileId, FilePurpose, TenantId, TopicId, TopicKind, UserId};

/// A stored file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StoredFile {
    /// Its id.
    pub id: FileId,
    /// The company of who uploaded it.
    pub tenant: TenantId,
    /// Who uploaded it.
    pub uploader: UserId,
    /// What for.
    pub purpose: FilePurpose,
    /// The topic an attachment is for, as `u:7` or `g:3`.
    #[serde(serialize_with = "topic_text")]
    pub topic: Option<TopicId>,
    /// A label: no path, and no statement of what is in it.
    pub name: String,
    /// By its content, as `image/png`.
    pub media_type: String,
    /// Its length.
    pub bytes: u64,
    /// Of its content.
    pub sha256: Digest,
    /// When it was uploaded, UTC milliseconds.
    pub created_ms: u64,
    /// From when on it is gone, UTC milliseconds.
    pub expires_ms: u64,
    /// Where its content lies.
    #[serde(skip)]
    pub object: String,
}

fn topic_text<S: serde::Serializer>(topic: &Option<TopicId>, serializer: S) -> Result<S::Ok, S::Error> {
    match topic {
        Some(topic) => serializer.collect_str(topic),
        None => serializer.serialize_none(),
    }
}

/// A file about to be stored; as [`StoredFile`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Random.
    pub id: FileId,
    /// The company.
    pub tenant: TenantId,
    /// Who uploads it.
    pub uploader: UserId,
    /// What for.
    pub purpose: FilePurpose,
    /// Of an attachment.
    pub topic: Option<TopicId>,
    /// At most 255 characters.
    pub name: String,
    /// At most 128 characters.
    pub media_type: String,
    /// Its length.
    pub bytes: u64,
    /// Of its content.
    pub sha256: Digest,
    /// From when on it is gone, UTC milliseconds; `u64::MAX` for never.
    pub expires_ms: u64,
}

/// What became of a file that was to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAdded {
    /// It is there.
    Added(StoredFile),
    /// The tenant has so many bytes in files already.
    QuotaExceeded {
        /// Bytes in use.
        used: u64,
    },
    /// Its content is not there: no object was given, or the given one is no stray any more. Store the object, and try again.
    NoContent,
}

/// How much time an upload has at least from noting its object to adopting it; clocks of a fleet differ by less.
const ADOPT_MARGIN_MS: u64 = 3_600_000;
/// How long an object may wait to be adopted before it is swept.
pub const ADOPT_WITHIN_MS: u64 = 24 * 3_600_000;
/// The most files one transaction of a sweep removes.
pub const SWEEP_FILES_MAX: u32 = 100;

type FileRow = (String, i64, i64, i64, String, String, String, i64, String, i64, i64, String);

const COLUMNS: &str = "f.id, f.tenant, f.uploader, f.purpose, f.topic, f.name, f.media_type, f.bytes, f.sha256, f.created_ms, \
                       f.expires_ms, c.object";
const FROM: &str = "FROM file f JOIN content c ON c.sha256 = f.sha256";

impl Store {
    /// Whether a content is there.
    pub async fn has_content(&self, sha256: Digest) -> Result<bool, Error> {
        self.read(format!("look for content {sha256}"), move |conn| {
            Box::pin(async move {
                let sql = "SELECT bytes FROM content WHERE sha256 = ?";
                Ok(conn.first::<(i64,)>(sql, values![sha256.to_string().as_str()]).await?.is_some())
            })
        })
        .await
    }

    /// Notes an object that is about to be written: it is swept unless a file adopts it within [`ADOPT_WITHIN_MS`].
    pub async fn note_object(&self, object: &str, now_ms: u64) -> Result<(), Error> {
        let object = object.to_owned();
        self.write(format!("note object {object}"), move |conn| {
            Box::pin(async move { stray(conn, &object, now_ms + ADOPT_WITHIN_MS).await })
        })
        .await
    }

    /// Stores a file, whose content is there or is `object`, noted before; `quota` bytes for all files of the tenant, 0 for no bound.
    pub async fn add_file(&self, file: NewFile, object: Option<&str>, quota: u64, now_ms: u64) -> Result<FileAdded, Error> {
        let object = object.map(str::to_owned);
        self.write(format!("add file {} of account {}", file.id, file.uploader), move |conn| {
            Box::pin(async move {
                let used = lock_use(conn, file.tenant).await?;
                if quota > 0 && used.saturating_add(file.bytes) > quota {
                    return Ok(FileAdded::QuotaExceeded { used });
                }
                let Some(object) = adopt(conn, &file, object.as_deref(), now_ms).await? else { return Ok(FileAdded::NoContent) };
                insert(conn, &file, now_ms).await?;
                let NewFile { id, tenant, uploader, purpose, topic, name, media_type, bytes, sha256, expires_ms } = file;
                let created_ms = now_ms;
                Ok(FileAdded::Added(StoredFile {
                    id,
                    tenant,
                    uploader,
                    purpose,
                    topic,
                    name,
                    media_type,
                    bytes,
                    sha256,
                    created_ms,
                    expires_ms,
                    object,
                }))
            })
        })
        .await
    }

    /// A file that is not over, whoever asks. Who may have it is for [`Store::may_read_file`].
    pub async fn file(&self, id: FileId, now_ms: u64) -> Result<Option<StoredFile>, Error> {
        self.read(format!("file {id}"), move |conn| {
            Box::pin(async move {
                let sql = format!("SELECT {COLUMNS} {FROM} WHERE f.id = ? AND f.expires_ms > ?");
                let row: Option<FileRow> = conn.first(AssertSqlSafe(sql), values![id.to_string().as_str(), now_ms]).await?;
                row.map(|row| file_of(conn, row)).transpose()
            })
        })
        .await
    }

    /// The newest log of an account.
    pub async fn latest_log(&self, user: UserId) -> Result<Option<StoredFile>, Error> {
        self.read(format!("latest log of account {user}"), move |conn| {
            Box::pin(async move {
                let sql =
                    format!("SELECT {COLUMNS} {FROM} WHERE f.uploader = ? AND f.purpose = ? ORDER BY f.created_ms DESC, f.id LIMIT 1");
                let row: Option<FileRow> = conn.first(AssertSqlSafe(sql), values![user.0, FilePurpose::Log as u32]).await?;
                row.map(|row| file_of(conn, row)).transpose()
            })
        })
        .await
    }

    /// Files of all tenants or of one account, the newest first, at most `limit`; for operators.
    pub async fn files(&self, uploader: Option<UserId>, limit: u32) -> Result<Vec<StoredFile>, Error> {
        self.read("list files".to_owned(), move |conn| {
            Box::pin(async move {
                let mut bound: Vec<Value<'_>> = uploader.map(|user| user.0.into()).into_iter().collect();
                bound.push(limit.into());
                let filter = if uploader.is_some() { "WHERE f.uploader = ?" } else { "" };
                let sql = format!("SELECT {COLUMNS} {FROM} {filter} ORDER BY f.created_ms DESC, f.id LIMIT ?");
                let rows: Vec<FileRow> = conn.all(AssertSqlSafe(sql), &bound).await?;
                rows.into_iter().map(|row| file_of(conn, row)).collect()
            })
        })
        .await
    }

    /// Whether an account may attach files to a topic: its groups, and the inboxes of its own company.
    pub async fn may_attach(&self, user: UserId, tenant: TenantId, topic: TopicId) -> Result<bool, Error> {
        self.read(format!("whether account {user} may attach to {topic}"), move |conn| {
            Box::pin(async move {
                let found: Option<(i64,)> = match topic.kind() {
                    TopicKind::Group => {
                        let sql = "SELECT account FROM grp_member WHERE grp = ? AND account = ? AND present = 1";
                        conn.first(sql, values![topic.id(), user.0]).await?
                    }
                    TopicKind::Inbox => {
                        conn.first("SELECT id FROM account WHERE id = ? AND tenant = ?", values![topic.id(), tenant.0]).await?
                    }
                    _ => None,
                };
                Ok(found.is_some())
            })
        })
        .await
    }

    /// Whether an account may have an attachment or a recording: whose it is, whose inbox it was for, and who is or was a member of the group; a
    /// recording also the account that the group belongs to, which is told of it too.
    pub async fn may_read_file(&self, file: &StoredFile, user: UserId, tenant: TenantId) -> Result<bool, Error> {
        if file.tenant != tenant {
            return Ok(false);
        }
        if file.uploader == user || file.topic == Some(TopicId::inbox(user)) {
            return Ok(true);
        }
        let Some(group) = file.topic.filter(|topic| topic.kind() == TopicKind::Group) else { return Ok(false) };
        let recording = file.purpose == FilePurpose::Recording;
        self.read(format!("whether account {user} may read file {}", file.id), move |conn| {
            Box::pin(async move {
                let sql = "SELECT account FROM grp_member WHERE grp = ? AND account = ?";
                if conn.first::<(i64,)>(sql, values![group.id(), user.0]).await?.is_some() {
                    return Ok(true);
                }
                let sql = "SELECT owner FROM grp WHERE id = ? AND owner = ?";
                Ok(recording && conn.first::<(i64,)>(sql, values![group.id(), user.0]).await?.is_some())
            })
        })
        .await
    }

    /// Removes up to [`SWEEP_FILES_MAX`] files whose time is over, and leaves the objects of contents that nobody has any more as strays.
    /// Returns how many files went.
    pub async fn expire_files(&self, now_ms: u64) -> Result<u32, Error> {
        self.write("expire files".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = "SELECT id, tenant, bytes, sha256 FROM file WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?";
                let over: Vec<(String, i64, i64, String)> = conn.all(sql, values![now_ms, SWEEP_FILES_MAX]).await?;
                for tenant in over.iter().map(|(_, tenant, ..)| tenant.cast_unsigned()).collect::<BTreeSet<_>>() {
                    lock_use(conn, TenantId(tenant)).await?;
                }
                let (mut removed, mut freed, mut contents) = (0, BTreeMap::new(), BTreeSet::new());
                for (id, tenant, bytes, sha256) in &over {
                    // Another sweep may have been here between the look and the lock.
                    if conn.execute("DELETE FROM file WHERE id = ?", values![id.as_str()]).await? == 0 {
                        continue;
                    }
                    removed += 1;
                    *freed.entry(*tenant).or_insert(0) += *bytes;
                    contents.insert(sha256.as_str());
                }
                for (tenant, bytes) in freed {
                    conn.execute("UPDATE file_use SET bytes = bytes - ? WHERE tenant = ?", values![bytes, tenant]).await?;
                }
                for sha256 in contents {
                    drop_unused(conn, sha256, now_ms).await?;
                }
                Ok(removed)
            })
        })
        .await
    }

    /// Objects that nothing refers to and nobody will adopt, at most `limit`: to be removed, then forgotten.
    pub async fn stray_objects(&self, now_ms: u64, limit: u32) -> Result<Vec<String>, Error> {
        self.read("list stray objects".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = "SELECT object FROM stray_object WHERE due_ms <= ? ORDER BY due_ms LIMIT ?";
                let rows: Vec<(String,)> = conn.all(sql, values![now_ms, limit]).await?;
                Ok(rows.into_iter().map(|(object,)| object).collect())
            })
        })
        .await
    }

    /// Forgets a stray object that was removed.
    pub async fn forget_object(&self, object: &str) -> Result<(), Error> {
        let object = object.to_owned();
        self.write(format!("forget object {object}"), move |conn| {
            Box::pin(async move { conn.execute("DELETE FROM stray_object WHERE object = ?", values![object.as_str()]).await.map(drop) })
        })
        .await
    }
}

/// Bytes in use by a tenant; locked until the transaction ends.
async fn lock_use(conn: &mut Conn, tenant: TenantId) -> Result<u64, Error> {
    // Not an insert that ignores: on MariaDB two of those hold the row together, and then neither can change it.
    let insert = format!("INSERT INTO file_use (tenant, bytes) VALUES (?, 0){}", conn.dialect().on_conflict("tenant", "bytes = bytes"));
    conn.execute(AssertSqlSafe(insert), values![tenant.0]).await?;
    let (used,): (i64,) = conn.one("SELECT bytes FROM file_use WHERE tenant = ?", values![tenant.0]).await?;
    Ok(used.cast_unsigned())
}

/// The object of a file's content, locked until the transaction ends: the one that is there, or else `offered`, which is no stray from then
/// on. `None` when there is neither.
async fn adopt(conn: &mut Conn, file: &NewFile, offered: Option<&str>, now_ms: u64) -> Result<Option<String>, Error> {
    let sha256 = file.sha256.to_string();
    if let Some(offered) = offered {
        let conflict = conn.dialect().on_conflict("sha256", "bytes = bytes");
        let insert = format!("INSERT INTO content (sha256, object, bytes) VALUES (?, ?, ?){conflict}");
        conn.execute(AssertSqlSafe(insert), values![sha256.as_str(), offered, file.bytes]).await?;
    } else {
        conn.execute("UPDATE content SET bytes = bytes WHERE sha256 = ?", values![sha256.as_str()]).await?;
    }
    let found: Option<(String,)> = conn.first("SELECT object FROM content WHERE sha256 = ?", values![sha256.as_str()]).await?;
    let Some((object,)) = found else { return Ok(None) };
    match offered {
        Some(offered) if object == offered => {
            let sql = "DELETE FROM stray_object WHERE object = ? AND due_ms > ?";
            if conn.execute(sql, values![offered, now_ms + ADOPT_MARGIN_MS]).await? == 0 {
                // It took so long that the sweep may be about to remove it.
                conn.execute("DELETE FROM content WHERE sha256 = ?", values![sha256.as_str()]).await?;
                return Ok(None);
            }
        }
        // Somebody else was first with the same content: what was offered goes with the next sweep.
        Some(offered) => conn.execute("UPDATE stray_object SET due_ms = ? WHERE object = ?", values![now_ms, offered]).await.map(drop)?,
        None => {}
    }
    Ok(Some(object))
}

async fn insert(conn: &mut Conn, file: &NewFile, now_ms: u64) -> Result<(), Error> {
    let topic = file.topic.map(|topic| topic.to_string()).unwrap_or_default();
    let sql = "INSERT INTO file (id, tenant, uploader, purpose, topic, name, media_type, bytes, sha256, created_ms, expires_ms) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    // Signed columns: the latest moment they hold stands for never.
    let expires_ms = file.expires_ms.min(i64::MAX.cast_unsigned());
    let (id, sha256) = (file.id.to_string(), file.sha256.to_string());
    let row = values![
        id.as_str(),
        file.tenant.0,
        file.uploader.0,
        file.purpose as u32,
        topic.as_str(),
        file.name.as_str(),
        file.media_type.as_str(),
        file.bytes,
        sha256.as_str(),
        now_ms,
        expires_ms,
    ];
    conn.execute(sql, row).await?;
    conn.execute("UPDATE file_use SET bytes = bytes + ? WHERE tenant = ?", values![file.bytes, file.tenant.0]).await.map(drop)
}

/// Removes a content that no file has, and notes its object for the sweep.
async fn drop_unused(conn: &mut Conn, sha256: &str, now_ms: u64) -> Result<(), Error> {
    // Locked before it is looked whether a file has it: whoever adds one holds the lock until its file is there.
    conn.execute("UPDATE content SET bytes = bytes WHERE sha256 = ?", values![sha256]).await?;
    let used: Option<(String,)> = conn.first("SELECT id FROM file WHERE sha256 = ? LIMIT 1", values![sha256]).await?;
    if used.is_some() {
        return Ok(());
    }
    let Some((object,)) = conn.first::<(String,)>("SELECT object FROM content WHERE sha256 = ?", values![sha256]).await? else {
        return Ok(());
    };
    conn.execute("DELETE FROM content WHERE sha256 = ?", values![sha256]).await?;
    stray(conn, &object, now_ms).await
}

async fn stray(conn: &mut Conn, object: &str, due_ms: u64) -> Result<(), Error> {
    conn.execute("INSERT INTO stray_object (object, due_ms) VALUES (?, ?)", values![object, due_ms]).await.map(drop)
}

fn file_of(conn: &Conn, row: FileRow) -> Result<StoredFile, Error> {
    let (id, tenant, uploader, purpose, topic, name, media_type, bytes, sha256, created_ms, expires_ms, object) = row;
    let known = u32::try_from(purpose).ok().and_then(FilePurpose::from_number);
    Ok(StoredFile {
        id: id.parse().map_err(|source: crate::model::FileIdParseError| conn.unreadable("file.id", source))?,
        tenant: TenantId(tenant.cast_unsigned()),
        uploader: UserId(uploader.cast_unsigned()),
        purpose: known.ok_or_else(|| conn.unreadable("file.purpose", format!("{purpose} is no purpose")))?,
        topic: if topic.is_empty() { None } else { Some(conn.topic("file.topic", &topic)?) },
        name,
        media_type,
        bytes: bytes.cast_unsigned(),
        sha256: sha256.parse().map_err(|source: crate::model::DigestParseError| conn.unreadable("file.sha256", source))?,
        created_ms: created_ms.cast_unsigned(),
        expires_ms: expires_ms.cast_unsigned(),
        object,
    })
}
