//! Why a command failed, what to do about it, and its exit code.

use std::path::PathBuf;

use crate::model::Reason;
use crate::retry::ErrorClass;
use crate::{broker, client, config, store, token, worker};

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the configuration cannot be used")]
    Config(#[source] config::Error),
    #[error("Redis does not answer as it should")]
    Redis(#[source] broker::Error),
    #[error("SQL does not answer as it should")]
    Store(#[source] store::Error),
    #[error("the work on the pair of SQL servers ended early")]
    Pair(#[source] store::PairError),
    #[error("the fleet does not do it")]
    Client(#[source] client::Error),
    #[error("the dead letter stays as it is")]
    DeadLetter(#[source] worker::deadletter::Error),
    #[error("no keys were made")]
    Keys(#[source] token::Error),
    #[error("the file was not applied as a whole")]
    Seed(#[source] crate::directory::seed::Error),
    #[error("accounts and groups stay as they are")]
    Registry(#[source] crate::directory::RegistryError),
    #[error("passwords cannot be hashed")]
    Password(#[source] crate::directory::PasswordError),
    #[error("{name} is not logged in here")]
    NotLoggedIn { name: String },
    #[error("there is no group {name:?} among the groups of {account}")]
    NoSuchGroup { name: String, account: String },
    #[error("{} is not what this command wrote", path.display())]
    State {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot use {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}:{line}: not a transmission of a recorded conversation", path = path.display())]
    Recording {
        path: PathBuf,
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} is no table of devices", path.display())]
    Table {
        path: PathBuf,
        #[source]
        source: csv::Error,
    },
    #[error("the release key cannot be used")]
    ReleaseKey(#[source] token::Error),
    #[error("the gateway does not answer as it should")]
    Http(#[source] reqwest::Error),
    #[error("the gateway refuses it: {reason} {field}: {text} ({status})")]
    Refused { status: u16, reason: String, field: String, text: String },
    #[error("files stay as they are")]
    Gateway(#[source] crate::gateway::Error),
    #[error("the trace cannot be written as GPX")]
    Gpx(#[source] gpx::errors::GpxError),
    #[error("{} is no GPX", path.display())]
    NotGpx {
        path: PathBuf,
        #[source]
        source: gpx::errors::GpxError,
    },
    #[error("{0}")]
    Usage(String),
    #[error("{what} did not happen within {seconds} s")]
    Late { what: String, seconds: u64 },
    #[error("the floor was {taken}: {why}", why = ending(why))]
    Floor { taken: &'static str, why: &'static str },
    #[error("{} is no sound to talk with", path.display())]
    Wav {
        path: PathBuf,
        #[source]
        source: crate::audio::WavUnusable,
    },
    #[error("the sound cannot be encoded")]
    Codec(#[source] crate::audio::CodecFailed),
    #[error("cannot {what} by RTP with {at}")]
    Rtp {
        what: &'static str,
        at: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} cannot be run")]
    Program {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} failed: {text}")]
    ProgramFailed { program: String, text: String },
    /// The command did its work and found something wrong, which it has printed.
    #[error("")]
    Findings,
}

impl Error {
    /// The exit code: 1 findings, 64 usage, 69 a server is missing, 70 defect, 78 config.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Findings => 1,
            Self::Config(_) => config::EXIT_CODE,
            Self::NotLoggedIn { .. } | Self::NoSuchGroup { .. } | Self::Usage(_) => 64,
            Self::State { .. } | Self::File { .. } | Self::Table { .. } | Self::Recording { .. } | Self::NotGpx { .. } => 64,
            Self::Wav { .. } => 64,
            Self::Floor { why: "media_failed" | "vanished", .. } | Self::Rtp { .. } => 69,
            Self::Floor { .. } => 64,
            Self::Codec(_) => of_class(ErrorClass::Defect),
            Self::Seed(error) => of_class(error.class()),
            Self::Registry(error) => of_class(error.class()),
            Self::Refused { status: 500.., .. } | Self::Http(_) => 69,
            Self::Refused { .. } => 64,
            Self::Gateway(error) => of_class(error.class()),
            Self::Late { .. } | Self::Program { .. } | Self::ProgramFailed { .. } => 69,
            Self::Gpx(_) => of_class(ErrorClass::Defect),
            Self::Redis(error) => of_class(error.class()),
            Self::Store(error) => of_class(error.class()),
            Self::Pair(error) => of_class(error.class()),
            Self::Client(error) => of_class(error.class()),
            Self::DeadLetter(error) => of_class(error.class()),
            Self::Keys(error) | Self::ReleaseKey(error) => of_class(error.class()),
            Self::Password(error) => of_class(error.class()),
        }
    }

    /// What to do next; empty when the error says it.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Config(_) => "See config/roger.toml for every key; --config or ROGER_CONFIG names the file.",
            Self::Redis(_) => "Is redis.url right, and Redis up? `roger doctor` looks closer.",
            Self::Store(_) => "Is sql.url right, and the database up? `roger doctor` looks closer.",
            Self::Pair(error) if error.class() == ErrorClass::Transient => {
                "`roger sql status` shows both servers; run it again, it goes on from there."
            }
            Self::Client(error) => match error.reason() {
                Some(Reason::TokenExpired | Reason::TokenUnknown | Reason::TokenRevoked | Reason::BadCredentials) => {
                    "Log in again: `roger login NAME`."
                }
                Some(Reason::WrongDoor) => "--edge and --directory seem to be swapped.",
                Some(Reason::NotMember) => "`roger groups --as NAME` lists the groups one may write to.",
                Some(Reason::Superseded) => "The account is used elsewhere; the last login wins.",
                _ if error.class() == ErrorClass::Transient => "Is the fleet up, and the address right? `roger doctor` looks closer.",
                _ => "",
            },
            Self::Http(_) => "Is the gateway up, and the address right? --gateway or gateway.listen name it.",
            Self::Refused { status: 401, .. } => "Log in again: `roger login NAME`.",
            Self::NotLoggedIn { .. } => "Log in first: `roger login NAME`.",
            Self::Floor { why: "queue_full" | "pre_empted", .. } => "Try again in a moment.",
            Self::Floor { why: "time_over", .. } => "Say it in several files: each is a burst of its own. The bound is floor.burst_ms.",
            Self::Floor { why: "media_failed", .. } => "Are Janus and the program janus up? `roger doctor` looks closer.",
            Self::Floor { why: "vanished", .. } => "Is the way to the edge slow? `roger doctor` looks closer.",
            Self::Floor { why: "left" | "not_in_room", .. } => "Name the room with --group, and let no other session leave it meanwhile.",
            Self::Rtp { .. } => "--rtp-ip names the address of this machine that the media server can reach.",
            Self::NoSuchGroup { .. } => "`roger groups --as NAME` lists them.",
            Self::State { .. } => "Remove it and log in again; what was not sent yet is in it.",
            Self::Table { .. } => "A header line with imei, and if you like model and nickname; commas between, and quotes around commas.",
            Self::DeadLetter(_) => "`roger dead list` shows what there is.",
            Self::Late { .. } => "`roger doctor` and `roger queues` show what stands still.",
            _ => "",
        }
    }
}

/// How a request for the floor ended, for people.
fn ending(why: &str) -> &'static str {
    match why {
        "queue_full" => "as many wait for it as may",
        "media_failed" => "the media server did not open the microphone",
        "over" => "the press was over already",
        "pre_empted" => "somebody whose claim is higher has it",
        "time_over" => "the burst was as long as one may be",
        "left" => "the account left the room",
        "vanished" => "nothing was heard of the talk button for too long",
        "dissolved" => "the group was dissolved",
        "not_in_room" => "the account is not in that room",
        _ => "for a reason that this version does not know",
    }
}

fn of_class(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::Transient => 69,
        ErrorClass::Permanent => 64,
        ErrorClass::Defect => 70,
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident,)*) => {
        $(impl From<$source> for Error {
            fn from(source: $source) -> Self {
                Self::$variant(source)
            }
        })*
    };
}

// The source says which operation it was; the command adds nothing to it.
from! {
    config::Error => Config,
    broker::Error => Redis,
    store::Error => Store,
    store::PairError => Pair,
    client::Error => Client,
    worker::deadletter::Error => DeadLetter,
    token::Error => Keys,
    reqwest::Error => Http,
    gpx::errors::GpxError => Gpx,
    crate::gateway::Error => Gateway,
    crate::directory::PasswordError => Password,
    crate::directory::seed::Error => Seed,
    crate::directory::RegistryError => Registry,
}
