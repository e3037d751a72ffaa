//! Everybody in a played conversation: who said what, who heard what, and whether that is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::error::Error;
use super::output::table;
use crate::client::{Body, Counts, Event, Memory, Options, Session, Tokens};
use crate::model::{InstallationId, TopicId, UserId};

/// How long after the last message repeats are still waited for.
const AFTERMATH: Duration = Duration::from_millis(500);

/// What one message is known by: who sent it, with which number, and its text.
type Said = (UserId, u64, Bytes);

/// The conversation.
pub(super) struct Roster {
    edges: Vec<String>,
    /// What was said in each topic, in the order in which receipts came.
    said: BTreeMap<TopicId, Vec<Said>>,
    members: BTreeMap<String, Member>,
}

struct Member {
    user: UserId,
    topics: BTreeSet<TopicId>,
    tokens: Arc<dyn Tokens>,
    memory: Memory,
    /// The edge tried first.
    edge: usize,
    session: Option<Session>,
    /// Of the sessions before this one.
    before: Counts,
    sent: u64,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    heard: Mutex<Heard>,
    changed: tokio::sync::Notify,
}

#[derive(Default)]
struct Heard {
    entries: BTreeMap<TopicId, Vec<Said>>,
    followed: BTreeSet<TopicId>,
    refused: Vec<String>,
    over: Option<String>,
}

impl Log {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, events: &mut Vec<Event>) {
        let mut heard = self.heard();
        for event in events.drain(..) {
            match event {
                Event::Entry(entry) => match entry.body {
                    Body::Text(text) => heard.entries.entry(entry.topic).or_default().push((entry.sender, entry.client_seq, text)),
                    Body::Rejected { topic, client_seq, reason, .. } => heard.refused.push(format!("{topic} {client_seq}: {reason:?}")),
                    _ => {}
                },
                Event::Follow { topic, following: true, .. } => drop(heard.followed.insert(topic)),
                Event::Refusal(refusal) => heard.refused.push(format!("{:?} {}", refusal.reason, refusal.text)),
                Event::Closed { reason: Some(reason), text } => heard.over = Some(format!("{reason}: {text}")),
                _ => {}
            }
        }
        drop(heard);
        self.changed.notify_waiters();
    }
}

/// One line of the verdict.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) speaker: String,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Never heard.
    pub(super) lost: u64,
    /// Heard more than once, or sent again by the fleet after it was acknowledged.
    pub(super) repeats: u64,
    /// Times places were missing.
    pub(super) holes: u64,
    /// Heard elsewhere than said.
    pub(super) out_of_order: u64,
    pub(super) connections: u64,
    pub(super) refused: Vec<String>,
}

impl Line {
    fn sound(&self) -> bool {
        self.lost + self.repeats + self.holes + self.out_of_order == 0 && self.refused.is_empty()
    }
}

/// The verdict.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) messages: u64,
    pub(super) sound: bool,
    pub(super) speakers: Vec<Line>,
}

impl Report {
    pub(super) fn text(&self) -> String {
        let row = |line: &Line| {
            let numbers = [line.sent, line.received, line.lost, line.repeats, line.holes, line.out_of_order, line.connections];
            let refused = line.refused.join("; ");
            [line.speaker.clone()].into_iter().chain(numbers.iter().map(u64::to_string)).chain([refused]).collect::<Vec<_>>()
        };
        let head = ["SPEAKER", "SENT", "RECEIVED", "LOST", "REPEATS", "HOLES", "OUT OF ORDER", "CONNECTIONS", "REFUSED"];
        let verdict =
            if self.sound { "everybody has everything, once and in order" } else { "NOT everybody has everything once and in order" };
        format!("{}\n\n{} messages: {verdict}.", table(&head, self.speakers.iter().map(row)), self.messages)
    }
}

impl Roster {
    pub(super) fn new(edges: Vec<String>) -> Self {
        Self { edges, said: BTreeMap::new(), members: BTreeMap::new() }
    }

    /// Adds a member who follows `topics`; edges are shared out evenly. Comes on the air at once.
    pub(super) fn join(
        &mut self,
        name: &str,
        user: UserId,
        installation: InstallationId,
        tokens: Arc<dyn Tokens>,
        topics: impl IntoIterator<Item = TopicId>,
    ) -> Result<(), Error> {
        let member = Member {
            user,
            topics: topics.into_iter().collect(),
            tokens,
            memory: Memory::of(installation),
            edge: self.members.len() % self.edges.len().max(1),
            session: None,
            before: Counts::default(),
            sent: 0,
            log: Arc::default(),
        };
        for topic in &member.topics {
            self.said.entry(*topic).or_default();
        }
        self.members.insert(name.to_owned(), member);
        self.on(name)
    }

    fn member(&mut self, name: &str) -> Result<&mut Member, Error> {
        self.members.get_mut(name).ok_or_else(|| Error::Usage(format!("{name} is not in this conversation")))
    }

    pub(super) fn is_off(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|member| member.session.is_none())
    }

    /// A member comes on the air, with what it remembers.
    pub(super) fn on(&mut self, name: &str) -> Result<(), Error> {
        let edges = self.edges.clone();
        let member = self.member(name)?;
        if member.session.is_some() {
            return Ok(());
        }
        let first = member.edge % edges.len().max(1);
        let edges = edges[first..].iter().chain(&edges[..first]).cloned();
        let options = Options::new(edges, member.tokens.clone(), member.memory.clone());
        let log = member.log.clone();
        member.session = Some(Session::open_with(options, move |events| log.take(events))?);
        Ok(())
    }

    /// A member goes off the air; the next time it is on another edge.
    pub(super) async fn off(&mut self, name: &str) -> Result<(), Error> {
        let member = self.member(name)?;
        let Some(session) = member.session.take() else { return Ok(()) };
        let counts = session.counts();
        member.before.repeats += counts.repeats;
        member.before.holes += counts.holes;
        member.before.connections += counts.connections;
        member.memory = session.close().await;
        member.edge += 1;
        Ok(())
    }

    /// Waits until everybody on the air follows their topics.
    pub(super) async fn ready(&self, within: Duration) -> Result<(), Error> {
        for (name, member) in &self.members {
            let follows = |heard: &Heard| member.topics.iter().all(|topic| heard.followed.contains(topic));
            wait(member, within, &format!("{name} following the conversation"), follows).await?;
        }
        Ok(())
    }

    /// A member says something, and waits for the receipt.
    pub(super) async fn say(&mut self, name: &str, topic: TopicId, text: &str, within: Duration) -> Result<(), Error> {
        let member = self.member(name)?;
        let late = || Error::Late { what: format!("the receipt of {name}"), seconds: within.as_secs() };
        let Some(session) = &member.session else { return Err(Error::Usage(format!("{name} is off the air"))) };
        let text = Bytes::from(text.to_owned());
        let client_seq = session.send(topic, text.clone()).await?;
        tokio::time::timeout(within, session.flush()).await.map_err(|_| late())??;
        member.sent += 1;
        let user = member.user;
        self.said.entry(topic).or_default().push((user, client_seq, text));
        Ok(())
    }

    /// Waits until everybody has as much as was said; whether it is the same is for the report.
    pub(super) async fn settle(&self, within: Duration) -> Result<(), Error> {
        let until = tokio::time::Instant::now() + within;
        for (name, member) in &self.members {
            let all = |heard: &Heard| {
                member.topics.iter().all(|topic| heard.entries.get(topic).map_or(0, Vec::len) >= self.said.get(topic).map_or(0, Vec::len))
            };
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if let Err(error) = wait(member, left, &format!("{name} having everything"), all).await {
                super::output::note(&format!("roger: {error}"));
            }
        }
        tokio::time::sleep(AFTERMATH).await;
        Ok(())
    }

    /// Compares what was heard with what was said, and ends all sessions.
    pub(super) async fn report(mut self) -> Result<Report, Error> {
        let names: Vec<String> = self.members.keys().cloned().collect();
        for name in &names {
            self.off(name).await?;
        }
        let mut speakers = Vec::new();
        for (name, member) in &self.members {
            let heard = member.log.heard();
            let mut line = Line {
                speaker: name.clone(),
                sent: member.sent,
                received: 0,
                lost: 0,
                repeats: member.before.repeats,
                holes: member.before.holes,
                out_of_order: 0,
                connections: member.before.connections,
                refused: heard.refused.iter().cloned().chain(heard.over.clone()).collect(),
            };
            for topic in &member.topics {
                let nothing = Vec::new();
                let (said, heard) = (self.said.get(topic).unwrap_or(&nothing), heard.entries.get(topic).unwrap_or(&nothing));
                compare(member.user, said, heard, &mut line);
            }
            speakers.push(line);
        }
        let messages = self.said.values().map(|said| said.len() as u64).sum();
        Ok(Report { messages, sound: speakers.iter().all(Line::sound), speakers })
    }
}

async fn wait(member: &Member, within: Duration, what: &str, done: impl Fn(&Heard) -> bool) -> Result<(), Error> {
    let late = || Error::Late { what: what.to_owned(), seconds: within.as_secs() };
    let waiting = async {
        loop {
            let changed = member.log.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done(&member.log.heard()) {
                return;
            }
            changed.await;
        }
    };
    tokio::time::timeout(within, waiting).await.map_err(|_| late())
}

/// `listener` hears its own words without their text when its session no longer has it.
fn compare(listener: UserId, said: &[Said], heard: &[Said], line: &mut Line) {
    line.received += heard.len() as u64;
    let mut times: BTreeMap<(UserId, u64), u64> = BTreeMap::new();
    for (user, client_seq, _) in heard {
        *times.entry((*user, *client_seq)).or_default() += 1;
    }
    line.repeats += times.values().map(|times| times - 1).sum::<u64>();
    line.lost += said.iter().filter(|(user, client_seq, _)| !times.contains_key(&(*user, *client_seq))).count() as u64;
    // Without the lost and the second ones, what was heard must be what was said, at each place, text and all.
    let mut seen = BTreeSet::new();
    let once = heard.iter().filter(|(user, client_seq, _)| seen.insert((*user, *client_seq)));
    let present = said.iter().filter(|(user, client_seq, _)| times.contains_key(&(*user, *client_seq)));
    line.out_of_order += once.zip(present).filter(|(heard, said)| !same(listener, heard, said)).count() as u64;
}

fn same(listener: UserId, heard: &Said, said: &Said) -> bool {
    let own = heard.0 == listener && heard.2.is_empty();
    (heard.0, heard.1) == (said.0, said.1) && (own || heard.2 == said.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(heard: &[u64], expected: (u64, u64, u64)) {
        let word = |number: &u64| (UserId(1), *number, Bytes::from(number.to_string()));
        let said: Vec<Said> = (1..=4).map(|number| word(&number)).collect();
        let heard: Vec<Said> = heard.iter().map(word).collect();
        let mut line = Line {
            speaker: String::new(),
            sent: 0,
            received: 0,
            lost: 0,
            repeats: 0,
            holes: 0,
            out_of_order: 0,
            connections: 0,
            refused: Vec::new(),
        };
        compare(UserId(2), &said, &heard, &mut line);
        assert_eq!((line.lost, line.repeats, line.out_of_order), expected, "{heard:?}");
    }

    #[test]
    fn only_ones_own_words_may_come_without_their_text() {
        let (said, bare) = ((UserId(1), 7, Bytes::from("roger")), (UserId(1), 7, Bytes::new()));
        assert!(same(UserId(1), &bare, &said));
        assert!(!same(UserId(2), &bare, &said));
        assert!(!same(UserId(1), &(UserId(1), 8, Bytes::new()), &said));
    }

    #[test]
    fn loss_repeats_and_disorder_are_told_apart() {
        check(&[1, 2, 3, 4], (0, 0, 0));
        check(&[1, 2, 4], (1, 0, 0));
        check(&[1, 2, 2, 3, 4, 4], (0, 2, 0));
        check(&[1, 3, 2, 4], (0, 0, 2));
        check(&[], (4, 0, 0));
    }
}
