//! What is heard, as `roger listen` prints it.

use std::time::Duration;

use serde::Serialize;

use crate::client::{Alert, Body, Entry, FloorEvent, FloorWhat, Talk};
use crate::model::{AlertEvent, FenceEvent, FenceId, GroupId, GroupKind, LeftWhy, MemberRole, TopicId, UserId};

/// An entry as `listen` prints it.
#[derive(Serialize)]
pub(super) struct EntryLine {
    topic: TopicId,
    epoch: u64,
    seq: u64,
    time_ms: u64,
    sender_id: UserId,
    #[serde(flatten)]
    body: BodyLine,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum BodyLine {
    Text {
        text: String,
    },
    Joined {
        group_id: GroupId,
        name: String,
        group_kind: Option<GroupKind>,
    },
    Left {
        group_id: GroupId,
        name: String,
        why: Option<LeftWhy>,
    },
    RoomChanged {
        user_id: UserId,
        from_group_id: GroupId,
        to_group_id: GroupId,
    },
    Renamed {
        group_id: GroupId,
        name: String,
    },
    RoleChanged {
        group_id: GroupId,
        user_id: UserId,
        role: MemberRole,
    },
    ProfileChanged {
        user_id: UserId,
        nickname: String,
    },
    LogUpload {
        on: bool,
    },
    Transferred {
        device_id: UserId,
        from_account_id: UserId,
        to_account_id: UserId,
    },
    ServerChanged {
        node: String,
    },
    FriendAsked {
        user_id: UserId,
        nickname: String,
    },
    FriendAdded {
        user_id: UserId,
        nickname: String,
    },
    FriendRemoved {
        user_id: UserId,
    },
    FenceCrossed {
        fence_id: FenceId,
        name: String,
        device_id: UserId,
        nickname: String,
        event: Option<FenceEvent>,
        fix_ms: u64,
    },
    Talk {
        recording_id: u64,
        group_id: GroupId,
        speaker_id: UserId,
        nickname: String,
        file: String,
        spoken_ms: u64,
        duration_ms: u64,
        cut: bool,
    },
    Alert(AlertLine),
    Rejected {
        of: TopicId,
        client_seq: u64,
        reason: Option<crate::model::Reason>,
    },
    Unknown,
}

/// What happened to an alert, as `listen` prints it.
#[derive(Serialize)]
struct AlertLine {
    alert_id: String,
    number: u64,
    event: Option<AlertEvent>,
    device_id: UserId,
    nickname: String,
    latitude: Option<f64>,
    longitude: Option<f64>,
    fix_ms: Option<u64>,
    by_id: UserId,
    by_name: String,
    text: String,
    remark: String,
    over: bool,
}

fn alert_line(alert: Alert) -> AlertLine {
    let (latitude, longitude, fix_ms) = alert.position.map_or((None, None, None), |(north, east, ms)| (Some(north), Some(east), Some(ms)));
    AlertLine {
        alert_id: alert.id.to_string(),
        number: alert.number,
        event: alert.event,
        device_id: alert.device,
        nickname: alert.nickname,
        latitude,
        longitude,
        fix_ms,
        by_id: alert.by,
        by_name: alert.by_name,
        text: alert.text,
        remark: alert.remark,
        over: alert.over,
    }
}

fn alert_text(line: &AlertLine) -> String {
    let AlertLine { nickname, device_id, alert_id, by_name, .. } = line;
    let what = match line.event {
        Some(AlertEvent::Raised) => "SOS".to_owned(),
        Some(AlertEvent::Pressed) => "SOS again".to_owned(),
        Some(AlertEvent::Acknowledged) => format!("{by_name} has it"),
        Some(AlertEvent::Escalated) if by_name.is_empty() => "nobody has it yet".to_owned(),
        Some(AlertEvent::Escalated) => format!("nobody has it yet, {by_name} is told"),
        Some(AlertEvent::Texted) => "nobody has it yet, telephones are told".to_owned(),
        Some(AlertEvent::Cancelled) => "cancelled".to_owned(),
        Some(AlertEvent::Resolved) => format!("closed by {by_name}"),
        Some(AlertEvent::FalseAlarm) => format!("closed by {by_name} as a false alarm: {}", line.remark),
        None => "something this version does not know".to_owned(),
    };
    let place = line.latitude.zip(line.longitude).map(|(north, east)| format!(", at {north:.5},{east:.5}")).unwrap_or_default();
    format!("alert {alert_id} of {nickname} (device {device_id}): {what}{place}")
}

pub(super) fn entry_line(entry: Entry) -> EntryLine {
    let body = match entry.body {
        Body::Text(text) => BodyLine::Text { text: String::from_utf8_lossy(&text).into_owned() },
        Body::Joined { group, name, kind } => BodyLine::Joined { group_id: group, name, group_kind: kind },
        Body::Left { group, name, why } => BodyLine::Left { group_id: group, name, why },
        Body::RoomChanged { user, from, to, .. } => BodyLine::RoomChanged { user_id: user, from_group_id: from, to_group_id: to },
        Body::Renamed { group, name } => BodyLine::Renamed { group_id: group, name },
        Body::RoleChanged { group, user, role } => BodyLine::RoleChanged { group_id: group, user_id: user, role },
        Body::ProfileChanged { user, nickname } => BodyLine::ProfileChanged { user_id: user, nickname },
        Body::LogUpload { on } => BodyLine::LogUpload { on },
        Body::Transferred { device, from, to } => BodyLine::Transferred { device_id: device, from_account_id: from, to_account_id: to },
        Body::ServerChanged { node } => BodyLine::ServerChanged { node },
        Body::FriendAsked { user, nickname } => BodyLine::FriendAsked { user_id: user, nickname },
        Body::FriendAdded { user, nickname } => BodyLine::FriendAdded { user_id: user, nickname },
        Body::FriendRemoved { user } => BodyLine::FriendRemoved { user_id: user },
        Body::FenceCrossed { fence, name, device, nickname, event, fix_ms } => {
            BodyLine::FenceCrossed { fence_id: fence, name, device_id: device, nickname, event, fix_ms }
        }
        Body::Talk(talk) => {
            let Talk { recording: recording_id, group: group_id, speaker: speaker_id, nickname, file, spoken_ms, duration_ms, cut, .. } =
                *talk;
            BodyLine::Talk { recording_id, group_id, speaker_id, nickname, file, spoken_ms, duration_ms, cut }
        }
        Body::Alert(alert) => BodyLine::Alert(alert_line(*alert)),
        Body::Rejected { topic, client_seq, reason, .. } => BodyLine::Rejected { of: topic, client_seq, reason },
        Body::Unknown => BodyLine::Unknown,
    };
    let (topic, sender_id, time_ms) = (entry.topic, entry.sender, entry.time_ms);
    EntryLine { topic, epoch: entry.place.epoch, seq: entry.place.seq, time_ms, sender_id, body }
}

pub(super) fn entry_text(line: &EntryLine) -> String {
    let at = format!("{} {}/{} user {}:", line.topic, line.epoch, line.seq, line.sender_id);
    match &line.body {
        BodyLine::Text { text } => format!("{at} {text}"),
        BodyLine::Joined { group_id, name, .. } => format!("{at} you joined {name} (g:{group_id})"),
        BodyLine::Left { group_id, name, .. } => format!("{at} you left {name} (g:{group_id})"),
        BodyLine::RoomChanged { user_id, from_group_id, to_group_id } => {
            let room = |group: &GroupId| if group.0 == 0 { "no room".to_owned() } else { format!("the room of g:{group}") };
            format!("{at} user {user_id} went from {} to {}", room(from_group_id), room(to_group_id))
        }
        BodyLine::Renamed { group_id, name } => format!("{at} g:{group_id} is called {name} from now on"),
        BodyLine::RoleChanged { group_id, user_id, role } => format!("{at} user {user_id} is {role:?} of g:{group_id} from now on"),
        BodyLine::ProfileChanged { user_id, nickname } => format!("{at} user {user_id} is called {nickname} from now on"),
        BodyLine::LogUpload { on } => format!("{at} the log is {}wanted", if *on { "" } else { "not " }),
        BodyLine::Transferred { device_id, from_account_id, to_account_id } => {
            format!("{at} device {device_id} went from account {from_account_id} to {to_account_id}")
        }
        BodyLine::ServerChanged { node } => format!("{at} you are served by node {node} from now on"),
        BodyLine::FriendAsked { user_id, nickname } => format!("{at} {nickname} (user {user_id}) asks to be a friend"),
        BodyLine::FriendAdded { user_id, nickname } => format!("{at} {nickname} (user {user_id}) is a friend from now on"),
        BodyLine::FriendRemoved { user_id } => format!("{at} user {user_id} is no friend any more"),
        BodyLine::FenceCrossed { name, device_id, nickname, event, .. } => {
            let what = match event {
                Some(FenceEvent::Enter) => "came into",
                Some(FenceEvent::Leave) => "went out of",
                Some(FenceEvent::Stay) => "stays in",
                None => "did something at",
            };
            format!("{at} {nickname} (device {device_id}) {what} {name}")
        }
        BodyLine::Talk { group_id, speaker_id, nickname, file, duration_ms, cut, .. } => {
            let seconds = Duration::from_millis(*duration_ms).as_secs_f64();
            let end = if *cut { ", and the end is missing" } else { "" };
            format!("{at} {nickname} (user {speaker_id}) talked for {seconds:.1} s in the room of g:{group_id}{end}: {file}")
        }
        BodyLine::Alert(line) => format!("{at} {}", alert_text(line)),
        BodyLine::Rejected { of, client_seq, reason } => {
            let reason = reason.map(|reason| reason.to_string()).unwrap_or_default();
            format!("{at} your message {client_seq} to {of} was refused: {reason}")
        }
        BodyLine::Unknown => format!("{at} (a kind this version does not know)"),
    }
}

/// What is told of the floor of a room.
pub(super) fn floor_text(FloorEvent { group, what }: &FloorEvent) -> String {
    match what {
        FloorWhat::Taken { talker, name, emergency, .. } => {
            let emergency = if *emergency { ", as an emergency" } else { "" };
            format!("{name} (user {talker}) talks in the room of g:{group}{emergency}")
        }
        FloorWhat::Idle => format!("nobody talks in the room of g:{group}"),
        FloorWhat::Lost => format!("the seat at the media server of g:{group} is lost"),
        FloorWhat::Away => format!("the media server of g:{group} is away: nobody can talk there"),
        FloorWhat::Granted { grant, .. } => format!("you have the floor of g:{group} by grant {grant}"),
        FloorWhat::Queued { position, .. } => format!("you wait for the floor of g:{group}, position {position}"),
        FloorWhat::Denied { why, .. } => format!("you do not get the floor of g:{group}: {why}"),
        FloorWhat::Revoked { why, .. } => format!("the floor of g:{group} is taken back from you: {why}"),
    }
}
