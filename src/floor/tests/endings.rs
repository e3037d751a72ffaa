//! How requests and bursts end.

use super::*;

#[test]
fn a_grant_that_is_not_confirmed_is_denied_by_name_and_the_next_ones_turn_comes() {
    let check = |ends: fn(&mut Room) -> Vec<String>, ending: &str| {
        let mut room = Room::talking(&[press(2, 1), press(3, 1)]);
        room.releases(1, 1);
        assert_eq!(ends(&mut room), ["mute 2 by 2", &format!("2/1 denied {ending}"), "unmute 3 by 3"], "{ending}");
        assert_eq!(room.unmuted(2), [""; 0], "too late");
        assert_eq!(room.unmuted(3)[0], "3/1 granted 3 +60000".replace("60000", &(60_000 + room.now_ms - NOW_MS).to_string()));
    };
    check(|room| room.take(Input::MediaFailed(GrantNumber(2))), "media_failed");
    check(
        |room| {
            assert_eq!(room.ticks(999), [""; 0]);
            room.ticks(1)
        },
        "media_failed",
    );
    check(|room| room.take(Input::Left(UserId(2))), "left");
}

#[test]
fn the_room_hears_that_nobody_talks_once_nobody_is_about_to() {
    let mut room = Room::talking(&[press(2, 1)]);
    room.releases(1, 1);
    assert_eq!(room.ticks(1_000), ["mute 2 by 2", "2/1 denied media_failed", "idle"]);
    room.asks(press(3, 1));
    assert_eq!(room.take(Input::MediaFailed(GrantNumber(3))), ["mute 3 by 3", "3/1 denied media_failed"], "it was told already");
}

#[test]
fn a_burst_ends_when_the_media_server_has_lost_the_talker() {
    let mut room = Room::talking(&[]);
    assert_eq!(room.take(Input::MediaFailed(GrantNumber(1))), ["mute 1 by 1", "1/1 revoked 1 media_failed", "idle"]);
}

#[test]
fn a_burst_has_a_limit_and_who_was_too_long_goes_behind_those_of_the_same_priority() {
    let mut room = Room::talking(&[]);
    let desk = Participant { installation: InstallationId(2), ..who(1) };
    // Another installation of the talker waits, before others do.
    room.asks(Request { who: desk, ..press(1, 8) });
    room.asks(press(2, 1));
    room.now_ms += 59_999;
    room.heard(&[1, 2]);
    room.take(Input::Alive(desk));
    assert_eq!(room.ticks(0), [""; 0]);
    assert_eq!(room.ticks(1), ["mute 1 by 1", "1/1 revoked 1 time_over", "unmute 2 by 2"]);
    assert_eq!(room.waiting(), [1], "behind 2, though it came before");
    assert_eq!(room.asks(press(1, 2)), ["1/2 queued 2"]);
    // With nobody else there, at once.
    let mut room = Room::talking(&[]);
    room.now_ms += 60_000;
    room.heard(&[1]);
    assert_eq!(room.ticks(0), ["mute 1 by 1", "1/1 revoked 1 time_over", "idle"]);
    assert_eq!(room.asks(press(1, 2)), ["unmute 1 by 2"]);
}

#[test]
fn who_is_not_heard_of_has_vanished() {
    let mut room = Room::talking(&[press(2, 1), press(3, 1), press(4, 1)]);
    room.now_ms += 1_999;
    room.heard(&[1, 3, 4]);
    assert_eq!(room.ticks(0), [""; 0]);
    assert_eq!(room.ticks(1), ["2/1 denied vanished", "3/1 queued 1", "4/1 queued 2"]);
    room.now_ms += 1_500;
    room.heard(&[3]);
    // The talker, and the last in the queue; who is next was heard of.
    assert_eq!(room.ticks(500), ["mute 1 by 1", "1/1 revoked 1 vanished", "4/1 denied vanished", "unmute 3 by 2"]);
    // While the media side is asked, too.
    room.limits.prepare_ms = 10_000;
    assert_eq!(room.ticks(1_500), ["mute 3 by 2", "3/1 denied vanished", "idle"]);
}

#[test]
fn who_leaves_hears_of_that_and_nothing_further() {
    let mut room = Room::talking(&[press(2, 1), press(3, 1)]);
    assert_eq!(room.take(Input::Left(UserId(2))), ["2/1 denied left", "3/1 queued 1"]);
    assert_eq!(room.take(Input::Left(UserId(1))), ["mute 1 by 1", "1/1 revoked 1 left", "unmute 3 by 2"]);
    assert_eq!(room.releases(1, 1), [""; 0]);
    assert_eq!(room.take(Input::Left(UserId(3))), ["mute 3 by 2", "3/1 denied left", "idle"]);
}

#[test]
fn a_group_that_is_no_more_grants_nothing() {
    let mut room = Room::talking(&[press(2, 1)]);
    assert_eq!(room.take(Input::Dissolved), ["mute 1 by 1", "1/1 revoked 1 dissolved", "2/1 denied dissolved"]);
    assert_eq!(room.asks(emergency(3, 1)), ["3/1 denied dissolved"]);
    assert_eq!(room.asks(press(1, 1)), ["1/1 revoked 1 dissolved"]);
    assert_eq!((room.take(Input::Dissolved), room.unmuted(1), room.ticks(100_000)), (vec![], vec![], vec![]));
}
