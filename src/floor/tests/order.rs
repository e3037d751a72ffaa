//! Who goes first.

use super::*;

#[test]
fn the_strictly_higher_takes_the_floor_and_everybody_else_waits() {
    // Who talks, who asks, whether that ends the burst.
    let table = [
        (press(1, 1), press(2, 1), false),
        (press(1, 1), dispatcher(2, 1), true),
        (dispatcher(1, 1), press(2, 1), false),
        (dispatcher(1, 1), dispatcher(2, 1), false),
        (dispatcher(1, 1), Request { level: 21, ..press(2, 1) }, true),
        (press(1, 1), emergency(2, 1), true),
        (Request { level: u8::MAX, ..press(1, 1) }, emergency(2, 1), true),
        (emergency(1, 1), Request { level: u8::MAX, ..press(2, 1) }, false),
        (emergency(1, 1), emergency(2, 1), false),
        (emergency(1, 1), Request { level: u8::MAX, ..emergency(2, 1) }, false),
    ];
    for (talker, asker, ends) in table {
        let mut room = Room::new();
        room.asks(talker.clone());
        room.unmuted(1);
        let expected = if ends { vec!["mute 1 by 1", "1/1 revoked 1 pre_empted", "unmute 2 by 2"] } else { vec!["2/1 queued 1"] };
        assert_eq!(room.asks(asker.clone()), expected, "{asker:?} while {talker:?} talks");
    }
}

#[test]
fn one_that_is_not_confirmed_goes_back_to_its_place() {
    let mut room = Room::talking(&[press(2, 1), press(3, 1)]);
    room.limits.age_bursts = 3;
    room.releases(1, 1);
    assert_eq!(room.asks(dispatcher(4, 1)), ["mute 2 by 2", "unmute 4 by 3", "2/1 queued 1", "3/1 queued 2"]);
    assert_eq!(room.asks(emergency(5, 1)), ["mute 4 by 3", "unmute 5 by 4", "4/1 queued 1", "2/1 queued 2", "3/1 queued 3"]);
    assert_eq!(room.unmuted(2), [""; 0]);
    // With the queue full its last one gives way.
    let mut room = Room::talking(&[press(2, 1), press(3, 1), press(4, 1)]);
    room.releases(1, 1);
    room.asks(press(5, 1));
    assert_eq!(
        room.asks(dispatcher(6, 1)),
        ["mute 2 by 2", "unmute 6 by 3", "5/1 denied queue_full", "2/1 queued 1", "3/1 queued 2", "4/1 queued 3"]
    );
}

#[test]
fn the_queue_goes_by_priority_and_then_by_arrival_and_tells_who_moves() {
    let mut room = Room::new();
    room.asks(emergency(1, 1));
    room.unmuted(1);
    room.limits.queue_max = 10;
    assert_eq!(room.asks(press(2, 1)), ["2/1 queued 1"]);
    assert_eq!(room.asks(press(3, 1)), ["3/1 queued 2"]);
    assert_eq!(room.asks(dispatcher(4, 1)), ["4/1 queued 1", "2/1 queued 2", "3/1 queued 3"]);
    assert_eq!(room.asks(emergency(5, 1)), ["5/1 queued 1", "4/1 queued 2", "2/1 queued 3", "3/1 queued 4"]);
    room.asks(emergency(6, 1));
    room.asks(dispatcher(7, 1));
    assert_eq!(room.waiting(), [5, 6, 4, 7, 2, 3]);
    assert_eq!(room.releases(7, 1), ["2/1 queued 4", "3/1 queued 5"]);
}

#[test]
fn a_full_queue_drops_its_last() {
    let mut room = Room::talking(&[press(2, 1), press(3, 1), press(4, 1)]);
    assert_eq!(room.asks(press(5, 1)), ["5/1 denied queue_full"]);
    // An emergency is not refused for the sake of radios that wait.
    room.asks(emergency(6, 1));
    assert_eq!(room.waiting(), [2, 3, 4], "who takes the floor takes no place");
    assert_eq!(room.asks(emergency(7, 1)), ["4/1 denied queue_full", "7/1 queued 1", "2/1 queued 2", "3/1 queued 3"]);
    // Without a queue there is the floor, or nothing.
    let mut room = Room::new();
    room.limits.queue_max = 0;
    assert_eq!(room.asks(press(1, 1)), ["unmute 1 by 1"]);
    assert_eq!(room.asks(press(2, 1)), ["2/1 denied queue_full"]);
    assert_eq!(room.asks(dispatcher(3, 1)), ["mute 1 by 1", "unmute 3 by 2", "1/1 denied queue_full"]);
}

#[test]
fn who_was_passed_over_often_enough_stands_above_every_level_but_below_emergencies() {
    let mut room = Room::new();
    room.asks(dispatcher(1, 1));
    room.unmuted(1);
    room.asks(press(2, 1));
    for (talker, next) in [(1, 3), (3, 4)] {
        assert_eq!(room.asks(dispatcher(next, 1)), [format!("{next}/1 queued 1"), "2/1 queued 2".to_owned()]);
        room.releases(talker, 1);
    }
    room.unmuted(3);
    assert_eq!(room.asks(dispatcher(5, 1)), ["5/1 queued 2"]);
    assert_eq!(room.asks(emergency(6, 1)), ["mute 4 by 3", "4/1 revoked 3 pre_empted", "unmute 6 by 4"]);
    assert_eq!(room.releases(6, 1), ["mute 6 by 4", "unmute 2 by 5", "5/1 queued 1"]);
    // What it has come by it keeps while it talks.
    room.unmuted(5);
    assert_eq!(room.asks(Request { level: u8::MAX, ..press(7, 1) }), ["7/1 queued 1", "5/1 queued 2"]);
    assert_eq!(room.asks(emergency(8, 1))[0], "mute 2 by 5");
}

#[test]
fn those_before_one_in_its_own_level_pass_nobody_over() {
    let mut room = Room::talking(&[press(2, 1), press(3, 1), press(4, 1)]);
    for talker in 1..=3 {
        room.releases(talker, 1);
    }
    room.unmuted(4);
    room.asks(press(5, 1));
    assert_eq!(
        room.asks(dispatcher(6, 1)),
        ["mute 4 by 4", "4/1 revoked 4 pre_empted", "unmute 6 by 5"],
        "4 waited for three, and did not age"
    );
}

#[test]
fn a_higher_one_ends_the_burst_and_who_was_passed_over_too_often_goes_first() {
    let mut room = Room::talking(&[press(2, 1)]);
    // Two bursts at a level in between pass 2 over.
    for (user, grant) in [(3, 2), (4, 3)] {
        room.asks(Request { level: 10 + user as u8, ..press(user, 1) });
        room.unmuted(grant);
    }
    assert_eq!((room.holder(), room.waiting()), (Some(4), vec![2]));
    assert_eq!(room.asks(dispatcher(5, 1)), ["mute 4 by 3", "4/1 revoked 3 pre_empted", "unmute 2 by 4", "5/1 queued 1"]);
}
