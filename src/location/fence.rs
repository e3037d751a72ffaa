//! Geofences: what they tell of a device, from one fix to the next.
//!
//! A fix is taken by its position alone: how accurate it is does not count, so one that lies may tell a way out and in again. Only what shows
//! where a device is now counts: a fix that is no newer than the newest one looked at changes nothing and tells nothing, and neither does one of
//! a clock that is ahead, or one that was not placed. A device that comes in between two fixes and is out again at the second was not seen inside.

mod shape;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use shape::{Area, Shape};

use super::Flag;
use super::frame::Fix;
use crate::model::{FenceEvent, FenceId, PositionSource, UserId};

/// The most characters of a name; it has one at least.
const NAME_CHARACTERS_MAX: usize = 100;

/// A rule that something breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The field at fault, as the client protocol names it: `fence.circle.radius_m`.
    pub field: &'static str,
    /// What it must be like, as the end of a sentence.
    pub rule: &'static str,
}

/// A geofence, as its owner wants it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Fence {
    /// 0 for a new one.
    pub id: FenceId,
    /// 1 to 100 characters.
    pub name: String,
    /// Where it is.
    #[serde(flatten)]
    pub shape: Shape,
    /// Whether it is told that a device came in.
    pub enter: bool,
    /// Whether it is told that a device went out.
    pub leave: bool,
    /// After how long inside it is told that a device stays, milliseconds; 0 for never.
    pub stay_ms: u64,
}

impl Fence {
    /// The fence of an account, made ready to be asked.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn watched(self, owner: UserId) -> Result<Watched, Broken> {
        if !(1..=NAME_CHARACTERS_MAX).contains(&self.name.chars().count()) {
            return Err(Broken { field: "fence.name", rule: "has 1 to 100 characters" });
        }
        let area = self.shape.area()?;
        Ok(Watched { owner, fence: self, area })
    }
}

/// A geofence that keeps all rules, and its area.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// Whose it is, and who is told.
    pub owner: UserId,
    /// The fence.
    pub fence: Fence,
    area: Area,
}

/// A device inside a geofence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The time of the fix that showed it inside first, UTC milliseconds.
    pub since_ms: u64,
    /// It was told that the device stays.
    pub stayed: bool,
}

/// Geofences by id.
pub type Fences = BTreeMap<FenceId, Arc<Watched>>;

/// What is remembered of a device: of the geofences it is outside of, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// The time of the newest fix looked at, UTC milliseconds; 0 when there was none.
    pub fix_ms: u64,
    /// The geofences it is inside of.
    pub visits: BTreeMap<FenceId, Visit>,
}

/// What a fix shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossing {
    /// At which geofence.
    pub at: Arc<Watched>,
    /// What the device did there.
    pub event: FenceEvent,
    /// The time of the fix, UTC milliseconds.
    pub fix_ms: u64,
}

/// Whether a fix shows where its device is: a satellite receiver placed it, and its clock is not ahead. What access points say jumps about by
/// tens of metres, and would tell of comings and goings that never were.
pub fn shows(fix: &Fix) -> bool {
    fix.source == PositionSource::Gps as u32 && fix.flags & Flag::ClockAhead.bit() == 0
}

impl Track {
    /// Forgets visits to geofences that are not these: they are gone, or the device is no longer of their owner's. Nothing is told of that.
    pub fn keep(&mut self, fences: &Fences) {
        self.visits.retain(|fence, _| fences.contains_key(fence));
    }

    /// Takes a fix that [`shows`] where the device is, and returns what it tells, by geofence: of each one thing at most.
    ///
    /// The first fix ever tells where the device is inside. That it stays is told once a visit, by the first fix that shows it inside at least
    /// `stay_ms` after the one that showed it come in: without fixes nothing is told, however long it stays.
    pub fn take(&mut self, fix: &Fix, fences: &Fences) -> Vec<Crossing> {
        if fix.fix_ms <= self.fix_ms || !shows(fix) {
            return Vec::new();
        }
        let fix_ms = fix.fix_ms;
        self.fix_ms = fix_ms;
        let mut told = Vec::new();
        for (id, at) in fences {
            let Fence { enter, leave, stay_ms, .. } = at.fence;
            let event = match (self.visits.get_mut(id), at.area.contains(fix.latitude, fix.longitude)) {
                (None, false) => None,
                (None, true) => {
                    self.visits.insert(*id, Visit { since_ms: fix_ms, stayed: false });
                    enter.then_some(FenceEvent::Enter)
                }
                (Some(_), false) => {
                    self.visits.remove(id);
                    leave.then_some(FenceEvent::Leave)
                }
                (Some(visit), true) if stay_ms > 0 && !visit.stayed && fix_ms - visit.since_ms >= stay_ms => {
                    visit.stayed = true;
                    Some(FenceEvent::Stay)
                }
                (Some(_), true) => None,
            };
            told.extend(event.map(|event| Crossing { at: at.clone(), event, fix_ms }));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INSIDE: f64 = 0.0;
    const OUTSIDE: f64 = 1.0;

    fn fence(id: u64, stay_ms: u64) -> Fence {
        let shape = Shape::Circle { latitude: 0.0, longitude: 0.0, radius_m: 1_000.0 };
        Fence { id: FenceId(id), name: "yard".to_owned(), shape, enter: true, leave: true, stay_ms }
    }

    fn fences(all: impl IntoIterator<Item = Fence>) -> Fences {
        all.into_iter().map(|fence| (fence.id, Arc::new(fence.watched(UserId(7)).unwrap()))).collect()
    }

    fn fix(fix_ms: u64, latitude: f64) -> Fix {
        Fix { fix_ms, latitude, source: 1, ..Fix::default() }
    }

    /// What a device that makes these fixes, one after the other, is told to do at a geofence.
    fn told(track: &mut Track, fences: &Fences, fixes: &[Fix]) -> Vec<(FenceEvent, u64)> {
        let crossings = fixes.iter().flat_map(|fix| track.take(fix, fences));
        crossings.map(|crossing| (crossing.event, crossing.fix_ms)).collect()
    }

    #[test]
    fn a_visit_is_told_from_its_beginning_to_its_end() {
        use FenceEvent::{Enter, Leave, Stay};
        let fences = fences([fence(1, 100)]);
        let check = |fixes: &[(u64, f64)], expected: &[(FenceEvent, u64)]| {
            let fixes: Vec<Fix> = fixes.iter().map(|(fix_ms, latitude)| fix(*fix_ms, *latitude)).collect();
            assert_eq!(told(&mut Track::default(), &fences, &fixes), expected, "{fixes:?}");
        };
        check(&[(1, OUTSIDE), (2, INSIDE), (3, INSIDE), (4, OUTSIDE), (5, OUTSIDE)], &[(Enter, 2), (Leave, 4)]);
        // The first fix of all.
        check(&[(1, OUTSIDE)], &[]);
        check(&[(1, INSIDE)], &[(Enter, 1)]);
        // Staying is told once a visit, and never by the fix that shows the device outside again.
        check(&[(1, INSIDE), (100, INSIDE), (101, INSIDE), (500, INSIDE)], &[(Enter, 1), (Stay, 101)]);
        check(
            &[(1, INSIDE), (500, OUTSIDE), (501, INSIDE), (600, INSIDE), (601, INSIDE)],
            &[(Enter, 1), (Leave, 500), (Enter, 501), (Stay, 601)],
        );
        // Late, or said twice.
        check(&[(5, INSIDE), (5, OUTSIDE), (4, OUTSIDE), (5, INSIDE), (6, INSIDE)], &[(Enter, 5)]);
    }

    #[test]
    fn only_what_is_wanted_is_told_and_the_rest_remembered() {
        let wanted = |enter, leave| Fence { enter, leave, ..fence(1, 0) };
        for (wanted, expected) in [
            (wanted(false, false), &[][..]),
            (wanted(true, false), &[(FenceEvent::Enter, 1), (FenceEvent::Enter, 30)][..]),
            (wanted(false, true), &[(FenceEvent::Leave, 20)][..]),
        ] {
            let fixes = [fix(1, INSIDE), fix(10, INSIDE), fix(20, OUTSIDE), fix(30, INSIDE)];
            assert_eq!(told(&mut Track::default(), &fences([wanted]), &fixes), expected);
        }
    }

    #[test]
    fn what_does_not_show_where_a_device_is_says_nothing() {
        let fences = fences([fence(1, 1)]);
        let mut track = Track::default();
        let ahead = Fix { flags: Flag::ClockAhead.bit(), ..fix(9, INSIDE) };
        let unplaced = Fix { source: 0, ..fix(9, INSIDE) };
        let by_wifi = Fix { source: 2, ..fix(9, INSIDE) };
        assert_eq!(told(&mut track, &fences, &[ahead, unplaced, by_wifi]), []);
        assert_eq!(track, Track::default(), "they were remembered");
        let behind = Fix { flags: Flag::ClockBehind.bit(), ..fix(1, INSIDE) };
        assert_eq!(told(&mut track, &fences, &[behind]), [(FenceEvent::Enter, 1)]);
    }

    #[test]
    fn a_geofence_that_no_longer_counts_is_forgotten_without_a_word() {
        let (both, second) = (fences([fence(1, 0), fence(2, 0)]), fences([fence(2, 0)]));
        let mut track = Track::default();
        assert_eq!(told(&mut track, &both, &[fix(1, INSIDE)]).len(), 2);
        track.keep(&second);
        assert_eq!(told(&mut track, &second, &[fix(2, INSIDE)]), []);
        assert_eq!(track.visits.keys().collect::<Vec<_>>(), [&FenceId(2)]);
        track.keep(&both);
        assert_eq!(told(&mut track, &both, &[fix(3, INSIDE)]), [(FenceEvent::Enter, 3)]);
    }

    #[test]
    fn a_name_has_a_hundred_characters_at_most() {
        for (name, fits) in [(String::new(), false), ("ü".repeat(100), true), ("ü".repeat(101), false)] {
            let watched = Fence { name, ..fence(1, 0) }.watched(UserId(7));
            assert_eq!(watched.err().map(|broken| broken.field), (!fits).then_some("fence.name"));
        }
    }

    proptest! {
            #[test]
            fn late_fixes_change_nothing_and_events_follow_each_other(
                fixes in prop::collection::vec((1..200_u64, any::<bool>()), 0..60), stay_ms in 0..40_u64,
            ) {
                let fences = fences([fence(1, stay_ms)]);
                let fixes: Vec<Fix> = fixes.into_iter().map(|(fix_ms, inside)| fix(fix_ms, if inside { INSIDE } else { OUTSIDE })).collect();
                let (mut track, mut newer) = (Track::default(), Track::default());
                let events = told(&mut track, &fences, &fixes);
                let mut newest = 0;
    let in_order: Vec<Fix> = fixes.into_iter().filter(|fix| fix.fix_ms > newest && { newest = fix.fix_ms; true }).collect();
                prop_assert_eq!(&told(&mut newer, &fences, &in_order), &events);
                prop_assert_eq!(&track, &newer);
                // In, then perhaps that it stays, then out.
                let (mut since_ms, mut stayed) = (None, false);
                for (event, fix_ms) in events {
                    match event {
                        FenceEvent::Enter => prop_assert_eq!(since_ms.replace(fix_ms), None),
                        FenceEvent::Stay => {
                            prop_assert!(fix_ms - since_ms.unwrap() >= stay_ms && !std::mem::replace(&mut stayed, true));
                        }
                        FenceEvent::Leave => {
                            prop_assert!(since_ms.take().is_some());
                            stayed = false;
                        }
                    }
                }
                prop_assert_eq!(track.visits.get(&FenceId(1)).map(|visit| visit.since_ms), since_ms);
            }
        }
}
