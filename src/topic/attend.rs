//! What sessions do with a topic beside writing: attach to it, watch how far its reader is, acknowledge.

use std::collections::BTreeMap;

use super::frame::{Attach, Attached, Delivered, Mark, Outcome, Output, Refused, Watch, Watched};
use super::state::Topic;
use super::step::Step;
use crate::model::{InstallationId, Place, Reason, SessionId, Span, TenantId, TopicId, TopicKind, UserId};

/// How many of the groups a user left are named when their inbox is attached.
const FORMER_MAX: usize = 64;

impl Step<'_> {
    pub(super) fn attach(&mut self, topic: TopicId, attach: &Attach) {
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
                    room: known.and_then(Topic::room).unwrap_or_default().0,
                    former_rooms: known.map(Topic::former_rooms).unwrap_or_default(),
                }));
                if live {
                    self.tell_floor(topic, attach.session);
                }
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

    pub(super) fn watch(&mut self, topic: TopicId, watch: &Watch) {
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

    pub(super) fn mark(&mut self, topic: TopicId, mark: Mark) {
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

    pub(super) fn answer(&mut self, output: Output) {
        if !self.edge.is_empty() {
            self.batch.outputs.push(&self.edge.into(), output);
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
