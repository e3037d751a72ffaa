//! What stands in work that was given up, for people: ids, counts and times, and neither texts nor positions nor numbers of telephones.

use std::collections::BTreeMap;

use prost::Message as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::alert::Alert;
use crate::alert::frame::{EventFrame, Sos, SosFrame, TellFrame, TextFrame};
use crate::broker::keys;
use crate::location::frame::FixFrame;
use crate::model::TopicId;
use crate::topic::frame::{AlertBody, FloorRequest, InFrame, Input, ReplayRequest};

/// How many items of a frame a summary names.
const SUMMARY_ITEMS_MAX: usize = 8;

/// Whether a stream goes into a shard: `{s7}:in`, `{s7}:urgent`. Those of alerts begin alike and do not.
pub(super) fn is_input(stream: &str) -> bool {
    let shard = stream.strip_prefix("{s").and_then(|rest| rest.strip_suffix("}:in").or_else(|| rest.strip_suffix("}:urgent")));
    shard.is_some_and(|shard| shard.parse::<u32>().is_ok())
}

/// What can be read of an entry of a stream.
pub(super) fn summary(stream: &str, payload: &[u8]) -> String {
    let topic = |packed| TopicId::from_packed(packed).map_or_else(|| format!("{packed:#x}"), |topic| topic.to_string());
    let unreadable = |error: prost::DecodeError| format!("{} bytes that do not decode: {error}", payload.len());
    if is_input(stream) {
        return InFrame::decode(payload).map_or_else(unreadable, |frame| {
            let item = |input: &Input| match input {
                Input::Post(post) => format!("post {} from {} #{}", topic(post.topic), post.sender, post.client_seq),
                Input::Mark(mark) => format!("mark {} of {}", topic(mark.topic), mark.user),
                Input::Attach(attach) => format!("attach {} of {}", topic(attach.topic), attach.user),
                Input::Detach(detach) => format!("detach {}", topic(detach.topic)),
                Input::Watch(watch) => format!("watch {} of {}", topic(watch.topic), watch.user),
                Input::Membership(change) => format!("membership {} of {} version {}", topic(change.topic), change.user, change.version),
                Input::Register(change) => format!("register {} group {} version {}", topic(change.topic), change.group, change.version),
                Input::Profile(profile) => format!("profile {} version {}", topic(profile.topic), profile.version),
                Input::Notice(notice) => format!("notice {} kind {}", topic(notice.topic), notice.kind),
                Input::Connection(change) => format!("connection {} online {}", topic(change.topic), change.online),
                Input::Enter(enter) => format!("enter {} group {}", topic(enter.topic), enter.group),
                Input::Move(step) => format!("move {} of {} version {}", topic(step.topic), step.user, step.version),
                Input::Moved(moved) => format!("moved {} version {}", topic(moved.topic), moved.version),
                Input::Spoken(spoken) => format!("talk in {}", topic(spoken.topic)),
                Input::Press(press) => format!("press {} of {} in {}", press.request, press.user, topic(press.topic)),
                Input::Microphone(microphone) => {
                    format!("microphone of {} by grant {} in {}", microphone.user, microphone.grant, topic(microphone.topic))
                }
                Input::Seat(seat) => format!("seat of {} in {}", seat.user, topic(seat.topic)),
                Input::Unseat(unseat) => format!("unseat {} in {}", unseat.user, topic(unseat.topic)),
                Input::Roll(roll) => format!("roll of {}", topic(roll.topic)),
                Input::MediaIs(is) => format!("media server of {} away {}", topic(is.topic), is.away),
                Input::MicrophoneIs(is) => format!("microphone of grant {} in {}", is.grant, topic(is.topic)),
                Input::Raise(raise) => format!("raise {} alert {:x}", topic(raise.topic), raise.alert),
                Input::Presence(presence) => format!("presence {} of {}", topic(presence.topic), presence.user),
            };
            let mut items: Vec<String> =
                frame.items.iter().filter_map(|item| item.input.as_ref()).map(item).take(SUMMARY_ITEMS_MAX).collect();
            if frame.items.len() > items.len() {
                items.push(format!("{} more", frame.items.len() - items.len()));
            }
            format!("frame {} of {:x}: {}", frame.number, frame.producer, items.join(", "))
        });
    }
    if stream == keys::replay() {
        return ReplayRequest::decode(payload).map_or_else(unreadable, |request| {
            format!("replay of {} for session {:x} at {}", topic(request.topic), request.session, request.edge)
        });
    }
    if stream == keys::floor() {
        return FloorRequest::decode(payload).map_or_else(unreadable, |request| {
            format!("floor of shard {} above epoch {}: {}", request.shard, request.epoch_above, request.why)
        });
    }
    if stream == keys::fix() {
        return FixFrame::decode(payload).map_or_else(unreadable, |frame| reports(&frame));
    }
    if stream == keys::sos() {
        return SosFrame::decode(payload).map_or_else(unreadable, |frame| match frame.sos {
            Some(Sos::Press(press)) => {
                let what = if press.cancel { "takes SOS back" } else { "pressed SOS" };
                format!("device {} {what} at {}, press {:x}", press.device, utc(press.arrival_ms), press.press)
            }
            Some(Sos::Act(act)) => {
                format!("account {} does {} to alert {:x} at {}", act.actor, act.event, act.alert, utc(act.arrival_ms))
            }
            None => "an SOS without content".to_owned(),
        });
    }
    if stream == keys::alert_tells() {
        return TellFrame::decode(payload).map_or_else(unreadable, |frame| {
            let at = AlertBody::decode(frame.body.clone()).map(|body| body.time_ms).unwrap_or(0);
            let to = if frame.raise { "whom its inbox names".to_owned() } else { format!("{} topics", frame.topics.len()) };
            format!("alert {:x} of device {}, event {} of {}: to {to}", frame.alert, frame.device, frame.number, utc(at))
        });
    }
    if stream == keys::alert_texts() {
        // The key ends in the number of the telephone.
        return TextFrame::decode(payload).map_or_else(unreadable, |frame| {
            let alert = frame.key.split('-').next().unwrap_or_default();
            format!("text of alert {alert} to a telephone")
        });
    }
    if stream == keys::alert_events() {
        let unknown = || format!("{} bytes without an alert that can be read", payload.len());
        return EventFrame::decode(payload).map_or_else(unreadable, |frame| {
            serde_json::from_slice::<Alert>(&frame.state).map_or_else(
                |_| unknown(),
                |alert| format!("alert {:x} of device {} at version {}, for SQL", alert.id.0, alert.device, alert.version),
            )
        });
    }
    format!("{} bytes", payload.len())
}

/// How many reports came from which devices: those that were counted at the door.
fn reports(frame: &FixFrame) -> String {
    let mut devices: BTreeMap<u64, u64> = BTreeMap::new();
    for received in &frame.received {
        *devices.entry(received.device).or_default() += received.count;
    }
    let mut of: Vec<String> = devices.iter().map(|(device, count)| format!("{count} of {device}")).take(SUMMARY_ITEMS_MAX).collect();
    if devices.len() > of.len() {
        of.push(format!("{} more devices", devices.len() - of.len()));
    }
    let total: u64 = devices.values().sum();
    format!("frame {} of {:x} at {}: {total} reports, {}", frame.number, frame.producer, utc(frame.arrival_ms), of.join(", "))
}

/// A time, UTC ms, as people read it.
fn utc(time_ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{time_ms} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::frame::Press;
    use crate::location::frame::{Fix, Received};

    const AT_MS: u64 = 1_795_491_323_000;

    #[test]
    fn a_frame_of_reports_says_whose_and_how_many_and_not_where() {
        let received = |device, count| Received { device, count };
        let fix = Fix { device: 7, latitude: 45.27, longitude: 13.71, ..Fix::default() };
        let received = vec![received(7, 2), received(8, 1), received(7, 3)];
        let frame = FixFrame { producer: 0x1f, number: 4, arrival_ms: AT_MS, fixes: vec![fix], received, ..FixFrame::default() };
        let said = summary("fix", &frame.encode_to_vec());
        assert_eq!(said, "frame 4 of 1f at 2026-11-24T03:35:23Z: 6 reports, 5 of 7, 1 of 8");
    }

    #[test]
    fn an_sos_says_who_pressed_and_when_and_nothing_else() {
        let press = Press { device: 7, press: 0xa, name: "Neil".into(), arrival_ms: AT_MS, text: "help".into(), ..Press::default() };
        let frame = SosFrame::from(Sos::Press(press));
        assert!(is_input("{s12}:in") && is_input("{s0}:urgent") && !is_input("{sos}:in"));
        assert_eq!(summary("{sos}:in", &frame.encode_to_vec()), "device 7 pressed SOS at 2026-11-24T03:35:23Z, press a");
        let text = TextFrame { key: "5f-2-+4712345678".into(), number: "+4712345678".into(), text: "help".into() };
        assert_eq!(summary("{sos}:text", &text.encode_to_vec()), "text of alert 5f to a telephone");
        assert!(summary("{sos}:in", b"x").contains("1 bytes that do not decode"));
    }
}
