//! What happened to a program, as it is spooled; made from the events of supervisord.

use serde::{Deserialize, Serialize};

use super::protocol::Event;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// It is good to know: something is well again.
    Notice,
    /// Something went wrong, and may have mended itself.
    Warning,
    /// Somebody has to act; told in quiet hours too.
    Critical,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// It ended, and should not have.
    Exited,
    /// It could not stay up for `startsecs`, and is tried again.
    Backoff,
    /// It could not start, and is not tried again.
    Fatal,
    /// supervisord does not know its state: a defect of supervisord.
    Unknown,
    /// It is up.
    Running,
    /// It printed what a pattern looks for, or something between the tags of supervisord.
    Said,
    /// supervisord began, though it had not been stopped before.
    SupervisorDied,
    /// supervisord began.
    SupervisorBegan,
    /// supervisord stops, as it was asked to.
    SupervisorStops,
    /// The buffer of supervisord discarded events.
    Lost,
    /// supervisord wrote what cannot be read.
    Unreadable,
    /// The other listener gives no sign of life.
    PeerSilent,
    /// The other listener gives signs of life again.
    PeerBack,
}

impl Kind {
    /// How much it matters, where no pattern says so.
    pub(super) fn severity(self) -> Severity {
        match self {
            Self::Fatal | Self::Unknown | Self::SupervisorDied | Self::Lost | Self::Unreadable | Self::PeerSilent => Severity::Critical,
            Self::Exited | Self::Backoff | Self::Said => Severity::Warning,
            Self::Running | Self::SupervisorBegan | Self::SupervisorStops | Self::PeerBack => Severity::Notice,
        }
    }

    /// Whether it is bad.
    pub(super) fn is_trouble(self) -> bool {
        self.severity() > Severity::Notice
    }

    /// As a text says it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Exited => "EXITED",
            Self::Backoff => "BACKOFF",
            Self::Fatal => "FATAL",
            Self::Unknown => "UNKNOWN",
            Self::Running => "up again",
            Self::Said => "said",
            Self::SupervisorDied => "was killed, and is back",
            Self::SupervisorBegan => "began",
            Self::SupervisorStops => "stops",
            Self::Lost => "lost events",
            Self::Unreadable => "unreadable events",
            Self::PeerSilent => "is silent",
            Self::PeerBack => "is back",
        }
    }
}

/// Something that happened, as a line of the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    /// Its place in the spool of this listener, from 1.
    pub(super) seq: u64,
    /// What both listeners call it: the start of supervisord and the serial of the event. Empty for what only this one knows.
    pub(super) id: String,
    /// When it was heard of. UTC milliseconds.
    pub(super) at_ms: u64,
    /// The process, as `roger:edge-0`, or `delivery` where group and process have one name; for listeners and supervisord theirs.
    pub(super) program: String,
    /// What happened.
    pub(super) kind: Kind,
    /// How much it matters.
    pub(super) severity: Severity,
    /// Process id; 0 when it has none.
    pub(super) pid: u32,
    /// Attempts to start, lost events or bytes; 0 where it does not apply.
    pub(super) count: u64,
    /// The name of a pattern and the line it was found in, redacted; empty for most.
    pub(super) detail: String,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// A program changed its state, in a way that is told.
    State {
        /// As in [`Change::program`].
        program: String,
        /// What happened.
        kind: Kind,
        /// Process id; 0 when it has none.
        pid: u32,
        /// Attempts to start so far.
        tries: u64,
    },
    /// A program printed something.
    Printed {
        /// As in [`Change::program`].
        program: String,
        /// Its process id.
        pid: u32,
        /// Where.
        channel: Channel,
        /// A piece, which may begin and end anywhere in a line; between tags all that stood there.
        text: String,
    },
    /// supervisord runs.
    Began,
    /// supervisord stops.
    Stops,
    /// A minute has passed.
    Tick,
    /// Nothing that is told, as a program that stopped because it should.
    Nothing,
}

/// Where a program printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Channel {
    /// Its standard output, or both when they are redirected into one.
    Stdout,
    /// Its standard error.
    Stderr,
    /// Between `<!--XSUPERVISOR:BEGIN-->` and `<!--XSUPERVISOR:END-->`.
    Tagged,
}

impl Happening {
    /// What an event says; `None` when its payload is not what its name promises.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let (first, rest) = event.payload.split_once('\n').unwrap_or((&event.payload, ""));
        let value = |key: &str| first.split(' ').find_map(|token| token.strip_prefix(key)?.strip_prefix(':'));
        let pid = || value("pid").and_then(|pid| pid.parse().ok()).unwrap_or(0);
        let program = || Some(full_name(value("groupname")?, value("processname").filter(|name| !name.is_empty())?));
        let state = |kind| {
            let tries = value("tries").and_then(|tries| tries.parse().ok()).unwrap_or(0);
            Some(Self::State { program: program()?, kind, pid: pid(), tries })
        };
        let printed = |channel| Some(Self::Printed { program: program()?, pid: pid(), channel, text: rest.to_owned() });
        match event.header.name.as_str() {
            "PROCESS_STATE_EXITED" if value("expected") == Some("1") => Some(Self::Nothing),
            "PROCESS_STATE_EXITED" => state(Kind::Exited),
            "PROCESS_STATE_FATAL" => state(Kind::Fatal),
            "PROCESS_STATE_BACKOFF" => state(Kind::Backoff),
            "PROCESS_STATE_UNKNOWN" => state(Kind::Unknown),
            "PROCESS_STATE_RUNNING" => state(Kind::Running),
            "PROCESS_LOG_STDOUT" => printed(Channel::Stdout),
            "PROCESS_LOG_STDERR" => printed(Channel::Stderr),
            "PROCESS_COMMUNICATION_STDOUT" | "PROCESS_COMMUNICATION_STDERR" => printed(Channel::Tagged),
            "SUPERVISOR_STATE_CHANGE_RUNNING" => Some(Self::Began),
            "SUPERVISOR_STATE_CHANGE_STOPPING" => Some(Self::Stops),
            "TICK_60" => Some(Self::Tick),
            _ => Some(Self::Nothing),
        }
    }
}

fn full_name(group: &str, process: &str) -> String {
    if group.is_empty() || group == process { process.to_owned() } else { format!("{group}:{process}") }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Header;
    use super::*;

    #[test]
    fn events_say_what_supervisor_documents() {
        let check = |name: &str, payload: &str, expected: Option<Happening>| {
            let header = Header { serial: 1, pool_serial: 1, pool: "p".to_owned(), name: name.to_owned(), len: 0 };
            let event = Event { header, payload: payload.to_owned(), whole: true };
            assert_eq!(Happening::of(&event), expected, "{name} {payload}");
        };
        let state = |kind, pid, tries| Some(Happening::State { program: "roger:edge-0".to_owned(), kind, pid, tries });
        let named = "processname:edge-0 groupname:roger from_state:RUNNING";
        check("PROCESS_STATE_EXITED", &format!("{named} expected:0 pid:19478"), state(Kind::Exited, 19_478, 0));
        check("PROCESS_STATE_EXITED", &format!("{named} expected:1 pid:19478"), Some(Happening::Nothing));
        check("PROCESS_STATE_BACKOFF", &format!("{named} tries:3"), state(Kind::Backoff, 0, 3));
        check("PROCESS_STATE_FATAL", named, state(Kind::Fatal, 0, 0));
        check("PROCESS_STATE_FATAL", "groupname:roger", None);
        check("PROCESS_STATE_STOPPED", named, Some(Happening::Nothing));
        check("TICK_60", "when:1", Some(Happening::Tick));
        check("SUPERVISOR_STATE_CHANGE_RUNNING", "", Some(Happening::Began));
        let printed = |channel, text: &str| Some(Happening::Printed { program: "sos".to_owned(), pid: 5, channel, text: text.to_owned() });
        check("PROCESS_LOG_STDOUT", "processname:sos groupname:sos pid:5 channel:stdout\na\nb", printed(Channel::Stdout, "a\nb"));
        check("PROCESS_COMMUNICATION_STDOUT", "processname:sos groupname:sos pid:5\nnow", printed(Channel::Tagged, "now"));
    }
}
