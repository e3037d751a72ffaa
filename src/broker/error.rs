//! What can go wrong with Redis.

use crate::retry::ErrorClass;

/// Refusals that pass: trying again may help.
const FOR_NOW: [&str; 13] = [
    "LOADING",
    "READONLY",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "BUSY",
    "NOSCRIPT",
    "UNBLOCKED",
];

/// A failed call to Redis. Each names the operation; the address is in the log line of the connection, never in an answer to a client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL does not parse.
    #[error(
        "redis.url is not a Redis URL (redis://HOST:PORT/DB, redis+unix:///PATH, redis-sentinel://HOST:PORT,HOST:PORT,…/DB#SERVICE or redis-cluster://HOST:PORT,HOST:PORT,…)"
    )]
    Url(#[source] redis::RedisError),
    /// No connection, or it failed on the way. The command may or may not have been executed.
    #[error("{operation}: no answer from Redis")]
    Unanswered {
        /// What was asked.
        operation: &'static str,
        /// Why.
        #[source]
        source: redis::RedisError,
    },
    /// The connection that a handle was held to is broken: what is known from before it broke counts no more.
    #[error("the connection to Redis broke; starting over on a new one")]
    Broken,
    /// No sentinel says where the primary is.
    #[error("no sentinel of {service} says where its primary is: {why}")]
    NoPrimary {
        /// What sentinels call it.
        service: String,
        /// What became of asking each of them.
        why: String,
    },
    /// Too few sentinels answer to be sure who the primary is.
    #[error("{answered} of {of} sentinels of {service} answer: too few to be sure that its primary is the primary still")]
    Unsure {
        /// What sentinels call it.
        service: String,
        /// How many answered.
        answered: usize,
        /// How many there are.
        of: usize,
    },
    /// No server of the cluster says who has which slot.
    #[error("no server of the cluster says who has which slot: {why}")]
    NoCluster {
        /// What became of asking each of them.
        why: String,
    },
    /// A slot of the cluster is nobody's.
    #[error("no server of the cluster has slot {slot}: see `redis-cli --cluster check`")]
    NoOwner {
        /// Which.
        slot: u16,
    },
    /// What should be the primary is a replica.
    #[error("this Redis is a replica and takes no writes: it was demoted, or redis.url names the wrong server")]
    Replica,
    /// Redis is there but cannot do it now: loading, read-only, out of memory, not persisting.
    #[error("{operation}: Redis refuses for now")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Why.
        #[source]
        source: redis::RedisError,
    },
    /// Redis rejects the command itself.
    #[error("{operation}: Redis rejects the command")]
    Rejected {
        /// What was asked.
        operation: &'static str,
        /// Why.
        #[source]
        source: redis::RedisError,
    },
    /// The answer is not of the form the command promises.
    #[error("{operation}: unexpected answer from Redis: {answer}")]
    Answer {
        /// What was asked.
        operation: &'static str,
        /// The beginning of the answer.
        answer: String,
    },
    /// This Redis must not be used.
    #[error("Redis cannot be used: {why}")]
    Unfit {
        /// What is wrong and what to do.
        why: String,
    },
    /// An entry of a stream is not a frame of this version.
    #[error("{stream} {id}: not a frame of format {}", crate::topic::frame::FORMAT)]
    Frame {
        /// The key of the stream.
        stream: String,
        /// The entry's id.
        id: String,
        /// Why; absent when the field of the format is missing.
        #[source]
        source: Option<prost::DecodeError>,
    },
}

impl Error {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unanswered { .. }
            | Self::Broken
            | Self::NoPrimary { .. }
            | Self::Unsure { .. }
            | Self::NoCluster { .. }
            | Self::NoOwner { .. }
            | Self::Replica
            | Self::Refused { .. } => ErrorClass::Transient,
            Self::Url(_) | Self::Unfit { .. } | Self::Frame { .. } => ErrorClass::Permanent,
            Self::Rejected { .. } | Self::Answer { .. } => ErrorClass::Defect,
        }
    }

    pub(super) fn of(operation: &'static str, source: redis::RedisError) -> Self {
        let source = first(source);
        match code(&source).as_deref() {
            None => Self::Unanswered { operation, source },
            Some(code) if FOR_NOW.contains(&code) => Self::Refused { operation, source },
            Some(_) => Self::Rejected { operation, source },
        }
    }

    /// Whether a refusal means that this may be another server by now, or one that lost something: its connection is made anew. What a cluster
    /// says of slots is about the slots.
    pub(super) fn is_of_the_server(code: &str) -> bool {
        FOR_NOW.contains(&code) && !matches!(code, "OOM" | "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN")
    }

    /// Whether the memory of Redis is full: it takes nothing new, but is the same server as before, and has all that it had.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if code(source).as_deref() == Some("OOM"))
    }

    pub(super) fn answer(operation: &'static str, answer: &redis::Value) -> Self {
        let mut answer = format!("{answer:?}");
        answer.truncate(answer.char_indices().nth(120).map_or(answer.len(), |(at, _)| at));
        Self::Answer { operation, answer }
    }
}

/// Of a pipeline the refusal of its first command that was refused: a server that refuses one for now refuses all.
fn first(error: redis::RedisError) -> redis::RedisError {
    let first = error.clone().into_server_errors().and_then(|errors| errors.first().map(|(_, error)| error.clone()));
    first.map_or(error, redis::RedisError::from)
}

/// What Redis calls its refusal; of a pipeline, that of the first command that was refused. `None` when it did not answer.
pub(super) fn code(error: &redis::RedisError) -> Option<String> {
    let of_pipeline = || error.clone().into_server_errors()?.first().map(|(_, error)| error.code().to_owned());
    error.code().map(str::to_owned).or_else(of_pipeline)
}
