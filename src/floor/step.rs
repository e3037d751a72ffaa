//! What changes a floor, and what is to be done then.

use super::effect::{Announcement, Answer, Effect, Ending};
use super::input::{Input, Participant, Request};
use super::limits::Limits;
use super::queue::{Claim, Rank};
use super::state::{Floor, Grant, Stage};
use crate::model::{FloorRequestId, GrantNumber, UserId};

impl Floor {
    /// Takes an input in, at `now_ms`, UTC ms, by the clock of whoever holds the floor. What is stale or unknown has no effect.
    pub fn step(&mut self, input: Input, limits: &Limits, now_ms: u64) -> Vec<Effect> {
        self.version += 1;
        self.never_ahead_of(now_ms);
        let mut step = Step { floor: self, limits, now_ms, effects: Vec::new() };
        step.take(input);
        step.settle();
        step.effects
    }

    /// The clock of a new holder may be behind that of the one before: what seems to come from the future began now.
    fn never_ahead_of(&mut self, now_ms: u64) {
        if let Some(grant) = self.stage.grant_mut() {
            grant.since_ms = grant.since_ms.min(now_ms);
        }
        self.claims().for_each(|claim| claim.alive_ms = claim.alive_ms.min(now_ms));
    }

    fn claims(&mut self) -> impl Iterator<Item = &mut Claim> {
        self.stage.grant_mut().map(|grant| &mut grant.claim).into_iter().chain(self.queue.iter_mut())
    }
}

/// One step under way.
struct Step<'a> {
    floor: &'a mut Floor,
    limits: &'a Limits,
    now_ms: u64,
    effects: Vec<Effect>,
}

impl Step<'_> {
    fn take(&mut self, input: Input) {
        match input {
            Input::Request(request) => self.request(request),
            Input::Release(who, id) => self.release(who, id),
            Input::Alive(who) => {
                let now_ms = self.now_ms;
                self.floor.claims().filter(|claim| claim.request.who == who).for_each(|claim| claim.alive_ms = now_ms);
            }
            Input::Left(user) => self.left(user),
            Input::Dissolved => self.dissolved(),
            Input::Unmuted(number) => self.unmuted(number),
            Input::MediaFailed(number) => {
                if self.floor.stage.grant().is_some_and(|grant| grant.number == number) {
                    self.end(Ending::MediaFailed);
                }
            }
            Input::Tick => self.tick(),
            Input::Resumed => self.resumed(),
        }
    }

    /// What follows from how it stands now: the next one's turn, the bound of the queue, and who has to be told.
    fn settle(&mut self) {
        if self.floor.stage == Stage::Idle {
            self.prepare();
        }
        for claim in self.floor.queue.trim(self.limits) {
            self.deny(&claim, Ending::QueueFull);
        }
        for (to, request, position) in self.floor.queue.moved(self.limits) {
            self.effects.push(Effect::Tell { to, request, answer: Answer::Queued { position } });
        }
        if self.floor.stage == Stage::Idle && self.floor.taken {
            self.floor.taken = false;
            self.effects.push(Effect::Announce(Announcement::Idle));
        }
    }

    /// Begins a grant for the first in the queue, if there is one.
    fn prepare(&mut self) {
        let Some(claim) = self.floor.queue.pop(self.limits) else { return };
        self.floor.grants.0 += 1;
        let grant = Grant { number: self.floor.grants, claim, since_ms: self.now_ms };
        self.effects.push(Effect::Unmute(grant.command()));
        self.floor.stage = Stage::Preparing(grant);
    }

    fn request(&mut self, request: Request) {
        if self.answer_again(&request) {
            return;
        }
        // Whoever presses again has let go before.
        if self.floor.stage.of(request.who).is_some() {
            self.end(Ending::Over);
        }
        for claim in self.floor.queue.take(self.limits, |claim| claim.request.who == request.who) {
            self.remember(&claim, Ending::Over);
        }
        let name = request.name.chars().take(Request::NAME_CHARS_MAX).collect();
        self.floor.arrivals += 1;
        let request = Request { name, ..request };
        let claim = Claim { request, arrival: self.floor.arrivals, alive_ms: self.now_ms, passed_over: 0, told: 0 };
        let asked = claim.asked();
        self.floor.queue.push(claim);
        self.pre_empt(asked);
    }

    /// Says to a repeat what was said before; `false` when it is none.
    fn answer_again(&mut self, request: &Request) -> bool {
        let (who, id) = (request.who, request.id);
        let answer = if let Some(grant) = self.floor.stage.grant().filter(|grant| grant.claim.request.is_repeat(who, id)) {
            match self.floor.stage {
                Stage::Talking(_) => Answer::Granted { grant: grant.number, until_ms: grant.until_ms(self.limits) },
                // It is answered when the media side has.
                Stage::Idle | Stage::Preparing(_) => return true,
            }
        } else if let Some(claim) = self.floor.queue.of(who).filter(|claim| claim.request.is_repeat(who, id)) {
            claim.told = 0;
            return true;
        } else if let Some(answer) = self.floor.answered.find(who, id) {
            answer
        } else if self.floor.dissolved {
            let answer = Answer::Denied { ending: Ending::Dissolved };
            // Else its release would be the first word on it.
            self.floor.answered.remember(who, id, answer);
            answer
        } else {
            return false;
        };
        self.effects.push(Effect::Tell { to: who, request: id, answer });
        true
    }

    /// Ends the grant when somebody asked who stands strictly higher. One that is not confirmed yet was told nothing, and waits again.
    fn pre_empt(&mut self, asked: Rank) {
        if self.floor.stage.grant().is_none_or(|grant| grant.claim.rank(self.limits) >= asked) {
            return;
        }
        match std::mem::replace(&mut self.floor.stage, Stage::Idle) {
            Stage::Preparing(grant) => {
                self.effects.push(Effect::Mute(grant.command()));
                self.floor.queue.push(Claim { told: 0, ..grant.claim });
            }
            stage => {
                self.floor.stage = stage;
                self.end(Ending::PreEmpted);
            }
        }
    }

    fn release(&mut self, who: Participant, id: FloorRequestId) {
        if self.floor.stage.grant().is_some_and(|grant| grant.claim.request.is_repeat(who, id)) {
            return self.end(Ending::Over);
        }
        for claim in self.floor.queue.take(self.limits, |claim| claim.request.is_repeat(who, id)) {
            self.remember(&claim, Ending::Over);
        }
        self.floor.answered.remember(who, id, Answer::Denied { ending: Ending::Over });
    }

    fn left(&mut self, user: UserId) {
        if self.floor.stage.grant().is_some_and(|grant| grant.claim.request.who.user == user) {
            self.end(Ending::Left);
        }
        for claim in self.floor.queue.take(self.limits, |claim| claim.request.who.user == user) {
            self.deny(&claim, Ending::Left);
        }
    }

    fn dissolved(&mut self) {
        self.end(Ending::Dissolved);
        for claim in self.floor.queue.take(self.limits, |_| true) {
            self.deny(&claim, Ending::Dissolved);
        }
        // There is no room any more that could be told.
        (self.floor.dissolved, self.floor.taken) = (true, false);
    }

    fn unmuted(&mut self, number: GrantNumber) {
        match std::mem::replace(&mut self.floor.stage, Stage::Idle) {
            Stage::Preparing(grant) if grant.number == number => {
                let grant = Grant { since_ms: self.now_ms, ..grant };
                let answer = Answer::Granted { grant: number, until_ms: grant.until_ms(self.limits) };
                self.effects.push(Effect::Tell { to: grant.claim.request.who, request: grant.claim.request.id, answer });
                (self.floor.stage, self.floor.taken) = (Stage::Talking(grant), true);
                self.effects.push(Effect::Announce(self.floor.announcement()));
            }
            stage => self.floor.stage = stage,
        }
    }

    fn tick(&mut self) {
        let (limits, now_ms) = (self.limits, self.now_ms);
        let ending = match &self.floor.stage {
            Stage::Preparing(grant) | Stage::Talking(grant) if grant.claim.vanishes_ms(limits) <= now_ms => Some(Ending::Vanished),
            Stage::Preparing(grant) if grant.ready_ms(limits) <= now_ms => Some(Ending::MediaFailed),
            Stage::Talking(grant) if grant.until_ms(limits) <= now_ms => Some(Ending::TimeOver),
            Stage::Idle | Stage::Preparing(_) | Stage::Talking(_) => None,
        };
        if let Some(ending) = ending {
            self.end(ending);
        }
        for claim in self.floor.queue.take(limits, |claim| claim.vanishes_ms(limits) <= now_ms) {
            self.deny(&claim, Ending::Vanished);
        }
    }

    fn resumed(&mut self) {
        let now_ms = self.now_ms;
        self.floor.claims().for_each(|claim| claim.alive_ms = now_ms);
        if let Stage::Preparing(grant) = &mut self.floor.stage {
            grant.since_ms = now_ms;
        }
    }

    /// Ends the grant, if there is one: first the microphone, then the word.
    fn end(&mut self, ending: Ending) {
        let stage = std::mem::replace(&mut self.floor.stage, Stage::Idle);
        let Some(grant) = stage.grant() else { return };
        self.effects.push(Effect::Mute(grant.command()));
        match stage {
            _ if ending == Ending::Over => self.remember(&grant.claim, ending),
            Stage::Talking(_) => self.conclude(&grant.claim, Answer::Revoked { grant: grant.number, ending }),
            Stage::Idle | Stage::Preparing(_) => self.deny(&grant.claim, ending),
        }
        if ending == Ending::TimeOver {
            // Else another installation of the user would go on where this one had to stop.
            self.floor.queue.renew(grant.claim.request.who.user, &mut self.floor.arrivals);
        }
    }

    fn deny(&mut self, claim: &Claim, ending: Ending) {
        self.conclude(claim, Answer::Denied { ending });
    }

    fn conclude(&mut self, claim: &Claim, answer: Answer) {
        let (to, request) = (claim.request.who, claim.request.id);
        self.floor.answered.remember(to, request, answer);
        self.effects.push(Effect::Tell { to, request, answer });
    }

    /// Of a request that its participant has ended: they know.
    fn remember(&mut self, claim: &Claim, ending: Ending) {
        self.floor.answered.remember(claim.request.who, claim.request.id, Answer::Denied { ending });
    }
}
