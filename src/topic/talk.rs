//! Talk in a room: who may, and what is told of what was recorded.
//!
//! The floor is held with the room's members, so that who asks is judged by where they are at that moment, and who leaves loses it in the same
//! commit. What it decides for the media server is forwarded after the commit, and what the server did comes back as an input. Its bounds are those
//! of the owner: they may differ from one owner to the next, which is why what is kept is the floor as it stands and not what was stepped.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::follow::Followers;
use super::frame::{
    FloorKept, FloorNow, FloorTold, FloorWord, Input, MediaIs, Microphone, MicrophoneIs, Notice, Outcome, Output, Press, PressKind, Roll,
    Seat, Seated, Spoken, Unseat,
};
use super::member::Member;
use super::state::{RowKey, Shard};
use super::step::{Batch, Step};
use crate::floor::{self, Announcement, Answer, Command, Effect, Ending, Floor, Limits, Participant, Request};
use crate::model::{FloorRequestId, GrantNumber, GroupId, InstallationId, MessageKind, Reason, TopicId, TopicKind, UserId};

/// Grants of an epoch lie above all of the epochs before it, whatever was lost of those: up to 2^21 epochs of 2^32 grants stay within what JSON
/// numbers hold.
fn before_epoch(epoch: u64) -> GrantNumber {
    GrantNumber(epoch << 32)
}

/// The floor of a room.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    /// As it stands, with who was heard of since.
    floor: Floor,
    /// As it was committed.
    kept: FloorKept,
}

impl Held {
    /// `None` for what this program cannot read: a floor of later programs, or a broken one.
    fn read(kept: &FloorKept) -> Option<Self> {
        Some(Self { floor: serde_json::from_slice(&kept.floor).ok()?, kept: kept.clone() })
    }

    fn order(kept: &FloorKept) -> (u64, u64) {
        (kept.grant, kept.version)
    }

    pub(super) fn row(&self) -> FloorKept {
        self.kept.clone()
    }
}

fn keep(topic: TopicId, floor: &Floor) -> FloorKept {
    // A floor is numbers, texts and lists of them: JSON can say that.
    let text = serde_json::to_vec(floor).unwrap_or_default();
    FloorKept { topic: topic.packed(), grant: floor.last_grant().0, version: floor.version(), floor: Bytes::from(text) }
}

impl Shard {
    /// The bounds of floors from here on.
    pub fn set_floor_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes a floor in from the log or a checkpoint, if it is later than the one that is known.
    pub(super) fn apply_floor(&mut self, topic: TopicId, kept: &FloorKept) {
        let known = self.topics.get(&topic).and_then(|topic| topic.floor.as_ref());
        if known.is_some_and(|known| Held::order(&known.kept) >= Held::order(kept)) {
            return;
        }
        if let Some(held) = Held::read(kept) {
            self.hold(topic, held);
        }
    }

    fn hold(&mut self, id: TopicId, held: Held) {
        if held.floor.is_idle() {
            self.busy_floors.remove(&id);
        } else {
            self.busy_floors.insert(id);
        }
        self.topics.entry(id).or_default().floor = Some(Box::new(held));
        self.mark_dirty(RowKey::Floor(id));
    }

    /// When [`Shard::tick_floors`] is due, UTC ms; `None` while time changes no floor.
    pub fn next_floor_due_ms(&self) -> Option<u64> {
        let floors = self.busy_floors.iter().filter_map(|id| self.topics.get(id)?.floor.as_ref());
        floors.filter_map(|held| held.floor.next_due_ms(&self.limits)).min()
    }

    /// Lets time pass for the floors. Whoever was asleep takes in first what came meanwhile.
    pub fn tick_floors(&mut self, batch: &mut Batch, followers: &mut Followers, now_ms: u64) {
        let due = |shard: &Self, id: &TopicId| shard.topics.get(id)?.floor.as_ref()?.floor.next_due_ms(&shard.limits);
        let due: Vec<_> = self.busy_floors.iter().filter(|id| due(self, id).is_some_and(|due| due <= now_ms)).copied().collect();
        for room in due {
            Step::of_owner(self, batch, followers, now_ms).step_floor(room, floor::Input::Tick);
        }
    }

    /// A new epoch: what the floors were may be lost in part, so each begins anew.
    pub(super) fn renew_floors(&mut self, batch: &mut Batch, now_ms: u64) {
        Step::of_owner(self, batch, &mut Followers::default(), now_ms).renew_floors();
    }

    /// A new owner: nobody could be heard of meanwhile.
    pub fn resume_floors(&mut self, batch: &mut Batch, now_ms: u64) {
        let mut followers = Followers::default();
        for room in self.busy_floors.clone() {
            Step::of_owner(self, batch, &mut followers, now_ms).step_floor(room, floor::Input::Resumed);
        }
    }
}

impl Step<'_> {
    /// What somebody does at the talk button.
    pub(super) fn press(&mut self, room: TopicId, press: Press) {
        let who = Participant { user: UserId(press.user), installation: InstallationId(press.installation) };
        let id = FloorRequestId(press.request);
        let kind = PressKind::try_from(press.kind).ok();
        let Some(kind) = kind.filter(|kind| room.kind() == TopicKind::Room && (press.request != 0 || *kind == PressKind::Alive)) else {
            self.batch.tally.malformed += 1;
            return;
        };
        let here = self.topic(room).and_then(|room| room.members.get(&who.user)).is_some_and(Member::present);
        match kind {
            PressKind::Ask if !here => {
                let told = told(room, who, id, Answer::Denied { ending: Ending::NotInRoom });
                self.answer(Output::FloorTold(told));
            }
            PressKind::Ask => {
                self.followers.presses(room, self.edge, who.user, who.installation);
                let level = u8::try_from(press.level).unwrap_or(u8::MAX);
                let name = press.name.chars().take(Request::NAME_CHARS_MAX).collect();
                self.step_floor(room, floor::Input::Request(Request { who, id, level, emergency: press.emergency, name }));
            }
            PressKind::Release if here => {
                self.followers.pressed(room, who.user, who.installation);
                self.step_floor(room, floor::Input::Release(who, id));
            }
            // It ended when the user left.
            PressKind::Release => {}
            PressKind::Alive => {
                let (limits, now_ms) = (self.shard.limits, self.now_ms);
                if let Some(held) = self.shard.topics.get_mut(&room).and_then(|room| room.floor.as_mut()) {
                    held.floor.step(floor::Input::Alive(who), &limits, now_ms);
                }
            }
        }
    }

    /// The media server did, or could not do, what it was told.
    pub(super) fn microphone_is(&mut self, room: TopicId, is: MicrophoneIs) {
        let number = GrantNumber(is.grant);
        let holds = self.topic(room).and_then(|room| room.floor.as_ref()?.floor.holder());
        if holds.is_some_and(|holder| holder.command.grant == number) {
            self.step_floor(room, if is.open { floor::Input::Unmuted(number) } else { floor::Input::MediaFailed(number) });
        }
    }

    /// Whoever is no longer in a room neither talks nor waits there, and hears nothing.
    pub(super) fn leave_talk(&mut self, room: TopicId, user: UserId, version: u64, next: GroupId) {
        if self.shard.busy_floors.contains(&room) {
            self.step_floor(room, floor::Input::Left(user));
        }
        self.forward(Input::Unseat(Unseat { topic: room.packed(), user: user.0, version, next: next.0 }));
    }

    /// A seat at the media server is for who is in the room.
    pub(super) fn seat(&mut self, room: TopicId, seat: Seat) {
        let member = self.topic(room).and_then(|room| room.members.get(&UserId(seat.user))).filter(|member| member.present());
        match member.map(|member| member.version) {
            Some(version) => self.forward(Input::Seat(Seat { version, edge: self.edge.to_owned(), ..seat })),
            None => {
                let (topic, reason) = (room.packed(), Reason::NotMember as u32);
                self.answer(Output::Seated(Seated { topic, session: seat.session, request: seat.request, reason, ..Seated::default() }));
            }
        }
    }

    /// Whoever has a seat and is not in the room loses it.
    pub(super) fn roll(&mut self, room: TopicId, roll: Roll) {
        let member = |user: u64| self.topic(room).and_then(|room| room.members.get(&UserId(user)));
        let strangers = roll.users.into_iter().filter(|user| !member(*user).is_some_and(Member::present));
        let strangers: Vec<_> = strangers.map(|user| (user, member(user).map_or(0, |member| member.version))).collect();
        for (user, version) in strangers {
            self.forward(Input::Unseat(Unseat { topic: room.packed(), user, version, next: 0 }));
        }
    }

    /// Tells a session that begins to follow a room who talks there.
    pub(super) fn tell_floor(&mut self, room: TopicId, session: u64) {
        if let Some(held) = self.topic(room).and_then(|room| room.floor.as_ref()) {
            let now = now(room, session, held.floor.announcement());
            self.answer(Output::FloorNow(self.unless_away(now)));
        } else if self.topic(room).is_some_and(|room| room.media_away) {
            self.answer(Output::FloorNow(self.unless_away(now(room, session, Announcement::Idle))));
        }
    }

    /// The media server of a room is away, or there again; who follows the room is told once.
    pub(super) fn media_is(&mut self, room: TopicId, is: MediaIs) {
        let Some(known) = self.shard.topics.get_mut(&room) else { return };
        if std::mem::replace(&mut known.media_away, is.away) == is.away {
            return;
        }
        let announcement = known.floor.as_ref().map_or(Announcement::Idle, |held| held.floor.announcement());
        let now = self.unless_away(now(room, 0, announcement));
        self.tell_followers(room, Output::FloorNow(now));
    }

    /// While the media server is away nobody talks, whoever has the floor.
    fn unless_away(&self, now: FloorNow) -> FloorNow {
        let away = TopicId::from_packed(now.topic).and_then(|room| self.topic(room)).is_some_and(|room| room.media_away);
        if away { FloorNow { topic: now.topic, session: now.session, away, ..FloorNow::default() } } else { now }
    }

    /// Behind all grants there can have been. The microphone that was open is closed; who waits asks again.
    fn renew_floors(&mut self) {
        let held: Vec<_> = self.shard.topics.iter().filter_map(|(id, topic)| Some((*id, topic.floor.as_ref()?.floor.holder()))).collect();
        for (room, holder) in held {
            if let Some(holder) = holder {
                self.microphone(room, holder.command, false);
            }
            self.keep_floor(room, Floor::new(before_epoch(self.shard.epoch)));
        }
    }

    fn step_floor(&mut self, room: TopicId, input: floor::Input) {
        let (limits, now_ms) = (self.shard.limits, self.now_ms);
        let known = self.shard.topics.get(&room).and_then(|room| room.floor.as_ref()).map(|held| held.floor.clone());
        let mut floor = known.unwrap_or_else(|| Floor::new(before_epoch(self.shard.epoch)));
        let effects = floor.step(input, &limits, now_ms);
        self.keep_floor(room, floor);
        for effect in effects {
            match effect {
                Effect::Unmute(command) => self.microphone(room, command, true),
                Effect::Mute(command) => self.microphone(room, command, false),
                Effect::Tell { to, request, answer } => self.tell_one(room, to, told(room, to, request, answer)),
                Effect::Announce(announcement) => {
                    let now = self.unless_away(now(room, 0, announcement));
                    self.tell_followers(room, Output::FloorNow(now));
                }
            }
        }
    }

    fn keep_floor(&mut self, room: TopicId, floor: Floor) {
        let kept = keep(room, &floor);
        self.batch.push(Outcome::Floor(kept.clone()));
        self.shard.hold(room, Held { floor, kept });
    }

    fn microphone(&mut self, room: TopicId, command: Command, open: bool) {
        let Command { who, grant } = command;
        let (user, installation) = (who.user.0, who.installation.0);
        self.forward(Input::Microphone(Microphone { topic: room.packed(), user, installation, grant: grant.0, open }));
    }

    /// Where the button is, and where else the room is followed: who presses may have come back at another edge.
    fn tell_one(&mut self, room: TopicId, to: Participant, told: FloorTold) {
        let at = self.followers.pressing(room, to.user, to.installation).cloned();
        if let Some(edge) = at.filter(|at| !self.followers.edges_of(room).any(|edge| edge == at)) {
            self.batch.outputs.push(&edge, Output::FloorTold(told));
        }
        if matches!(told.word(), FloorWord::Denied | FloorWord::Revoked) {
            self.followers.pressed(room, to.user, to.installation);
        }
        self.tell_followers(room, Output::FloorTold(told));
    }

    /// Whose session is where is known to the edges: each picks out those that are meant.
    fn tell_followers(&mut self, room: TopicId, output: Output) {
        for edge in self.followers.edges_of(room) {
            self.batch.outputs.push(edge, output.clone());
        }
    }

    /// Somebody talked here: who was in the room meanwhile hears of it here, and dispatchers who are elsewhere in their inboxes. When others are here
    /// by now, it is not for them: then everybody hears of it in their inboxes.
    pub(super) fn spoken(&mut self, room: TopicId, spoken: Spoken) {
        if room.kind() != TopicKind::Room {
            self.batch.tally.malformed += 1;
            return;
        }
        let Spoken { topic, desks, body, speaker, from_ms, upto_ms } = spoken;
        let kind = MessageKind::Talk as u32;
        let (here, mut inboxes) = self.heard(room, UserId(speaker), from_ms, upto_ms);
        let told = |desk: &UserId| here.as_ref().is_some_and(|here| here.contains(desk));
        inboxes.extend(desks.into_iter().map(UserId).filter(|desk| !told(desk)));
        for inbox in inboxes.into_iter().filter_map(|user| TopicId::checked(TopicKind::Inbox, user.0)) {
            self.forward(Input::Notice(Notice { topic: inbox.packed(), kind, body: body.clone() }));
        }
        if here.is_some() {
            self.notice(room, Notice { topic, kind, body });
        }
    }

    /// Who was in a room meanwhile: those who are there, unless others are as well by now; and those who are not. A time at which not even the
    /// speaker was there is no time: then it is who is there now.
    fn heard(&self, room: TopicId, speaker: UserId, from_ms: u64, upto_ms: u64) -> (Option<BTreeSet<UserId>>, BTreeSet<UserId>) {
        let members = || self.topic(room).into_iter().flat_map(|room| &room.members);
        let was_there = |member: &Member| member.was_there(from_ms, upto_ms);
        let present: BTreeSet<UserId> = members().filter(|(_, member)| member.present()).map(|(user, _)| *user).collect();
        let heard: BTreeSet<UserId> = members().filter(|(_, member)| was_there(member)).map(|(user, _)| *user).collect();
        if !heard.contains(&speaker) {
            return (Some(present), BTreeSet::new());
        }
        if present.is_subset(&heard) {
            let elsewhere = heard.difference(&present).copied().collect();
            return (Some(present), elsewhere);
        }
        (None, heard)
    }
}

fn told(room: TopicId, to: Participant, request: FloorRequestId, answer: Answer) -> FloorTold {
    let told =
        FloorTold { topic: room.packed(), user: to.user.0, installation: to.installation.0, request: request.0, ..FloorTold::default() };
    match answer {
        Answer::Granted { grant, until_ms } => FloorTold { word: FloorWord::Granted.into(), grant: grant.0, until_ms, ..told },
        Answer::Queued { position } => FloorTold { word: FloorWord::Queued.into(), position, ..told },
        Answer::Denied { ending } => FloorTold { word: FloorWord::Denied.into(), ending: ending as u32, ..told },
        Answer::Revoked { grant, ending } => FloorTold { word: FloorWord::Revoked.into(), grant: grant.0, ending: ending as u32, ..told },
    }
}

fn now(room: TopicId, session: u64, announcement: Announcement) -> FloorNow {
    let now = FloorNow { topic: room.packed(), session, ..FloorNow::default() };
    match announcement {
        Announcement::Idle => now,
        Announcement::Taken(taken) => FloorNow {
            talker: taken.talker.user.0,
            installation: taken.talker.installation.0,
            name: taken.name,
            grant: taken.grant.0,
            level: taken.level.into(),
            emergency: taken.emergency,
            ..now
        },
    }
}
