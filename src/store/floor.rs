//! What a shard starts from when Redis lost its state.

use super::archive::decode_spans;
use super::conn::{Conn, Value, pieces, places, values};
use super::{Error, Store};
use crate::model::{GroupId, Place, TopicId, UserId};
use crate::topic::frame::{HeadRow, InItem, Input, Mark, MemberRow, Membership, ProducerRow, Profile, Register, Room, Row, RowKind};

/// Where a page of floor rows ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloorCursor {
    table: Table,
    topic: String,
    second: i64,
    third: i64,
}

/// A page of the rows of a shard.
#[derive(Clone, Debug)]
pub struct FloorPage {
    /// At most as many as asked for.
    pub rows: Vec<Row>,
    /// Where the next page begins; `None` when this is the last one.
    pub next: Option<FloorCursor>,
}

/// The tables of a floor, in the order in which they are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Heads,
    Members,
    Registers,
    Rooms,
    Producers,
    Marks,
}

impl Table {
    fn next(self) -> Option<Self> {
        match self {
            Self::Heads => Some(Self::Members),
            Self::Members => Some(Self::Registers),
            Self::Registers => Some(Self::Rooms),
            Self::Rooms => Some(Self::Producers),
            Self::Producers => Some(Self::Marks),
            Self::Marks => None,
        }
    }
}

impl Store {
    /// Allocates an epoch for a shard: above `above`, above every one allocated before, and above every one in the archive. It is stored
    /// before this returns, so no two callers get the same.
    pub async fn allocate_epoch(&self, shard: u32, above: u64) -> Result<u64, Error> {
        self.write(format!("allocate an epoch above {above} for shard {shard}"), move |conn| {
            Box::pin(async move {
                // One statement, which locks the row for writing at once. An insert that ignores the row would only share it at first,
                // and two of them would wait for each other.
                let conflict = conn.dialect().on_conflict("shard", "epoch = CASE WHEN new.epoch > epoch THEN new.epoch ELSE epoch + 1 END");
                let sql = format!("INSERT INTO shard (shard, epoch, archived_epoch, archived_commit) VALUES (?, ?, 0, 0){conflict}");
                conn.execute(sqlx::AssertSqlSafe(sql), values![shard, above + 1]).await?;
                let (epoch,): (i64,) = conn.one("SELECT epoch FROM shard WHERE shard = ?", values![shard]).await?;
                Ok(epoch.cast_unsigned())
            })
        })
        .await
    }

    /// The archived rows of a shard's topics: heads, members, registers, rooms, highest client sequences, marks. Begin without a cursor, go on
    /// with that of the page before. `limit` is from 1.
    pub async fn floor_rows(&self, shard: u32, after: Option<FloorCursor>, limit: u32) -> Result<FloorPage, Error> {
        self.read(format!("floor rows of shard {shard}"), move |conn| {
            Box::pin(async move {
                let start = |table| FloorCursor { table, topic: String::new(), second: i64::MIN, third: i64::MIN };
                let mut cursor = after.unwrap_or_else(|| start(Table::Heads));
                let mut rows: Vec<(FloorCursor, Row)> = Vec::new();
                loop {
                    let wanted = limit.max(1) - rows.len() as u32;
                    let more = read_rows(conn, shard, &cursor, wanted).await?;
                    let full = more.len() as u32 == wanted;
                    rows.extend(more);
                    if full {
                        let next = rows.last().map(|(at, _)| at.clone());
                        return Ok(FloorPage { rows: rows.into_iter().map(|(_, row)| row).collect(), next });
                    }
                    match cursor.table.next() {
                        Some(table) => cursor = start(table),
                        None => return Ok(FloorPage { rows: rows.into_iter().map(|(_, row)| row).collect(), next: None }),
                    }
                }
            })
        })
        .await
    }

    /// What the directory says now of all topics of a shard: the memberships of its groups (those of former members too, so that a lost
    /// leave is made good), and for its inboxes profile and register; and of its rooms what the archive has of the inboxes. Members of one group and groups of one user are together.
    pub async fn current(&self, shards: u32, shard: u32) -> Result<Vec<InItem>, Error> {
        let mut items = Vec::new();
        self.current_groups(shards, shard, &mut items).await?;
        self.current_rooms(shards, shard, &mut items).await?;
        self.current_inboxes(shards, shard, &mut items).await?;
        Ok(items)
    }

    /// Rooms are kept by the inboxes of other shards, and as far as these are archived they are repeated here.
    async fn current_rooms(&self, shards: u32, shard: u32, items: &mut Vec<InItem>) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let sql = "SELECT DISTINCT grp FROM topic_room WHERE grp > ? ORDER BY grp LIMIT ?";
            let page = self.ids(format!("rooms of shard {shard}"), sql, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = *last;
            let ours: Vec<u64> = page.into_iter().filter(|id| TopicId::room(GroupId(*id)).shard(shards) == shard).collect();
            let members = self
                .read(format!("members of the rooms of shard {shard}"), move |conn| {
                    Box::pin(async move {
                        let sql = "SELECT topic, grp, version, joined FROM topic_room WHERE grp IN ";
                        let rows = select_in::<(String, i64, i64, i64)>(conn, sql, " ORDER BY grp, topic", &ours).await?;
                        let member = |(inbox, group, version, joined): (String, i64, i64, i64)| {
                            let user = conn.topic("topic_room.topic", &inbox)?.id();
                            let topic = TopicId::room(GroupId(group.cast_unsigned())).packed();
                            Ok(Input::Membership(Membership { topic, user, version: version.cast_unsigned(), joined: joined != 0 }).into())
                        };
                        rows.into_iter().map(member).collect::<Result<Vec<InItem>, Error>>()
                    })
                })
                .await?;
            items.extend(members);
        }
    }

    async fn current_groups(&self, shards: u32, shard: u32, items: &mut Vec<InItem>) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let sql = "SELECT id FROM grp WHERE id > ? ORDER BY id LIMIT ?";
            let page = self.ids(format!("groups of shard {shard}"), sql, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = *last;
            let ours: Vec<u64> = page.into_iter().filter(|id| TopicId::group(GroupId(*id)).shard(shards) == shard).collect();
            let members = self
                .read(format!("members of the groups of shard {shard}"), move |conn| {
                    Box::pin(async move {
                        let sql = "SELECT grp, account, version, present FROM grp_member WHERE grp IN ";
                        select_in::<(i64, i64, i64, i64)>(conn, sql, " ORDER BY grp, account", &ours).await
                    })
                })
                .await?;
            items.extend(members.into_iter().map(|(group, user, version, present)| {
                let topic = TopicId::group(GroupId(group.cast_unsigned())).packed();
                let (user, version, joined) = (user.cast_unsigned(), version.cast_unsigned(), present != 0);
                Input::Membership(Membership { topic, user, version, joined }).into()
            }));
        }
    }

    async fn current_inboxes(&self, shards: u32, shard: u32, items: &mut Vec<InItem>) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let sql = "SELECT id FROM account WHERE id > ? ORDER BY id LIMIT ?";
            let page = self.ids(format!("accounts of shard {shard}"), sql, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = *last;
            let ours: Vec<u64> = page.into_iter().filter(|id| TopicId::inbox(UserId(*id)).shard(shards) == shard).collect();
            let (profiles, registers) = self
                .read(format!("inboxes of shard {shard}"), move |conn| {
                    Box::pin(async move {
                        let sql = "SELECT id, CASE WHEN deleted_ms = 0 THEN tenant ELSE 0 END, version, parent, nickname FROM account WHERE id IN ";
                        let profiles = select_in::<(i64, i64, i64, i64, String)>(conn, sql, " ORDER BY id", &ours).await?;
                        let sql = "SELECT m.account, m.grp, m.version, m.present, g.name FROM grp_member m JOIN grp g ON g.id = m.grp \
                                   WHERE m.account IN ";
                        let registers = select_in::<(i64, i64, i64, i64, String)>(conn, sql, " ORDER BY m.account, m.grp", &ours).await?;
                        Ok((profiles, registers))
                    })
                })
                .await?;
            items.extend(profiles.into_iter().map(|(user, tenant, version, manager, nickname)| {
                let topic = TopicId::inbox(UserId(user.cast_unsigned())).packed();
                let (tenant, version, manager) = (tenant.cast_unsigned(), version.cast_unsigned(), manager.cast_unsigned());
                Input::Profile(Profile { topic, tenant, version, manager, nickname }).into()
            }));
            items.extend(registers.into_iter().map(|(user, group, version, present, name)| {
                let topic = TopicId::inbox(UserId(user.cast_unsigned())).packed();
                let (group, version, joined) = (group.cast_unsigned(), version.cast_unsigned(), present != 0);
                Input::Register(Register { topic, group, version, joined, name, ..Register::default() }).into()
            }));
        }
    }

    /// A page of ids behind `after`.
    async fn ids(&self, operation: String, sql: &'static str, after: u64) -> Result<Vec<u64>, Error> {
        const PAGE: u32 = 1_000;
        self.read(operation, move |conn| {
            Box::pin(async move {
                let rows: Vec<(i64,)> = conn.all(sql, values![after, PAGE]).await?;
                Ok(rows.into_iter().map(|(id,)| id.cast_unsigned()).collect())
            })
        })
        .await
    }
}

/// The rows of `sql` for all ids, some hundred ids at a time.
async fn select_in<T: super::conn::Record>(conn: &mut Conn, sql: &str, order: &str, ids: &[u64]) -> Result<Vec<T>, Error> {
    let mut rows = Vec::new();
    for piece in pieces(ids, usize::MAX, |_| 0) {
        let sql = format!("{sql}{}{order}", places(1, piece.len()));
        let values: Vec<Value<'_>> = piece.iter().map(|id| Value::from(*id)).collect();
        rows.extend(conn.all::<T>(sqlx::AssertSqlSafe(sql), &values).await?);
    }
    Ok(rows)
}

/// Up to `limit` rows of one table behind the cursor, each with its own cursor.
async fn read_rows(conn: &mut Conn, shard: u32, cursor: &FloorCursor, limit: u32) -> Result<Vec<(FloorCursor, Row)>, Error> {
    let table = cursor.table;
    let at = |topic: &str, second, third| FloorCursor { table, topic: topic.to_owned(), second, third };
    let mut rows = Vec::new();
    match table {
        Table::Heads => {
            let sql = "topic, epoch, seq, time_ms, tenant, profile_version, manager, nickname FROM topic_head";
            for (text, epoch, seq, time_ms, tenant, version, manager, nickname) in
                page::<(String, i64, i64, i64, i64, i64, i64, String)>(conn, sql, &[], shard, cursor, limit).await?
            {
                let row = HeadRow {
                    topic: conn.topic("topic_head.topic", &text)?.packed(),
                    head: place(epoch, seq).into(),
                    time_ms: time_ms.cast_unsigned(),
                    tenant: tenant.cast_unsigned(),
                    profile_version: version.cast_unsigned(),
                    manager: manager.cast_unsigned(),
                    nickname,
                };
                rows.push((at(&text, 0, 0), RowKind::Head(row).into()));
            }
        }
        Table::Members => {
            let sql = "topic, account, version, spans FROM topic_member";
            for (text, user, version, spans) in page::<(String, i64, i64, Vec<u8>)>(conn, sql, &["account"], shard, cursor, limit).await? {
                let row = MemberRow {
                    topic: conn.topic("topic_member.topic", &text)?.packed(),
                    user: user.cast_unsigned(),
                    version: version.cast_unsigned(),
                    spans: decode_spans(conn, &spans)?,
                    stays: Vec::new(),
                };
                rows.push((at(&text, user, 0), RowKind::Member(row).into()));
            }
        }
        Table::Registers => {
            let sql = "topic, grp, version, joined, name FROM topic_register";
            for (text, group, version, joined, name) in
                page::<(String, i64, i64, i64, String)>(conn, sql, &["grp"], shard, cursor, limit).await?
            {
                let topic = conn.topic("topic_register.topic", &text)?.packed();
                let (version, joined) = (version.cast_unsigned(), joined != 0);
                let row = Register { topic, group: group.cast_unsigned(), version, joined, name, ..Register::default() };
                rows.push((at(&text, group, 0), RowKind::Register(row).into()));
            }
        }
        Table::Rooms => {
            let sql = "topic, grp, version, joined FROM topic_room";
            for (text, group, version, joined) in page::<(String, i64, i64, i64)>(conn, sql, &["grp"], shard, cursor, limit).await? {
                let topic = conn.topic("topic_room.topic", &text)?.packed();
                let (version, joined) = (version.cast_unsigned(), joined != 0);
                // Moves under way are taken as done after a loss.
                let row = Room { topic, group: group.cast_unsigned(), version, joined, settled: true };
                rows.push((at(&text, group, 0), RowKind::Room(row).into()));
            }
        }
        Table::Producers => {
            let sql = "topic, account, installation, client_seq, refused FROM topic_producer";
            for (text, user, installation, client_seq, refused) in
                page::<(String, i64, i64, i64, i64)>(conn, sql, &["account", "installation"], shard, cursor, limit).await?
            {
                let row = ProducerRow {
                    topic: conn.topic("topic_producer.topic", &text)?.packed(),
                    user: user.cast_unsigned(),
                    installation: installation.cast_unsigned(),
                    client_seq: client_seq.cast_unsigned(),
                    place: None,
                    refused: refused.cast_unsigned(),
                };
                rows.push((at(&text, user, installation), RowKind::Producer(row).into()));
            }
        }
        Table::Marks => {
            let sql = "topic, account, installation, epoch, seq FROM topic_mark";
            for (text, user, installation, epoch, seq) in
                page::<(String, i64, i64, i64, i64)>(conn, sql, &["account", "installation"], shard, cursor, limit).await?
            {
                let row = Mark {
                    topic: conn.topic("topic_mark.topic", &text)?.packed(),
                    user: user.cast_unsigned(),
                    installation: installation.cast_unsigned(),
                    place: place(epoch, seq).into(),
                };
                rows.push((at(&text, user, installation), RowKind::Mark(row).into()));
            }
        }
    }
    Ok(rows)
}

fn place(epoch: i64, seq: i64) -> Place {
    Place::new(epoch.cast_unsigned(), seq.cast_unsigned())
}

/// The rows behind the cursor in the order of (topic, keys): first those of the cursor's topic, then those of later ones. Two statements,
/// because each of them is a range of the index in both databases, and one for both would not be.
async fn page<T: super::conn::Record>(
    conn: &mut Conn,
    columns_from_table: &str,
    keys: &[&str],
    shard: u32,
    cursor: &FloorCursor,
    limit: u32,
) -> Result<Vec<T>, Error> {
    let mut order = String::from("topic");
    for key in keys {
        order = order + ", " + key;
    }
    let select = |condition: &str| format!("SELECT {columns_from_table} WHERE shard = ? AND {condition} ORDER BY {order} LIMIT ?");
    let FloorCursor { topic, second, third, .. } = cursor;
    let mut rows = Vec::new();
    if !topic.is_empty() {
        match keys {
            [] => {}
            [key] => {
                let sql = select(&format!("topic = ? AND {key} > ?"));
                rows = conn.all(sqlx::AssertSqlSafe(sql), values![shard, topic.as_str(), *second, limit]).await?;
            }
            [key, last, ..] => {
                let sql = select(&format!("topic = ? AND {key} >= ? AND ({key} > ? OR {last} > ?)"));
                rows = conn.all(sqlx::AssertSqlSafe(sql), values![shard, topic.as_str(), *second, *second, *third, limit]).await?;
            }
        }
    }
    let rest = limit - rows.len() as u32;
    if rest > 0 {
        let values = values![shard, topic.as_str(), rest];
        rows.extend(conn.all::<T>(sqlx::AssertSqlSafe(select("topic > ?")), values).await?);
    }
    Ok(rows)
}
