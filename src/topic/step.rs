//! One frame in, outcomes and outputs out.
//!
//! A step decides on the state as it is and changes it at once, so that the next entry sees what the one before did. Nothing of it counts
//! before the batch is committed: if the commit is refused, the owner drops this memory and loads again.

use std::collections::BTreeMap;

use super::follow::{Followers, Outputs};
use super::frame::{Entry, Feed, Forward, InFrame, Input, Lane, LogFrame, LogItem, Notice, Outcome, Output, Post, rejected_body};
use super::recent::fingerprint;
use super::state::{Shard, Topic};
use crate::model::{GroupId, InstallationId, MessageKind, Reason, SessionId, TenantId, TopicId, TopicKind, UserId};
use bytes::Bytes;

/// What the frames of one commit decided.
#[derive(Debug, Default)]
pub struct Batch {
    outcomes: Vec<LogItem>,
    feeds: BTreeMap<(u64, u32), Feed>,
    item: usize,
    /// For the edges, to be written after the commit.
    pub outputs: Outputs,
    /// What was counted on the way.
    pub tally: Tally,
}

/// Counts of a batch, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that got a place.
    pub accepted: u64,
    /// Messages that were known already.
    pub repeated: u64,
    /// Messages refused after their receipt.
    pub rejected: u64,
    /// Frames at or below the last one of their producer.
    pub frames_repeated: u64,
    /// Inputs that named no topic or had no content.
    pub malformed: u64,
}

impl Batch {
    /// Whether there is anything to append to the log.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Adds what is in the state already.
    pub(super) fn push(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome.into());
    }

    /// The index of the item of its frame that was stepped last: where a panic happened.
    pub fn current_item(&self) -> usize {
        self.item
    }

    /// What the batch decided.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter_map(|item| item.outcome.as_ref())
    }
}

/// An edge has seen the effect of a commit that the shard does not have: Redis lost a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an edge saw commit {seen_epoch}/{seen_commit} of a shard that stands at {epoch}/{commit}: Redis lost a tail of its log")]
pub struct LostTail {
    /// The epoch of the commit seen.
    pub seen_epoch: u64,
    /// The commit seen.
    pub seen_commit: u64,
    /// The shard's epoch.
    pub epoch: u64,
    /// The shard's last commit.
    pub commit: u64,
}

impl Shard {
    /// Takes one frame in, at the owner's time.
    ///
    /// # Errors
    /// [`LostTail`] when the producer has seen a later commit; the state is unchanged, and unusable.
    pub fn step(&mut self, batch: &mut Batch, followers: &mut Followers, lane: Lane, frame: InFrame, now_ms: u64) -> Result<(), LostTail> {
        if let Some(seen) = frame.seen.filter(|seen| (seen.epoch, seen.seq) > (self.epoch, self.commit)) {
            return Err(LostTail { seen_epoch: seen.epoch, seen_commit: seen.seq, epoch: self.epoch, commit: self.commit });
        }
        if frame.producer != 0 {
            if frame.number <= self.feed_number(frame.producer, lane) {
                batch.tally.frames_repeated += 1;
                return Ok(());
            }
            let feed = Feed { producer: frame.producer, lane: lane as u32, number: frame.number, time_ms: now_ms };
            self.note_feed(feed);
            batch.feeds.insert((feed.producer, feed.lane), feed);
        }
        let mut step = Step { shard: self, batch, followers, edge: &frame.edge, now_ms };
        for (index, item) in frame.items.into_iter().enumerate() {
            step.batch.item = index;
            match item.input {
                Some(input) => step.take(input),
                None => step.batch.tally.malformed += 1,
            }
        }
        Ok(())
    }

    /// Tells the sender of a message that it was put aside.
    pub fn reject_quarantined(&mut self, batch: &mut Batch, post: &Post, now_ms: u64) {
        let mut followers = Followers::default();
        let high = TopicId::from_packed(post.topic)
            .and_then(|topic| self.topics.get(&topic))
            .and_then(|topic| topic.producers.get(&(UserId(post.sender), InstallationId(post.installation))).map(|producer| producer.high));
        let mut step = Step::of_owner(self, batch, &mut followers, now_ms);
        step.reject(post, Reason::Quarantined, high.unwrap_or(0));
    }

    /// Brings a topic to the directory's current version, silently: used when a shard begins a new epoch.
    pub fn adopt(&mut self, batch: &mut Batch, input: Input, now_ms: u64) {
        let mut followers = Followers::default();
        let mut step = Step::of_owner(self, batch, &mut followers, now_ms);
        match input {
            Input::Register(register) => step.register(register, false),
            other => step.take(other),
        }
    }

    /// Tells the rooms' topics again what the inboxes know: used when a shard begins a new epoch.
    pub fn repeat_rooms(&mut self, batch: &mut Batch, now_ms: u64) {
        let mut followers = Followers::default();
        Step::of_owner(self, batch, &mut followers, now_ms).repeat_rooms();
    }

    /// Closes a batch into the frame of the next commit; `None` when it decided nothing.
    pub fn seal(&mut self, batch: &mut Batch, now_ms: u64) -> Option<LogFrame> {
        if batch.is_empty() {
            return None;
        }
        self.commit += 1;
        let feeds = std::mem::take(&mut batch.feeds).into_values().collect();
        Some(LogFrame { epoch: self.epoch, commit: self.commit, time_ms: now_ms, outcomes: std::mem::take(&mut batch.outcomes), feeds })
    }
}

/// One frame being stepped.
pub(super) struct Step<'a> {
    pub(super) shard: &'a mut Shard,
    pub(super) batch: &'a mut Batch,
    pub(super) followers: &'a mut Followers,
    /// Empty for producers that are not edges.
    pub(super) edge: &'a str,
    pub(super) now_ms: u64,
}

impl<'a> Step<'a> {
    /// What the owner does by itself.
    pub(super) fn of_owner(shard: &'a mut Shard, batch: &'a mut Batch, followers: &'a mut Followers, now_ms: u64) -> Self {
        Self { shard, batch, followers, edge: "", now_ms }
    }
}

impl Step<'_> {
    fn take(&mut self, input: Input) {
        let packed = match &input {
            Input::Post(post) => post.topic,
            Input::Mark(mark) => mark.topic,
            Input::Attach(attach) => attach.topic,
            Input::Detach(detach) => detach.topic,
            Input::Watch(watch) => watch.topic,
            Input::Membership(membership) => membership.topic,
            Input::Register(register) => register.topic,
            Input::Profile(profile) => profile.topic,
            Input::Notice(notice) => notice.topic,
            Input::Connection(connection) => connection.topic,
            Input::Enter(enter) => enter.topic,
            Input::Move(step) => step.topic,
            Input::Presence(presence) => presence.topic,
            Input::Moved(moved) => moved.topic,
            Input::Raise(raise) => raise.topic,
            Input::Spoken(spoken) => spoken.topic,
            Input::Press(press) => press.topic,
            Input::Microphone(microphone) => microphone.topic,
            Input::MicrophoneIs(is) => is.topic,
            Input::Seat(seat) => seat.topic,
            Input::Unseat(unseat) => unseat.topic,
            Input::Roll(roll) => roll.topic,
            Input::MediaIs(is) => is.topic,
        };
        let Some(topic) = TopicId::from_packed(packed) else {
            self.batch.tally.malformed += 1;
            return;
        };
        match input {
            Input::Post(post) => self.post(topic, post),
            Input::Mark(mark) => self.mark(topic, mark),
            Input::Attach(attach) => self.attach(topic, &attach),
            Input::Detach(detach) => self.followers.detach(topic, SessionId(detach.session)),
            Input::Watch(watch) => self.watch(topic, &watch),
            Input::Membership(membership) => self.membership(topic, membership, GroupId(0)),
            Input::Register(register) => self.register(register, true),
            Input::Profile(profile) => self.profile(topic, profile),
            Input::Notice(notice) => self.notice(topic, notice),
            Input::Connection(connection) => self.connection(topic, connection),
            Input::Enter(enter) => self.enter(topic, enter),
            Input::Move(step) => self.move_on(topic, step),
            Input::Presence(presence) => self.presence(topic, presence),
            Input::Moved(moved) => self.moved(topic, moved),
            Input::Raise(raise) => self.raise(topic, raise),
            Input::Spoken(spoken) => self.spoken(topic, spoken),
            Input::Press(press) => self.press(topic, press),
            Input::MicrophoneIs(is) => self.microphone_is(topic, is),
            Input::Seat(seat) => self.seat(topic, seat),
            Input::Roll(roll) => self.roll(topic, roll),
            Input::MediaIs(is) => self.media_is(topic, is),
            // For who works the media server.
            Input::Microphone(_) | Input::Unseat(_) => self.batch.tally.malformed += 1,
        }
    }

    pub(super) fn decide(&mut self, outcome: Outcome) {
        self.shard.apply(&outcome);
        self.batch.outcomes.push(outcome.into());
    }

    pub(super) fn topic(&self, topic: TopicId) -> Option<&Topic> {
        self.shard.topics.get(&topic)
    }

    /// Whether a user of a tenant may write to a topic.
    pub(super) fn may_write(&self, topic: TopicId, user: UserId, tenant: TenantId) -> Result<(), Reason> {
        let known = self.topic(topic);
        match topic.kind() {
            TopicKind::Inbox => match known {
                Some(inbox) if inbox.profile_version > 0 && inbox.tenant == tenant => Ok(()),
                _ => Err(Reason::UnknownRecipient),
            },
            TopicKind::Group => match known.and_then(|group| group.members.get(&user)) {
                Some(member) if member.present() => Ok(()),
                _ => Err(Reason::NotMember),
            },
            TopicKind::Room | TopicKind::AlertInbox | TopicKind::AlertRoom if self.edge.is_empty() => Ok(()),
            TopicKind::Room | TopicKind::AlertInbox | TopicKind::AlertRoom => Err(Reason::TopicClosed),
        }
    }

    fn post(&mut self, topic: TopicId, post: Post) {
        let sender = (UserId(post.sender), InstallationId(post.installation));
        let producer = self.topic(topic).and_then(|topic| topic.producers.get(&sender));
        let (high, refused) = producer.map_or((0, 0), |producer| (producer.high, producer.refused));
        if high < post.client_seq && post.client_seq <= refused {
            // A sender that sends it again was not told yet: the notice may be lost with the inbox's Redis.
            return self.reject(&post, Reason::SequenceReused, high);
        }
        if post.client_seq == 0 || post.client_seq <= high {
            let print = fingerprint(post.kind, &post.body);
            let reused = producer.is_some_and(|producer| producer.recent.is_reused(post.client_seq, print, high));
            match post.client_seq {
                0 => self.reject(&post, Reason::FieldMissing, high),
                _ if reused => self.reject(&post, Reason::SequenceReused, high),
                _ => self.batch.tally.repeated += 1,
            }
            return;
        }
        let refused = match MessageKind::from_number(post.kind) {
            Some(kind) if kind.from_client() || self.is_alert(topic, kind) => self.may_write(topic, sender.0, TenantId(post.tenant)).err(),
            _ => Some(Reason::UnknownKind),
        };
        if let Some(reason) = refused {
            return self.reject(&post, reason, high);
        }
        if post.predecessor > high {
            return self.reject(&post, Reason::PredecessorMissing, high);
        }
        self.batch.tally.accepted += 1;
        self.append(topic, sender, post.client_seq, post.kind, post.body);
    }

    /// Whether the fleet itself writes to an alert topic.
    fn is_alert(&self, topic: TopicId, kind: MessageKind) -> bool {
        kind == MessageKind::Alert && topic.kind().urgent() && self.edge.is_empty()
    }

    /// Gives an entry the next place of its topic, and tells the edges.
    pub(super) fn append(&mut self, topic: TopicId, sender: (UserId, InstallationId), client_seq: u64, kind: u32, body: Bytes) {
        let head = self.shard.head(topic);
        let entry = Entry {
            topic: topic.packed(),
            epoch: head.epoch,
            seq: head.seq + 1,
            time_ms: self.topic(topic).map_or(0, |topic| topic.time_ms).max(self.now_ms),
            sender: sender.0.0,
            installation: sender.1.0,
            client_seq,
            kind,
            body,
        };
        for edge in self.followers.edges_of(topic) {
            self.batch.outputs.push(edge, Output::Entry(entry.clone()));
        }
        // A probe goes the whole way and leaves nothing in the log: whoever does not follow just then never hears it.
        if topic != TopicId::alert_inbox(UserId::PROBE) {
            self.decide(Outcome::Entry(entry));
        }
    }

    /// Tells the sender, in their inbox, that a message with a receipt was refused.
    pub(super) fn reject(&mut self, post: &Post, reason: Reason, high: u64) {
        self.batch.tally.rejected += 1;
        let Some(inbox) = TopicId::checked(TopicKind::Inbox, post.sender) else { return };
        let notice = Notice { topic: inbox.packed(), kind: MessageKind::Rejected as u32, body: rejected_body(post, reason, high) };
        self.decide(Outcome::Forward(Forward { item: Input::Notice(notice).into() }));
    }

    pub(super) fn notice(&mut self, topic: TopicId, notice: Notice) {
        self.append(topic, (UserId(0), InstallationId(0)), 0, notice.kind, notice.body);
    }
}
