//! Tells what was heard: composes messages, sends them until they are taken, follows what the other listener tells.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::book::Book;
use super::event::{Change, Kind};
use super::hear::{Heard, lock};
use super::revive::Revival;
use super::rpc::Supervisord;
use super::rules::Rules;
use super::share::Share;
use super::spool::{Held, Mark, Message, Spool};
use super::text::{self, Facts, Voice};
use crate::clock::Clock;
use crate::retry::{Delays, ErrorClass};
use crate::sms::{Provider, Text, masked};

/// Between two turns, when nothing wakes earlier.
const TURN: Duration = Duration::from_millis(200);
/// How often the spools of the others are read.
const FOLLOW_MS: u64 = 2_000;
/// How often files and claims are tidied.
const TIDY_MS: u64 = 60_000;
/// The most programs that supervisord is asked about for one message.
const ASKED_MAX: usize = 8;
/// After how many refusals a number is given up: of a kind that will not change, and of any while others were served.
const REFUSALS: (u32, u32) = (3, 10);

/// Who tells.
#[derive(Debug)]
pub(super) struct Teller {
    pub(super) share: Share,
    pub(super) name: String,
    pub(super) boot: String,
    pub(super) spool: Arc<Mutex<Spool>>,
    pub(super) heard: Arc<Heard>,
    pub(super) rules: Arc<Rules>,
    pub(super) clock: Clock,
    pub(super) host: String,
    pub(super) provider: Option<Arc<dyn Provider>>,
    pub(super) supervisord: Option<Supervisord>,
    pub(super) silent_ms: u64,
    pub(super) parts_max: usize,
    pub(super) book: Book,
    pub(super) revival: Revival,
    /// When the last turn was; signs of life stop with the turns.
    pub(super) turned_ms: Arc<AtomicU64>,
    pub(super) way: Way,
    /// Listeners that were told to be silent, and when each is to be killed next.
    pub(super) silent: BTreeMap<String, u64>,
    /// When this listener began, or went on after it had stood still: the other one may have, too, and has its old sign of life.
    pub(super) began_ms: u64,
    pub(super) followed_ms: u64,
    pub(super) tidied_ms: u64,
}

/// The message on its way.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) message: Option<Message>,
    pub(super) sent: BTreeSet<(usize, String)>,
    pub(super) refusals: HashMap<(usize, String), u32>,
    pub(super) delays: Delays,
    pub(super) next_ms: u64,
}

impl Teller {
    /// Turn after turn, for ever.
    pub(super) async fn run(mut self) {
        loop {
            self.turn().await;
            let paused_ms = self.clock.now_ms();
            tokio::select! {
                () = self.heard.news.notified() => {}
                () = tokio::time::sleep(TURN) => {}
            }
            self.went_on(paused_ms, self.clock.now_ms());
        }
    }

    /// After a pause that was far longer than meant the machine stood still, and the other listener with it.
    pub(super) fn went_on(&mut self, paused_ms: u64, now_ms: u64) {
        if now_ms > paused_ms + self.silent_ms / 2 {
            self.began_ms = now_ms;
        }
    }

    pub(super) async fn turn(&mut self) {
        let now_ms = self.clock.now_ms();
        self.turned_ms.store(now_ms, Ordering::Relaxed);
        self.take_in();
        metrics::gauge!("roger_changes_waiting").set(self.book.pending().count() as f64);
        self.look_at_peers(now_ms).await;
        if now_ms >= self.followed_ms + FOLLOW_MS && self.book.pending().next().is_some() {
            self.followed_ms = now_ms;
            self.follow();
        }
        if self.way.message.is_none() {
            self.compose(now_ms).await;
        }
        self.send().await;
        if self.leads(now_ms) {
            self.revival.turn(self.supervisord.as_ref(), &self.rules, now_ms).await;
        }
        if now_ms >= self.tidied_ms + TIDY_MS {
            self.tidied_ms = now_ms;
            self.tidy(now_ms);
        }
    }

    fn take_in(&mut self) {
        let mut settled = Vec::new();
        for change in self.heard.take() {
            let seq = change.seq;
            if !self.book.take(change) {
                settled.push(seq);
            }
        }
        metrics::counter!("roger_changes_total", "outcome" => "suppressed").increment(settled.len() as u64);
        settled.extend(self.book.overflow());
        self.settle(settled);
        let given_up = self.book.take_given_up();
        if given_up > 0 {
            metrics::counter!("roger_changes_total", "outcome" => "given_up").increment(given_up);
            self.put("sms-listener", Kind::Lost, given_up);
        }
    }

    /// Whether this listener tells what nobody has claimed: it is the first of those that live.
    fn leads(&self, now_ms: u64) -> bool {
        self.share.peers().iter().all(|(peer, beat)| *peer > self.name || self.is_silent(*beat, now_ms))
    }

    fn is_silent(&self, beat_ms: u64, now_ms: u64) -> bool {
        beat_ms.max(self.began_ms) + self.silent_ms < now_ms
    }

    async fn look_at_peers(&mut self, now_ms: u64) {
        for (peer, beat) in self.share.peers() {
            let program = format!("sms-listener-{peer}");
            if !self.is_silent(beat, now_ms) {
                // Who only has time for a sign of life has given none yet.
                if beat + self.silent_ms >= now_ms && self.silent.remove(&peer).is_some() {
                    self.put(&program, Kind::PeerBack, 0);
                }
                continue;
            }
            let known = self.silent.get(&peer).copied();
            if known.is_none() {
                tracing::error!(peer, "the other listener gives no sign of life");
                self.put(&program, Kind::PeerSilent, 0);
            }
            if known.is_none_or(|due_ms| due_ms <= now_ms) {
                // Again as long as it stays silent: supervisord may not have answered, or the next one hangs as well.
                self.silent.insert(peer.clone(), now_ms + self.silent_ms);
                if let Some(supervisord) = &self.supervisord
                    && let Err(error) = supervisord.kill(&program).await
                {
                    tracing::warn!(error = &error as &dyn std::error::Error, peer, "it cannot be started again");
                }
            }
            if self.way.message.is_none() {
                self.adopt(&peer);
            }
        }
    }

    /// Sends what a silent listener had composed, under the same key.
    fn adopt(&mut self, peer: &str) {
        let Some((message, _)) = self.held_by(peer).and_then(|held| held.message.map(|(message, _)| (message, held.sent))) else { return };
        if self.share.owner(&claim_of(&message.key)).as_deref() != Some(peer) {
            return;
        }
        let ids: BTreeSet<&String> = message.ids.iter().filter(|id| !id.is_empty()).collect();
        for id in ids.iter().map(|id| id.as_str()).chain([claim_of(&message.key).as_str()]) {
            if let Err(error) = self.share.seize(id) {
                tracing::error!(error = &error as &dyn std::error::Error, "a claim of a silent listener cannot be taken over");
                return;
            }
        }
        let told: Vec<Change> = self.book.pending().filter(|change| ids.contains(&change.id)).cloned().collect();
        let message = Message { seqs: told.iter().map(|change| change.seq).collect(), ..message };
        self.set_out(message, &told);
    }

    fn held_by(&self, peer: &str) -> Option<Held> {
        Held::read(&self.share.of(peer)).inspect_err(|error| tracing::warn!(peer, %error, "its spool cannot be read")).ok()
    }

    /// What the others have told is told.
    fn follow(&mut self) {
        for (peer, _) in self.share.peers() {
            let Some(held) = self.held_by(&peer) else { continue };
            for (changes, at_ms) in held.told {
                let ids: BTreeSet<&str> = changes.iter().map(|change| change.id.as_str()).filter(|id| !id.is_empty()).collect();
                let told: Vec<Change> = self.book.pending().filter(|change| ids.contains(change.id.as_str())).cloned().collect();
                if !told.is_empty() {
                    self.book.composed(&told, at_ms);
                    self.settle(told.iter().map(|change| change.seq).collect());
                }
            }
        }
    }

    async fn compose(&mut self, now_ms: u64) {
        let due = self.book.due(now_ms, self.rules.is_quiet(now_ms));
        let mine = self.claimed(due, now_ms);
        let Some(last) = mine.last() else { return };
        let numbers = self.rules.on_call(now_ms);
        if self.provider.is_none() || !self.rules.tells_anybody() {
            tracing::warn!(changes = mine.len(), "nobody is told: sms.provider is off, or the rules name nobody");
            self.book.composed(&mine, now_ms);
            return self.settle(mine.iter().map(|change| change.seq).collect());
        }
        if numbers.is_empty() {
            // Held until somebody is on call.
            return;
        }
        let facts = self.facts(&mine).await;
        let rules = Arc::clone(&self.rules);
        let (time_of_day, since) = (|at_ms| rules.time_of_day(at_ms), |program: &str| self.book.trouble_since(program));
        let voice = Voice { host: &self.host, time_of_day: &time_of_day, since: &since, parts_max: self.parts_max };
        let message = Message {
            key: format!("{}-{}-{now_ms}-{}", self.host, self.name, last.seq),
            texts: text::compose(&mine, &facts, &voice),
            numbers,
            seqs: mine.iter().map(|change| change.seq).collect(),
            ids: mine.iter().map(|change| change.id.clone()).collect(),
            at_ms: now_ms,
        };
        if let Err(error) = self.share.claim(&claim_of(&message.key)) {
            tracing::warn!(error = &error as &dyn std::error::Error, "a message cannot be claimed");
        }
        self.set_out(message, &mine);
    }

    fn set_out(&mut self, message: Message, changes: &[Change]) {
        self.book.composed(changes, self.clock.now_ms());
        self.mark(&Mark::Composed(message.clone()));
        self.way.sent.clear();
        self.way.refusals.clear();
        self.way.message = Some(message);
    }

    /// Those of the changes that this listener tells.
    fn claimed(&self, due: Vec<Change>, now_ms: u64) -> Vec<Change> {
        let leads = self.leads(now_ms);
        let peers: HashMap<String, u64> = self.share.peers().into_iter().collect();
        let lives = |peer: &str| peers.get(peer).is_some_and(|beat| !self.is_silent(*beat, now_ms));
        let is_mine = |change: &Change| {
            if change.id.is_empty() {
                return Ok(true);
            }
            match self.share.owner(&change.id) {
                None if leads => self.share.claim(&change.id),
                None => Ok(false),
                Some(owner) if owner == self.name => Ok(true),
                Some(owner) if lives(&owner) || !leads => Ok(false),
                // A message that has it was adopted, and what was told is followed: nobody else will.
                Some(_) => self.share.seize(&change.id).map(|()| true),
            }
        };
        let told = |change: &Change| {
            is_mine(change).unwrap_or_else(|error| {
                // Rather twice than never.
                tracing::error!(error = &error as &dyn std::error::Error, "an event cannot be claimed: told without");
                leads
            })
        };
        due.into_iter().filter(told).collect()
    }

    async fn facts(&self, changes: &[Change]) -> BTreeMap<String, Facts> {
        let ends = |change: &&Change| matches!(change.kind, Kind::Exited | Kind::Fatal | Kind::Backoff);
        let programs: BTreeSet<&str> = changes.iter().filter(ends).map(|change| change.program.as_str()).collect();
        let mut facts = BTreeMap::new();
        let mut log = String::new();
        if let (Some(supervisord), false) = (&self.supervisord, programs.is_empty()) {
            log = supervisord.log().await.unwrap_or_default();
        }
        for program in programs.iter().take(ASKED_MAX) {
            let mut known = Facts { ended: text::ended(&log, program), ..Facts::default() };
            if let Some(supervisord) = &self.supervisord {
                known.spawn_error = supervisord.process(program).await.ok().map(|process| process.spawn_error);
                known.last_line = supervisord.printed(program).await.ok().and_then(|printed| text::last_line(&printed));
            }
            known.last_line = known.last_line.or_else(|| self.heard.last_line(program));
            facts.insert((*program).to_owned(), known);
        }
        facts
    }

    async fn send(&mut self) {
        let (Some(message), Some(provider)) = (self.way.message.clone(), self.provider.clone()) else { return };
        if self.clock.now_ms() < self.way.next_ms {
            return;
        }
        for (at, text) in message.texts.iter().enumerate() {
            // Who was refused comes last: a gateway that hangs over one number keeps nobody else from hearing.
            let mut numbers: Vec<&String> = message.numbers.iter().collect();
            numbers.sort_by_key(|number| self.way.refusals.get(&(at, (*number).clone())).copied().unwrap_or(0));
            for number in numbers {
                let place = (at, number.clone());
                if self.way.sent.contains(&place) {
                    continue;
                }
                if !self.share.is_mine(&claim_of(&message.key)) {
                    tracing::warn!(key = message.key, "the other listener has taken this message over");
                    self.way.message = None;
                    return self.settle(message.seqs);
                }
                self.turned_ms.store(self.clock.now_ms(), Ordering::Relaxed);
                let key = format!("{}-{at}-{number}", message.key);
                let sent = provider.send(&Text { key, number: number.clone(), text: text.clone() }).await;
                let taken = match sent {
                    Ok(()) => {
                        self.way.delays.reset();
                        true
                    }
                    Err(error) => {
                        let refusals = self.way.refusals.entry(place.clone()).or_insert(0);
                        *refusals += 1;
                        metrics::counter!("roger_texts_total", "outcome" => "failed").increment(1);
                        let most = if error.class() == ErrorClass::Transient { REFUSALS.1 } else { REFUSALS.0 };
                        let others = error.class() != ErrorClass::Transient || !self.way.sent.is_empty();
                        let given_up = others && *refusals >= most;
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            number = masked(number),
                            given_up,
                            "a text was not taken"
                        );
                        if !given_up {
                            self.way.next_ms = self.clock.now_ms() + self.way.delays.next_delay().as_millis() as u64;
                            if error.is_away() {
                                return;
                            }
                            continue;
                        }
                        false
                    }
                };
                metrics::counter!("roger_texts_total", "outcome" => if taken { "sent" } else { "given_up" }).increment(1);
                self.mark(&Mark::Sent { key: message.key.clone(), text: at, number: number.clone(), taken });
                self.way.sent.insert(place);
            }
        }
        if self.way.sent.len() == message.texts.len() * message.numbers.len() {
            tracing::info!(key = message.key, changes = message.seqs.len(), texts = message.texts.len(), "told");
            metrics::counter!("roger_changes_total", "outcome" => "told").increment(message.seqs.len() as u64);
            self.mark(&Mark::Told { key: message.key, at_ms: self.clock.now_ms() });
            self.way.message = None;
        }
    }

    fn put(&mut self, program: &str, kind: Kind, count: u64) {
        let (id, program, detail) = (String::new(), program.to_owned(), String::new());
        let mut change = Change { seq: 0, id, at_ms: self.clock.now_ms(), program, kind, severity: kind.severity(), pid: 0, count, detail };
        let mut spool = lock(&self.spool);
        if let Err(error) = spool.put(&mut change) {
            tracing::error!(error = &error as &dyn std::error::Error, "the spool cannot be written");
            spool.number(&mut change);
        }
        drop(spool);
        self.heard.add(change);
    }

    pub(super) fn settle(&mut self, seqs: Vec<u64>) {
        if !seqs.is_empty() {
            self.book.settle(&seqs);
            self.mark(&Mark::Settled(seqs));
        }
    }

    fn mark(&self, mark: &Mark) {
        if let Err(error) = lock(&self.spool).mark(mark) {
            tracing::error!(error = &error as &dyn std::error::Error, "what was told cannot be noted: it may be told again after a death");
        }
    }

    fn tidy(&mut self, now_ms: u64) {
        let mut open: BTreeSet<u64> = self.book.pending().map(|change| change.seq).collect();
        open.extend(self.way.message.iter().flat_map(|message| message.seqs.iter().copied()));
        let tidied = lock(&self.spool).tidy(&open).and_then(|()| self.share.prune(&self.boot, now_ms));
        if let Err(error) = tidied {
            tracing::warn!(error = &error as &dyn std::error::Error, "what is told cannot be removed");
        }
    }
}

fn claim_of(key: &str) -> String {
    format!("messages/{key}")
}
