//! Who changed what in the directory: a row for each change, written in the transaction that makes it.
//!
//! Rows hold no secret: of a password only whether there is one, of resume tokens only how many. Nothing removes them; they grow with what
//! people do, not with what they say.

use std::fmt;

use serde_json::Value as Json;
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use crate::clock::Clock;
use crate::model::UserId;

/// Who changes something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Author {
    /// A program, by itself.
    #[default]
    Fleet,
    /// Somebody at the command line, as the operating system names them.
    Operator(String),
    /// An account that logs in or out.
    Account(UserId),
}

impl fmt::Display for Author {
    /// `fleet`, `operator:ann`, `account:7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("fleet"),
            Self::Operator(name) => write!(f, "operator:{name}"),
            Self::Account(user) => write!(f, "account:{user}"),
        }
    }
}

/// What goes onto each row beside the change: who, and what time it is.
#[derive(Debug, Default)]
pub(in crate::store) struct Stamp {
    author: Author,
    clock: Clock,
}

impl Stamp {
    pub(super) fn author(&self) -> &Author {
        &self.author
    }

    pub(in crate::store) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}

/// A change, as it stands in SQL.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ChangeRecord {
    /// Rises.
    pub id: u64,
    /// When, UTC milliseconds.
    pub time_ms: u64,
    /// [`Author`] as text.
    pub who: String,
    /// `tenant.added`; `account.added`, `.changed`, `.renamed`, `.profile_changed`, `.password_set`, `.disabled`, `.enabled`, `.deleted`,
    /// `.moved`; `device.imported`, `.log_switched`, `.transferred`, `.enrolment_renewed`, `.phone_enrolled`,
    /// `.phone_revoked`, `.retired`; `group.added`, `.renamed`, `.tied`
    /// (to another session), `.inherited`, `.dissolved`; `member.joined`, `.left`, `.role`; `friend.asked`, `.added`, `.removed`;
    /// `tokens.revoked`; `seed.applied`; `release.added`, `.staged`, `.halted`, `.resumed`; `escalation.changed`;
    /// `fence.added`, `.changed`, `.removed`.
    pub what: String,
    /// `tenant:1`, `account:7`, `group:3`, `seed`, `release:5`, `fence:9`.
    pub subject: String,
    /// What it was like; null for what was not there.
    pub before: Json,
    /// What it is like from then on; null for what is gone.
    pub after: Json,
}

/// Which changes to list.
#[derive(Clone, Debug, Default)]
pub struct ChangesWanted {
    /// From then on, UTC milliseconds.
    pub since_ms: u64,
    /// An author, or what stands behind its colon.
    pub who: Option<String>,
    /// A kind of change, or what stands before its dot.
    pub what: Option<String>,
    /// The most to list.
    pub limit: u32,
}

/// A change about to be written.
pub(in crate::store) struct Noted {
    pub(in crate::store) what: &'static str,
    pub(in crate::store) subject: String,
    pub(in crate::store) before: Json,
    pub(in crate::store) after: Json,
}

/// The longest name of an author, in characters.
const WHO_CHARACTERS_MAX: usize = 128;

type ChangeRow = (i64, i64, String, String, String, Vec<u8>, Vec<u8>);

impl Store {
    /// The same store, whose changes name `author` and the time of `clock`. Without this they name the fleet.
    pub fn on_behalf_of(&self, author: Author, clock: Clock) -> Self {
        Self { stamp: Stamp { author, clock }.into(), ..self.clone() }
    }

    /// Notes that a seed file was applied; each of its changes has its own row.
    pub async fn note_seed(&self, summary: Json) -> Result<(), Error> {
        self.write("note a seed file".to_owned(), move |conn| {
            Box::pin(async move {
                note(conn, Noted { what: "seed.applied", subject: "seed".to_owned(), before: Json::Null, after: summary }).await
            })
        })
        .await
    }

    /// Changes, the newest first.
    pub async fn changes(&self, wanted: ChangesWanted) -> Result<Vec<ChangeRecord>, Error> {
        self.read_old("list changes of the directory".to_owned(), move |conn| {
            Box::pin(async move {
                let mut sql =
                    "SELECT id, time_ms, who, what, subject, before_json, after_json FROM directory_change WHERE time_ms >= ?".to_owned();
                let mut bound = vec![Value::from(wanted.since_ms)];
                let who = wanted.who.map(|who| [who.clone(), format!("operator:{who}"), format!("account:{who}")]);
                if let Some(who) = &who {
                    sql.push_str(" AND who IN (?, ?, ?)");
                    bound.extend(who.iter().map(|who| Value::from(who.as_str())));
                }
                let what = wanted.what.map(|what| [what.clone(), format!("{what}.%")]);
                if let Some(what) = &what {
                    sql.push_str(" AND (what = ? OR what LIKE ?)");
                    bound.extend(what.iter().map(|what| Value::from(what.as_str())));
                }
                sql.push_str(" ORDER BY time_ms DESC, id DESC LIMIT ?");
                bound.push(wanted.limit.into());
                let rows: Vec<ChangeRow> = conn.all(AssertSqlSafe(sql), &bound).await?;
                rows.into_iter().map(|row| record_of(conn, row)).collect()
            })
        })
        .await
    }
}

fn record_of(conn: &Conn, (id, time_ms, who, what, subject, before, after): ChangeRow) -> Result<ChangeRecord, Error> {
    let json = |column, text: &[u8]| serde_json::from_slice(text).map_err(|source| conn.unreadable(column, source));
    let before = json("directory_change.before_json", &before)?;
    let after = json("directory_change.after_json", &after)?;
    Ok(ChangeRecord { id: id.cast_unsigned(), time_ms: time_ms.cast_unsigned(), who, what, subject, before, after })
}

/// Notes a change within its transaction.
pub(in crate::store) async fn note(conn: &mut Conn, change: Noted) -> Result<(), Error> {
    note_all(conn, &[change]).await
}

/// Notes changes within their transaction. Before [`super::outbox::push_outbox`], behind which others wait.
pub(super) async fn note_all(conn: &mut Conn, changes: &[Noted]) -> Result<(), Error> {
    let time_ms = conn.stamp.clock.now_ms();
    let who: String = conn.stamp.author.to_string().chars().take(WHO_CHARACTERS_MAX).collect();
    for piece in pieces(changes, usize::MAX, |_| 0) {
        let texts: Vec<[String; 2]> = piece.iter().map(|change| [change.before.to_string(), change.after.to_string()]).collect();
        let mut row_values: Vec<Value<'_>> = Vec::with_capacity(piece.len() * 6);
        for (change, [before, after]) in piece.iter().zip(&texts) {
            let subject = change.subject.as_str();
            row_values.extend_from_slice(values![time_ms, who.as_str(), change.what, subject, before.as_bytes(), after.as_bytes()]);
        }
        let columns = "time_ms, who, what, subject, before_json, after_json";
        let sql = format!("INSERT INTO directory_change ({columns}) VALUES {}", places(piece.len(), 6));
        conn.execute(AssertSqlSafe(sql), &row_values).await?;
    }
    Ok(())
}
