//! Proves, from SQL alone, that nothing was lost, doubled or disordered.
//!
//! Each topic's messages are read once, in order, without their bodies. The archive may run meanwhile: what is compared was read in an
//! order in which a correct archive cannot look wrong. Memory is bounded by a page of rows, one number for each installation that writes
//! in the topic, and [`FINDINGS_MAX`] findings.

use std::collections::HashMap;
use std::fmt;

use super::conn::{Conn, values};
use super::log::{next_epoch, read_head};
use super::{Error, Store};
use crate::model::{InstallationId, Place, TopicId, UserId};

/// The most findings kept for a topic; further ones are only counted.
pub const FINDINGS_MAX: usize = 100;

/// Rows read at once.
const PAGE_ROWS: u64 = 2_000;

/// Something that cannot be in a correct archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Places between two entries, or before the first one, hold nothing.
    Lost {
        /// The topic.
        topic: TopicId,
        /// The last entry before the hole; (0, 0) for none.
        after: Place,
        /// The next one that exists.
        next: Place,
    },
    /// One message of an installation stands at two places.
    Duplicate {
        /// The topic.
        topic: TopicId,
        /// Who sent it.
        sender: UserId,
        /// With what.
        installation: InstallationId,
        /// Under which number.
        client_seq: u64,
        /// The first place.
        first: Place,
        /// The second one.
        again: Place,
    },
    /// A message of an installation stands behind a later one of it.
    Disordered {
        /// The topic.
        topic: TopicId,
        /// Who sent them.
        sender: UserId,
        /// With what.
        installation: InstallationId,
        /// The number of the message.
        client_seq: u64,
        /// Where it stands.
        at: Place,
        /// The number of the later message.
        later_client_seq: u64,
        /// Where that one stands.
        later_at: Place,
    },
    /// An installation acknowledged what the topic does not have.
    MarkBeyondHead {
        /// The topic.
        topic: TopicId,
        /// Whose installation.
        user: UserId,
        /// The installation.
        installation: InstallationId,
        /// What it acknowledged.
        mark: Place,
        /// The head.
        head: Place,
    },
    /// The head that is stored is not the place of the last entry.
    HeadDiffers {
        /// The topic.
        topic: TopicId,
        /// The head as stored; `None` for no row.
        head: Option<Place>,
        /// The place of the last entry; (0, 0) for none.
        last: Place,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { topic, after, next } => write!(f, "{topic}: nothing between {after} and {next}"),
            Self::Duplicate { topic, sender, installation, client_seq, first, again } => {
                write!(f, "{topic}: message {client_seq} of {sender}/{installation} stands at {first} and at {again}")
            }
            Self::Disordered { topic, sender, installation, client_seq, at, later_client_seq, later_at } => {
                write!(f, "{topic}: message {client_seq} of {sender}/{installation} at {at} stands behind {later_client_seq} at {later_at}")
            }
            Self::MarkBeyondHead { topic, user, installation, mark, head } => {
                write!(f, "{topic}: {user}/{installation} acknowledged {mark}, beyond the head {head}")
            }
            Self::HeadDiffers { topic, head: Some(head), last } => write!(f, "{topic}: the head says {head}, the last entry is {last}"),
            Self::HeadDiffers { topic, head: None, last } => write!(f, "{topic}: no head, the last entry is {last}"),
        }
    }
}

/// What the audit of some topics found.
#[derive(Clone, Debug, Default)]
pub struct AuditPage {
    /// Topics audited.
    pub topics: u64,
    /// Their entries.
    pub messages: u64,
    /// Their marks.
    pub marks: u64,
    /// What is wrong, up to [`FINDINGS_MAX`] for each topic.
    pub findings: Vec<Finding>,
    /// How many things are wrong, also those not listed.
    pub findings_total: u64,
    /// The last topic of this page, from which the next one goes on; `None` when there are no more.
    pub next: Option<TopicId>,
}

impl AuditPage {
    fn found(&mut self, kept: &mut usize, finding: Finding) {
        self.findings_total += 1;
        if *kept < FINDINGS_MAX {
            *kept += 1;
            self.findings.push(finding);
        }
    }
}

/// What is known of a topic while its entries go by.
#[derive(Default)]
struct Progress {
    last: Place,
    /// The highest client sequence of each sender and installation, and where it stands.
    highest: HashMap<(u64, u64), (u64, Place)>,
    kept: usize,
}

/// (epoch, seq, sender, installation, client_seq) of an entry.
type Step = (u64, u64, u64, u64, u64);

impl Store {
    /// Audits up to `topics_max` topics behind `after`, in the order of their names. A topic is one that has entries or a head.
    pub async fn audit(&self, after: Option<TopicId>, topics_max: u32) -> Result<AuditPage, Error> {
        let mut page = AuditPage { next: after, ..AuditPage::default() };
        for _ in 0..topics_max.max(1) {
            let Some(topic) = self.next_topic(page.next).await? else {
                page.next = None;
                break;
            };
            self.audit_topic(topic, &mut page).await?;
            page.next = Some(topic);
        }
        Ok(page)
    }

    async fn next_topic(&self, after: Option<TopicId>) -> Result<Option<TopicId>, Error> {
        let after = after.map(|topic| topic.to_string()).unwrap_or_default();
        self.read(format!("the topic after {after:?}"), move |conn| {
            Box::pin(async move {
                let mut next: Option<String> = None;
                for (column, sql) in [
                    ("message.topic", "SELECT topic FROM message WHERE topic > ? ORDER BY topic LIMIT 1"),
                    ("topic_head.topic", "SELECT topic FROM topic_head WHERE topic > ? ORDER BY topic LIMIT 1"),
                ] {
                    if let Some((topic,)) = conn.first::<(String,)>(sql, values![after.as_str()]).await? {
                        conn.topic(column, &topic)?;
                        next = Some(next.map_or(topic.clone(), |other| other.min(topic)));
                    }
                }
                next.map(|topic| conn.topic("message.topic", &topic)).transpose()
            })
        })
        .await
    }

    async fn audit_topic(&self, topic: TopicId, page: &mut AuditPage) -> Result<(), Error> {
        page.topics += 1;
        let mut progress = Progress::default();
        let before = self.head_place(topic).await?;
        self.audit_entries(topic, &mut progress, page).await?;
        let after = self.head_place(topic).await?;
        // The archive moves entries and head in one transaction, so what was read in between lies between the two.
        let last = progress.last;
        if after.is_none_or(|head| head < last) || before.is_some_and(|head| head > last) {
            page.found(&mut progress.kept, Finding::HeadDiffers { topic, head: after, last });
        }
        self.audit_marks(topic, &mut progress, page).await
    }

    async fn head_place(&self, topic: TopicId) -> Result<Option<Place>, Error> {
        Ok(self.head(topic).await?.map(|row| row.head.into()))
    }

    async fn audit_entries(&self, topic: TopicId, progress: &mut Progress, page: &mut AuditPage) -> Result<(), Error> {
        loop {
            let after = progress.last;
            let steps = self
                .read(format!("audit the entries of {topic} after {after}"), move |conn| {
                    Box::pin(async move { read_steps(conn, topic, after).await })
                })
                .await?;
            if steps.is_empty() {
                return Ok(());
            }
            page.messages += steps.len() as u64;
            for step in steps {
                self.audit_step(topic, step, progress, page).await?;
            }
        }
    }

    async fn audit_step(&self, topic: TopicId, step: Step, progress: &mut Progress, page: &mut AuditPage) -> Result<(), Error> {
        let (epoch, seq, sender, installation, client_seq) = step;
        let (after, at) = (progress.last, Place::new(epoch, seq));
        let contiguous = match epoch == after.epoch {
            true => seq == after.seq + 1,
            // A new epoch goes on behind the floor, which may be below the head when entries of the old one reached the archive late.
            false => seq <= after.seq + 1,
        };
        if !contiguous {
            page.found(&mut progress.kept, Finding::Lost { topic, after, next: at });
        }
        progress.last = at;
        // The fleet's own entries have no installation and no number.
        if installation == 0 {
            return Ok(());
        }
        let highest = progress.highest.entry((sender, installation)).or_insert((0, Place::START));
        let (later_client_seq, later_at) = *highest;
        if client_seq > later_client_seq {
            *highest = (client_seq, at);
            return Ok(());
        }
        let first = match client_seq == later_client_seq {
            true => Some(later_at),
            false if progress.kept < FINDINGS_MAX => self.first_place(topic, step).await?.filter(|first| *first != at),
            false => None,
        };
        let (sender, installation) = (UserId(sender), InstallationId(installation));
        let finding = match first {
            Some(first) => Finding::Duplicate { topic, sender, installation, client_seq, first, again: at },
            None => Finding::Disordered { topic, sender, installation, client_seq, at, later_client_seq, later_at },
        };
        page.found(&mut progress.kept, finding);
        Ok(())
    }

    /// Where a message of an installation stands first. Reads the whole topic: only for what is wrong already.
    async fn first_place(&self, topic: TopicId, (_, _, sender, installation, client_seq): Step) -> Result<Option<Place>, Error> {
        self.read(format!("audit message {client_seq} of {sender}/{installation} in {topic}"), move |conn| {
            Box::pin(async move {
                let sql = "SELECT epoch, seq FROM message WHERE topic = ? AND sender = ? AND installation = ? AND client_seq = ? \
                           ORDER BY epoch, seq LIMIT 1";
                let row: Option<(i64, i64)> = conn.first(sql, values![topic, sender, installation, client_seq]).await?;
                Ok(row.map(|(epoch, seq)| Place::new(epoch.cast_unsigned(), seq.cast_unsigned())))
            })
        })
        .await
    }

    async fn audit_marks(&self, topic: TopicId, progress: &mut Progress, page: &mut AuditPage) -> Result<(), Error> {
        let (mut user, mut installation) = (i64::MIN, i64::MIN);
        loop {
            let (marks, head) = self
                .read(format!("audit the marks of {topic}"), move |conn| {
                    Box::pin(async move { read_marks(conn, topic, user, installation).await })
                })
                .await?;
            let Some((last_user, last_installation, ..)) = marks.last() else { return Ok(()) };
            (user, installation) = (*last_user, *last_installation);
            page.marks += marks.len() as u64;
            for (user, installation, epoch, seq) in marks {
                let mark = Place::new(epoch.cast_unsigned(), seq.cast_unsigned());
                if mark > head {
                    let (user, installation) = (UserId(user.cast_unsigned()), InstallationId(installation.cast_unsigned()));
                    page.found(&mut progress.kept, Finding::MarkBeyondHead { topic, user, installation, mark, head });
                }
            }
        }
    }
}

/// The next entries of a topic, of one epoch.
async fn read_steps(conn: &mut Conn, topic: TopicId, after: Place) -> Result<Vec<Step>, Error> {
    let mut at = after;
    loop {
        let sql =
            "SELECT seq, sender, installation, client_seq FROM message WHERE topic = ? AND epoch = ? AND seq > ? ORDER BY seq LIMIT ?";
        let rows: Vec<(i64, i64, i64, i64)> = conn.all(sql, values![topic, at.epoch, at.seq, PAGE_ROWS]).await?;
        if !rows.is_empty() {
            let step = |(seq, sender, installation, client_seq): (i64, i64, i64, i64)| {
                (at.epoch, seq.cast_unsigned(), sender.cast_unsigned(), installation.cast_unsigned(), client_seq.cast_unsigned())
            };
            return Ok(rows.into_iter().map(step).collect());
        }
        match next_epoch(conn, topic, at.epoch, u64::MAX).await? {
            Some(epoch) => at = Place::new(epoch, 0),
            None => return Ok(Vec::new()),
        }
    }
}

/// The next marks of a topic, and its head, read after them: it covers every mark that was there.
async fn read_marks(conn: &mut Conn, topic: TopicId, user: i64, installation: i64) -> Result<(Vec<(i64, i64, i64, i64)>, Place), Error> {
    let sql = "SELECT m.account, m.installation, m.epoch, m.seq FROM topic_head h JOIN topic_mark m ON m.shard = h.shard AND m.topic = h.topic \
               WHERE h.topic = ? AND m.account >= ? AND (m.account > ? OR m.installation > ?) ORDER BY m.account, m.installation LIMIT ?";
    let marks = conn.all(sql, values![topic, user, user, installation, PAGE_ROWS]).await?;
    let head = read_head(conn, topic).await?.map_or(Place::START, |row| row.head.into());
    Ok((marks, head))
}
