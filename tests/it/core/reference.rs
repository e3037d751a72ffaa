//! What a shard promises, said in the plainest way: a list of messages per topic, and for each member the set of positions they may see.
//!
//! Written without a look at `src/topic`: no spans, no checkpoints, no rows. One epoch, so position n is seq n.

use std::collections::{BTreeMap, BTreeSet};

use roger::model::{Reason, TopicId, TopicKind};
use roger::topic::frame::{Input, Post};

/// A whole shard.
#[derive(Debug, Default)]
pub(super) struct Reference {
    pub(super) topics: BTreeMap<TopicId, Topic>,
    /// The last frame of each producer.
    pub(super) frames: BTreeMap<u64, u64>,
    /// (sender, topic, client_seq, reason) of what was refused, in order.
    pub(super) rejected: Vec<(u64, u64, u64, Reason)>,
}

/// A topic; `log[n - 1]` is what stands at seq n.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) log: Vec<Said>,
    pub(super) tenant: Option<(u64, u64)>,
    /// By user: the version last heard, whether present, and what they may see.
    pub(super) members: BTreeMap<u64, Member>,
    /// By group: version and whether joined.
    pub(super) groups: BTreeMap<u64, (u64, bool)>,
    /// By (user, installation): the highest number refused. What was refused stays refused.
    pub(super) refused: BTreeMap<(u64, u64), u64>,
    /// By (user, installation).
    pub(super) marks: BTreeMap<(u64, u64), usize>,
}

#[derive(Debug, Default)]
pub(super) struct Member {
    version: u64,
    pub(super) present: bool,
    pub(super) sees: BTreeSet<usize>,
}

/// One message: sender, installation, client_seq, kind and text; zeros for what the fleet says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said(pub(super) u64, pub(super) u64, pub(super) u64, pub(super) u32, pub(super) Vec<u8>);

impl Topic {
    fn by(&self, user: u64, installation: u64) -> impl Iterator<Item = u64> {
        self.log.iter().filter(move |said| (said.0, said.1) == (user, installation)).map(|said| said.2)
    }

    fn first(&self, user: u64, installation: u64) -> u64 {
        self.by(user, installation).next().unwrap_or(0)
    }

    pub(super) fn high(&self, user: u64, installation: u64) -> u64 {
        self.by(user, installation).max().unwrap_or(0)
    }

    pub(super) fn refused(&self, user: u64, installation: u64) -> u64 {
        self.refused.get(&(user, installation)).copied().unwrap_or(0)
    }

    fn say(&mut self, said: Said) {
        self.log.push(said);
        let place = self.log.len();
        self.members.values_mut().filter(|member| member.present).for_each(|member| member.sees.extend([place]));
    }
}

impl Reference {
    /// A frame of an edge.
    pub(super) fn frame(&mut self, producer: u64, number: u64, inputs: &[Input]) {
        let last = self.frames.entry(producer).or_default();
        if number > *last {
            *last = number;
            inputs.iter().for_each(|input| self.take(input));
        }
    }

    fn topic(&mut self, packed: u64) -> Option<(TopicId, &mut Topic)> {
        let id = TopicId::from_packed(packed)?;
        Some((id, self.topics.entry(id).or_default()))
    }

    pub(super) fn take(&mut self, input: &Input) {
        match input {
            Input::Post(post) => self.post(post),
            Input::Mark(mark) => {
                let Some((id, topic)) = self.topic(mark.topic) else { return };
                let own = matches!(id.kind(), TopicKind::Inbox | TopicKind::AlertInbox) && id.id() == mark.user;
                let place = if mark.place.epoch > 1 { topic.log.len() } else { topic.log.len().min(mark.place.seq as usize) };
                if mark.place.epoch > 0 && (own || id.group_of().is_some() && topic.members.contains_key(&mark.user)) {
                    let known = topic.marks.entry((mark.user, mark.installation)).or_default();
                    *known = place.max(*known);
                }
            }
            Input::Membership(change) => {
                let Some((id, topic)) = self.topic(change.topic) else { return };
                let known = topic.members.get(&change.user).map_or(0, |member| member.version);
                if id.group_of().is_some() && change.version > known {
                    let member = topic.members.entry(change.user).or_default();
                    (member.version, member.present) = (change.version, change.joined);
                }
            }
            Input::Register(change) => {
                let Some((id, topic)) = self.topic(change.topic) else { return };
                let known = topic.groups.get(&change.group).copied().unwrap_or_default();
                if id.inbox_of().is_some() && change.version > known.0 {
                    topic.groups.insert(change.group, (change.version, change.joined));
                    if change.joined != known.1 {
                        topic.say(Said(0, 0, 0, if change.joined { 64 } else { 65 }, Vec::new()));
                    }
                }
            }
            Input::Profile(profile) => {
                let Some((_, topic)) = self.topic(profile.topic) else { return };
                if profile.version > topic.tenant.map_or(0, |known| known.1) {
                    topic.tenant = Some((profile.tenant, profile.version));
                }
            }
            Input::Notice(notice) => {
                let Some((_, topic)) = self.topic(notice.topic) else { return };
                topic.say(Said(0, 0, 0, notice.kind, Vec::new()));
            }
            // What becomes of rooms, alerts and talk are other properties (`rooms`, `alerts`).
            Input::Attach(_) | Input::Detach(_) | Input::Watch(_) | Input::Raise(_) | Input::Spoken(_) => {}
            Input::Press(_)
            | Input::Microphone(_)
            | Input::MicrophoneIs(_)
            | Input::Seat(_)
            | Input::Unseat(_)
            | Input::Roll(_)
            | Input::MediaIs(_) => {}
            Input::Connection(_) | Input::Enter(_) | Input::Move(_) | Input::Moved(_) | Input::Presence(_) => {}
        }
    }

    fn post(&mut self, post: &Post) {
        let Some((id, topic)) = self.topic(post.topic) else { return };
        let high = topic.high(post.sender, post.installation);
        let said = Said(post.sender, post.installation, post.client_seq, post.kind, post.body.to_vec());
        let member = topic.members.get(&post.sender).is_some_and(|member| member.present);
        let reason = match id.kind() {
            _ if post.client_seq == 0 => Reason::FieldMissing,
            _ if topic.log.contains(&said) => return,
            _ if post.client_seq > high && post.client_seq <= topic.refused(post.sender, post.installation) => Reason::SequenceReused,
            // Older than everything remembered: nobody can tell, so it counts as a repeat.
            _ if post.client_seq < topic.first(post.sender, post.installation) => return,
            _ if post.client_seq <= high => Reason::SequenceReused,
            _ if post.kind != 1 => Reason::UnknownKind,
            TopicKind::Inbox if topic.tenant.is_none_or(|(tenant, _)| tenant != post.tenant) => Reason::UnknownRecipient,
            TopicKind::Group if !member => Reason::NotMember,
            TopicKind::Room | TopicKind::AlertInbox | TopicKind::AlertRoom => Reason::TopicClosed,
            _ if post.predecessor > high => Reason::PredecessorMissing,
            _ => return topic.say(said),
        };
        let refused = topic.refused.entry((post.sender, post.installation)).or_default();
        *refused = post.client_seq.max(*refused);
        self.rejected.push((post.sender, post.topic, post.client_seq, reason));
    }
}
