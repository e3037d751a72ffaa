//! What is in a payload, whole, for people: without texts, positions and numbers of telephones; and whose it is.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;

use super::summary::is_input;
use crate::alert::frame::{Sos, SosFrame};
use crate::broker::keys;
use crate::location::frame::FixFrame;
use crate::topic::frame::{InFrame, Input, ReplayRequest};

/// The users whose words, presses or reports a payload holds.
pub(super) fn senders(stream: &str, payload: &[u8]) -> BTreeSet<u64> {
    if is_input(stream) {
        let items = InFrame::decode(payload).unwrap_or_default().items;
        let sender = |input: &Input| match input {
            Input::Post(post) => Some(post.sender),
            Input::Mark(mark) => Some(mark.user),
            Input::Press(press) => Some(press.user),
            Input::Seat(seat) => Some(seat.user),
            Input::Spoken(spoken) => Some(spoken.speaker),
            _ => None,
        };
        return items.iter().filter_map(|item| sender(item.input.as_ref()?)).filter(|user| *user != 0).collect();
    }
    if stream == keys::fix() {
        return FixFrame::decode(payload).unwrap_or_default().received.iter().map(|received| received.device).collect();
    }
    if stream == keys::sos() {
        let sender = |frame: SosFrame| match frame.sos? {
            Sos::Press(press) => Some(press.device),
            Sos::Act(act) => Some(act.actor),
        };
        return SosFrame::decode(payload).ok().and_then(sender).into_iter().collect();
    }
    // What Janus says.
    let item: Value = serde_json::from_slice(payload).unwrap_or_default();
    let uid = |item: &Value| item["uid"].as_u64().or_else(|| item["uid"].as_str()?.parse().ok());
    uid(&item).or_else(|| uid(&item["ptt_msg"])).into_iter().collect()
}

/// The whole payload as far as it can be read; `None` when it cannot.
pub(super) fn readable(stream: &str, payload: &[u8]) -> Option<String> {
    if is_input(stream) {
        let mut frame = InFrame::decode(payload).ok()?;
        for input in frame.items.iter_mut().filter_map(|item| item.input.as_mut()) {
            match input {
                Input::Post(post) => blank(&mut post.body),
                Input::Notice(notice) => blank(&mut notice.body),
                Input::Spoken(spoken) => blank(&mut spoken.body),
                Input::Seat(seat) => seat.offer = hidden(seat.offer.len()),
                _ => {}
            }
        }
        return Some(format!("{frame:#?}"));
    }
    if stream == keys::replay() {
        return ReplayRequest::decode(payload).ok().map(|request| format!("{request:#?}"));
    }
    // Where Janus says a recording is, and who spoke: nothing that is said itself.
    let item: Value = serde_json::from_slice(payload).ok()?;
    serde_json::to_string_pretty(&item).ok()
}

fn hidden(bytes: usize) -> String {
    if bytes == 0 { String::new() } else { format!("<{bytes} bytes>") }
}

fn blank(body: &mut Bytes) {
    *body = hidden(body.len()).into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::frame::Post;

    #[test]
    fn all_is_shown_but_what_was_said() {
        let post = Post { topic: 17 << 3 | 2, sender: 5, client_seq: 9, body: "top secret".into(), ..Post::default() };
        let frame = InFrame { producer: 7, items: vec![Input::Post(post).into()], ..InFrame::default() };
        let text = readable("{s3}:in", &frame.encode_to_vec()).unwrap();
        assert!(text.contains("client_seq: 9") && text.contains("<10 bytes>") && !text.contains("secret"), "{text}");
        assert_eq!(senders("{s3}:in", &frame.encode_to_vec()), BTreeSet::from([5]));
        let said = br#"{"msg_type":1,"ptt_msg":{"uid":"7","grp_id":"1"}}"#;
        assert_eq!(senders("{janusImUrlList}:stream", said), BTreeSet::from([7]));
        assert!(readable("{janusImUrlList}:stream", said).unwrap().contains("\"grp_id\": \"1\""));
        assert_eq!((readable("x", b"\xff"), senders("x", b"\xff")), (None, BTreeSet::new()));
    }
}
