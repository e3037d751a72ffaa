//! Frames of what waits behind nothing: floors of rooms and emergency alerts.

use roger::alert::frame as alert;
use roger::topic::frame::*;

use super::{line, positions};

/// What the floor of a room says and hears.
pub(super) fn of_floors(lines: &mut String, golden: &str) {
    let press = Press {
        topic: 0x93,
        user: 7,
        installation: 0xbeef,
        request: 12,
        kind: PressKind::Ask.into(),
        level: 10,
        emergency: true,
        name: "Früh".into(),
    };
    let microphone = Microphone { topic: 0x93, user: 7, installation: 0xbeef, grant: 3 << 32 | 5, open: true };
    let is = MicrophoneIs { topic: 0x93, grant: 3 << 32 | 5, open: true };
    let inputs = [Input::Press(press), Input::Microphone(microphone), Input::MicrophoneIs(is)];
    let seat = Seat {
        topic: 0x93,
        user: 7,
        installation: 0xbeef,
        session: 77,
        request: 2,
        rtp_ip: "10.9.8.7".into(),
        rtp_port: 5_004,
        offer: "v=0".into(),
        name: "Früh".into(),
        version: 4,
        edge: "edge-1".into(),
    };
    let orders = [Input::Seat(seat), Input::Unseat(Unseat { topic: 0x93, user: 7, version: 5, next: 11 })];
    let media = Input::MediaIs(roger::topic::frame::MediaIs { topic: 0x93, away: true });
    line(lines, golden, "InFrame.media", &InFrame { items: vec![media.into()], ..InFrame::default() });
    let roll = Input::Roll(Roll { topic: 0x93, users: vec![7, 8] });
    let items = orders.into_iter().chain([roll]).map(Into::into).collect();
    line(lines, golden, "InFrame.seats", &InFrame { items, ..InFrame::default() });
    let (rtp_ip, rtp_port, answer) = ("10.9.8.1".into(), 10_001, "v=0".into());
    let seated = Seated { topic: 0x93, session: 77, request: 2, reason: 1, rtp_ip, rtp_port, answer };
    line(lines, golden, "OutFrame.seats", &OutFrame { items: vec![Output::Seated(seated).into()], ..OutFrame::default() });
    line(lines, golden, "InFrame.floor", &InFrame { items: inputs.map(Into::into).into(), ..InFrame::default() });
    let kept = FloorKept { topic: 0x93, grant: 3 << 32 | 5, version: 9, floor: "{}".into() };
    let outcomes = vec![Outcome::Floor(kept.clone()).into()];
    line(lines, golden, "LogFrame.floor", &LogFrame { epoch: 3, commit: 9, outcomes, ..LogFrame::default() });
    line(lines, golden, "FloorFrame.floor", &FloorFrame { rows: vec![RowKind::Floor(kept).into()], ..FloorFrame::default() });
    let told = FloorTold {
        topic: 0x93,
        user: 7,
        installation: 0xbeef,
        request: 12,
        word: FloorWord::Revoked.into(),
        grant: 3 << 32 | 5,
        until_ms: 1_700_000_060_000,
        position: 2,
        ending: 4,
    };
    let (grant, level, emergency) = (3 << 32 | 5, 10, true);
    let now =
        FloorNow { topic: 0x93, session: 77, talker: 7, installation: 0xbeef, name: "Früh".into(), grant, level, emergency, away: false };
    let away = FloorNow { topic: 0x93, away: true, ..FloorNow::default() };
    line(lines, golden, "OutFrame.away", &OutFrame { items: vec![Output::FloorNow(away).into()], ..OutFrame::default() });
    let items = vec![Output::FloorTold(told).into(), Output::FloorNow(now).into()];
    line(lines, golden, "OutFrame.floor", &OutFrame { items, ..OutFrame::default() });
}

/// What tells of emergency alerts.
pub(super) fn of_alerts(lines: &mut String, golden: &str) {
    let Output::Positions(positions) = positions() else { unreachable!() };
    let located = positions.located.first().copied();
    let body = AlertBody {
        alert: 0xa1e7,
        number: 3,
        event: 3,
        time_ms: 1_700_000_000_123,
        device: 7,
        nickname: "Früh".into(),
        opened_ms: 1_700_000_000_000,
        presses: 2,
        located,
        located_by_press: true,
        text: "help".into(),
        by: 4,
        by_name: "desk".into(),
        remark: "on the way".into(),
        holder: 4,
        holder_name: "desk".into(),
        over: true,
        room: 9,
    };
    line(lines, golden, "AlertBody", &body);
    let raised = Raised { topic: 0x39, alert: 0xa1e7, rooms: vec![9], manager: 4, nickname: "Früh".into() };
    let raise = Input::Raise(Raise { topic: 0x39, alert: 0xa1e7, body: "body".into() });
    let acted = Acted { session: 77, request: 2, reason: 35, alert: 0xa1e7 };
    line(lines, golden, "InFrame.alerts", &InFrame { items: vec![raise.into()], ..InFrame::default() });
    let outcomes = vec![Outcome::Raised(raised.clone()).into()];
    line(lines, golden, "LogFrame.alerts", &LogFrame { epoch: 3, commit: 9, outcomes, ..LogFrame::default() });
    let items = vec![Output::Raised(raised.clone()).into(), Output::Acted(acted).into()];
    line(lines, golden, "OutFrame.alerts", &OutFrame { items, ..OutFrame::default() });
    let rows = vec![RowKind::Raises(RaisesRow { topic: 0x39, raised: vec![raised] }).into()];
    line(lines, golden, "FloorFrame.alerts", &FloorFrame { rows, ..FloorFrame::default() });
    let press = alert::Press {
        device: 7,
        tenant: 3,
        name: "Früh".into(),
        installation: 5,
        press: 0xbeef,
        cancel: true,
        arrival_ms: 1_700_000_000_123,
        located,
        text: "help".into(),
    };
    line(lines, golden, "SosFrame.press", &alert::SosFrame::from(alert::Sos::Press(press)));
    let act = alert::Act {
        alert: 0xa1e7,
        actor: 4,
        name: "desk".into(),
        tenant: 3,
        kind: 2,
        room: 9,
        event: 3,
        remark: "on the way".into(),
        arrival_ms: 1_700_000_000_123,
        edge: "a-1".into(),
        session: 77,
        request: 2,
    };
    line(lines, golden, "SosFrame.act", &alert::SosFrame::from(alert::Sos::Act(act)));
    let (edge, body) = ("a-1".to_owned(), bytes::Bytes::from("body"));
    let tell = alert::TellFrame {
        alert: 0xa1e7,
        device: 7,
        raise: true,
        topics: vec![0x3d],
        number: 3,
        body: body.clone(),
        edge,
        acted: Some(acted),
    };
    line(lines, golden, "TellFrame", &tell);
    let text = alert::TextFrame { key: "a1e7-1".into(), number: "+4712345678".into(), text: "SOS".into() };
    line(lines, golden, "TextFrame", &text);
    line(lines, golden, "EventFrame", &alert::EventFrame { state: "{}".into(), body });
}
