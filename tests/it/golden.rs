//! The shapes that others depend on: every frame on Redis byte by byte, and every field of the client protocol by number and type.
//!
//! A file of `tests/golden` is written anew with `ROGER_GOLDEN=write cargo test --test it golden`. A line may be added to it. One that changes
//! means that programs and clients of before no longer understand what is written, or write what is no longer understood.

mod urgent;

use std::fmt::Write as _;
use std::path::PathBuf;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use roger::floor::{Floor, Input as FloorInput, Limits, Participant, Request};
use roger::location::frame as location;
use roger::model::{FloorRequestId, GrantNumber, InstallationId, UserId};
use roger::topic::frame::*;

fn place(epoch: u64, seq: u64) -> WirePlace {
    WirePlace { epoch, seq }
}

fn span(after: u64, upto: u64) -> WireSpan {
    WireSpan { after: place(1, after), upto: place(2, upto) }
}

fn post() -> Post {
    let body = "über alles klar".into();
    Post { topic: 0x39, sender: 7, installation: u64::MAX - 1, client_seq: 12, predecessor: 11, kind: 1, body, tenant: 3 }
}

fn mark() -> Mark {
    Mark { topic: 0x39, user: 7, installation: 5, place: place(3, 4_711) }
}

fn membership() -> Membership {
    Membership { topic: 0x39, user: 7, version: 9, joined: true }
}

fn register() -> Register {
    Register { topic: 0x38, group: 7, version: 9, joined: true, name: "Côte 1".into(), kind: 0, why: 0 }
}

fn profile() -> Profile {
    Profile { topic: 0x38, tenant: 3, version: 2, manager: 0, nickname: String::new() }
}

fn entry() -> Entry {
    let (time_ms, body) = (1_700_000_000_123, "text".into());
    Entry { topic: 0x39, epoch: 3, seq: 4_711, time_ms, sender: 7, installation: 5, client_seq: 12, kind: 1, body }
}

fn feed() -> Feed {
    Feed { producer: 0xfeed, lane: 1, number: 99, time_ms: 1_700_000_000_123 }
}

fn inputs() -> Vec<InItem> {
    vec![
        Input::Post(post()).into(),
        Input::Mark(mark()).into(),
        Input::Attach(Attach { topic: 0x39, user: 7, installation: 5, session: 77, mark: Some(place(3, 4)) }).into(),
        Input::Detach(Detach { topic: 0x39, session: 77 }).into(),
        Input::Watch(Watch { topic: 0x38, user: 7, installation: 5, session: 77, tenant: 3 }).into(),
        Input::Membership(membership()).into(),
        Input::Register(register()).into(),
        Input::Profile(profile()).into(),
        Input::Notice(Notice { topic: 0x38, kind: 66, body: rejected_body(&post(), roger::model::Reason::NotMember, 10) }).into(),
    ]
}

fn outcomes() -> Vec<LogItem> {
    vec![
        Outcome::Entry(entry()).into(),
        Outcome::Mark(mark()).into(),
        Outcome::Membership(MembershipAt { membership: membership(), place: place(3, 4_711), time_ms: 0 }).into(),
        Outcome::Register(register()).into(),
        Outcome::Profile(profile()).into(),
        Outcome::Forward(Forward { item: inputs().remove(8) }).into(),
    ]
}

fn outputs() -> Vec<OutItem> {
    let attached = Attached {
        topic: 0x39,
        session: 77,
        head: place(3, 4_711),
        mark: place(3, 4),
        gaps: vec![span(4, 5)],
        client_seq_high: 12,
        groups: vec![7, 8],
        live: true,
        former: vec![9],
        room: 0,
        former_rooms: Vec::new(),
    };
    let page = Page { topic: 0x39, session: 77, span: span(4, 5), entries: vec![entry()], lost: vec![span(1, 2)], request: 6 };
    vec![
        Output::Entry(entry()).into(),
        Output::Attached(attached).into(),
        Output::Refused(Refused { topic: 0x39, session: 77, reason: 4 }).into(),
        Output::Watched(Watched { topic: 0x38, session: 77, client_seq_high: 12, delivered: 11 }).into(),
        Output::Departed(Departed { topic: 0x39, user: 7, place: place(3, 4) }).into(),
        Output::Delivered(Delivered { topic: 0x38, session: 77, client_seq: 12 }).into(),
        Output::Page(page).into(),
        Output::Displace(Displace { session: 77, reason: 4, retry_after_ms: 0 }).into(),
    ]
}

fn rows() -> Vec<Row> {
    let head =
        HeadRow { topic: 0x39, head: place(3, 4_711), time_ms: 1_700_000_000_123, tenant: 3, profile_version: 2, ..HeadRow::default() };
    let producer = ProducerRow { topic: 0x39, user: 7, installation: 5, client_seq: 12, place: Some(place(3, 4_711)), refused: 10 };
    vec![
        RowKind::Head(head).into(),
        RowKind::Member(MemberRow { topic: 0x39, user: 7, version: 9, spans: vec![span(4, 5)], stays: vec![] }).into(),
        RowKind::Register(register()).into(),
        RowKind::Producer(producer).into(),
        RowKind::Mark(mark()).into(),
        RowKind::Feed(feed()).into(),
    ]
}

/// What tells of people and rooms; it came later, and has lines of its own.
fn of_people() -> (Vec<InItem>, Vec<LogItem>, Vec<OutItem>, Vec<Row>) {
    let profile = Profile { manager: 4, nickname: "Früh".into(), ..profile() };
    let register = Register { kind: 2, why: 3, ..register() };
    let presence = Presence { topic: 0x3a, user: 7, state: 3, room: 7, nickname: "Früh".into() };
    let room = Room { topic: 0x39, group: 7, version: 5, joined: true, settled: true };
    let body =
        NoticeBody { user: 7, nickname: "n".into(), role: 2, why: 3, group_kind: 2, from: 8, to: 9, on: true, ..NoticeBody::default() };
    let inbox = roger::model::TopicId::from_packed(0x39).unwrap();
    let inputs = vec![
        Input::Register(register).into(),
        Input::Profile(profile.clone()).into(),
        Input::Notice(body.into_notice(inbox, roger::model::MessageKind::RoleChanged)).into(),
        Input::Connection(Connection { topic: 0x39, online: true }).into(),
        Input::Enter(Enter { topic: 0x39, group: 7, session: 77, request: 2 }).into(),
        Input::Move(Move { topic: 0x3b, user: 7, version: 5, next: 8, arrives: true }).into(),
        Input::Moved(Moved { topic: 0x39, version: 5 }).into(),
        Input::Presence(presence.clone()).into(),
    ];
    let attached = Attached { topic: 0x39, session: 77, room: 7, former_rooms: vec![8], ..Attached::default() };
    let entered = Entered { topic: 0x39, session: 77, request: 2, reason: 4, group: 7, version: 5 };
    let outputs = vec![Output::Attached(attached).into(), Output::Entered(entered).into(), Output::Presence(presence).into()];
    let head = HeadRow { topic: 0x39, head: place(3, 4), manager: 4, nickname: "Früh".into(), ..HeadRow::default() };
    let outcomes = vec![Outcome::Profile(profile).into(), Outcome::Room(room).into()];
    (inputs, outcomes, outputs, vec![RowKind::Head(head).into(), RowKind::Room(room).into()])
}

fn positions() -> Output {
    let located = Located {
        device: 7,
        latitude: 45.273_518_851,
        longitude: -13.5,
        fix_ms: 1_700_000_000_123,
        accuracy_m: 4.5,
        speed_mps: Some(3.0),
        course_deg: Some(270.0),
        source: 1,
        battery: Some(80),
    };
    Output::Positions(Positions { account: 4, located: vec![located] })
}

fn fixes() -> location::FixFrame {
    let heard = location::Heard { address: 0x001a_2b3c_4d5e, level_dbm: -61 };
    let cell = location::Cell { country: 460, operator: 1, area: 17, cell: 99, level_dbm: -90 };
    let fix = location::Fix {
        device: 7,
        tenant: 3,
        fix_ms: 1_700_000_000_123,
        source: 1,
        latitude: 45.273_518_851,
        longitude: -13.5,
        accuracy_m: Some(4.5),
        altitude_m: Some(211.0),
        speed_mps: Some(3.0),
        course_deg: Some(270.0),
        battery: Some(80),
        group: 9,
        flags: 6,
        scan: Some(location::Scan { wifi: vec![heard], cells: vec![cell], bluetooth: vec![heard] }),
    };
    let refused = location::Refused { device: 7, reason: 16, field: "fix.time_ms".into(), count: 358 };
    let received = vec![location::Received { device: 7, count: 359 }];
    location::FixFrame { producer: 0xfeed, number: 99, arrival_ms: 1_700_000_000_456, fixes: vec![fix], refused: vec![refused], received }
}

fn of_fences() -> Input {
    let event = roger::model::FenceEvent::Stay as u32;
    let (name, nickname) = ("Hof".into(), "Früh".into());
    let body = NoticeBody { fence: 17, name, user: 7, nickname, event, time_ms: 1_700_000_000_123, ..NoticeBody::default() };
    let inbox = roger::model::TopicId::inbox(roger::model::UserId(4));
    Input::Notice(body.into_notice(inbox, roger::model::MessageKind::FenceCrossed))
}

fn of_talk() -> Input {
    let (nickname, file, md5) = ("Früh".into(), "group1/M00/1.mp3".into(), "9e107d9d".into());
    let (time_ms, duration_ms) = (1_700_000_000_123, 1_500);
    let body = NoticeBody { recording: 12, group: 9, user: 7, nickname, file, md5, time_ms, duration_ms, ..NoticeBody::default() };
    let room = roger::model::TopicId::room(roger::model::GroupId(9));
    let body = body.into_notice(room, roger::model::MessageKind::Talk).body;
    Input::Spoken(roger::topic::frame::Spoken { topic: room.packed(), desks: vec![4, 5], body, ..Default::default() })
}

fn of_cut_talk() -> Input {
    let body = NoticeBody { recording: 13, group: 9, user: 7, duration_ms: 860, cut: true, ..NoticeBody::default() };
    let room = roger::model::TopicId::room(roger::model::GroupId(9));
    let body = body.into_notice(room, roger::model::MessageKind::Talk).body;
    Input::Spoken(roger::topic::frame::Spoken { topic: room.packed(), desks: vec![], body, ..Default::default() })
}

/// Who was in a room, and when: of a burst, of a change and in a checkpoint.
fn of_stays() -> (Input, LogItem, Row) {
    use roger::topic::frame::{Spoken, Stay};

    let topic = roger::model::TopicId::room(roger::model::GroupId(9)).packed();
    let (from_ms, upto_ms) = (1_700_000_000_123, 1_700_000_001_999);
    let spoken = Spoken { topic, desks: vec![4], body: b"burst".as_slice().into(), speaker: 7, from_ms, upto_ms };
    let at = MembershipAt { membership: Membership { topic, ..membership() }, place: place(3, 4_711), time_ms: from_ms };
    let stays = vec![Stay { joined_ms: 5, left_ms: from_ms }, Stay { joined_ms: upto_ms, left_ms: 0 }];
    let row = MemberRow { topic, user: 7, version: 9, spans: vec![span(4, 5)], stays };
    (Input::Spoken(spoken), Outcome::Membership(at).into(), RowKind::Member(row).into())
}

/// One line a frame: its name, and its bytes in hex. What was read from the bytes must be what was written.
fn line<T: prost::Message + Default + PartialEq + std::fmt::Debug>(lines: &mut String, golden: &str, name: &str, frame: &T) {
    let hex: String = frame.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(lines, "{name} {hex}").unwrap();
    if let Some(known) = golden.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')) {
        let bytes: Vec<u8> = (0..known.len() / 2).map(|at| u8::from_str_radix(&known[at * 2..at * 2 + 2], 16).unwrap()).collect();
        assert_eq!(&T::decode(bytes.as_slice()).unwrap(), frame, "{name} reads otherwise than it was written");
    }
}

fn check(file: &str, make: impl FnOnce(&str) -> String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = make(&golden);
    if std::env::var("ROGER_GOLDEN").is_ok_and(|value| value == "write") {
        return std::fs::write(&path, lines).unwrap();
    }
    let lost: Vec<&str> = golden.lines().filter(|line| !lines.lines().any(|known| known == *line)).collect();
    let new: Vec<&str> = lines.lines().filter(|line| !golden.lines().any(|known| known == *line)).collect();
    assert!(lost.is_empty(), "no longer as in {file}: {lost:#?}, now {new:#?}");
    assert!(new.is_empty(), "not in {file}, add with ROGER_GOLDEN=write: {new:#?}");
}

#[test]
fn frames_on_redis_stay_as_they_are() {
    check("frames.txt", |golden| {
        let mut lines = String::new();
        let input = InFrame { producer: 0xfeed, number: 99, edge: "a-1".into(), seen: Some(place(3, 8)), items: inputs() };
        line(&mut lines, golden, "InFrame", &input);
        let log = LogFrame { epoch: 3, commit: 8, time_ms: 1_700_000_000_123, outcomes: outcomes(), feeds: vec![feed()] };
        line(&mut lines, golden, "LogFrame", &log);
        let out = OutFrame { shard: 5, epoch: 3, token: 2, owner: 0xabc, counter: 17, commit: 8, items: outputs(), taken: 0 };
        line(&mut lines, golden, "OutFrame", &out);
        line(&mut lines, golden, "OutFrame.taken", &OutFrame { items: Vec::new(), taken: 99, ..out });
        for (number, row) in rows().iter().enumerate() {
            line(&mut lines, golden, &format!("Row.{}", number + 1), row);
        }
        let request = FloorRequest { shard: 5, shards: 16, reply: "{s5}:floor:1".into(), epoch_above: 3, why: "lost".into() };
        line(&mut lines, golden, "FloorRequest", &request);
        line(&mut lines, golden, "FloorFrame", &FloorFrame { rows: rows(), epoch: 4, current: inputs(), archived: 0 });
        let edge = "a-1".into();
        let replay = ReplayRequest {
            topic: 0x39,
            session: 77,
            edge,
            span: span(4, 5),
            entries_max: 512,
            bytes_max: 1_024,
            request: 6,
            ..ReplayRequest::default()
        };
        line(&mut lines, golden, "ReplayRequest", &replay);
        let patient = ReplayRequest { asked_ms: 1_700_000_000_123, patience_ms: 5_000, ..replay };
        line(&mut lines, golden, "ReplayRequest.2", &patient);
        let (inputs, outcomes, outputs, rows) = of_people();
        line(&mut lines, golden, "InFrame.people", &InFrame { items: inputs, ..InFrame::default() });
        line(&mut lines, golden, "LogFrame.people", &LogFrame { epoch: 3, commit: 9, outcomes, ..LogFrame::default() });
        line(&mut lines, golden, "OutFrame.people", &OutFrame { items: outputs, ..OutFrame::default() });
        line(&mut lines, golden, "OutFrame.positions", &OutFrame { items: vec![positions().into()], ..OutFrame::default() });
        line(&mut lines, golden, "FixFrame", &fixes());
        line(&mut lines, golden, "InFrame.talk", &InFrame { items: vec![of_talk().into()], ..InFrame::default() });
        line(&mut lines, golden, "InFrame.talk.cut", &InFrame { items: vec![of_cut_talk().into()], ..InFrame::default() });
        let (input, outcome, row) = of_stays();
        line(&mut lines, golden, "InFrame.stays", &InFrame { items: vec![input.into()], ..InFrame::default() });
        line(&mut lines, golden, "LogFrame.stays", &LogFrame { outcomes: vec![outcome], ..LogFrame::default() });
        line(&mut lines, golden, "Row.stays", &row);
        line(&mut lines, golden, "InFrame.fences", &InFrame { items: vec![of_fences().into()], ..InFrame::default() });
        urgent::of_alerts(&mut lines, golden);
        urgent::of_floors(&mut lines, golden);
        line(&mut lines, golden, "FloorFrame.people", &FloorFrame { rows, ..FloorFrame::default() });
        line(&mut lines, golden, "FloorFrame.archived", &FloorFrame { epoch: 4, archived: 3, ..FloorFrame::default() });
        lines
    });
}

/// Floors in every stage: asked for, taken, over.
fn floors() -> Vec<Floor> {
    let who = |user| Participant { user: UserId(user), installation: InstallationId(u64::MAX - user) };
    let press = |user, level, emergency| {
        FloorInput::Request(Request { who: who(user), id: FloorRequestId(12), level, emergency, name: format!("Côte {user}") })
    };
    let steps = [
        press(1, 10, false),
        FloorInput::Unmuted(GrantNumber(8)),
        press(2, 10, false),
        press(3, 20, false),
        press(4, 0, true),
        FloorInput::Unmuted(GrantNumber(10)),
        FloorInput::Dissolved,
    ];
    let mut floor = Floor::new(GrantNumber(7));
    let mut stand = |input| {
        floor.step(input, &Limits::default(), 1_700_000_000_123);
        floor.clone()
    };
    steps.into_iter().map(&mut stand).collect()
}

#[test]
fn a_stored_floor_stays_as_it_is() {
    check("floor.txt", |golden| {
        for line in golden.lines() {
            let floor: Floor = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&floor).unwrap(), line);
        }
        floors().iter().map(|floor| serde_json::to_string(floor).unwrap() + "\n").collect()
    });
}

/// `message.field number label type`, and enums with their values.
fn describe(lines: &mut String, prefix: &str, message: &DescriptorProto) {
    let name = format!("{prefix}.{}", message.name());
    for field in &message.field {
        let kind = match field.type_name() {
            "" => Type::try_from(field.r#type.unwrap()).unwrap().as_str_name().to_owned(),
            named => named.to_owned(),
        };
        let label = if field.label() == Label::Repeated { "repeated " } else { "" };
        writeln!(lines, "{name}.{} {} {label}{kind}", field.name(), field.number()).unwrap();
    }
    for nested in &message.nested_type {
        describe(lines, &name, nested);
    }
}

#[test]
fn fields_of_the_protocol_keep_their_numbers() {
    check("talk.txt", |_| {
        let files = FileDescriptorSet::decode(roger::proto::DESCRIPTORS).unwrap();
        let mut lines = String::new();
        for file in files.file.iter().filter(|file| file.package() == "roger.v1") {
            for message in &file.message_type {
                describe(&mut lines, "", message);
            }
            for all in &file.enum_type {
                for value in &all.value {
                    writeln!(lines, ".{}.{} {}", all.name(), value.name(), value.number()).unwrap();
                }
            }
            for service in &file.service {
                for method in &service.method {
                    let streams = (method.client_streaming(), method.server_streaming());
                    let (name, input, output) = (method.name(), method.input_type(), method.output_type());
                    writeln!(lines, ".{}.{name} {input} {output} {streams:?}", service.name()).unwrap();
                }
            }
        }
        lines
    });
}
