//! Accept, deliver, acknowledge, sync: what a shard decides, frame by frame, is what the reference says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use roger::model::{MessageKind, Place, Reason, Span, TopicId, TopicKind};
use roger::topic::frame::{Attach, InFrame, Input, Lane, LogFrame, Notice, Outcome, Output, RowKind, WirePlace};
use roger::topic::{Batch, Followers, Shard};

use super::operations::{self, Operation, USERS};
use super::reference::{Reference, Said};

/// An owner as far as the core goes, beside the reference, with everything that it committed.
pub(super) struct Run {
    pub(super) shard: Shard,
    pub(super) log: Vec<LogFrame>,
    pub(super) reference: Reference,
    /// The rows of the checkpoints so far, merged as the hash in Redis merges them: by key.
    pub(super) rows: BTreeMap<String, RowKind>,
    /// How much of the log the checkpoint holds.
    pub(super) checkpointed: usize,
    followers: Followers,
    batch: Batch,
    pushed: Vec<(InFrame, Vec<Input>)>,
    now_ms: u64,
}

impl Run {
    pub(super) fn new() -> Self {
        Self {
            shard: Shard::new(1),
            log: Vec::new(),
            reference: Reference::default(),
            rows: BTreeMap::new(),
            checkpointed: 0,
            followers: Followers::default(),
            batch: Batch::default(),
            pushed: Vec::new(),
            now_ms: 1_000,
        }
    }

    pub(super) fn all(operations: &[Operation]) -> Self {
        let mut run = Self::new();
        operations.iter().for_each(|operation| run.take(operation));
        run.commit();
        run
    }

    pub(super) fn take(&mut self, operation: &Operation) {
        // The owner's clock may stand still or go back; the times of a topic may not.
        self.now_ms = self.now_ms.wrapping_mul(31).wrapping_add(7) % 2_000;
        match operation {
            Operation::Frame { edge, items } => {
                let mut inputs = Vec::new();
                let number = self.pushed.len() as u64 + 1;
                let producer = 100 + u64::from(*edge);
                // One by one, since each is relative to what the one before did.
                for item in items {
                    let input = item.input(&self.reference);
                    self.reference.take(&input);
                    inputs.push(input);
                }
                self.reference.frames.insert(producer, number);
                let frame = operations::frame(*edge, number, &inputs);
                self.pushed.push((frame.clone(), inputs));
                self.step(frame);
            }
            Operation::Again { back } => {
                let Some(index) = self.pushed.len().checked_sub(back + 1) else { return };
                let (frame, inputs) = self.pushed[index].clone();
                self.reference.frame(frame.producer, frame.number, &inputs);
                self.step(frame);
            }
            Operation::Commit => self.commit(),
            Operation::Checkpoint => {
                self.commit();
                let dirty = self.shard.take_dirty();
                self.rows.extend(dirty.into_iter().map(|row| (row.key(), row)));
                self.checkpointed = self.log.len();
            }
        }
    }

    fn step(&mut self, frame: InFrame) {
        self.shard.step(&mut self.batch, &mut self.followers, Lane::Normal, frame, self.now_ms).unwrap();
    }

    fn commit(&mut self) {
        self.log.extend(self.shard.seal(&mut self.batch, self.now_ms));
    }

    /// What the log says was accepted, refused and marked must be what the reference has.
    fn check_outcomes(&self) {
        let mut said: BTreeMap<TopicId, Vec<Said>> = BTreeMap::new();
        let (mut rejected, mut times) = (Vec::new(), BTreeMap::new());
        for outcome in self.log.iter().flat_map(|frame| &frame.outcomes).filter_map(|item| item.outcome.as_ref()) {
            match outcome {
                Outcome::Entry(entry) => {
                    let topic = said.entry(TopicId::from_packed(entry.topic).unwrap()).or_default();
                    let body = if entry.sender == 0 { Vec::new() } else { entry.body.to_vec() };
                    topic.push(Said(entry.sender, entry.installation, entry.client_seq, entry.kind, body));
                    assert_eq!((entry.epoch, entry.seq), (1, topic.len() as u64), "seq has a hole");
                    let before = times.insert(entry.topic, entry.time_ms).unwrap_or(0);
                    assert!(before <= entry.time_ms, "time went back from {before} to {}", entry.time_ms);
                }
                Outcome::Forward(forward) => {
                    let Some(Input::Notice(notice)) = &forward.item.input else { panic!("{forward:?}") };
                    let body: roger::topic::frame::NoticeBody = prost::Message::decode(notice.body.clone()).unwrap();
                    let reason = Reason::from_number(body.reason).unwrap();
                    rejected.push((notice.topic >> 3, body.topic, body.client_seq, reason));
                }
                _ => {}
            }
        }
        for (id, topic) in &self.reference.topics {
            assert_eq!(said.remove(id).unwrap_or_default(), topic.log, "{id}");
            assert_eq!(self.shard.head(*id), Place::new(1, topic.log.len() as u64), "{id}");
        }
        assert_eq!(said.values().map(Vec::len).sum::<usize>(), 0);
        assert_eq!(rejected, self.reference.rejected);
    }

    /// What each user is told to fetch, from the start, are exactly the places they may see.
    fn check_sync(&mut self) {
        let mut facts = self.shard.facts();
        for (id, topic) in std::mem::take(&mut self.reference.topics) {
            for user in 1..=USERS {
                let own = matches!(id.kind(), TopicKind::Inbox | TopicKind::AlertInbox) && id.id() == user;
                let member = topic.members.get(&user).filter(|_| id.group_of().is_some());
                let sees: Vec<usize> = if own {
                    (1..=topic.log.len()).collect()
                } else {
                    member.into_iter().flat_map(|member| &member.sees).copied().collect()
                };
                let present = own || member.is_some_and(|member| member.present);
                match self.ask(id, user, Some(Place::START)) {
                    Ok((gaps, live, _)) => {
                        let told: Vec<usize> =
                            (1..=topic.log.len()).filter(|seq| gaps.iter().any(|gap| gap.contains(Place::new(1, *seq as u64)))).collect();
                        assert_eq!((told, live), (sees, present), "{id} for user {user}");
                    }
                    Err(reason) => assert_eq!((reason, present, sees.len()), (Reason::NotMember, false, 0), "{id} for user {user}"),
                }
                for installation in [user * 10, user * 10 + 1] {
                    let mark = topic.marks.get(&(user, installation)).copied().unwrap_or(0) as u64;
                    let row = facts.remove(&format!("mark {id} {user} {installation:x}"));
                    let known = row.map_or(0, |row| if let RowKind::Mark(mark) = row { mark.place.seq } else { 0 });
                    assert_eq!(known, mark, "mark of {user} in {id}");
                }
            }
        }
    }

    fn push(&mut self, inputs: &[Input]) {
        let frame = operations::frame(9, self.pushed.len() as u64 + 1, inputs);
        self.pushed.push((frame.clone(), Vec::new()));
        self.step(frame);
    }

    fn ask(&mut self, topic: TopicId, user: u64, mark: Option<Place>) -> Result<(Vec<Span>, bool, Place), Reason> {
        let attach = Attach { topic: topic.packed(), user, installation: user * 10, session: 1, mark: mark.map(WirePlace::from) };
        let (mut batch, mut followers) = (Batch::default(), Followers::default());
        let frame = operations::frame(9, self.pushed.len() as u64 + 1, &[Input::Attach(attach)]);
        self.pushed.push((frame.clone(), Vec::new()));
        self.shard.step(&mut batch, &mut followers, Lane::Normal, frame, 0).unwrap();
        let (_, items) = batch.outputs.into_edges().next().unwrap();
        match items.into_iter().next().unwrap().output.unwrap() {
            Output::Attached(attached) => Ok((attached.gaps.into_iter().map(Span::from).collect(), attached.live, attached.mark.into())),
            Output::Refused(refused) => Err(Reason::from_number(refused.reason).unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(super::config(400))]

    #[test]
    fn a_shard_decides_what_the_reference_says(operations in operations::history(60)) {
        let mut run = Run::all(&operations);
        run.check_outcomes();
        run.check_sync();
    }
}

#[test]
fn a_new_device_continues_from_the_head_of_what_nobody_wrote_to() {
    let mut run = Run::new();
    let inbox: TopicId = "u:7".parse().unwrap();
    let head = run.shard.head(inbox);
    assert_eq!(run.ask(inbox, 7, None), Ok((Vec::new(), true, head)), "no page is needed to say that there is nothing");
    // A client that names its place continues there.
    assert_eq!(run.ask(inbox, 7, Some(Place::START)), Ok((vec![Span::new(Place::START, head)], true, Place::START)));
    let notice = Notice { topic: inbox.packed(), kind: MessageKind::Text as u32, ..Notice::default() };
    run.push(&[Input::Notice(notice)]);
    assert_eq!(run.ask(inbox, 7, None), Ok((vec![Span::new(Place::START, Place::new(1, 1))], true, Place::START)));
}
