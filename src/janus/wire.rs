//! The JSON of the API as Janus 1.1.2 writes it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The session that Janus knows by this number: random, below 2^53, of no meaning to another run of Janus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionNumber(pub u64);

/// The handle of a session, which is one seat at a plug-in: random, below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HandleNumber(pub u64);

/// A description of a WebRTC session, as it goes between browsers: `jsep` of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// `offer` or `answer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// SDP.
    pub sdp: String,
}

/// Anything that Janus sends. Fields that nobody needs are left out.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Message {
    /// What it is: `ack`, `success`, `event`, `error`, `pong`, `timeout` and others.
    pub(super) janus: String,
    /// Of the request that it answers.
    pub(super) transaction: Option<String>,
    pub(super) session_id: Option<SessionNumber>,
    /// Who says it, of a session.
    pub(super) sender: Option<HandleNumber>,
    pub(super) data: Option<Numbered>,
    pub(super) plugindata: Option<Said>,
    pub(super) jsep: Option<Description>,
    pub(super) error: Option<Failure>,
    /// Why a peer hung up.
    pub(super) reason: Option<String>,
}

/// What was made.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Numbered {
    pub(super) id: u64,
}

/// What a plug-in says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Said {
    pub(super) data: Value,
}

/// Why Janus itself refuses.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) code: u32,
    pub(super) reason: String,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// That Janus has it: nothing more comes.
    Ack,
    /// What came of it; an `ack` before that says only that it is on its way.
    Outcome,
}

impl Message {
    /// Whether nothing more comes for the request that this answers.
    pub(super) fn ends(&self, expect: Expect) -> bool {
        self.janus != "ack" || expect == Expect::Ack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_is_the_end_only_of_what_waits_for_no_more() {
        let check = |text: &str, expect: Expect, ends: bool| {
            let message: Message = serde_json::from_str(text).unwrap();
            assert_eq!(message.ends(expect), ends, "{text}");
        };
        let ack = r#"{"janus":"ack","session_id":4,"transaction":"t"}"#;
        check(ack, Expect::Ack, true);
        check(ack, Expect::Outcome, false);
        check(
            r#"{"janus":"event","session_id":4,"transaction":"t","sender":5,"plugindata":{"plugin":"p","data":{}}}"#,
            Expect::Outcome,
            true,
        );
        check(r#"{"janus":"error","transaction":"t","error":{"code":458,"reason":"No such session"}}"#, Expect::Ack, true);
    }
}
