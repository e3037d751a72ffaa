//! How far one session is in one topic, and what it takes next: the receiving end of the core, pure like the rest.
//!
//! A cursor is *behind* while something between its place and the head is missing, and *live* once nothing is. Behind, it asks for pages
//! and keeps a few entries that come live meanwhile; live, it takes exactly the next place. It never passes on a place twice, never
//! skips one silently, and never goes back.

use std::collections::VecDeque;

use super::frame::{Attached, Entry, Page};
use crate::model::{Place, Span};

/// How many live entries a cursor keeps while it is behind. Beyond that they are fetched again: memory stays bounded.
const KEPT_MAX: usize = 256;

/// How far one session is in one topic.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// Everything up to here was passed on.
    at: Place,
    /// False until somebody said from where the session continues: the client or the owner.
    known: bool,
    /// What must be fetched before anything live, in order.
    missing: VecDeque<Span>,
    /// Live entries behind the last span of `missing`, without a hole.
    kept: VecDeque<Entry>,
    /// The last place known to exist.
    head: Place,
    /// The user left: nothing behind this place.
    end: Option<Place>,
    /// The number of the request that is on its way; answers with another number are late.
    asked: Option<u64>,
    /// Attached in this epoch of the shard; `None` until the owner answered.
    epoch: Option<u64>,
}

/// What became of a live entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Offer {
    /// It is the next one: pass it on.
    Deliver(Entry),
    /// It was passed on before.
    Repeat,
    /// It will come later, by replay or when what is missing has come.
    Later,
    /// Something before it never came: attach again.
    Hole,
}

impl Cursor {
    /// A cursor that waits for the owner's answer. `mark` is what the client says it holds.
    pub fn new(mark: Option<Place>) -> Self {
        let at = mark.unwrap_or(Place::START);
        Self { at, known: mark.is_some(), missing: VecDeque::new(), kept: VecDeque::new(), head: at, end: None, asked: None, epoch: None }
    }

    /// Everything up to here was passed on.
    pub fn at(&self) -> Place {
        self.at
    }

    /// What to attach with: the place up to which everything was passed on, `None` while only the owner knows from where to continue.
    pub fn mark(&self) -> Option<Place> {
        self.known.then_some(self.at)
    }

    /// The last place known to exist.
    pub fn head(&self) -> Place {
        self.head
    }

    /// Whether the owner has answered since the cursor was made or [`Cursor::detach`]ed.
    pub fn attached(&self) -> bool {
        self.epoch.is_some()
    }

    /// Whether nothing is missing: the next live entry can be passed on.
    pub fn is_live(&self) -> bool {
        self.attached() && self.missing.is_empty()
    }

    /// Whether the user left: nothing behind some place will come.
    pub fn is_leaving(&self) -> bool {
        self.end.is_some()
    }

    /// Whether the user left and everything up to then was passed on.
    pub fn ended(&self) -> bool {
        self.end.is_some_and(|end| self.at >= end) && self.missing.is_empty()
    }

    /// The owner is gone or something was lost on the way: nothing live counts until the next answer.
    pub fn detach(&mut self) {
        self.epoch = None;
        self.asked = None;
        self.kept.clear();
    }

    /// The owner's answer: what to fetch, and from where on entries come live. False when it continues behind the cursor's own place, as
    /// the late answer to a question without a mark does: attach again.
    #[must_use]
    pub fn attach(&mut self, attached: &Attached) -> bool {
        let mark = Place::from(attached.mark);
        if self.known && self.at < mark {
            self.detach();
            return false;
        }
        self.known = true;
        self.at = self.at.max(mark);
        self.head = Place::from(attached.head).max(self.at);
        let rest = Span::new(self.at, Place::END);
        self.missing = attached.gaps.iter().filter_map(|gap| Span::from(*gap).intersect(rest)).collect();
        self.kept.clear();
        self.asked = None;
        self.epoch = Some(attached.head.epoch);
        self.end = (!attached.live).then(|| self.missing.back().map_or(self.at, |last| last.upto));
        true
    }

    /// The user left behind `place`. What of the places up to there never came is missing. Of a further time between joining and leaving
    /// only the owner's next answer tells.
    pub fn depart(&mut self, place: Place) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(place);
        if self.attached() && place > self.head {
            self.extend(place);
        }
        let rest = Span::new(Place::START, place);
        self.missing = self.missing.iter().filter_map(|span| span.intersect(rest)).collect();
        self.kept.retain(|entry| entry.place() <= place);
    }

    /// A live entry. `room` says whether the session can take one more.
    pub fn offer(&mut self, entry: Entry, room: bool) -> Offer {
        let place = entry.place();
        let Some(epoch) = self.epoch else { return Offer::Later };
        if place <= self.at || place <= self.head {
            return if place <= self.at { Offer::Repeat } else { Offer::Later };
        }
        if self.end.is_some_and(|end| place > end) {
            return Offer::Repeat;
        }
        if place.epoch != epoch || place.seq != self.head.seq + 1 {
            self.detach();
            return Offer::Hole;
        }
        if self.missing.is_empty() && room {
            (self.head, self.at) = (place, place);
            return Offer::Deliver(entry);
        }
        let follows = !self.kept.is_empty() || self.missing.back().is_some_and(|last| last.upto == self.head);
        if follows && room && self.kept.len() < KEPT_MAX {
            self.head = place;
            self.kept.push_back(entry);
        } else {
            self.extend(place);
        }
        Offer::Later
    }

    /// What is missing now reaches up to `place`, the new head. It never grows over places the user may not see: those that lie between
    /// the last missing span and the head when `kept`, which follows that span without a hole, is empty.
    fn extend(&mut self, place: Place) {
        match self.missing.back_mut() {
            Some(last) if last.upto == self.head || !self.kept.is_empty() => last.upto = place,
            _ => self.missing.push_back(Span::new(self.head, place)),
        }
        self.kept.clear();
        self.head = place;
    }

    /// Places between this one and the next entry that the user may not see, if there are any: moves over them and says which.
    pub fn skip(&mut self) -> Option<Span> {
        let next = match self.missing.front() {
            Some(first) => first.after,
            None if self.attached() && self.end.is_none() => self.head,
            None => return None,
        };
        (self.at < next).then(|| {
            let skipped = Span::new(self.at, next);
            self.at = next;
            skipped
        })
    }

    /// What to ask for next; `None` while nothing is missing or an answer is on its way.
    pub fn ask(&mut self, request: u64) -> Option<Span> {
        if self.asked.is_some() || !self.attached() {
            return None;
        }
        let first = *self.missing.front()?;
        self.asked = Some(request);
        Some(Span::new(first.after.max(self.at), first.upto))
    }

    /// Whether an answer is on its way.
    pub fn asking(&self) -> bool {
        self.asked.is_some()
    }

    /// No answer will come, or it came to nothing: ask again.
    pub fn forget_request(&mut self) {
        self.asked = None;
    }

    /// Takes an answer in: the entries to pass on, in order. A late or foreign answer yields none.
    pub fn page(&mut self, page: Page) -> Vec<Entry> {
        if self.asked != Some(page.request) {
            return Vec::new();
        }
        self.asked = None;
        let span = Span::from(page.span);
        let mut passed = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            if entry.place() > self.at && span.contains(entry.place()) {
                self.at = entry.place();
                passed.push(entry);
            }
        }
        self.at = self.at.max(span.upto);
        while self.missing.front().is_some_and(|first| first.upto <= self.at) {
            self.missing.pop_front();
        }
        if self.missing.is_empty() {
            for entry in std::mem::take(&mut self.kept) {
                if entry.place() > self.at {
                    self.at = entry.place();
                    passed.push(entry);
                }
            }
        }
        passed
    }
}
