//! The offline program's worker that answers replays, with its windows on the logs. Each step is one call of Redis or SQL.

use std::collections::BTreeMap;

use roger::model::{Place, Span, TopicId};
use roger::topic::frame::{Entry, LogFrame, OutFrame, Output, Page, ReplayRequest, RowKind};
use roger::topic::replay::{Ask, Draft, Window};

use super::redis::Commit;
use super::sql::shard;
use super::world::World;

/// How many frames of a log are read at a time: few, so that something comes in between.
const FRAMES_A_CALL: usize = 2;
/// How many frames of what SQL has are worth reading: few, so that it leaps often.
const FRAMES_RECENT: u64 = 3;

/// A request, and what its topic's head in SQL and the epoch of the last commit there were when something seemed lost: then it is looked for once
/// more.
struct Asked {
    request: ReplayRequest,
    ask: Ask,
    again: Option<(Place, u64)>,
}

/// What it does next. A request taken and not answered is lost: the edge asks again.
#[derive(Default)]
enum Next {
    #[default]
    Nothing,
    /// To ask where the log ends.
    End(Asked),
    /// To ask up to where SQL has the log, which ends far behind what the window has.
    Noted(Asked, Commit),
    /// To look what the log has there, and to leap there.
    Leap(Asked, Commit, Commit),
    /// To read on in the log, which ends there or behind.
    Log(Asked, Commit),
    /// To look whether the last commit of the window is in the log still, before these are taken.
    Last(Asked, Commit, Vec<(Commit, LogFrame)>),
    /// To ask how far the archive is.
    Archived(Asked),
    /// To read SQL, which had everything up to a commit.
    Entries(Asked, Commit),
    /// To ask SQL for the topic's head: something is missing from the draft.
    Head(Asked, Draft, Commit),
}

/// The worker. It answers one request at a time.
pub(super) struct Replayer {
    next: Next,
    windows: BTreeMap<usize, Window>,
    /// How many frames a window has.
    frames_max: usize,
}

impl Replayer {
    pub(super) fn new(frames_max: usize) -> Self {
        Self { next: Next::Nothing, windows: BTreeMap::new(), frames_max }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.next, Next::Nothing)
    }

    pub(super) fn kill(&mut self) {
        (self.next, self.windows) = (Next::Nothing, BTreeMap::new());
    }

    pub(super) fn step(&mut self, world: &mut World) {
        self.next = match std::mem::take(&mut self.next) {
            Next::Nothing => world.redis.replay.pop_front().map_or(Next::Nothing, |request| Next::End(Asked::first(request))),
            Next::End(asked) => {
                let shard = asked.shard(world);
                let end = world.redis.shards[shard].meta.as_ref().map_or((0, 0), |meta| meta.commit);
                self.window(shard).ends_at(end);
                self.begin(world, asked, end)
            }
            Next::Noted(asked, end) => {
                let (shard, archived) = (asked.shard(world), world.redis.shards[asked.shard(world)].archived);
                match self.window(shard).leap(end, archived, FRAMES_RECENT) {
                    Some(behind) => Next::Leap(asked, end, behind),
                    None => Next::Log(asked, end),
                }
            }
            Next::Leap(asked, end, behind) => {
                let next = world.redis.shards[asked.shard(world)].log.range(behind..).next().map(|(next, _)| *next);
                self.window(asked.shard(world)).leap_to(behind, next);
                Next::Log(asked, end)
            }
            Next::Log(asked, end) => {
                let window = self.window(asked.shard(world));
                let log = world.redis.shards[asked.shard(world)].log.range((window.upto().0, window.upto().1 + 1)..);
                let frames: Vec<_> = log.take(FRAMES_A_CALL).map(|(commit, frame)| (*commit, frame.clone())).collect();
                let next = frames.first().map_or(end, |(first, _)| *first);
                if next > window.upto() && window.may_lack_before(next) {
                    Next::Last(asked, end, frames)
                } else {
                    self.take(world, asked, end, frames)
                }
            }
            Next::Last(asked, end, frames) => {
                let window = self.window(asked.shard(world));
                if world.redis.shards[asked.shard(world)].log.contains_key(&window.upto()) {
                    self.take(world, asked, end, frames)
                } else {
                    window.clear();
                    self.begin(world, asked, end)
                }
            }
            Next::Archived(asked) => {
                let position = world.sql.shards[asked.shard(world)].position;
                Next::Entries(asked, position)
            }
            Next::Entries(asked, archived) => self.entries(world, asked, archived),
            Next::Head(asked, draft, archived) => {
                let rows = world.sql.shards[asked.shard(world)].rows.values();
                let heads = rows.filter_map(|row| if let RowKind::Head(row) = row { Some(row) } else { None });
                let head = heads.filter(|row| row.topic == asked.request.topic).map(|row| Place::from(row.head)).max();
                let head = head.unwrap_or(Place::START);
                match draft.waits_behind(head, archived.0) {
                    Some(_) => Next::Nothing,
                    None => Next::End(Asked { again: Some((head, archived.0)), ..asked }),
                }
            }
        };
    }

    fn window(&mut self, shard: usize) -> &mut Window {
        self.windows.entry(shard).or_insert_with(|| Window::new(self.frames_max))
    }

    /// Reads on, or looks first whether to leap.
    fn begin(&mut self, world: &World, asked: Asked, end: Commit) -> Next {
        let far = self.window(asked.shard(world)).is_far_from(end, FRAMES_RECENT);
        if far { Next::Noted(asked, end) } else { Next::Log(asked, end) }
    }

    /// Takes frames of the log in; when there are no more, answers if the window has all.
    fn take(&mut self, world: &mut World, asked: Asked, end: Commit, frames: Vec<(Commit, LogFrame)>) -> Next {
        let (full, window) = (frames.len() == FRAMES_A_CALL, self.window(asked.shard(world)));
        for (commit, frame) in frames {
            window.take(commit, 1, frame);
        }
        if full {
            return Next::Log(asked, end);
        }
        window.is_read_to(end);
        match asked.again.is_none().then(|| Draft::of_window(asked.ask, window)).flatten() {
            Some(draft) => answer(world, &asked.request, draft),
            None => Next::Archived(asked),
        }
    }

    fn entries(&mut self, world: &mut World, asked: Asked, archived: Commit) -> Next {
        let Ask { span, entries_max, .. } = asked.ask;
        let shard = asked.shard(world);
        let inside = |span: Span| (asked.request.topic, span.after)..=(asked.request.topic, span.upto);
        let stored = world.sql.shards[shard].entries.range(inside(span)).filter(|((_, place), _)| span.contains(*place));
        let stored: Vec<Entry> = stored.take(entries_max).map(|(_, entry)| entry.clone()).collect();
        let more = stored.len() == entries_max;
        let Ok(draft) = Draft::of_both(asked.ask, stored, more, archived, self.window(shard)) else { return Next::Nothing };
        match asked.again {
            _ if draft.lost.is_empty() => answer(world, &asked.request, draft),
            None => Next::Head(asked, draft, archived),
            Some((head, epoch)) if draft.waits_behind(head, epoch).is_none() => answer(world, &asked.request, draft),
            Some(_) => Next::Nothing,
        }
    }
}

impl Asked {
    fn first(request: ReplayRequest) -> Self {
        let topic = TopicId::from_packed(request.topic).unwrap();
        let ask = Ask { topic, span: request.span.into(), entries_max: request.entries_max as usize, bytes_max: usize::MAX };
        Self { request, ask, again: None }
    }

    fn shard(&self, world: &World) -> usize {
        shard(self.request.topic, world.shape.shards)
    }
}

fn answer(world: &mut World, request: &ReplayRequest, draft: Draft) -> Next {
    let span = Span::new(Span::from(request.span).after, draft.upto);
    world.note(|| format!("page for {}: {span:?} {} entries, lost {:?}", request.session, draft.entries.len(), draft.lost));
    let lost = draft.lost.into_iter().map(Into::into).collect();
    let (topic, session, entries) = (request.topic, request.session, draft.entries);
    let page = Page { topic, session, span: span.into(), entries, lost, request: request.request };
    let frame = OutFrame { items: vec![Output::Page(page).into()], ..OutFrame::default() };
    if world.reaches() {
        world.redis.pages.entry(request.edge.parse().unwrap()).or_default().push(frame);
    }
    Next::Nothing
}
