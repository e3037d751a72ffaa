//! What Janus puts onto its list.
//!
//! An envelope `{"msg_type": 1, "ip": "10.0.0.5", "ptt_msg": {…}}`, or the announcement of a recording by itself:
//! `{"uid": "7", "m_type": "ptt", "md5": "…", "grp_id": "100", "file_path": "…", "timestamp": "1700000000", "duration": "2000"}`. Numbers come as
//! numbers or as text. Roger's own recorder also says `"id"`, by which it is told from all others,
//! `"timestamp_ms"`, and `"cut": "1"` of one whose end is missing. How well somebody hears and is heard comes in an envelope of type 3:
//! `"quality_msg": {"user_id": 7, "user_status": 3, "in_link_quality": 90, "in_media_link_quality": 91, "out_link_quality": 92,
//! "out_media_link_quality": 93, "rtt": 20}`, in which all but the user may be missing. Fields that nobody knows are ignored.

use serde_json::{Map, Value};

use crate::model::{GroupId, TalkQuality, UserId};

/// The longest text of a field, bytes.
const FIELD_BYTES_MAX: usize = 1_024;
/// Above this a time is none of seconds: the year 5138.
const SECONDS_MAX: u64 = 100_000_000_000;
/// The longest burst that is believed, milliseconds: a day.
const DURATION_MS_MAX: u64 = 86_400_000;

/// What one item says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Somebody talked, and it was recorded.
    Burst(Burst),
    /// Only that the list is there: Janus pushes such an item when it starts.
    Greeting,
    /// The answer to a request, with the id of that if it has one.
    Reply(Option<String>),
    /// How well somebody hears and is heard; its time is not said.
    Quality(UserId, TalkQuality),
}

/// A recording of one burst of talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    /// What tells it from all others: that of whoever recorded it, else made of speaker, group, time and file.
    pub id: String,
    /// Who talked.
    pub speaker: UserId,
    /// In whose room.
    pub group: GroupId,
    /// Where the recording is: an address, or a path of the file store.
    pub file: String,
    /// Of the recording, as it was said; may be empty.
    pub md5: String,
    /// When it was over, UTC milliseconds.
    pub spoken_ms: u64,
    /// By when it was surely over, UTC milliseconds: where only seconds were said, at the end of that one.
    pub over_ms: u64,
    /// How long it is, milliseconds; 0 when it was not said.
    pub duration_ms: u64,
    /// The machine that recorded it; empty when it was not said.
    pub host: String,
    /// Whether its end is missing: Janus died meanwhile.
    pub cut: bool,
}

/// Why an item cannot be worked on, for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnderstood {
    /// No JSON, or JSON that is no object.
    #[error("the item is no JSON object")]
    NotAnObject,
    /// Another kind of item than this version knows.
    #[error("msg_type {0} is none of 1 (recording), 2 (reply), 3 (quality)")]
    UnknownType(String),
    /// Something has to be there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something that is there cannot be so.
    #[error("{field} {rule}")]
    Bad {
        /// The field.
        field: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
}

/// Reads one item.
///
/// # Errors
/// What is wrong with it, by name.
pub fn parse(item: &[u8]) -> Result<Said, NotUnderstood> {
    let Ok(Value::Object(item)) = serde_json::from_slice(item) else { return Err(NotUnderstood::NotAnObject) };
    let host = text(&item, "ip")?.unwrap_or_default();
    match item.get("msg_type") {
        None if item.contains_key("uid") || item.contains_key("grp_id") => burst(&item, host).map(Said::Burst),
        None if item.contains_key("info") => Ok(Said::Greeting),
        None => Err(NotUnderstood::Missing("msg_type")),
        Some(kind) => match number(kind) {
            Some(1) => match item.get("ptt_msg") {
                Some(Value::Object(message)) => burst(message, host).map(Said::Burst),
                Some(_) => Err(NotUnderstood::Bad { field: "ptt_msg", rule: "has to be an object" }),
                None => Err(NotUnderstood::Missing("ptt_msg")),
            },
            Some(2) => Ok(Said::Reply(request(&item))),
            Some(3) => match item.get("quality_msg") {
                Some(Value::Object(message)) => quality(message),
                Some(_) => Err(NotUnderstood::Bad { field: "quality_msg", rule: "has to be an object" }),
                None => Err(NotUnderstood::Missing("quality_msg")),
            },
            _ => Err(NotUnderstood::UnknownType(kind.to_string())),
        },
    }
}

fn quality(item: &Map<String, Value>) -> Result<Said, NotUnderstood> {
    let user = UserId(id(item, "user_id")?);
    let quality = TalkQuality {
        status: integer(item, "user_status")?,
        in_link: integer(item, "in_link_quality")?,
        in_media_link: integer(item, "in_media_link_quality")?,
        out_link: integer(item, "out_link_quality")?,
        out_media_link: integer(item, "out_media_link_quality")?,
        rtt_ms: integer(item, "rtt")?,
        said_ms: 0,
    };
    Ok(Said::Quality(user, quality))
}

/// Whose answer it is; whoever asked reads the rest.
fn request(item: &Map<String, Value>) -> Option<String> {
    item.get("signal_msg")?.get("request_id")?.as_str().map(str::to_owned)
}

/// The item that says of a burst what [`parse`] reads, all in strings, in an envelope.
pub fn announcement(burst: &Burst) -> String {
    let Burst { id, speaker, group, file, md5, spoken_ms, over_ms: _, duration_ms, host, cut } = burst;
    let mut message = serde_json::json!({
        "id": id,
        "uid": speaker.to_string(),
        "m_type": "ptt",
        "md5": md5,
        "grp_id": group.to_string(),
        "file_path": file,
        "timestamp": (spoken_ms / 1_000).to_string(),
        "timestamp_ms": spoken_ms.to_string(),
        "duration": duration_ms.to_string(),
    });
    if *cut {
        message["cut"] = "1".into();
    }
    serde_json::json!({ "msg_type": 1, "ip": host, "ptt_msg": message }).to_string()
}

fn burst(item: &Map<String, Value>, host: String) -> Result<Burst, NotUnderstood> {
    if let Some(kind) = text(item, "m_type")?.filter(|kind| kind != "ptt") {
        return Err(NotUnderstood::UnknownType(kind));
    }
    let speaker = id(item, "uid")?;
    let group = id(item, "grp_id")?;
    let file = text(item, "file_path")?.filter(|file| !file.is_empty()).ok_or(NotUnderstood::Missing("file_path"))?;
    let seconds = item.get("timestamp").ok_or(NotUnderstood::Missing("timestamp"))?;
    let seconds = number(seconds).filter(|seconds| (1..SECONDS_MAX).contains(seconds));
    let seconds = seconds.ok_or(NotUnderstood::Bad { field: "timestamp", rule: "has to be a time in seconds since 1970" })?;
    let exact = match item.get("timestamp_ms") {
        None | Some(Value::Null) => None,
        Some(exact) => Some(
            number(exact)
                .filter(|exact| exact / 1_000 == seconds)
                .ok_or(NotUnderstood::Bad { field: "timestamp_ms", rule: "has to be in the second of timestamp" })?,
        ),
    };
    let duration_ms = match item.get("duration") {
        None | Some(Value::Null) => 0,
        Some(duration) => number(duration)
            .filter(|duration| *duration <= DURATION_MS_MAX)
            .ok_or(NotUnderstood::Bad { field: "duration", rule: "has to be 0 to 86400000 milliseconds" })?,
    };
    let cut = match item.get("cut") {
        None | Some(Value::Null) => false,
        Some(cut) => match number(cut) {
            Some(0) => false,
            Some(1) => true,
            _ => return Err(NotUnderstood::Bad { field: "cut", rule: "has to be 0 or 1" }),
        },
    };
    let own = text(item, "id")?.filter(|own| !own.is_empty());
    let made = || format!("{:032x}", xxhash_rust::xxh3::xxh3_128(format!("{speaker}\0{group}\0{seconds}\0{file}").as_bytes()));
    let md5 = text(item, "md5")?.unwrap_or_default();
    Ok(Burst {
        id: own.unwrap_or_else(made),
        speaker: UserId(speaker),
        group: GroupId(group),
        file,
        md5,
        spoken_ms: exact.unwrap_or(seconds * 1_000),
        over_ms: exact.unwrap_or(seconds * 1_000 + 999),
        duration_ms,
        host,
        cut,
    })
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn integer(item: &Map<String, Value>, field: &'static str) -> Result<Option<i32>, NotUnderstood> {
    let found = match item.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_i64().and_then(|number| i32::try_from(number).ok()),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    found.map(Some).ok_or(NotUnderstood::Bad { field, rule: "has to be an integer of 32 bits" })
}

/// The id of an account or of a group.
fn id(item: &Map<String, Value>, field: &'static str) -> Result<u64, NotUnderstood> {
    let value = item.get(field).ok_or(NotUnderstood::Missing(field))?;
    // As SQL and topics can hold it.
    let known = number(value).filter(|id| *id > 0 && i64::try_from(*id).is_ok());
    known.ok_or(NotUnderstood::Bad { field, rule: "has to be a number from 1 on" })
}

fn text(item: &Map<String, Value>, field: &'static str) -> Result<Option<String>, NotUnderstood> {
    match item.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= FIELD_BYTES_MAX => Ok(Some(text.clone())),
        Some(Value::String(_)) => Err(NotUnderstood::Bad { field, rule: "has at most 1024 bytes" }),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(NotUnderstood::Bad { field, rule: "has to be text" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: &str =
        r#"{"uid":"7","m_type":"ptt","md5":"abc","grp_id":"100","file_path":"http://h/1.mp3","timestamp":"1700000000","duration":"2000"}"#;

    fn burst(item: &str) -> Burst {
        match parse(item.as_bytes()) {
            Ok(Said::Burst(burst)) => burst,
            other => panic!("{item}: {other:?}"),
        }
    }

    #[test]
    fn a_recording_comes_in_an_envelope_or_by_itself_and_with_text_or_numbers() {
        let bare = burst(ITEM);
        let expected = Burst {
            id: bare.id.clone(),
            speaker: UserId(7),
            group: GroupId(100),
            file: "http://h/1.mp3".to_owned(),
            md5: "abc".to_owned(),
            spoken_ms: 1_700_000_000_000,
            over_ms: 1_700_000_000_999,
            duration_ms: 2_000,
            host: String::new(),
            cut: false,
        };
        assert_eq!(bare, expected);
        let wrapped = burst(&format!(r#"{{"msg_type":1,"ip":"10.0.0.5","ptt_msg":{ITEM},"signal_msg":null}}"#));
        assert_eq!(wrapped, Burst { host: "10.0.0.5".to_owned(), ..expected.clone() });
        let numbers =
            ITEM.replace(r#""7""#, "7").replace(r#""100""#, "100").replace(r#""1700000000""#, "1700000000").replace(r#""2000""#, "2000");
        assert_eq!(burst(&numbers), expected);
        assert_eq!(burst(&ITEM.replace(r#","duration":"2000""#, "")).duration_ms, 0);
        for (cut, expected) in [(r#""1""#, true), ("1", true), (r#""0""#, false)] {
            assert_eq!(burst(&ITEM.replace(r#""uid""#, &format!(r#""cut":{cut},"uid""#))).cut, expected, "{cut}");
        }
    }

    #[test]
    fn an_announcement_is_read_as_what_it_was_made_of() {
        for cut in [false, true] {
            let (id, host, exact) = ("a-1".to_owned(), "10.0.0.5".to_owned(), 1_700_000_000_123);
            let said = Burst { id, host, spoken_ms: exact, over_ms: exact, cut, ..burst(ITEM) };
            assert_eq!(burst(&announcement(&said)), said);
        }
        let plain = announcement(&Burst { id: "a-1".to_owned(), ..burst(ITEM) });
        assert!(plain.contains(r#""uid":"7""#) && plain.contains(r#""duration":"2000""#) && !plain.contains("cut"), "{plain}");
    }

    #[test]
    fn the_same_recording_has_the_same_id_and_another_one_another() {
        let id = |item: &str| burst(item).id;
        assert_eq!(id(ITEM), id(&ITEM.replace(r#""md5":"abc","#, "")));
        for (from, to) in [(r#""7""#, r#""8""#), (r#""100""#, r#""101""#), ("1.mp3", "2.mp3"), ("1700000000", "1700000001")] {
            assert_ne!(id(ITEM), id(&ITEM.replace(from, to)), "{to}");
        }
        assert_eq!(id(&ITEM.replace(r#""uid""#, r#""id":"a-1","uid""#)), "a-1");
    }

    #[test]
    fn quality_comes_as_numbers_or_as_text_and_what_is_not_said_is_not_known() {
        let numbers = r#"{"user_id":7,"user_status":3,"in_link_quality":90,"in_media_link_quality":91,"out_link_quality":92,"out_media_link_quality":-1,"rtt":20}"#;
        let texts = numbers.replace(':', r#":""#).replace(',', r#"","#).replace('}', r#""}"#);
        let expected = TalkQuality {
            status: Some(3),
            in_link: Some(90),
            in_media_link: Some(91),
            out_link: Some(92),
            out_media_link: Some(-1),
            rtt_ms: Some(20),
            said_ms: 0,
        };
        for message in [numbers, &texts] {
            let item = format!(r#"{{"msg_type":3,"ip":"10.0.0.5","quality_msg":{message}}}"#);
            assert_eq!(parse(item.as_bytes()), Ok(Said::Quality(UserId(7), expected)), "{item}");
        }
        let little = parse(br#"{"msg_type":"3","quality_msg":{"user_id":"7","rtt":null}}"#);
        assert_eq!(little, Ok(Said::Quality(UserId(7), TalkQuality::default())));
    }

    #[test]
    fn everything_else_is_told_by_name() {
        let long = ITEM.replace("abc", &"x".repeat(2_000));
        for (item, expected) in [
            (r#"{"info":"init"}"#, "Greeting"),
            (r#"{"msg_type":2,"signal_msg":{}}"#, "Reply(None)"),
            (r#"{"msg_type":2}"#, "Reply(None)"),
            (r#"{"msg_type":2,"signal_msg":{"request_id":"r-1","res":{"code":0}}}"#, r#"Reply(Some("r-1"))"#),
            (r#"{"msg_type":3}"#, "quality_msg is missing"),
            (r#"{"msg_type":3,"quality_msg":7}"#, "quality_msg has to be an object"),
            (r#"{"msg_type":"3","quality_msg":{}}"#, "user_id is missing"),
            (r#"{"msg_type":3,"quality_msg":{"user_id":0}}"#, "user_id has to be a number from 1 on"),
            (r#"{"msg_type":3,"quality_msg":{"user_id":7,"rtt":"slow"}}"#, "rtt has to be an integer of 32 bits"),
            (r#"{"msg_type":3,"quality_msg":{"user_id":7,"in_link_quality":1.5}}"#, "in_link_quality has to be an integer of 32 bits"),
            (r#"{"msg_type":3,"quality_msg":{"user_id":7,"user_status":[]}}"#, "user_status has to be an integer of 32 bits"),
            ("", "the item is no JSON object"),
            ("[1]", "the item is no JSON object"),
            ("{}", "msg_type is missing"),
            (r#"{"msg_type":9}"#, "msg_type 9 is none of 1 (recording), 2 (reply), 3 (quality)"),
            (r#"{"msg_type":1}"#, "ptt_msg is missing"),
            (r#"{"msg_type":1,"ptt_msg":"x"}"#, "ptt_msg has to be an object"),
            (r#"{"msg_type":1,"ptt_msg":{}}"#, "uid is missing"),
            (&ITEM.replace("grp_id", "grp"), "grp_id is missing"),
            (&ITEM.replace(r#""100""#, r#""0""#), "grp_id has to be a number from 1 on"),
            (&ITEM.replace(r#""7""#, r#""neil""#), "uid has to be a number from 1 on"),
            (&ITEM.replace(r#""7""#, r#""18446744073709551615""#), "uid has to be a number from 1 on"),
            (&ITEM.replace("1700000000", "1700000000000"), "timestamp has to be a time in seconds since 1970"),
            (&ITEM.replace(r#""2000""#, r#""-1""#), "duration has to be 0 to 86400000 milliseconds"),
            (&ITEM.replace(r#""uid""#, r#""cut":"2","uid""#), "cut has to be 0 or 1"),
            (&ITEM.replace(r#""uid""#, r#""timestamp_ms":1700000001000,"uid""#), "timestamp_ms has to be in the second of timestamp"),
            (&ITEM.replace("http://h/1.mp3", ""), "file_path is missing"),
            (&ITEM.replace(r#""ptt""#, r#""video""#), "msg_type video is none of 1 (recording), 2 (reply), 3 (quality)"),
            (&ITEM.replace(r#""abc""#, "{}"), "md5 has to be text"),
            (&long, "md5 has at most 1024 bytes"),
        ] {
            let said = match parse(item.as_bytes()) {
                Ok(said) => format!("{said:?}"),
                Err(error) => error.to_string(),
            };
            assert_eq!(said, expected, "{item}");
        }
    }
}
