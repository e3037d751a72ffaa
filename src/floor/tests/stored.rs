//! A floor survives whoever holds it. `tests/golden/floor.txt` holds the stored form.

use super::*;

#[test]
fn it_reads_back_as_stored_and_a_later_form_is_refused() {
    let room = Room::talking(&[dispatcher(2, 7), press(3, 1)]);
    let text = serde_json::to_string(&room.floor).unwrap();
    assert_eq!(serde_json::from_str::<Floor>(&text).unwrap(), room.floor);
    let later = text.replacen("\"format\":1", "\"format\":2", 1);
    let error = serde_json::from_str::<Floor>(&later).unwrap_err();
    assert!(error.to_string().starts_with("a floor of form 2; this program knows form 1"), "{error}");
}

#[test]
fn grants_go_on_behind_what_is_known() {
    let mut room = Room::new();
    room.floor = Floor::new(GrantNumber(41));
    assert_eq!(room.asks(press(1, 1)), ["unmute 1 by 42"]);
}

#[test]
fn a_clock_that_goes_back_makes_nobody_wait_longer_than_a_bound() {
    let mut room = Room::talking(&[press(2, 1)]);
    room.now_ms -= 3_600_000;
    room.heard(&[1, 2]);
    assert_eq!(room.ticks(1_999), [""; 0]);
    room.heard(&[2]);
    assert_eq!(room.ticks(1), ["mute 1 by 1", "1/1 revoked 1 vanished", "unmute 2 by 2"]);
    room.now_ms -= 3_600_000;
    assert_eq!(room.ticks(0), [""; 0]);
    assert_eq!(room.ticks(1_000)[1], "2/1 denied media_failed");
}

#[test]
fn a_new_holder_ends_nobody_for_the_time_without_one() {
    let mut room = Room::talking(&[press(2, 1)]);
    room.now_ms += 10_000;
    assert_eq!(room.take(Input::Resumed), [""; 0]);
    assert_eq!(room.ticks(1_999), [""; 0]);
    room.heard(&[1, 2]);
    // The burst is as long as it is.
    room.limits.burst_ms = 12_000;
    assert_eq!(room.ticks(1)[1], "1/1 revoked 1 time_over");
    room.now_ms += 10_000;
    room.take(Input::Resumed);
    assert_eq!((room.ticks(999), room.ticks(1).len()), (vec![], 3), "the media side has its time anew");
}
