//! Who follows a topic right now: sessions at edges. Soft state: a new owner starts empty and the edges attach their sessions again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::frame::{Enter, OutItem, Output};
use crate::model::{InstallationId, SessionId, TopicId, UserId};

/// The sessions that follow or watch the topics of a shard, by edge.
#[derive(Debug, Default)]
pub struct Followers {
    topics: HashMap<TopicId, Followed>,
    /// By session, for detaching everything at once when an edge is gone.
    edges: HashMap<Arc<str>, HashSet<TopicId>>,
    /// By inbox: wishes of its user's sessions to be in a room, which wait for a move.
    wishes: HashMap<TopicId, Vec<(Arc<str>, Enter)>>,
    /// Where those sit who ask for the floor of a room, or have it: they may not follow the room yet.
    pressing: HashMap<(TopicId, UserId, InstallationId), Arc<str>>,
}

#[derive(Debug, Default)]
struct Followed {
    /// By edge: its sessions and their users.
    sessions: Vec<(Arc<str>, HashMap<SessionId, UserId>)>,
    /// Senders to be told of acknowledgements: where their installation sits.
    watchers: HashMap<(UserId, InstallationId), (Arc<str>, SessionId)>,
}

impl Followers {
    fn edge(&mut self, name: &str, topic: TopicId) -> Arc<str> {
        let shared = self.edges.get_key_value(name).map_or_else(|| Arc::from(name), |(known, _)| known.clone());
        self.edges.entry(shared.clone()).or_default().insert(topic);
        shared
    }

    /// A session follows a topic from now on.
    pub fn attach(&mut self, topic: TopicId, edge: &str, session: SessionId, user: UserId) {
        let edge = self.edge(edge, topic);
        let sessions = &mut self.topics.entry(topic).or_default().sessions;
        let index = sessions.iter().position(|(known, _)| *known == edge).unwrap_or_else(|| {
            sessions.push((edge, HashMap::new()));
            sessions.len() - 1
        });
        sessions[index].1.insert(session, user);
    }

    /// A session wants to hear how far its messages to a topic got.
    pub fn watch(&mut self, topic: TopicId, edge: &str, session: SessionId, user: UserId, installation: InstallationId) {
        let edge = self.edge(edge, topic);
        self.topics.entry(topic).or_default().watchers.insert((user, installation), (edge, session));
    }

    /// A session wants its user in a room.
    pub(super) fn wish(&mut self, inbox: TopicId, edge: &str, enter: Enter) {
        self.wishes.entry(inbox).or_default().push((Arc::from(edge), enter));
    }

    /// The wishes that wait, in their order.
    pub(super) fn wishes(&self, inbox: TopicId) -> &[(Arc<str>, Enter)] {
        self.wishes.get(&inbox).map_or(&[], Vec::as_slice)
    }

    /// The wishes that waited.
    pub(super) fn take_wishes(&mut self, inbox: TopicId) -> Vec<(Arc<str>, Enter)> {
        self.wishes.remove(&inbox).unwrap_or_default()
    }

    /// Somebody presses the talk button of a room.
    pub(super) fn presses(&mut self, room: TopicId, edge: &str, user: UserId, installation: InstallationId) {
        if !edge.is_empty() {
            let edge = self.edges.get_key_value(edge).map_or_else(|| Arc::from(edge), |(known, _)| known.clone());
            self.pressing.insert((room, user, installation), edge);
        }
    }

    /// Nobody has to be told of that press any more.
    pub(super) fn pressed(&mut self, room: TopicId, user: UserId, installation: InstallationId) {
        self.pressing.remove(&(room, user, installation));
    }

    /// Where somebody presses the talk button of a room.
    pub(super) fn pressing(&self, room: TopicId, user: UserId, installation: InstallationId) -> Option<&Arc<str>> {
        self.pressing.get(&(room, user, installation))
    }

    /// A session neither follows nor watches a topic any more.
    pub fn detach(&mut self, topic: TopicId, session: SessionId) {
        self.retain(topic, |_, known, _| known != session);
    }

    /// A user left: none of their sessions follows the topic any more.
    pub fn depart(&mut self, topic: TopicId, user: UserId) {
        self.retain(topic, |_, _, known| known != user);
    }

    /// An edge is gone, with all its sessions.
    pub fn drop_edge(&mut self, edge: &str) {
        self.pressing.retain(|_, known| **known != *edge);
        for topic in self.edges.remove(edge).unwrap_or_default() {
            self.retain(topic, |known, _, _| known != edge);
        }
    }

    fn retain(&mut self, topic: TopicId, keep: impl Fn(&str, SessionId, UserId) -> bool) {
        let Some(followed) = self.topics.get_mut(&topic) else { return };
        for (edge, sessions) in &mut followed.sessions {
            sessions.retain(|session, user| keep(edge, *session, *user));
        }
        followed.sessions.retain(|(_, sessions)| !sessions.is_empty());
        followed.watchers.retain(|(user, _), (edge, session)| keep(edge, *session, *user));
        if followed.sessions.is_empty() && followed.watchers.is_empty() {
            self.topics.remove(&topic);
        }
    }

    /// The edges with sessions that follow `topic`.
    pub fn edges_of(&self, topic: TopicId) -> impl Iterator<Item = &Arc<str>> {
        self.topics.get(&topic).into_iter().flat_map(|followed| followed.sessions.iter().map(|(edge, _)| edge))
    }

    /// Where the installation sits that wants to hear of acknowledgements in `topic`.
    pub fn watcher(&self, topic: TopicId, user: UserId, installation: InstallationId) -> Option<&(Arc<str>, SessionId)> {
        self.topics.get(&topic)?.watchers.get(&(user, installation))
    }

    /// Every edge with at least one session.
    pub fn edges(&self) -> impl Iterator<Item = &Arc<str>> {
        self.edges.keys()
    }
}

/// What a batch has to say to each edge.
#[derive(Debug, Default)]
pub struct Outputs(HashMap<Arc<str>, Vec<OutItem>>);

impl Outputs {
    /// Adds one item for one edge.
    pub fn push(&mut self, edge: &Arc<str>, output: Output) {
        match self.0.get_mut(edge) {
            Some(items) => items.push(output.into()),
            None => drop(self.0.insert(edge.clone(), vec![output.into()])),
        }
    }

    /// All of them, by edge.
    pub fn into_edges(self) -> impl Iterator<Item = (Arc<str>, Vec<OutItem>)> {
        self.0.into_iter()
    }
}
