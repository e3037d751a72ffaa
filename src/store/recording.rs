//! Recorded bursts of talk: each is kept once, however often it is told of.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::AssertSqlSafe;
use xxhash_rust::xxh3::xxh3_128;

use super::conn::{Conn, Value, pieces, places, values};
use super::directory::{lock_counter, next_numbers};
use super::{Error, Store};
use crate::model::{TenantId, UserId, UserKind};
use crate::talk::Burst;

/// The most bytes of one statement.
const STATEMENT_BYTES_MAX: usize = 1 << 20;
const COLUMNS: usize = 14;

/// A burst, and the entry of the stream that brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecording {
    /// The id of the entry.
    pub entry: String,
    /// The burst.
    pub burst: Burst,
}

/// What became of a burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is kept, and was brought by this entry: it is to be announced, again if need be.
    Kept(Kept),
    /// Another entry brought it before.
    Repeat,
    /// It can never be kept: why.
    Refused(&'static str),
}

/// A recording to be announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Rises in the order of the entries.
    pub id: u64,
    /// What others see of the speaker.
    pub nickname: String,
    /// The group's dispatchers: those among its members, and the account it belongs to.
    pub desks: Vec<UserId>,
}

/// What is known of the groups and speakers of a batch.
#[derive(Default)]
struct Known {
    groups: BTreeMap<u64, TenantId>,
    speakers: BTreeMap<u64, (TenantId, String)>,
    desks: BTreeMap<u64, BTreeSet<UserId>>,
    /// By hash: the recording and the entry that brought it.
    recordings: BTreeMap<u128, (u64, String)>,
}

impl Store {
    /// Keeps bursts in their order, all in one transaction; what became of each. To be called again, with the same entries, until it succeeds.
    pub async fn keep_recordings(&self, new: Vec<NewRecording>, now_ms: u64) -> Result<Vec<Recorded>, Error> {
        self.write(format!("keep {} recordings", new.len()), move |conn| {
            Box::pin(async move {
                // Numbers become visible in their order, and nobody brings one of these meanwhile.
                lock_counter(conn, "recording").await?;
                let new: &[NewRecording] = &new;
                let known = known(conn, new).await?;
                let mut fresh: Vec<(u128, &NewRecording)> = Vec::new();
                let mut first: BTreeMap<u128, &str> = BTreeMap::new();
                let mut found: Vec<Result<u128, Recorded>> = Vec::with_capacity(new.len());
                for one in new {
                    let hash = xxh3_128(one.burst.id.as_bytes());
                    found.push(match known.refusal(&one.burst) {
                        Some(why) => Err(Recorded::Refused(why)),
                        None => {
                            let brought =
                                known.recordings.get(&hash).map(|(_, entry)| entry.as_str()).or_else(|| first.get(&hash).copied());
                            match brought {
                                None => {
                                    fresh.push((hash, one));
                                    first.insert(hash, &one.entry);
                                    Ok(hash)
                                }
                                Some(entry) if entry == one.entry => Ok(hash),
                                Some(_) => Err(Recorded::Repeat),
                            }
                        }
                    });
                }
                let begin = if fresh.is_empty() { 0 } else { next_numbers(conn, "recording", fresh.len() as u64).await? };
                let numbered: Vec<(u64, u128, &NewRecording)> = (begin..).zip(&fresh).map(|(id, (hash, one))| (id, *hash, *one)).collect();
                insert(conn, &known, &numbered, now_ms).await?;
                let mut ids: BTreeMap<u128, u64> = known.recordings.iter().map(|(hash, (id, _))| (*hash, *id)).collect();
                ids.extend(numbered.iter().map(|(id, hash, _)| (*hash, *id)));
                let kept = |(one, found): (&NewRecording, Result<u128, Recorded>)| match found {
                    Ok(hash) => Recorded::Kept(known.kept(ids.get(&hash).copied().unwrap_or_default(), &one.burst)),
                    Err(other) => other,
                };
                Ok(new.iter().zip(found).map(kept).collect())
            })
        })
        .await
    }
}

impl Store {
    /// The company whose a burst is, or why it can never be kept.
    pub async fn tenant_of_talk(&self, burst: Burst) -> Result<Result<TenantId, &'static str>, Error> {
        self.read(format!("whose recording {} is", burst.id), move |conn| {
            Box::pin(async move {
                let group = burst.group.0;
                let one = NewRecording { entry: String::new(), burst };
                let known = known(conn, std::slice::from_ref(&one)).await?;
                Ok(known.refusal(&one.burst).map_or_else(|| Ok(known.groups.get(&group).copied().unwrap_or_default()), Err))
            })
        })
        .await
    }
}

impl Known {
    fn refusal(&self, burst: &Burst) -> Option<&'static str> {
        match (self.groups.get(&burst.group.0), self.speakers.get(&burst.speaker.0)) {
            (None, _) => Some("grp_id is no group"),
            (_, None) => Some("uid is no account"),
            (Some(group), Some((speaker, _))) if group != speaker => Some("uid and grp_id are of two companies"),
            _ => None,
        }
    }

    fn kept(&self, id: u64, burst: &Burst) -> Kept {
        let nickname = self.speakers.get(&burst.speaker.0).map(|(_, nickname)| nickname.clone()).unwrap_or_default();
        let desks = self.desks.get(&burst.group.0).into_iter().flatten().copied().collect();
        Kept { id, nickname, desks }
    }
}

async fn known(conn: &mut Conn, new: &[NewRecording]) -> Result<Known, Error> {
    let mut known = Known::default();
    let distinct = |id: fn(&Burst) -> u64| new.iter().map(|one| id(&one.burst)).collect::<BTreeSet<_>>().into_iter().collect::<Vec<u64>>();
    for groups in pieces(&distinct(|burst| burst.group.0), STATEMENT_BYTES_MAX, |_| 8) {
        let ids: Vec<Value<'_>> = groups.iter().map(|id| Value::from(*id)).collect();
        let marks = places(1, ids.len());
        let rows: Vec<(i64, i64, i64)> =
            conn.all(AssertSqlSafe(format!("SELECT id, tenant, owner FROM grp WHERE id IN {marks}")), &ids).await?;
        for (id, tenant, owner) in rows {
            let id = id.cast_unsigned();
            known.groups.insert(id, TenantId(tenant.cast_unsigned()));
            known.desks.entry(id).or_default().extend((owner != 0).then_some(UserId(owner.cast_unsigned())));
        }
        let sql = format!(
            "SELECT m.grp, a.id FROM grp_member m JOIN account a ON a.id = m.account \
             WHERE m.grp IN {marks} AND m.present = 1 AND a.kind = {} AND a.deleted_ms = 0",
            UserKind::Dispatcher as u32
        );
        let rows: Vec<(i64, i64)> = conn.all(AssertSqlSafe(sql), &ids).await?;
        for (group, desk) in rows {
            known.desks.entry(group.cast_unsigned()).or_default().insert(UserId(desk.cast_unsigned()));
        }
    }
    for speakers in pieces(&distinct(|burst| burst.speaker.0), STATEMENT_BYTES_MAX, |_| 8) {
        let ids: Vec<Value<'_>> = speakers.iter().map(|id| Value::from(*id)).collect();
        let sql = format!("SELECT id, tenant, nickname FROM account WHERE id IN {}", places(1, ids.len()));
        let rows: Vec<(i64, i64, String)> = conn.all(AssertSqlSafe(sql), &ids).await?;
        known
            .speakers
            .extend(rows.into_iter().map(|(id, tenant, nickname)| (id.cast_unsigned(), (TenantId(tenant.cast_unsigned()), nickname))));
    }
    let hashes: BTreeSet<[u8; 16]> = new.iter().map(|one| xxh3_128(one.burst.id.as_bytes()).to_be_bytes()).collect();
    let hashes: Vec<[u8; 16]> = hashes.into_iter().collect();
    for hashes in pieces(&hashes, STATEMENT_BYTES_MAX, |_| 16) {
        let values: Vec<Value<'_>> = hashes.iter().map(|hash| Value::from(&hash[..])).collect();
        let sql = format!("SELECT id, source_hash, entry FROM recording WHERE source_hash IN {}", places(1, values.len()));
        let rows: Vec<(i64, Vec<u8>, String)> = conn.all(AssertSqlSafe(sql), &values).await?;
        for (id, hash, entry) in rows {
            let hash = <[u8; 16]>::try_from(hash).map_err(|_| conn.unreadable("source_hash", "has not 16 bytes"))?;
            known.recordings.insert(u128::from_be_bytes(hash), (id.cast_unsigned(), entry));
        }
    }
    Ok(known)
}

async fn insert(conn: &mut Conn, known: &Known, numbered: &[(u64, u128, &NewRecording)], now_ms: u64) -> Result<(), Error> {
    let bytes = |(_, _, one): &(u64, u128, &NewRecording)| one.burst.file.len() + one.burst.id.len() + one.burst.md5.len() + 160;
    for rows in pieces(numbered, STATEMENT_BYTES_MAX, bytes) {
        let hashes: Vec<[u8; 16]> = rows.iter().map(|(_, hash, _)| hash.to_be_bytes()).collect();
        let mut bound: Vec<Value<'_>> = Vec::with_capacity(rows.len() * COLUMNS);
        for ((id, _, NewRecording { entry, burst }), hash) in rows.iter().zip(&hashes) {
            let tenant = known.groups.get(&burst.group.0).copied().unwrap_or_default();
            bound.extend_from_slice(values![
                *id,
                burst.id.as_bytes(),
                &hash[..],
                entry.as_str(),
                tenant.0,
                burst.group.0,
                burst.speaker.0,
                burst.file.as_str(),
                burst.md5.as_str(),
                burst.spoken_ms,
                burst.duration_ms,
                burst.host.as_str(),
                u32::from(burst.cut),
                now_ms,
            ]);
        }
        let sql = format!(
            "INSERT INTO recording (id, source, source_hash, entry, tenant, grp, speaker, file, md5, spoken_ms, duration_ms, host, \
             cut, received_ms) VALUES {}",
            places(rows.len(), COLUMNS)
        );
        conn.execute(AssertSqlSafe(sql), &bound).await?;
    }
    Ok(())
}
