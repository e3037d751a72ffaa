//! Each rule by an example: what comes in, and what is to be done.

mod endings;
mod order;
mod stored;

use super::*;
use crate::model::{FloorRequestId, GrantNumber, InstallationId, UserId, UserKind};

const NOW_MS: u64 = 1_764_000_000_000;

const LIMITS: Limits = Limits { burst_ms: 60_000, prepare_ms: 1_000, vanish_ms: 2_000, queue_max: 3, age_bursts: 2 };

/// A room; users have one installation each, and effects are written as people would say them.
struct Room {
    floor: Floor,
    limits: Limits,
    now_ms: u64,
}

fn who(user: u64) -> Participant {
    Participant { user: UserId(user), installation: InstallationId(1) }
}

/// A press of a user, at the level of a radio.
fn press(user: u64, id: u64) -> Request {
    Request { who: who(user), id: FloorRequestId(id), level: 10, emergency: false, name: format!("radio {user}") }
}

fn dispatcher(user: u64, id: u64) -> Request {
    Request { level: 20, ..press(user, id) }
}

fn emergency(user: u64, id: u64) -> Request {
    Request { emergency: true, ..press(user, id) }
}

fn say(effect: &Effect) -> String {
    let grant = |command: &Command| format!("{} by {}", command.who.user, command.grant);
    match effect {
        Effect::Unmute(command) => format!("unmute {}", grant(command)),
        Effect::Mute(command) => format!("mute {}", grant(command)),
        Effect::Announce(Announcement::Idle) => "idle".to_owned(),
        Effect::Announce(Announcement::Taken(taken)) => format!("taken {} by {}", taken.talker.user, taken.grant),
        Effect::Tell { to, request, answer } => {
            let answer = match answer {
                Answer::Granted { grant, until_ms } => format!("granted {grant} +{}", until_ms - NOW_MS),
                Answer::Queued { position } => format!("queued {position}"),
                Answer::Denied { ending } => format!("denied {ending}"),
                Answer::Revoked { grant, ending } => format!("revoked {grant} {ending}"),
            };
            format!("{}/{request} {answer}", to.user)
        }
    }
}

impl Room {
    fn new() -> Self {
        Self { floor: Floor::new(GrantNumber(0)), limits: LIMITS, now_ms: NOW_MS }
    }

    /// A room in which user 1 talks, by request 1 and grant 1, and these wait.
    fn talking(waiting: &[Request]) -> Self {
        let mut room = Self::new();
        room.asks(press(1, 1));
        room.unmuted(1);
        for request in waiting {
            room.asks(request.clone());
        }
        room
    }

    fn take(&mut self, input: Input) -> Vec<String> {
        self.floor.step(input, &self.limits, self.now_ms).iter().map(say).collect()
    }

    fn asks(&mut self, request: Request) -> Vec<String> {
        self.take(Input::Request(request))
    }

    fn releases(&mut self, user: u64, id: u64) -> Vec<String> {
        self.take(Input::Release(who(user), FloorRequestId(id)))
    }

    fn unmuted(&mut self, grant: u64) -> Vec<String> {
        self.take(Input::Unmuted(GrantNumber(grant)))
    }

    fn ticks(&mut self, later_ms: u64) -> Vec<String> {
        self.now_ms += later_ms;
        self.take(Input::Tick)
    }

    /// All these are heard of.
    fn heard(&mut self, users: &[u64]) {
        for user in users {
            assert_eq!(self.take(Input::Alive(who(*user))), [""; 0]);
        }
    }

    fn waiting(&self) -> Vec<u64> {
        self.floor.waiting().into_iter().map(|(who, _)| who.user.0).collect()
    }

    fn holder(&self) -> Option<u64> {
        self.floor.holder().map(|holder| holder.command.who.user.0)
    }
}

#[test]
fn a_grant_is_told_when_the_media_side_has_confirmed_it() {
    let mut room = Room::new();
    assert_eq!(room.asks(press(1, 1)), ["unmute 1 by 1"]);
    assert_eq!((room.floor.holder().map(|holder| holder.talks), room.floor.announcement()), (Some(false), Announcement::Idle));
    room.now_ms += 300;
    assert_eq!(room.unmuted(1), ["1/1 granted 1 +60300", "taken 1 by 1"]);
    let Announcement::Taken(taken) = room.floor.announcement() else { panic!("{:?}", room.floor) };
    assert_eq!((taken.name.as_str(), taken.level, taken.emergency), ("radio 1", 10, false));
    assert_eq!(room.releases(1, 1), ["mute 1 by 1", "idle"]);
    assert_eq!((room.floor.holder(), room.floor.last_grant(), room.floor.next_due_ms(&LIMITS)), (None, GrantNumber(1), None));
}

#[test]
fn the_former_talker_is_muted_before_the_next_one_is_unmuted_and_only_then_it_is_told() {
    let mut room = Room::talking(&[press(2, 1)]);
    assert_eq!(room.releases(1, 1), ["mute 1 by 1", "unmute 2 by 2"]);
    assert_eq!(room.unmuted(2), ["2/1 granted 2 +60000", "taken 2 by 2"]);
}

#[test]
fn what_speaks_for_an_older_grant_or_request_changes_nothing() {
    let mut room = Room::talking(&[press(3, 1)]);
    room.asks(press(1, 2));
    room.unmuted(2);
    assert_eq!((room.holder(), room.waiting()), (Some(3), vec![1]));
    let stale = [
        Input::Unmuted(GrantNumber(1)),
        Input::Unmuted(GrantNumber(2)),
        Input::Unmuted(GrantNumber(3)),
        Input::MediaFailed(GrantNumber(1)),
        Input::Release(who(1), FloorRequestId(1)),
        Input::Alive(who(9)),
        Input::Left(UserId(9)),
        Input::Tick,
    ];
    for input in stale {
        let mut before = room.floor.clone();
        assert_eq!(room.take(input.clone()), [""; 0], "{input:?}");
        before.version = room.floor.version;
        assert_eq!(room.floor, before, "{input:?}");
    }
}

#[test]
fn a_repeat_gets_the_same_answer() {
    let mut room = Room::new();
    room.asks(press(1, 1));
    assert_eq!(room.asks(press(1, 1)), [""; 0], "not yet answered");
    room.unmuted(1);
    room.now_ms += 500;
    assert_eq!(room.asks(Request { level: 99, ..press(1, 1) }), ["1/1 granted 1 +60000"]);
    room.asks(press(2, 7));
    assert_eq!(room.asks(emergency(2, 7)), ["2/7 queued 1"]);
    room.asks(press(3, 1));
    room.asks(press(4, 1));
    assert_eq!(room.asks(press(5, 1)), ["5/1 denied queue_full"]);
    room.releases(2, 7);
    assert_eq!(room.asks(press(5, 1)), ["5/1 denied queue_full"], "though there would be room now");
    assert_eq!(room.asks(press(2, 7)), ["2/7 denied over"]);
    room.asks(dispatcher(6, 1));
    assert_eq!(room.asks(press(1, 1)), ["1/1 revoked 1 pre_empted"]);
}

#[test]
fn a_request_that_comes_behind_its_release_is_no_press() {
    let mut room = Room::new();
    room.releases(1, 1);
    assert_eq!(room.asks(press(1, 1)), ["1/1 denied over"]);
    assert_eq!(room.asks(press(1, 2)), ["unmute 1 by 1"]);
}

#[test]
fn a_later_request_of_an_installation_takes_the_place_of_the_one_before() {
    let mut room = Room::talking(&[press(2, 1), press(3, 1)]);
    assert_eq!(room.asks(press(2, 2)), ["3/1 queued 1", "2/2 queued 2"], "behind who came before it");
    assert_eq!(room.asks(press(2, 1)), ["2/1 denied over"]);
    assert_eq!(room.asks(press(1, 2)), ["mute 1 by 1", "unmute 3 by 2", "2/2 queued 1", "1/2 queued 2"]);
    assert_eq!(room.asks(press(3, 2)), ["mute 3 by 2", "unmute 2 by 3", "1/2 queued 1", "3/2 queued 2"]);
    // Another installation of the user is somebody else.
    let desk = Participant { installation: InstallationId(2), ..who(1) };
    assert_eq!(room.asks(Request { who: desk, ..press(1, 2) }), ["1/2 queued 3"]);
}

#[test]
fn the_time_that_matters_next_is_said() {
    let mut room = Room::new();
    let due = |room: &Room| room.floor.next_due_ms(&room.limits).map(|due_ms| due_ms - NOW_MS);
    assert_eq!(due(&room), None);
    room.asks(press(1, 1));
    assert_eq!(due(&room), Some(1_000));
    room.unmuted(1);
    assert_eq!(due(&room), Some(2_000));
    room.now_ms += 1_000;
    room.asks(press(2, 1));
    assert_eq!(due(&room), Some(2_000));
    room.heard(&[1]);
    room.limits.burst_ms = 2_500;
    assert_eq!(due(&room), Some(2_500));
}

#[test]
fn names_have_a_bound_and_levels_follow_the_kind() {
    let mut room = Room::new();
    room.asks(Request { name: "ü".repeat(101), ..press(1, 1) });
    room.unmuted(1);
    assert!(matches!(room.floor.announcement(), Announcement::Taken(taken) if taken.name.chars().count() == 100));
    assert!(UserKind::ALL.iter().is_sorted_by_key(|kind| Request::level_of(*kind)));
    assert!(Request::level_of(UserKind::Device) < Request::level_of(UserKind::Dispatcher));
}
