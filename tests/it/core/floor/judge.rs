//! What must hold, judged by what goes in and what is to be done.

use std::collections::{BTreeMap, BTreeSet};

use roger::floor::{Announcement, Answer, Command, Effect, Ending, Floor, Input, Participant, Request};
use roger::model::{FloorRequestId, GrantNumber, UserId};

use super::LIMITS;

/// How a request stands against others: emergency, aged, level.
type Rank = (bool, bool, u8);

/// A request that is not over.
struct Claim {
    request: Request,
    arrival: u64,
    /// How often later ones were given the floor before it, and of these how often for an emergency.
    passed_over: u32,
    emergencies: u64,
    /// Bursts it heard and grants it saw begin.
    bursts: u64,
    begun: u64,
    since_ms: u64,
    late_ms: u64,
    /// When it was heard of last, and since when it can count as vanished at the latest.
    alive_ms: u64,
    told: Option<Answer>,
}

impl Claim {
    fn asked(&self) -> Rank {
        if self.request.emergency { (true, false, 0) } else { (false, false, self.request.level) }
    }

    fn rank(&self) -> Rank {
        if self.passed_over >= LIMITS.age_bursts { self.asked().max((false, true, 0)) } else { self.asked() }
    }
}

/// The microphone that is open, as the media server sees it.
struct Open {
    command: Command,
    since_ms: u64,
    late_ms: u64,
    talks: bool,
}

#[derive(Default)]
pub(super) struct Judge {
    /// Never goes back.
    pub(super) now_ms: u64,
    /// By how much, in all, things may be later than promised: nobody ticked, or a clock went back.
    late_ms: u64,
    /// The last time that happened.
    excused_ms: u64,
    claims: BTreeMap<Participant, Claim>,
    arrivals: u64,
    open: Option<Open>,
    /// The one that was open last.
    closed: Option<Open>,
    unmuted: GrantNumber,
    confirmed: BTreeSet<GrantNumber>,
    answered: BTreeMap<(Participant, FloorRequestId), Answer>,
    announced: Option<GrantNumber>,
    dissolved: bool,
}

impl Judge {
    pub(super) fn late(&mut self, ms: u64) {
        self.late_ms += ms;
        self.excused_ms = self.now_ms;
    }

    pub(super) fn judge(&mut self, input: &Input, effects: &[Effect], inside: &BTreeSet<UserId>, before: &Floor, after: &Floor) {
        self.stale_changes_nothing(input, effects, before, after);
        if let Some(mut expected) = self.take(input) {
            // By a clock that went back it is another time.
            if let ([Effect::Tell { answer: Answer::Granted { until_ms, .. }, .. }], [Effect::Tell { answer: said, .. }]) =
                (effects, &mut expected[..])
                && let Answer::Granted { until_ms: known_ms, .. } = said
                && self.open.as_ref().is_some_and(|open| open.late_ms < self.late_ms)
            {
                *known_ms = *until_ms;
            }
            assert_eq!(effects, expected, "a repeat");
        }
        for effect in effects {
            self.effect(input, effect, inside);
        }
        self.stands(input, after);
    }

    /// What speaks for a grant or request that is not on.
    fn stale_changes_nothing(&self, input: &Input, effects: &[Effect], before: &Floor, after: &Floor) {
        let open = self.open.as_ref();
        let stale = match input {
            Input::Unmuted(grant) => open.is_none_or(|open| open.talks || open.command.grant != *grant),
            Input::MediaFailed(grant) => open.is_none_or(|open| open.command.grant != *grant),
            Input::Release(who, id) => self.claims.get(who).is_none_or(|claim| claim.request.id != *id),
            Input::Alive(who) => !self.claims.contains_key(who),
            _ => false,
        };
        if stale {
            let told = (before.holder(), before.waiting(), before.announcement(), before.next_due_ms(&LIMITS));
            assert_eq!(told, (after.holder(), after.waiting(), after.announcement(), after.next_due_ms(&LIMITS)), "{input:?}");
            assert_eq!(effects, [], "{input:?}");
        }
    }

    /// Takes in what an input means by itself. Gives what has to be the answer, where that follows from earlier ones.
    fn take(&mut self, input: &Input) -> Option<Vec<Effect>> {
        match input {
            Input::Request(request) => return self.request(request),
            Input::Release(who, id) if self.claims.get(who).is_some_and(|claim| claim.request.id == *id) => self.over(*who),
            Input::Alive(who) => {
                let now_ms = self.now_ms;
                self.claims.get_mut(who).into_iter().for_each(|claim| claim.alive_ms = now_ms);
            }
            Input::Unmuted(grant) if self.open.as_ref().is_some_and(|open| open.command.grant == *grant) => {
                self.confirmed.insert(*grant);
            }
            Input::Dissolved => self.dissolved = true,
            _ => {}
        }
        None
    }

    fn request(&mut self, request: &Request) -> Option<Vec<Effect>> {
        let (to, id) = (request.who, request.id);
        let tell = |answer| Some(vec![Effect::Tell { to, request: id, answer }]);
        if let Some(answer) = self.answered.get(&(to, id)) {
            return tell(*answer);
        }
        if let Some(claim) = self.claims.get(&to).filter(|claim| claim.request.id == id) {
            return claim.told.map_or(Some(vec![]), tell);
        }
        if self.dissolved {
            return tell(Answer::Denied { ending: Ending::Dissolved });
        }
        self.over(to);
        self.arrivals += 1;
        let claim = Claim {
            request: request.clone(),
            arrival: self.arrivals,
            passed_over: 0,
            emergencies: 0,
            bursts: 0,
            begun: 0,
            since_ms: self.now_ms,
            late_ms: self.late_ms,
            alive_ms: self.now_ms,
            told: None,
        };
        self.claims.insert(to, claim);
        None
    }

    /// Its participant has ended it.
    fn over(&mut self, who: Participant) {
        if let Some(claim) = self.claims.remove(&who) {
            self.answered.insert((who, claim.request.id), Answer::Denied { ending: Ending::Over });
        }
    }

    fn effect(&mut self, input: &Input, effect: &Effect, inside: &BTreeSet<UserId>) {
        match effect {
            Effect::Mute(command) => {
                let open = self.open.take().unwrap_or_else(|| panic!("{command:?} is muted and was not open"));
                assert_eq!(open.command, *command);
                // One that talked is told why it is over; one that did not may wait again.
                if !open.talks
                    && let Some(claim) = self.claims.get_mut(&command.who)
                {
                    claim.told = None;
                }
                self.closed = Some(open);
            }
            Effect::Unmute(command) => self.unmute(*command),
            Effect::Announce(Announcement::Idle) => assert!(self.announced.take().is_some(), "told twice that nobody talks"),
            Effect::Announce(Announcement::Taken(taken)) => {
                let command = Command { who: taken.talker, grant: taken.grant };
                assert_eq!(self.open.as_ref().map(|open| (open.command, open.talks)), Some((command, true)));
                let request = &self.claims[&taken.talker].request;
                assert_eq!((taken.level, taken.emergency), (request.level, request.emergency));
                self.announced = Some(taken.grant);
            }
            Effect::Tell { to, request, answer } => {
                let own_end = matches!((input, answer),
                    (Input::Left(user), Answer::Denied { ending: Ending::Left } | Answer::Revoked { ending: Ending::Left, .. }) if *user == to.user)
                    || matches!((input, answer), (Input::Dissolved, Answer::Denied { .. } | Answer::Revoked { .. }));
                assert!(inside.contains(&to.user) || own_end, "{to:?} is not in the room, and hears {answer:?}");
                self.told(input, *to, *request, *answer);
            }
        }
    }

    fn unmute(&mut self, command: Command) {
        assert!(self.open.is_none(), "{command:?} is unmuted beside another one");
        assert!(command.grant > self.unmuted, "grant numbers rise");
        self.unmuted = command.grant;
        let chosen = &self.claims[&command.who];
        let (rank, arrival, emergency) = (chosen.rank(), chosen.arrival, chosen.request.emergency);
        for claim in self.claims.values_mut().filter(|claim| claim.request.who != command.who) {
            let (own, first) = (claim.rank(), claim.arrival < arrival);
            assert!(rank > own || rank == own && !first, "{command:?} at {rank:?} goes before {:?} at {own:?}", claim.request);
            claim.begun += 1;
            if first {
                claim.passed_over += 1;
                claim.emergencies += u64::from(emergency);
            }
        }
        // Who was told its position hears nothing further until the media side has answered.
        self.claims.get_mut(&command.who).into_iter().for_each(|claim| claim.told = None);
        self.open = Some(Open { command, since_ms: self.now_ms, late_ms: self.late_ms, talks: false });
    }

    fn told(&mut self, input: &Input, who: Participant, request: FloorRequestId, answer: Answer) {
        if let Some(known) = self.answered.get(&(who, request)) {
            assert_eq!(*known, answer, "the last word is another one");
            return;
        }
        if self.dissolved && !self.claims.contains_key(&who) {
            self.answered.insert((who, request), answer);
            return;
        }
        let claim = self.claims.get_mut(&who).filter(|claim| claim.request.id == request).unwrap();
        match answer {
            Answer::Granted { grant, .. } => {
                let open = self.open.as_mut().unwrap();
                assert_eq!(open.command, Command { who, grant });
                assert!(self.confirmed.contains(&grant), "granted before the media side has confirmed it");
                if !open.talks {
                    (open.talks, open.since_ms, open.late_ms) = (true, self.now_ms, self.late_ms);
                    for other in self.claims.values_mut().filter(|other| other.request.who != who) {
                        other.bursts += 1;
                    }
                }
                self.claims.get_mut(&who).unwrap().told = Some(answer);
            }
            Answer::Queued { position } => {
                assert!((1..=LIMITS.queue_max).contains(&(position as usize)));
                claim.told = Some(answer);
            }
            Answer::Denied { ending } | Answer::Revoked { ending, .. } => {
                if let Answer::Revoked { grant, .. } = answer {
                    assert!(self.confirmed.contains(&grant) && self.open.is_none(), "{answer:?} before its microphone is closed");
                }
                self.ends(input, who, ending);
                self.claims.remove(&who);
                self.answered.insert((who, request), answer);
            }
        }
    }

    /// Each end has its reason.
    fn ends(&mut self, input: &Input, who: Participant, ending: Ending) {
        let claim = &self.claims[&who];
        let lasted_ms = self.closed.as_ref().map_or(0, |closed| self.now_ms - closed.since_ms);
        let others = || self.claims.values().filter(|other| other.request.who != who);
        match ending {
            Ending::NotInRoom => panic!("that is for whoever holds the floor to say"),
            Ending::QueueFull => {
                let open = self.open.as_ref().unwrap().command.who;
                let before = others().filter(|other| other.request.who != open);
                let before = before.filter(|other| (other.rank(), claim.arrival) >= (claim.rank(), other.arrival)).count();
                assert!(before >= LIMITS.queue_max, "{:?} is refused, and there is room before it", claim.request);
            }
            Ending::PreEmpted => assert!(others().any(|other| other.asked() > claim.rank()), "nobody stands above {:?}", claim.request),
            Ending::Vanished => assert!(self.now_ms - claim.alive_ms >= LIMITS.vanish_ms, "{who:?} was heard of"),
            Ending::TimeOver => {
                assert!(lasted_ms >= LIMITS.burst_ms, "{who:?} talked for {lasted_ms} ms");
                // Whatever else the user waits for begins to wait now.
                let mut own: Vec<_> = self.claims.values_mut().filter(|own| own.request.who.user == who.user).collect();
                own.sort_unstable_by_key(|claim| claim.arrival);
                for claim in own {
                    self.arrivals += 1;
                    (claim.arrival, claim.passed_over, claim.emergencies, claim.bursts, claim.begun) = (self.arrivals, 0, 0, 0, 0);
                    (claim.since_ms, claim.late_ms) = (self.now_ms, self.late_ms);
                }
            }
            Ending::MediaFailed if *input == Input::Tick => assert!(lasted_ms >= LIMITS.prepare_ms, "{who:?} had {lasted_ms} ms"),
            Ending::MediaFailed => assert!(matches!(input, Input::MediaFailed(_))),
            Ending::Left => assert_eq!(*input, Input::Left(who.user)),
            Ending::Dissolved => assert_eq!(*input, Input::Dissolved),
            Ending::Over => panic!("nobody is told that they let go"),
        }
    }

    /// How it stands after a step: all that ask are there, somebody has the floor, and nothing lasts longer than it may.
    fn stands(&mut self, input: &Input, floor: &Floor) {
        let open = self.open.as_ref();
        assert_eq!(floor.holder().map(|holder| (holder.command, holder.talks)), open.map(|open| (open.command, open.talks)));
        let holder = open.map(|open| open.command.who);
        let mut waiting: Vec<&Claim> = self.claims.values().filter(|claim| Some(claim.request.who) != holder).collect();
        waiting.sort_unstable_by_key(|claim| (std::cmp::Reverse(claim.rank()), claim.arrival));
        let expected: Vec<_> = waiting.iter().map(|claim| (claim.request.who, claim.request.id)).collect();
        assert_eq!(floor.waiting(), expected);
        assert!(waiting.is_empty() || open.is_some(), "somebody waits for nobody");
        assert_eq!(floor.next_due_ms(&LIMITS).is_some(), open.is_some());
        match open.filter(|open| open.talks) {
            Some(open) => assert_eq!(self.announced, Some(open.command.grant)),
            None if open.is_none() && !self.dissolved => assert_eq!(self.announced, None),
            None => {}
        }
        for (claim, position) in waiting.iter().zip(1..) {
            assert_eq!(claim.told, Some(Answer::Queued { position }));
            assert!(open.is_some_and(|open| self.claims[&open.command.who].rank() >= claim.asked()), "{:?} waits for less", claim.request);
        }
        self.in_bounds(&waiting);
        if *input == Input::Tick {
            for claim in self.claims.values() {
                let heard_ms = claim.alive_ms.max(self.excused_ms);
                assert!(self.now_ms - heard_ms < LIMITS.vanish_ms, "{:?} vanished and is still there", claim.request);
            }
            if let Some(open) = open {
                let bound_ms = if open.talks { LIMITS.burst_ms } else { LIMITS.prepare_ms };
                assert!(self.now_ms - open.since_ms < bound_ms + self.late_ms - open.late_ms, "{:?} is too long", open.command);
            }
        }
    }

    /// Nobody waits beyond the bound that `src/floor/mod.rs` promises.
    fn in_bounds(&self, waiting: &[&Claim]) {
        for claim in waiting {
            let bursts = LIMITS.queue_max as u64 + u64::from(LIMITS.age_bursts) + claim.emergencies;
            assert!(claim.bursts <= bursts, "{:?} heard {} bursts", claim.request, claim.bursts);
            assert!(claim.begun <= 2 * bursts, "{:?} saw {} grants", claim.request, claim.begun);
            // And the burst during which it came.
            let bound_ms = (bursts + 1) * LIMITS.burst_ms + 2 * bursts * LIMITS.prepare_ms + self.late_ms - claim.late_ms;
            assert!(self.now_ms - claim.since_ms <= bound_ms, "{:?} waits since {} ms", claim.request, self.now_ms - claim.since_ms);
        }
    }
}
