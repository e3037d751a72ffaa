//! A room with its people, its media server, and whoever holds its floor.

use std::collections::{BTreeMap, BTreeSet};

use roger::floor::{Floor, Input, Participant, Request};
use roger::model::{FloorRequestId, GrantNumber, UserId};

use super::judge::Judge;
use super::{LIMITS, Operation, participants};

/// How often who lives is heard of.
const BEAT_MS: u64 = 500;

pub(super) struct World {
    floor: Floor,
    judge: Judge,
    /// What the clock of the holder shows; the judge has one that never goes back.
    clock_ms: u64,
    inside: BTreeSet<UserId>,
    dead: BTreeSet<Participant>,
    /// The presses of each installation, the last one last.
    presses: BTreeMap<Participant, Vec<Request>>,
    ids: u64,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            floor: Floor::new(GrantNumber(0)),
            judge: Judge::default(),
            clock_ms: 1_000_000,
            inside: participants().map(|who| who.user).collect(),
            dead: BTreeSet::new(),
            presses: BTreeMap::new(),
            ids: 0,
        }
    }

    pub(super) fn take(&mut self, operation: &Operation) {
        match *operation {
            Operation::Press { which, level, emergency } => {
                let Some(who) = self.somebody(which) else { return };
                self.ids += 1;
                let request = Request { who, id: FloorRequestId(self.ids), level, emergency, name: String::new() };
                self.presses.entry(who).or_default().push(request.clone());
                self.step(Input::Request(request));
            }
            Operation::Repeat { which, back } => {
                if let Some(request) = self.somebody(which).and_then(|who| self.press(who, back)) {
                    self.step(Input::Request(request));
                }
            }
            Operation::Release { which, back } => {
                if let Some(request) = self.somebody(which).and_then(|who| self.press(who, back)) {
                    self.step(Input::Release(request.who, request.id));
                }
            }
            Operation::Confirm => self.confirm(),
            Operation::Fail => self.step(Input::MediaFailed(self.floor.last_grant())),
            Operation::Late { which, failed } => {
                // Any but the last, and some that never were.
                let grant = GrantNumber((which as u64 * 7) % (self.floor.last_grant().0 + 3));
                if grant != self.floor.last_grant() {
                    self.step(if failed { Input::MediaFailed(grant) } else { Input::Unmuted(grant) });
                }
            }
            Operation::Pass { ms } => self.pass(ms),
            Operation::Stall { ms } => {
                self.later(ms);
                self.judge.late(ms);
                self.beat();
                self.step(Input::Tick);
            }
            Operation::Die { which } => self.dead.extend(self.somebody(which)),
            Operation::Live { which } => {
                if let Some(who) = self.somebody(which) {
                    self.dead.remove(&who);
                }
            }
            Operation::Leave { user } => {
                self.inside.remove(&UserId(user));
                self.step(Input::Left(UserId(user)));
            }
            Operation::Enter { user } => {
                self.inside.insert(UserId(user));
            }
            Operation::Resume { away_ms, behind_ms } => {
                self.later(away_ms);
                self.clock_ms -= behind_ms;
                self.judge.late(away_ms + behind_ms + LIMITS.prepare_ms);
                self.floor = serde_json::from_str(&serde_json::to_string(&self.floor).unwrap()).unwrap();
                self.step(Input::Resumed);
            }
            Operation::Dissolve => {
                self.inside.clear();
                self.step(Input::Dissolved);
            }
        }
    }

    /// Nothing comes in but signs of life, confirmations and ticks: all that wait talk, one after the other.
    pub(super) fn drain(&mut self) {
        self.dead.clear();
        self.beat();
        while let Some(holder) = self.floor.holder() {
            if holder.talks { self.pass(BEAT_MS) } else { self.confirm() }
        }
        assert_eq!((self.floor.waiting(), self.floor.next_due_ms(&LIMITS)), (vec![], None));
    }

    fn step(&mut self, input: Input) {
        let before = self.floor.clone();
        let effects = self.floor.step(input.clone(), &LIMITS, self.clock_ms);
        self.judge.judge(&input, &effects, &self.inside, &before, &self.floor);
        if input == Input::Tick {
            let due_ms = self.floor.next_due_ms(&LIMITS);
            assert!(due_ms.is_none_or(|due_ms| due_ms > self.clock_ms), "a tick leaves something due: {:?}", self.floor);
        }
    }

    fn confirm(&mut self) {
        self.step(Input::Unmuted(self.floor.last_grant()));
    }

    fn later(&mut self, ms: u64) {
        self.clock_ms += ms;
        self.judge.now_ms += ms;
    }

    fn pass(&mut self, ms: u64) {
        let end_ms = self.clock_ms + ms;
        while self.clock_ms < end_ms {
            let next_ms = self.floor.next_due_ms(&LIMITS).unwrap_or(end_ms).min(self.clock_ms + BEAT_MS);
            self.later(next_ms.clamp(self.clock_ms, end_ms) - self.clock_ms);
            self.beat();
            self.step(Input::Tick);
        }
    }

    fn beat(&mut self) {
        for who in participants() {
            if self.inside.contains(&who.user) && !self.dead.contains(&who) {
                self.step(Input::Alive(who));
            }
        }
    }

    /// Somebody who is in the room.
    fn somebody(&self, which: usize) -> Option<Participant> {
        let inside: Vec<_> = participants().filter(|who| self.inside.contains(&who.user)).collect();
        which.checked_rem(inside.len()).map(|which| inside[which])
    }

    fn press(&self, who: Participant, back: usize) -> Option<Request> {
        self.presses.get(&who)?.iter().nth_back(back).cloned()
    }
}
