//! Who belongs to what: memberships of groups, the register of a user's groups in their inbox, profiles. All of it is versioned, because
//! it comes from the directory and not in the order of the messages; a lower version changes nothing.

use super::frame::{Departed, Membership, MembershipAt, NoticeBody, Outcome, Output, Profile, Register};
use super::step::Step;
use crate::model::{GroupId, MessageKind, TopicId, TopicKind, UserId};

impl Step<'_> {
    /// `next` is the group whose room a user goes to who leaves one; 0 for none.
    pub(super) fn membership(&mut self, topic: TopicId, membership: Membership, next: GroupId) {
        let user = UserId(membership.user);
        let here = |step: &Self| step.topic(topic).and_then(|topic| topic.members.get(&user)).is_some_and(super::member::Member::present);
        let was_here = here(self);
        self.belong(topic, membership);
        // Whoever is in a room hears its alerts: the two belong to one shard, and change in one step.
        if let Some(group) = topic.room_of() {
            let alerts = TopicId::alert_room(group);
            self.belong(alerts, Membership { topic: alerts.packed(), ..membership });
            if was_here && !here(self) {
                self.leave_talk(topic, user, membership.version, next);
            }
        }
    }

    fn belong(&mut self, topic: TopicId, membership: Membership) {
        let user = UserId(membership.user);
        let member = self.topic(topic).and_then(|topic| topic.members.get(&user));
        if !matches!(topic.kind(), TopicKind::Group | TopicKind::Room | TopicKind::AlertRoom)
            || membership.version <= member.map_or(0, |member| member.version)
        {
            return;
        }
        let was_present = member.is_some_and(super::member::Member::present);
        let place = self.shard.head(topic).into();
        let time_ms = if topic.room_of().is_some() { self.now_ms } else { 0 };
        self.decide(Outcome::Membership(MembershipAt { membership, place, time_ms }));
        if was_present && !membership.joined {
            for edge in self.followers.edges_of(topic) {
                self.batch.outputs.push(edge, Output::Departed(Departed { topic: topic.packed(), user: user.0, place }));
            }
            self.followers.depart(topic, user);
        }
    }

    pub(super) fn register(&mut self, register: Register, tell: bool) {
        let Some(inbox) = TopicId::from_packed(register.topic).filter(|topic| topic.inbox_of().is_some()) else {
            self.batch.tally.malformed += 1;
            return;
        };
        let known = self.topic(inbox).and_then(|topic| topic.groups.get(&GroupId(register.group)));
        if register.version <= known.map_or(0, |known| known.version) {
            return;
        }
        let changed = known.map_or(register.joined, |known| known.joined != register.joined);
        self.decide(Outcome::Register(register.clone()));
        if changed && tell {
            let kind = if register.joined { MessageKind::Joined } else { MessageKind::Left };
            let Register { group, version, name, kind: group_kind, why, .. } = register.clone();
            let body = NoticeBody { group, version, name, group_kind, why, ..NoticeBody::default() };
            self.notice(inbox, body.into_notice(inbox, kind));
        }
        if !register.joined {
            self.leave_room_of(inbox, GroupId(register.group));
        }
    }

    pub(super) fn profile(&mut self, topic: TopicId, profile: Profile) {
        if profile.version > self.topic(topic).map_or(0, |topic| topic.profile_version) {
            self.decide(Outcome::Profile(profile));
        }
    }
}
