//! What a shard says to edges: frames, counted so that an edge sees when one is missing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::time::Instant;

use crate::broker::{self, Redis, keys};
use crate::model::TopicId;
use crate::topic::Outputs;
use crate::topic::frame::{Lane, OutFrame, OutItem, Output};

/// Near how many frames an edge's stream is capped: an edge that is this far behind attaches its sessions again.
const OUT_FRAMES_MAX: usize = 10_000;

/// How long the counters of an edge are kept whose heartbeat lapsed. One that comes back later finds its streams gone, and forgets what it
/// knew of counters.
const LAPSED_MEMORY: Duration = Duration::from_secs(600);

/// The counters of one owner.
#[derive(Debug)]
pub(super) struct Outlet {
    shard: u32,
    epoch: u64,
    token: u64,
    owner: u64,
    edges: HashMap<Arc<str>, Counters>,
}

/// What was said to one edge.
#[derive(Debug, Default)]
struct Counters {
    /// The number of the last frame, by lane.
    last: [u64; 2],
    /// The number of the last frame that came from it, by lane.
    taken: [u64; 2],
    lapsed: Option<Instant>,
}

/// Frames ready to be written: by stream their bytes.
pub(super) type Frames = Vec<(String, Vec<u8>)>;

impl Outlet {
    pub(super) fn new(shard: u32, epoch: u64, token: u64, owner: u64) -> Self {
        Self { shard, epoch, token, owner, edges: HashMap::new() }
    }

    /// A frame of an edge was taken in: its edge hears of it with whatever it is told once that is committed.
    pub(super) fn took(&mut self, edge: &str, lane: Lane, number: u64) {
        if edge.is_empty() {
            return;
        }
        let counters = match self.edges.get_mut(edge) {
            Some(counters) => counters,
            None => self.edges.entry(Arc::from(edge)).or_default(),
        };
        let taken = &mut counters.taken[lane as usize];
        *taken = number.max(*taken);
    }

    /// Packs what a batch has to say, one frame for each edge and lane.
    pub(super) fn pack(&mut self, outputs: Outputs, commit: u64) -> Frames {
        let mut frames = Frames::new();
        for (edge, items) in outputs.into_edges() {
            let (urgent, normal): (Vec<_>, Vec<_>) = items.into_iter().partition(is_urgent);
            for (lane, items) in [(Lane::Urgent, urgent), (Lane::Normal, normal)] {
                if !items.is_empty() {
                    frames.push(self.frame(&edge, lane, items, commit));
                }
            }
        }
        frames
    }

    /// Frames without items: the shard is owned and alive.
    pub(super) fn beat(&mut self, edges: impl Iterator<Item = Arc<str>>, commit: u64) -> Frames {
        edges
            .flat_map(|edge| Lane::ALL.map(|lane| (edge.clone(), lane)))
            .map(|(edge, lane)| self.frame(&edge, lane, Vec::new(), commit))
            .collect()
    }

    fn frame(&mut self, edge: &Arc<str>, lane: Lane, items: Vec<OutItem>, commit: u64) -> (String, Vec<u8>) {
        if !self.edges.contains_key(edge) {
            self.edges.insert(edge.clone(), Counters::default());
        }
        let (mut counter, mut taken) = (0, 0);
        if let Some(counters) = self.edges.get_mut(edge) {
            counters.last[lane as usize] += 1;
            (counter, taken) = (counters.last[lane as usize], counters.taken[lane as usize]);
        }
        let Self { shard, epoch, token, owner, .. } = *self;
        let key = match lane {
            Lane::Urgent => keys::out_urgent(edge),
            Lane::Normal => keys::out(edge),
        };
        (key, OutFrame { shard, epoch, token, owner, counter, commit, items, taken }.encode_to_vec())
    }

    /// Of an edge whose heartbeat lapsed a number is skipped: should it come back, it sees that it missed something, for its sessions were
    /// dropped meanwhile.
    pub(super) fn lapse(&mut self, live: &HashSet<&str>) {
        for (edge, counters) in &mut self.edges {
            if live.contains(&**edge) {
                counters.lapsed = None;
            } else if counters.lapsed.is_none() {
                counters.lapsed = Some(Instant::now());
                counters.last = counters.last.map(|last| last + 1);
            }
        }
        self.edges.retain(|_, counters| counters.lapsed.is_none_or(|lapsed| lapsed.elapsed() < LAPSED_MEMORY));
    }
}

/// Writes frames. A failed write needs no repeat: the counters have moved on, so the edges see that something is missing.
pub(super) async fn write(redis: &Redis, frames: Frames) -> Result<(), broker::Error> {
    if frames.is_empty() { Ok(()) } else { redis.add_existing(OUT_FRAMES_MAX, frames).await }
}

fn is_urgent(item: &OutItem) -> bool {
    let topic = match item.output.as_ref() {
        Some(Output::Entry(entry)) => entry.topic,
        Some(Output::Attached(attached)) => attached.topic,
        Some(Output::Refused(refused)) => refused.topic,
        Some(Output::Departed(departed)) => departed.topic,
        Some(Output::Watched(watched)) => watched.topic,
        Some(Output::Delivered(delivered)) => delivered.topic,
        Some(Output::Entered(entered)) => entered.topic,
        Some(Output::Presence(presence)) => presence.topic,
        // Somebody waits for help.
        Some(Output::Raised(_)) => return true,
        // Or to talk.
        Some(Output::FloorTold(_) | Output::FloorNow(_) | Output::Seated(_)) => return true,
        Some(Output::Acted(_) | Output::Page(_) | Output::Displace(_) | Output::Positions(_)) | None => return false,
    };
    TopicId::from_packed(topic).is_some_and(|topic| Lane::of(topic) == Lane::Urgent)
}
