//! Commands and answers as JSON on a list of Redis.
//!
//! A command is `{"msg_type": 2, "ip": "127.0.0.1", "signal_msg": {"signal_type": 1, "request_id": "…", "deadline_ms": 1700000000000,
//! "create_group_req": {"gid": 100, "group_name": "air", "dispatcher_id": 5}}}`; its answer `{"msg_type": 2, "ip": "…", "signal_msg": {"signal_type": 1,
//! "request_id": "…", "create_group_resp": {"gid": 100, "dispatcher_id": 5, "res_code": 0}, "res": {"code": 0, "msg": "ok"}}}`. Types 1 to 3 and all their
//! fields but `request_id` and `deadline_ms` are those of the predecessor; the others are of the same manner. Ids come as numbers or as text.

use serde_json::{Map, Value, json};

use super::bridge::id;
use super::command::{BAD_COMMAND, Command, CommandError, Outcome, Request, RequestId, Role};
use crate::model::{GroupId, UserId};

/// The most bytes of the name of a room.
const NAME_BYTES_MAX: usize = 1_024;

/// A command that cannot be carried out as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadCommand {
    /// Whose answer waits, if that much is known.
    pub id: Option<RequestId>,
    /// What is wrong with it, by name.
    pub why: String,
}

/// The number of a command, and the name of its fields.
fn kind(command: &Command) -> (u64, &'static str) {
    match command {
        Command::CreateRoom { .. } => (1, "create_group"),
        Command::DestroyRoom { .. } => (2, "destroy_group"),
        Command::AlterParticipant { .. } => (3, "alter_participant"),
        Command::Kick { .. } => (4, "kick_participant"),
        Command::Mute { .. } => (5, "mute_participant"),
        Command::Unmute { .. } => (6, "unmute_participant"),
        Command::ListRooms => (7, "list_groups"),
        Command::ListParticipants { .. } => (8, "list_participants"),
    }
}

fn fields(command: &Command) -> Value {
    match command {
        Command::CreateRoom { group, name, dispatcher } => json!({ "gid": group, "group_name": name, "dispatcher_id": dispatcher }),
        Command::DestroyRoom { group, dispatcher } => json!({ "gid": group, "dispatcher_id": dispatcher }),
        Command::AlterParticipant { group, user, role, dispatcher } => {
            let role = match role {
                Role::Member => 1,
                Role::Manager => 2,
            };
            json!({ "gid": group, "uid": user, "role": role, "dispatcher_id": dispatcher })
        }
        Command::Kick { group, user } | Command::Mute { group, user } | Command::Unmute { group, user } => {
            json!({ "gid": group, "uid": user })
        }
        Command::ListRooms => json!({}),
        Command::ListParticipants { group } => json!({ "gid": group }),
    }
}

/// A request as it goes onto the list.
pub fn command(request: &Request) -> Vec<u8> {
    let (kind, name) = kind(&request.command);
    let mut signal = json!({ "signal_type": kind, "request_id": request.id, "deadline_ms": request.deadline_ms });
    signal[format!("{name}_req")] = fields(&request.command);
    json!({ "msg_type": 2, "ip": "127.0.0.1", "signal_msg": signal }).to_string().into_bytes()
}

/// What a request asks for, in few bytes: another command has another one.
pub fn fingerprint(command: &Command) -> String {
    let (kind, _) = kind(command);
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(format!("{kind} {}", fields(command)).as_bytes()))
}

/// Reads a request.
///
/// # Errors
/// What is wrong with it, by name.
pub fn read_command(item: &[u8]) -> Result<Request, BadCommand> {
    let bad = |id: Option<&RequestId>, why: &str| BadCommand { id: id.cloned(), why: why.to_owned() };
    let Ok(Value::Object(item)) = serde_json::from_slice(item) else { return Err(bad(None, "the command is no JSON object")) };
    if item.get("msg_type").and_then(id) != Some(2) {
        return Err(bad(None, "msg_type has to be 2"));
    }
    let Some(Value::Object(signal)) = item.get("signal_msg") else { return Err(bad(None, "signal_msg has to be an object")) };
    let known = signal.get("request_id").and_then(Value::as_str).and_then(RequestId::new);
    let known = known.ok_or_else(|| bad(None, "request_id has to be 1 to 64 letters, digits and any of _.-"))?;
    let failed = |why: &str| bad(Some(&known), why);
    let deadline_ms =
        signal.get("deadline_ms").and_then(id).ok_or_else(|| failed("deadline_ms has to be a time in milliseconds since 1970"))?;
    let command = read_fields(signal).map_err(|why| failed(&why))?;
    Ok(Request { id: known, deadline_ms, command })
}

fn read_fields(signal: &Map<String, Value>) -> Result<Command, String> {
    let kind = signal.get("signal_type").and_then(id).ok_or("signal_type has to be a number")?;
    let names = [
        "create_group",
        "destroy_group",
        "alter_participant",
        "kick_participant",
        "mute_participant",
        "unmute_participant",
        "list_groups",
        "list_participants",
    ];
    let at = usize::try_from(kind).ok().and_then(|kind| names.get(kind - 1));
    let name = format!("{}_req", at.ok_or_else(|| format!("signal_type {kind} is none of 1 to {}", names.len()))?);
    let fields = match (kind, signal.get(&name)) {
        (7, None) => &Value::Null,
        (_, Some(fields @ Value::Object(_))) => fields,
        _ => return Err(format!("{name} has to be an object")),
    };
    let number = |field: &str| id(&fields[field]).filter(|id| i64::try_from(*id).is_ok());
    let wanted = |field: &str| number(field).ok_or_else(|| format!("{name}.{field} has to be a number from 1 on"));
    let group = || wanted("gid").map(GroupId);
    let user = || wanted("uid").map(UserId);
    let dispatcher = UserId(number("dispatcher_id").unwrap_or(0));
    Ok(match kind {
        1 => {
            let name_of = fields["group_name"].as_str().unwrap_or_default();
            if name_of.len() > NAME_BYTES_MAX {
                return Err(format!("{name}.group_name has at most {NAME_BYTES_MAX} bytes"));
            }
            Command::CreateRoom { group: group()?, name: name_of.to_owned(), dispatcher }
        }
        2 => Command::DestroyRoom { group: group()?, dispatcher },
        3 => {
            let role = match number("role") {
                Some(1) => Role::Member,
                Some(2) => Role::Manager,
                _ => return Err(format!("{name}.role has to be 1 or 2")),
            };
            Command::AlterParticipant { group: group()?, user: user()?, role, dispatcher }
        }
        4 => Command::Kick { group: group()?, user: user()? },
        5 => Command::Mute { group: group()?, user: user()? },
        6 => Command::Unmute { group: group()?, user: user()? },
        7 => Command::ListRooms,
        _ => Command::ListParticipants { group: group()? },
    })
}

/// The answer to a request as it goes onto the list that Janus writes to. `host` names who answers.
pub fn answer(request: &Request, answer: &Result<Outcome, (u32, String)>, host: &str) -> Vec<u8> {
    let (kind, name) = kind(&request.command);
    let mut response = fields(&request.command);
    let (code, msg) = match answer {
        Ok(_) => (0, "ok"),
        Err((code, why)) => (*code, why.as_str()),
    };
    response["res_code"] = code.into();
    match answer {
        Ok(Outcome::Rooms(rooms)) => response["groups"] = json!(rooms),
        Ok(Outcome::Participants(participants)) => response["participants"] = json!(participants),
        Ok(Outcome::Done) | Err(_) => {}
    }
    let mut signal = json!({ "signal_type": kind, "request_id": request.id, "res": { "code": code, "msg": msg } });
    signal[format!("{name}_resp")] = response;
    json!({ "msg_type": 2, "ip": host, "signal_msg": signal }).to_string().into_bytes()
}

/// The answer to what is no command, for whoever waits for one.
pub fn refusal(id: &RequestId, why: &str, host: &str) -> Vec<u8> {
    let signal = json!({ "request_id": id, "res": { "code": BAD_COMMAND, "msg": why } });
    json!({ "msg_type": 2, "ip": host, "signal_msg": signal }).to_string().into_bytes()
}

/// Reads the answer to a request; `None` when it is none that this version understands.
pub fn read_answer(item: &[u8], request: &Request) -> Option<Result<Outcome, CommandError>> {
    let item: Value = serde_json::from_slice(item).ok()?;
    let signal = &item["signal_msg"];
    let code = u32::try_from(signal["res"]["code"].as_u64()?).ok()?;
    if code != 0 {
        let why = signal["res"]["msg"].as_str().unwrap_or_default().to_owned();
        return Some(Err(CommandError::Refused { id: request.id.clone(), code, why }));
    }
    let (_, name) = kind(&request.command);
    let response = &signal[format!("{name}_resp")];
    Some(Ok(match &request.command {
        Command::ListRooms => Outcome::Rooms(serde_json::from_value(response["groups"].clone()).ok()?),
        Command::ListParticipants { .. } => Outcome::Participants(serde_json::from_value(response["participants"].clone()).ok()?),
        _ => Outcome::Done,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Command> {
        let (group, user, dispatcher) = (GroupId(100), UserId(7), UserId(5));
        vec![
            Command::CreateRoom { group, name: "air \"1\"".to_owned(), dispatcher },
            Command::DestroyRoom { group, dispatcher },
            Command::AlterParticipant { group, user, role: Role::Manager, dispatcher },
            Command::AlterParticipant { group, user, role: Role::Member, dispatcher: UserId(0) },
            Command::Kick { group, user },
            Command::Mute { group, user },
            Command::Unmute { group, user },
            Command::ListRooms,
            Command::ListParticipants { group },
        ]
    }

    fn request(command: Command) -> Request {
        Request { id: RequestId::new("r-1").unwrap(), deadline_ms: 1_700_000_000_000, command }
    }

    #[test]
    fn commands_and_answers_read_as_they_were_written() {
        let (room, participant) = (
            crate::janus::Room { group: GroupId(100), name: "air".to_owned(), participants: 2 },
            crate::janus::Participant { user: UserId(7), display: "Neil".to_owned(), setup: true, muted: false },
        );
        for one in all() {
            let request = request(one);
            assert_eq!(read_command(&command(&request)), Ok(request.clone()));
            let outcome = match request.command {
                Command::ListRooms => Outcome::Rooms(vec![room.clone()]),
                Command::ListParticipants { .. } => Outcome::Participants(vec![participant.clone()]),
                _ => Outcome::Done,
            };
            assert_eq!(read_answer(&answer(&request, &Ok(outcome.clone()), "h"), &request), Some(Ok(outcome)));
            let refused = CommandError::Refused { id: request.id.clone(), code: 485, why: "No such room".to_owned() };
            let item = answer(&request, &Err((485, "No such room".to_owned())), "h");
            assert_eq!(read_answer(&item, &request), Some(Err(refused)));
        }
        let prints: std::collections::BTreeSet<String> = all().iter().map(fingerprint).collect();
        assert_eq!(prints.len(), all().len());
    }

    #[test]
    fn what_the_predecessor_had_goes_by_its_names() {
        let text = |item: Vec<u8>| String::from_utf8(item).unwrap();
        let create = request(all().remove(0));
        assert_eq!(
            text(command(&create)),
            r#"{"ip":"127.0.0.1","msg_type":2,"signal_msg":{"create_group_req":{"dispatcher_id":5,"gid":100,"group_name":"air \"1\""},"deadline_ms":1700000000000,"request_id":"r-1","signal_type":1}}"#
        );
        let answered = text(answer(&create, &Ok(Outcome::Done), "10.0.0.5"));
        assert_eq!(
            answered,
            r#"{"ip":"10.0.0.5","msg_type":2,"signal_msg":{"create_group_resp":{"dispatcher_id":5,"gid":100,"group_name":"air \"1\"","res_code":0},"request_id":"r-1","res":{"code":0,"msg":"ok"},"signal_type":1}}"#
        );
        let role = text(command(&request(all().remove(2))));
        assert!(role.contains(r#""alter_participant_req":{"dispatcher_id":5,"gid":100,"role":2,"uid":7}"#), "{role}");
    }

    #[test]
    fn what_is_no_command_is_told_by_name() {
        let good = r#"{"msg_type":2,"signal_msg":{"signal_type":"3","request_id":"r-1","deadline_ms":"9","alter_participant_req":{"gid":"100","uid":"7","role":"2"}}}"#;
        assert!(read_command(good.as_bytes()).is_ok(), "ids may be text");
        let check = |item: &str, id: Option<&str>, why: &str| {
            let expected = BadCommand { id: id.and_then(RequestId::new), why: why.to_owned() };
            assert_eq!(read_command(item.as_bytes()), Err(expected), "{item}");
        };
        check("", None, "the command is no JSON object");
        check("[]", None, "the command is no JSON object");
        check(r#"{"msg_type":1}"#, None, "msg_type has to be 2");
        check(r#"{"msg_type":2}"#, None, "signal_msg has to be an object");
        check(&good.replace("r-1", "r 1"), None, "request_id has to be 1 to 64 letters, digits and any of _.-");
        let id = Some("r-1");
        check(&good.replace(r#""9""#, r#""soon""#), id, "deadline_ms has to be a time in milliseconds since 1970");
        check(&good.replace(r#""3""#, r#""9""#), id, "signal_type 9 is none of 1 to 8");
        check(&good.replace(r#""3""#, "0"), id, "signal_type has to be a number");
        check(&good.replace(r#""3""#, "1"), id, "create_group_req has to be an object");
        check(&good.replace(r#""100""#, "0"), id, "alter_participant_req.gid has to be a number from 1 on");
        check(&good.replace(r#""7""#, r#""neil""#), id, "alter_participant_req.uid has to be a number from 1 on");
        check(&good.replace(r#""2""#, "3"), id, "alter_participant_req.role has to be 1 or 2");
    }
}
