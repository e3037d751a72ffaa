//! What an app keeps beyond the life of its process.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::model::{InstallationId, Place, TopicId};

/// Everything of a session that must survive the process: as JSON in a file, or wherever the app keeps what it received. Saved together
/// with the entries it acknowledges, it makes the app receive each exactly once.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// Chosen once at random. Client sequences and marks belong to it; two running sessions never share one.
    pub installation: InstallationId,
    /// By topic.
    #[serde(default)]
    pub topics: BTreeMap<TopicId, TopicMemory>,
}

/// What is kept of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct TopicMemory {
    /// Everything up to here was received and stored; `None` for what the fleet knows of this installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<Place>,
    /// The highest client_seq handed over of each installation, whoever was heard last at the end: it knows a message that comes again at another
    /// place, after the fleet lost its last moments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<(InstallationId, u64)>,
    /// The highest client_seq given to a message so far; 0 for none.
    pub client_seq: u64,
    /// The highest client_seq given that was not refused: the predecessor of the next message.
    pub predecessor: u64,
    /// Messages without a receipt, in order. Sent again before anything else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreceipted: Vec<Unreceipted>,
}

/// A message that is not known to be stored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unreceipted {
    /// Its number in its topic.
    pub client_seq: u64,
    /// The number of the message before it that was not refused.
    pub predecessor: u64,
    /// UTF-8.
    #[serde(with = "text")]
    pub text: Bytes,
}

impl Memory {
    /// The memory of a new installation.
    pub fn new() -> Self {
        Self::of(InstallationId(rand::random_range(1..=u64::MAX)))
    }

    /// An empty memory of a known installation.
    pub fn of(installation: InstallationId) -> Self {
        Self { installation, topics: BTreeMap::new() }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

mod text {
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(text).map_err(serde::ser::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        String::deserialize(deserializer).map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Apps have files of this form: a later version reads them.
    #[test]
    fn the_file_reads_back_as_written() {
        let mut memory = Memory::of(InstallationId(u64::MAX));
        let topic = memory.topics.entry("g:7".parse().unwrap()).or_default();
        *topic = TopicMemory {
            mark: Some(Place::new(1, 20)),
            heard: vec![(InstallationId(9), 3), (InstallationId(u64::MAX), 17)],
            client_seq: 4,
            predecessor: 4,
            unreceipted: vec![Unreceipted { client_seq: 4, predecessor: 2, text: Bytes::from_static("über".as_bytes()) }],
        };
        memory.topics.insert("u:3".parse().unwrap(), TopicMemory::default());
        let text = serde_json::to_string(&memory).unwrap();
        assert_eq!(
            text,
            r#"{"installation":18446744073709551615,"topics":{"u:3":{"client_seq":0,"predecessor":0},"g:7":{"mark":{"epoch":1,"seq":20},"heard":[[9,3],[18446744073709551615,17]],"client_seq":4,"predecessor":4,"unreceipted":[{"client_seq":4,"predecessor":2,"text":"über"}]}}}"#
        );
        assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
        assert_eq!(serde_json::from_str::<Memory>(r#"{"installation":1}"#).unwrap(), Memory::of(InstallationId(1)));
    }
}
