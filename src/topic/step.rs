//! One frame in, outcomes and outputs out.
//!
//! A step decides on the state as it is and changes it at once, so that the next entry sees what the one before did. Nothing of it counts
//! before the batch is committed: if the commit is refused, the owner drops this memory and loads again.

use std::collections::BTreeMap;

use super::follow::{Followers, Outputs};
use super::frame::{
    Attach, Attached, Delivered, Departed, Entry, Feed, Forward, InFrame, Input, Lane, LogFrame, LogItem, Mark, Membership, MembershipAt,
    Notice, NoticeBody, Outcome, Output, Post, Profile, Refused, Register, Watch, Watched, rejected_body,
};
use super::state::{Shard, Topic, fingerprint};
use crate::model::{InstallationId, MessageKind, Place, Reason, SessionId, Span, TenantId, TopicId, TopicKind, UserId};
use bytes::Bytes;
use prost::Message as _;

/// How many of the groups a user left are named when their inbox is attached.
const FORMER_MAX: usize = 64;

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
        if frame.number <= self.feed_number(frame.producer, lane) {
            batch.tally.frames_repeated += 1;
            return Ok(());
        }
        let feed = Feed { producer: frame.producer, lane: lane as u32, number: frame.number, time_ms: now_ms };
        self.note_feed(feed);
        batch.feeds.insert((feed.producer, feed.lane), feed);
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
        let mut step = Step { shard: self, batch, followers: &mut followers, edge: "", now_ms };
        step.reject(post, Reason::Quarantined, high.unwrap_or(0));
    }

    /// Brings a topic to the directory's current version, silently: used when a shard begins a new epoch.
    pub fn adopt(&mut self, batch: &mut Batch, input: Input, now_ms: u64) {
        let mut followers = Followers::default();
        let mut step = Step { shard: self, batch, followers: &mut followers, edge: "", now_ms };
        match input {
            Input::Register(register) => step.register(register, false),
            other => step.take(other),
        }
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

struct Step<'a> {
    shard: &'a mut Shard,
    batch: &'a mut Batch,
    followers: &'a mut Followers,
    /// Empty for producers that are not edges.
    edge: &'a str,
    now_ms: u64,
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
            Input::Membership(membership) => self.membership(topic, membership),
            Input::Register(register) => self.register(register, true),
            Input::Profile(profile) => self.profile(topic, profile),
            Input::Notice(notice) => self.notice(topic, notice),
        }
    }

    fn decide(&mut self, outcome: Outcome) {
        self.shard.apply(&outcome);
        self.batch.outcomes.push(outcome.into());
    }

    fn topic(&self, topic: TopicId) -> Option<&Topic> {
        self.shard.topics.get(&topic)
    }

    /// Whether a user of a tenant may write to a topic.
    fn may_write(&self, topic: TopicId, user: UserId, tenant: TenantId) -> Result<(), Reason> {
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
            let recent = producer.map(|producer| &producer.recent);
            let known = recent.and_then(|recent| recent.iter().find(|(seq, _)| *seq == post.client_seq));
            // Too old to compare is taken for a repeat: the sender may be told twice that it was stored, but never wrongly that it was not.
            let ends = recent.and_then(|recent| Some((recent.front()?.0, recent.back()?.0)));
            let comparable = ends.is_some_and(|(first, last)| first < post.client_seq && last == high);
            match known {
                _ if post.client_seq == 0 => self.reject(&post, Reason::FieldMissing, high),
                Some((_, known)) if *known != print => self.reject(&post, Reason::SequenceReused, high),
                None if comparable => self.reject(&post, Reason::SequenceReused, high),
                _ => self.batch.tally.repeated += 1,
            }
            return;
        }
        let refused = match MessageKind::from_number(post.kind) {
            Some(kind) if kind.from_client() => self.may_write(topic, sender.0, TenantId(post.tenant)).err(),
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

    /// Gives an entry the next place of its topic, and tells the edges.
    fn append(&mut self, topic: TopicId, sender: (UserId, InstallationId), client_seq: u64, kind: u32, body: Bytes) {
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
        self.decide(Outcome::Entry(entry));
    }

    /// Tells the sender, in their inbox, that a message with a receipt was refused.
    fn reject(&mut self, post: &Post, reason: Reason, high: u64) {
        self.batch.tally.rejected += 1;
        let Some(inbox) = TopicId::checked(TopicKind::Inbox, post.sender) else { return };
        let notice = Notice { topic: inbox.packed(), kind: MessageKind::Rejected as u32, body: rejected_body(post, reason, high) };
        self.decide(Outcome::Forward(Forward { item: Input::Notice(notice).into() }));
    }

    fn notice(&mut self, topic: TopicId, notice: Notice) {
        self.append(topic, (UserId(0), InstallationId(0)), 0, notice.kind, notice.body);
    }

    fn mark(&mut self, topic: TopicId, mark: Mark) {
        let user = UserId(mark.user);
        let head = self.shard.head(topic);
        let Some(known) = self.topic(topic) else { return };
        let place = Place::from(mark.place).min(head);
        let allowed = match topic.kind() {
            TopicKind::Inbox | TopicKind::AlertInbox => topic.id() == user.0,
            _ => known.members.contains_key(&user),
        };
        let at = known.mark(user, InstallationId(mark.installation));
        if !allowed || at.is_some_and(|at| place <= at) || place.epoch == 0 {
            return;
        }
        // Told from what the entries said, before the mark takes them off the list: the last client_seq of each sender up to the place.
        let mut told = BTreeMap::new();
        for delivered in known.undelivered.iter().take_while(|undelivered| undelivered.place <= place) {
            told.insert((delivered.sender, delivered.installation), delivered.client_seq);
        }
        for ((sender, installation), client_seq) in told {
            if let Some((edge, session)) = self.followers.watcher(topic, sender, installation) {
                let delivered = Delivered { topic: topic.packed(), session: session.0, client_seq };
                self.batch.outputs.push(edge, Output::Delivered(delivered));
            }
        }
        self.decide(Outcome::Mark(Mark { place: place.into(), ..mark }));
    }

    fn answer(&mut self, output: Output) {
        if !self.edge.is_empty() {
            self.batch.outputs.push(&self.edge.into(), output);
        }
    }

    fn attach(&mut self, topic: TopicId, attach: &Attach) {
        let (user, installation, session) = (UserId(attach.user), InstallationId(attach.installation), SessionId(attach.session));
        match self.find_gaps(topic, user, installation, attach.mark.map(Place::from)) {
            Ok((mark, gaps, live)) => {
                if live {
                    self.followers.attach(topic, self.edge, session, user);
                }
                let known = self.topic(topic);
                let producer = known.and_then(|topic| topic.producers.get(&(user, installation)));
                let registers = || known.into_iter().flat_map(|topic| topic.groups.values());
                let mut left: Vec<_> = registers().filter(|group| !group.joined).collect();
                left.sort_unstable_by_key(|group| std::cmp::Reverse(group.version));
                self.answer(Output::Attached(Attached {
                    topic: topic.packed(),
                    session: attach.session,
                    head: self.shard.head(topic).into(),
                    mark: mark.into(),
                    gaps: gaps.into_iter().map(Into::into).collect(),
                    client_seq_high: producer.map_or(0, |producer| producer.high),
                    groups: registers().filter(|group| group.joined).map(|group| group.group).collect(),
                    live,
                    former: left.into_iter().take(FORMER_MAX).map(|group| group.group).collect(),
                }));
            }
            Err(reason) => self.answer(Output::Refused(Refused { topic: topic.packed(), session: attach.session, reason: reason as u32 })),
        }
    }

    /// From where a session continues, what of a topic its user may see between there and the head, and whether more will come.
    fn find_gaps(
        &self,
        topic: TopicId,
        user: UserId,
        installation: InstallationId,
        mark: Option<Place>,
    ) -> Result<(Place, Vec<Span>, bool), Reason> {
        let head = self.shard.head(topic);
        if mark.is_some_and(|mark| mark > head) {
            return Err(Reason::WrongEpoch);
        }
        let known = self.topic(topic);
        let spans = match topic.kind() {
            TopicKind::Inbox | TopicKind::AlertInbox if topic.id() == user.0 => vec![Span::new(Place::START, Place::END)],
            _ => known.and_then(|topic| topic.members.get(&user)).map(|member| member.spans.clone()).unwrap_or_default(),
        };
        let (first, last) = match (spans.first(), spans.last()) {
            (Some(first), Some(last)) => (first.after, last.upto),
            _ => return Err(Reason::NotMember),
        };
        let held = || known?.mark(user, installation).or_else(|| known?.user_mark(user));
        let mark = mark.unwrap_or_else(|| {
            let mark = held().unwrap_or(first);
            // Nothing was ever said behind it: a new device continues from the head, and no page is made to say so.
            if mark >= known.map_or(Place::START, |topic| topic.head) { mark.max(head) } else { mark }
        });
        let rest = Span::new(mark, head);
        let gaps: Vec<_> = spans.into_iter().filter_map(|span| span.intersect(rest)).collect();
        let live = last == Place::END;
        if !live && gaps.is_empty() { Err(Reason::NotMember) } else { Ok((mark, gaps, live)) }
    }

    fn watch(&mut self, topic: TopicId, watch: &Watch) {
        let (user, installation, session) = (UserId(watch.user), InstallationId(watch.installation), SessionId(watch.session));
        if let Err(reason) = self.may_write(topic, user, TenantId(watch.tenant)) {
            return self.answer(Output::Refused(Refused { topic: watch.topic, session: watch.session, reason: reason as u32 }));
        }
        self.followers.watch(topic, self.edge, session, user, installation);
        let known = self.topic(topic);
        let producer = known.and_then(|topic| topic.producers.get(&(user, installation)));
        let held = known.and_then(|known| known.user_mark(topic.inbox_of()?));
        // Exact when the recipient has everything; otherwise the sender hears it with the recipient's next mark.
        let delivered = producer.filter(|producer| held.is_some_and(|held| producer.place <= held)).map_or(0, |producer| producer.high);
        let high = producer.map_or(0, |producer| producer.high);
        self.answer(Output::Watched(Watched { topic: watch.topic, session: watch.session, client_seq_high: high, delivered }));
    }

    fn membership(&mut self, topic: TopicId, membership: Membership) {
        let user = UserId(membership.user);
        let member = self.topic(topic).and_then(|topic| topic.members.get(&user));
        if topic.group_of().is_none() || membership.version <= member.map_or(0, |member| member.version) {
            return;
        }
        let was_present = member.is_some_and(super::state::Member::present);
        let place = self.shard.head(topic).into();
        self.decide(Outcome::Membership(MembershipAt { membership, place }));
        if was_present && !membership.joined {
            for edge in self.followers.edges_of(topic) {
                self.batch.outputs.push(edge, Output::Departed(Departed { topic: topic.packed(), user: user.0, place }));
            }
            self.followers.depart(topic, user);
        }
    }

    fn register(&mut self, register: Register, tell: bool) {
        let Some(inbox) = TopicId::from_packed(register.topic).filter(|topic| topic.inbox_of().is_some()) else {
            self.batch.tally.malformed += 1;
            return;
        };
        let known = self.topic(inbox).and_then(|topic| topic.groups.get(&crate::model::GroupId(register.group)));
        if register.version <= known.map_or(0, |known| known.version) {
            return;
        }
        let changed = known.map_or(register.joined, |known| known.joined != register.joined);
        self.decide(Outcome::Register(register.clone()));
        if changed && tell {
            let kind = if register.joined { MessageKind::Joined } else { MessageKind::Left };
            let body = NoticeBody { group: register.group, version: register.version, name: register.name, ..NoticeBody::default() };
            self.notice(inbox, Notice { topic: inbox.packed(), kind: kind as u32, body: body.encode_to_vec().into() });
        }
    }

    fn profile(&mut self, topic: TopicId, profile: Profile) {
        if profile.version > self.topic(topic).map_or(0, |topic| topic.profile_version) {
            self.decide(Outcome::Profile(profile));
        }
    }
}

impl Topic {
    /// What an installation holds.
    fn mark(&self, user: UserId, installation: InstallationId) -> Option<Place> {
        self.marks.get(&user)?.iter().find(|(known, _)| *known == installation).map(|(_, place)| *place)
    }

    /// What any installation of a user holds.
    fn user_mark(&self, user: UserId) -> Option<Place> {
        self.marks.get(&user)?.iter().map(|(_, place)| *place).max()
    }
}
