//! What is told of alerts and of talk.

use crate::model::{AlertEvent, AlertId, GroupId, UserId};
use crate::proto::v1;

/// A recorded burst of talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Talk {
    /// The recording.
    pub recording: u64,
    /// In whose room it was.
    pub group: GroupId,
    /// Who talked.
    pub speaker: UserId,
    /// What others saw of them then.
    pub nickname: String,
    /// Where the recording is: an address, or a path of the file store.
    pub file: String,
    /// Of the recording, as whoever recorded it said; may be empty.
    pub md5: String,
    /// When it was over, UTC milliseconds.
    pub spoken_ms: u64,
    /// Milliseconds; 0 when it was not said.
    pub duration_ms: u64,
    /// Its end is missing: the recording broke off.
    pub cut: bool,
}

/// What happened to an emergency alert, and how it stands with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The alert.
    pub id: AlertId,
    /// Counts what happened to it, from 1.
    pub number: u64,
    /// What happened; `None` for something that this version does not know.
    pub event: Option<AlertEvent>,
    /// When, UTC milliseconds.
    pub time_ms: u64,
    /// Who pressed.
    pub device: UserId,
    /// What others see of the device.
    pub nickname: String,
    /// When it was pressed first, UTC milliseconds.
    pub opened_ms: u64,
    /// How often it was pressed.
    pub presses: u32,
    /// Where the device is, or was last: latitude, longitude, and when the fix was made, UTC milliseconds.
    pub position: Option<(f64, f64, u64)>,
    /// The position came with the press; else it is the last one known before.
    pub position_by_press: bool,
    /// What the device said with it.
    pub text: String,
    /// Who acknowledged, cancelled or closed, or who is told next; 0 for nobody.
    pub by: UserId,
    /// As people know them.
    pub by_name: String,
    /// What they said with it.
    pub remark: String,
    /// Who has it; 0 for nobody yet.
    pub holder: UserId,
    /// As people know them.
    pub holder_name: String,
    /// It is over.
    pub over: bool,
}

pub(super) fn alert_of(notice: v1::AlertNotice) -> Alert {
    Alert {
        id: AlertId(notice.alert_id),
        number: notice.number,
        event: notice.event().into(),
        time_ms: notice.time_ms,
        device: UserId(notice.device_id),
        opened_ms: notice.opened_ms,
        presses: notice.presses,
        position: notice.position.map(|position| (position.latitude, position.longitude, position.fix_ms)),
        position_by_press: notice.position_by_press,
        by: UserId(notice.by_id),
        holder: UserId(notice.holder_id),
        over: notice.over,
        nickname: notice.nickname,
        text: notice.text,
        by_name: notice.by_name,
        remark: notice.remark,
        holder_name: notice.holder_name,
    }
}

pub(super) fn talk_of(notice: v1::TalkNotice) -> Talk {
    let v1::TalkNotice { recording_id: recording, group_id, speaker_id, nickname, file, md5, spoken_ms, duration_ms, cut } = notice;
    Talk { recording, group: GroupId(group_id), speaker: UserId(speaker_id), nickname, file, md5, spoken_ms, duration_ms, cut }
}
