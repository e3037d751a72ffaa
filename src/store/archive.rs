//! From the logs of the shards into SQL.
//!
//! [`Store::archive`] takes what some frames of a shard's log say and writes it in one transaction: the messages, and beside them what
//! a floor needs. Messages are inserted unless they are there, everything else moves forward only, so that a batch may be written twice
//! or late.

mod guard;

use std::collections::BTreeMap;
use std::fmt;

use prost::Message as _;
use sqlx::AssertSqlSafe;

use guard::{check_fence, write_position};

use super::conn::{Conn, Value, pieces, places, values};
use super::dialect::{set_greater, set_later};
use super::{Error, Store};
use crate::model::{Place, Span, TopicId};
use crate::topic::Member;
use crate::topic::frame::{
    Entry, HeadRow, LogFrame, Mark, MemberRow, Membership, MembershipAt, Outcome, Profile, Refusal, Register, Room, WireSpan,
};

/// A commit of a shard's log, ordered by epoch, then commit. (0, 0) is before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Of the shard.
    pub epoch: u64,
    /// Within the epoch.
    pub commit: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.commit)
    }
}

/// What happened to the messages of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// Messages that were not there.
    pub inserted: u64,
    /// Messages that were there already, with the same content.
    pub repeated: u64,
}

/// What one transaction of the archive writes: the fold of some successive frames of one shard's log.
#[derive(Clone, Debug, Default)]
pub struct ArchiveBatch {
    shard: u32,
    allocated: Option<u64>,
    behind: Option<Position>,
    upto: Position,
    bytes: usize,
    entries: Vec<(TopicId, Entry)>,
    heads: BTreeMap<TopicId, HeadRow>,
    /// The highest client_seq accepted and refused.
    producers: BTreeMap<(TopicId, u64, u64), (u64, u64)>,
    marks: BTreeMap<(TopicId, u64, u64), Place>,
    members: BTreeMap<TopicId, Vec<(Membership, Place)>>,
    registers: BTreeMap<(TopicId, u64), Register>,
    rooms: BTreeMap<(TopicId, u64), Room>,
}

impl ArchiveBatch {
    /// An empty batch for a shard.
    pub fn new(shard: u32) -> Self {
        Self { shard, ..Self::default() }
    }

    /// The batch is only written while `epoch` is the highest one ever allocated for the shard, as [`Store::archive_state`] said when its
    /// frames were read. Whoever allocates an epoch has then seen everything of the older ones in SQL that will ever come out of the
    /// memory of an archive.
    #[must_use]
    pub fn fenced_by(mut self, epoch: u64) -> Self {
        self.allocated = Some(epoch);
        self
    }

    /// The batch goes on behind `position`, and is only written while SQL holds the log up to there: it may have become another server, or an
    /// older file, since that was read.
    #[must_use]
    pub fn behind(mut self, position: Position) -> Self {
        self.behind = Some(position);
        self
    }

    /// The last commit taken in; (0, 0) for none.
    pub fn upto(&self) -> Position {
        self.upto
    }

    /// How many messages it holds.
    pub fn messages(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes the bodies of its messages have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it holds no frame.
    pub fn is_empty(&self) -> bool {
        self.upto == Position::default()
    }

    /// Takes in the next frame of the log. An error leaves the batch unusable.
    pub fn take(&mut self, frame: LogFrame) -> Result<(), Error> {
        let position = Position { epoch: frame.epoch, commit: frame.commit };
        let shard = self.shard;
        let topic = |packed| TopicId::from_packed(packed).ok_or(Error::NoTopic { shard, position, packed });
        for outcome in frame.outcomes.into_iter().filter_map(|item| item.outcome) {
            match outcome {
                Outcome::Entry(entry) => self.take_entry(topic(entry.topic)?, entry),
                Outcome::Mark(mark) => {
                    let Mark { user, installation, place, .. } = mark;
                    let held = self.marks.entry((topic(mark.topic)?, user, installation)).or_default();
                    *held = Place::from(place).max(*held);
                }
                Outcome::Membership(MembershipAt { membership, place, .. }) => {
                    self.members.entry(topic(membership.topic)?).or_default().push((membership, place.into()));
                }
                Outcome::Register(register) => {
                    let key = (topic(register.topic)?, register.group);
                    if self.registers.get(&key).is_none_or(|held| held.version < register.version) {
                        self.registers.insert(key, register);
                    }
                }
                Outcome::Profile(profile) => {
                    let head = self.heads.entry(topic(profile.topic)?).or_default();
                    if head.profile_version < profile.version {
                        let Profile { topic: _, tenant, version: profile_version, manager, nickname } = profile;
                        (head.tenant, head.profile_version, head.manager, head.nickname) = (tenant, profile_version, manager, nickname);
                    }
                }
                Outcome::Room(room) => {
                    let key = (topic(room.topic)?, room.group);
                    if self.rooms.get(&key).is_none_or(|held| held.version < room.version) {
                        self.rooms.insert(key, room);
                    }
                }
                // Of use only while Redis lives: it stands in checkpoints.
                Outcome::Raised(_) | Outcome::Floor(_) => {}
                // The other shard archives what it makes of it; that a number was refused is this one's.
                Outcome::Forward(forward) => {
                    if let Some(Refusal { topic, sender, installation, client_seq }) = forward.refusal() {
                        let (_, refused) = self.producers.entry((topic, sender.0, installation.0)).or_default();
                        *refused = client_seq.max(*refused);
                    }
                }
            }
        }
        self.upto = self.upto.max(position);
        Ok(())
    }

    fn take_entry(&mut self, topic: TopicId, entry: Entry) {
        let head = self.heads.entry(topic).or_default();
        if Place::from(head.head) < entry.place() {
            (head.head, head.time_ms) = (entry.place().into(), head.time_ms.max(entry.time_ms));
        }
        // The fleet's own entries have no installation and are known by their frames.
        if entry.installation != 0 {
            let (highest, _) = self.producers.entry((topic, entry.sender, entry.installation)).or_default();
            *highest = entry.client_seq.max(*highest);
        }
        self.bytes += entry.body.len();
        self.entries.push((topic, entry));
    }
}

/// How far the archive of a shard is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveState {
    /// Up to which commit the log is in SQL; (0, 0) for not at all.
    pub position: Position,
    /// The highest epoch that was ever allocated; 0 for none.
    pub allocated: u64,
}

/// A statement stays well below the 16 MiB that MariaDB takes by default.
const STATEMENT_BYTES_MAX: usize = 4 << 20;

impl Store {
    /// Writes a batch in one transaction. Writing it again changes nothing.
    ///
    /// [`Error::Conflict`] when a place already holds another message, [`Error::Fenced`] when a newer epoch was allocated than the batch is
    /// fenced by, [`Error::Regressed`] when SQL holds less than what the batch is behind: then nothing was written.
    pub async fn archive(&self, mut batch: ArchiveBatch) -> Result<Archived, Error> {
        // In the order of the primary key, so that the pages of a topic are touched once.
        batch.entries.sort_unstable_by_key(|(topic, entry)| (*topic, entry.place()));
        let operation = format!("archive shard {} up to {}", batch.shard, batch.upto);
        self.write(operation, move |conn| Box::pin(async move { write_batch(conn, &batch).await })).await
    }

    /// Up to which commit the shard's log is archived; (0, 0) for not at all.
    pub async fn archive_position(&self, shard: u32) -> Result<Position, Error> {
        self.archive_state(shard).await.map(|state| state.position)
    }

    /// How far the archive of a shard is, and what a batch that goes on from there is fenced by.
    pub async fn archive_state(&self, shard: u32) -> Result<ArchiveState, Error> {
        self.read(format!("archive position of shard {shard}"), move |conn| {
            Box::pin(async move {
                let sql = "SELECT archived_epoch, archived_commit, epoch FROM shard WHERE shard = ?";
                let row: Option<(i64, i64, i64)> = conn.first(sql, values![shard]).await?;
                let (epoch, commit, allocated) = row.unwrap_or_default();
                let position = Position { epoch: epoch.cast_unsigned(), commit: commit.cast_unsigned() };
                Ok(ArchiveState { position, allocated: allocated.cast_unsigned() })
            })
        })
        .await
    }
}

async fn write_batch(conn: &mut Conn, batch: &ArchiveBatch) -> Result<Archived, Error> {
    // First, because it locks the shard's row: two archives of one shard write one after the other, and what is read here stays true.
    if batch.allocated.is_some() || batch.behind.is_some() {
        check_fence(conn, batch).await?;
    }
    write_position(conn, batch).await?;
    let archived = write_messages(conn, batch).await?;
    write_heads(conn, batch).await?;
    write_members(conn, batch).await?;

    let registers: Vec<[Value<'_>; 6]> = (batch.registers.iter())
        .map(|((topic, group), row)| {
            let Register { version, joined, name, .. } = row;
            [batch.shard.into(), (*topic).into(), (*group).into(), (*version).into(), (*joined).into(), name.as_str().into()]
        })
        .collect();
    let set = "joined = CASE WHEN new.version > version THEN new.joined ELSE joined END, \
               name = CASE WHEN new.version > version THEN new.name ELSE name END, "
        .to_owned()
        + &set_greater("version");
    upsert(conn, "topic_register (shard, topic, grp, version, joined, name)", "shard, topic, grp", &set, &registers).await?;

    let rooms: Vec<[Value<'_>; 5]> = (batch.rooms.iter())
        .map(|((topic, group), Room { version, joined, .. })| {
            [batch.shard.into(), (*topic).into(), (*group).into(), (*version).into(), (*joined).into()]
        })
        .collect();
    let set = "joined = CASE WHEN new.version > version THEN new.joined ELSE joined END, ".to_owned() + &set_greater("version");
    upsert(conn, "topic_room (shard, topic, grp, version, joined)", "shard, topic, grp", &set, &rooms).await?;

    let producers: Vec<[Value<'_>; 6]> = (batch.producers.iter())
        .map(|((topic, user, installation), (highest, refused))| {
            [batch.shard.into(), (*topic).into(), (*user).into(), (*installation).into(), (*highest).into(), (*refused).into()]
        })
        .collect();
    let (table, key) = ("topic_producer (shard, topic, account, installation, client_seq, refused)", "shard, topic, account, installation");
    upsert(conn, table, key, &(set_greater("client_seq") + ", " + &set_greater("refused")), &producers).await?;

    let marks: Vec<[Value<'_>; 6]> = (batch.marks.iter())
        .map(|((topic, user, installation), place)| {
            let Place { epoch, seq } = *place;
            [batch.shard.into(), (*topic).into(), (*user).into(), (*installation).into(), epoch.into(), seq.into()]
        })
        .collect();
    upsert(conn, "topic_mark (shard, topic, account, installation, epoch, seq)", key, &set_later("epoch", "seq"), &marks).await?;
    Ok(archived)
}

async fn write_messages(conn: &mut Conn, batch: &ArchiveBatch) -> Result<Archived, Error> {
    let mut archived = Archived::default();
    for piece in pieces(&batch.entries, STATEMENT_BYTES_MAX, |(_, entry)| entry.body.len() + 64) {
        let sql = format!(
            "{} message (topic, epoch, seq, time_ms, sender, installation, client_seq, kind, body, shard) VALUES {}",
            conn.dialect().insert_ignore(),
            places(piece.len(), 10)
        );
        let mut values = Vec::with_capacity(piece.len() * 10);
        for (topic, entry) in piece {
            values.extend([
                Value::from(*topic),
                entry.epoch.into(),
                entry.seq.into(),
                entry.time_ms.into(),
                entry.sender.into(),
                entry.installation.into(),
                entry.client_seq.into(),
                entry.kind.into(),
                (&*entry.body).into(),
                batch.shard.into(),
            ]);
        }
        let inserted = conn.execute(AssertSqlSafe(sql), &values).await?;
        archived.inserted += inserted;
        let repeated = (piece.len() as u64).saturating_sub(inserted);
        if repeated > 0 {
            compare(conn, piece).await?;
            archived.repeated += repeated;
        }
    }
    Ok(archived)
}

/// Compares messages with what stands at their places. Reads the rows of one topic and epoch at once: they lie side by side.
async fn compare(conn: &mut Conn, piece: &[(TopicId, Entry)]) -> Result<(), Error> {
    for run in piece.chunk_by(|(a, first), (b, second)| a == b && first.epoch == second.epoch) {
        let [(topic, first), ..] = run else { continue };
        let last = run.last().map_or(first.seq, |(_, entry)| entry.seq);
        let sql =
            "SELECT seq, sender, installation, client_seq, kind, body FROM message WHERE topic = ? AND epoch = ? AND seq >= ? AND seq <= ?";
        let rows: Vec<(i64, i64, i64, i64, i64, Vec<u8>)> = conn.all(sql, values![*topic, first.epoch, first.seq, last]).await?;
        let rows: BTreeMap<i64, _> = rows.into_iter().map(|row| (row.0, row)).collect();
        for (_, entry) in run {
            let Some((_, sender, installation, client_seq, kind, body)) = rows.get(&entry.seq.cast_signed()) else { continue };
            let same = [
                ("sender", *sender == entry.sender.cast_signed()),
                ("installation", *installation == entry.installation.cast_signed()),
                ("client_seq", *client_seq == entry.client_seq.cast_signed()),
                ("kind", *kind == i64::from(entry.kind)),
                ("body", *body == *entry.body),
            ];
            let differing: Vec<&str> = same.into_iter().filter(|(_, same)| !same).map(|(column, _)| column).collect();
            if !differing.is_empty() {
                return Err(Error::Conflict { topic: *topic, place: entry.place(), differing: differing.join(", ") });
            }
        }
    }
    Ok(())
}

async fn write_heads(conn: &mut Conn, batch: &ArchiveBatch) -> Result<(), Error> {
    let heads: Vec<[Value<'_>; 9]> = (batch.heads.iter())
        .map(|(topic, row)| {
            let HeadRow { topic: _, head, time_ms, tenant, profile_version, manager, nickname } = row;
            let Place { epoch, seq } = (*head).into();
            [
                (*topic).into(),
                batch.shard.into(),
                epoch.into(),
                seq.into(),
                (*time_ms).into(),
                (*tenant).into(),
                (*profile_version).into(),
                (*manager).into(),
                nickname.as_str().into(),
            ]
        })
        .collect();
    let of_newer = |column| format!("{column} = CASE WHEN new.profile_version > profile_version THEN new.{column} ELSE {column} END");
    let set = [
        set_later("epoch", "seq"),
        set_greater("time_ms"),
        of_newer("tenant"),
        of_newer("manager"),
        of_newer("nickname"),
        set_greater("profile_version"),
    ];
    let table = "topic_head (topic, shard, epoch, seq, time_ms, tenant, profile_version, manager, nickname)";
    upsert(conn, table, "topic", &set.join(", "), &heads).await
}

/// Continues the intervals of the members that the batch names.
async fn write_members(conn: &mut Conn, batch: &ArchiveBatch) -> Result<(), Error> {
    for (topic, changes) in &batch.members {
        let mut by_user: BTreeMap<u64, Vec<(Membership, Place)>> = BTreeMap::new();
        for (membership, place) in changes {
            by_user.entry(membership.user).or_default().push((*membership, *place));
        }
        let users: Vec<u64> = by_user.keys().copied().collect();
        for users in pieces(&users, usize::MAX, |_| 0) {
            let mut rows = read_members(conn, batch.shard, *topic, users).await?;
            for user in users {
                let member = rows.entry(*user).or_default();
                for (membership, place) in by_user.get(user).into_iter().flatten() {
                    member.change(membership, *place, 0);
                }
            }
            let encoded: Vec<(u64, u64, Vec<u8>)> = rows
                .into_iter()
                .map(|(user, Member { version, spans, .. })| {
                    let spans = spans.into_iter().map(WireSpan::from).collect();
                    (user, version, MemberRow { spans, ..MemberRow::default() }.encode_to_vec())
                })
                .collect();
            let values: Vec<[Value<'_>; 5]> = (encoded.iter())
                .map(|(user, version, spans)| [batch.shard.into(), (*topic).into(), (*user).into(), (*version).into(), (&**spans).into()])
                .collect();
            let set = "spans = CASE WHEN new.version > version THEN new.spans ELSE spans END, ".to_owned() + &set_greater("version");
            upsert(conn, "topic_member (shard, topic, account, version, spans)", "shard, topic, account", &set, &values).await?;
        }
    }
    Ok(())
}

async fn read_members(conn: &mut Conn, shard: u32, topic: TopicId, users: &[u64]) -> Result<BTreeMap<u64, Member>, Error> {
    let sql =
        format!("SELECT account, version, spans FROM topic_member WHERE shard = ? AND topic = ? AND account IN {}", places(1, users.len()));
    let mut values = vec![Value::from(shard), topic.into()];
    values.extend(users.iter().map(|user| Value::from(*user)));
    let mut rows = BTreeMap::new();
    for (user, version, spans) in conn.all::<(i64, i64, Vec<u8>)>(AssertSqlSafe(sql), &values).await? {
        let spans = decode_spans(conn, &spans)?.into_iter().map(Span::from).collect();
        rows.insert(user.cast_unsigned(), Member { version: version.cast_unsigned(), spans, ..Member::default() });
    }
    Ok(rows)
}

/// The spans of column `topic_member.spans`.
pub(super) fn decode_spans(conn: &Conn, bytes: &[u8]) -> Result<Vec<WireSpan>, Error> {
    Ok(MemberRow::decode(bytes).map_err(|source| conn.unreadable("topic_member.spans", source))?.spans)
}

/// Inserts rows, or changes those whose key exists as `set` says.
async fn upsert<const N: usize>(conn: &mut Conn, table: &str, key: &str, set: &str, rows: &[[Value<'_>; N]]) -> Result<(), Error> {
    let conflict = conn.dialect().on_conflict(key, set);
    for piece in pieces(rows, STATEMENT_BYTES_MAX, |row| row.iter().map(Value::bytes).sum()) {
        let sql = format!("INSERT INTO {table} VALUES {}{conflict}", places(piece.len(), N));
        conn.execute(AssertSqlSafe(sql), piece.as_flattened()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this writes the next version must read.
    #[test]
    fn stored_intervals_never_change() {
        let spans = vec![Span::new(Place::new(1, 0), Place::new(1, 10)).into(), Span::new(Place::new(2, 300), Place::END).into()];
        let bytes = MemberRow { spans, ..MemberRow::default() }.encode_to_vec();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "220a0a02080112040801100a221f0a05080210ac02121608ffffffffffffffffff0110ffffffffffffffffff01");
    }
}
