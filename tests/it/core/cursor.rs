//! A cursor between an owner, a lossy stream and a replay worker: what it passes on is exactly what the user may see, once and in order;
//! what it passes over is told.

use std::collections::VecDeque;

use proptest::prelude::*;
use roger::model::{Place, Span};
use roger::topic::frame::{Attached, Entry, Page, WireSpan};
use roger::topic::{Cursor, Offer};

#[derive(Clone, Debug)]
enum Event {
    /// The topic gets some entries.
    Append(u8),
    /// The next thing on the stream arrives; `room` says whether the session can take it.
    Arrive { room: bool },
    /// The next thing on the stream is lost; `noticed` when a counter shows it.
    Lose { noticed: bool },
    /// The user leaves or joins again.
    Change,
    /// The cursor asks.
    Ask,
    /// The request on its way is answered, by at most so many entries.
    Answer { most: u8 },
    /// An earlier answer comes once more.
    AnswerLate,
    /// The request on its way is lost.
    Forget,
    /// A new owner, in a new epoch: the last entries may be gone.
    Epoch { lost: u8 },
    /// The edge attaches again.
    Attach,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => prop_oneof![9 => 1..4u8, 1 => Just(250u8)].prop_map(Event::Append),
        12 => prop::bool::weighted(0.8).prop_map(|room| Event::Arrive { room }),
        2 => any::<bool>().prop_map(|noticed| Event::Lose { noticed }),
        2 => Just(Event::Change),
        4 => Just(Event::Ask),
        4 => (1..9u8).prop_map(|most| Event::Answer { most }),
        1 => Just(Event::AnswerLate),
        1 => Just(Event::Forget),
        1 => (0..3u8).prop_map(|lost| Event::Epoch { lost }),
        1 => Just(Event::Attach),
    ];
    prop::collection::vec(event, 1..120)
}

enum Sent {
    Entry(Entry),
    Attached(Attached),
    Departed(Place),
}

struct Run {
    // The owner's side.
    epoch: u64,
    log: Vec<Place>,
    gone: Vec<Place>,
    spans: Vec<Span>,
    following: bool,
    // On the way.
    stream: VecDeque<Sent>,
    request: Option<(u64, Span)>,
    answered: Option<Page>,
    requests: u64,
    // The edge's side.
    cursor: Cursor,
    passed: Vec<Place>,
    skipped: Vec<Span>,
}

impl Run {
    fn new() -> Self {
        let mut run = Self {
            epoch: 1,
            log: Vec::new(),
            gone: Vec::new(),
            spans: vec![Span::new(Place::START, Place::END)],
            following: false,
            stream: VecDeque::new(),
            request: None,
            answered: None,
            requests: 0,
            cursor: Cursor::new(Some(Place::START)),
            passed: Vec::new(),
            skipped: Vec::new(),
        };
        run.attach();
        run
    }

    fn head(&self) -> Place {
        Place::new(self.epoch, self.log.last().map_or(0, |place| place.seq))
    }

    fn present(&self) -> bool {
        self.spans.last().is_some_and(|span| span.upto == Place::END)
    }

    fn visible(&self, place: Place) -> bool {
        self.spans.iter().any(|span| span.contains(place))
    }

    /// The edge attaches and the owner answers, behind whatever is on the stream.
    fn attach(&mut self) {
        self.cursor.detach();
        let rest = Span::new(self.cursor.at(), self.head());
        let gaps: Vec<WireSpan> = self.spans.iter().filter_map(|span| span.intersect(rest)).map(Into::into).collect();
        self.following = self.present();
        if self.following || !gaps.is_empty() {
            let (head, mark) = (self.head().into(), self.cursor.at().into());
            let attached = Attached { topic: 9, session: 1, head, mark, gaps, live: self.following, ..Attached::default() };
            self.stream.push_back(Sent::Attached(attached));
        }
    }

    fn entry(place: Place) -> Entry {
        Entry { topic: 9, epoch: place.epoch, seq: place.seq, ..Entry::default() }
    }

    fn append(&mut self) {
        let place = Place::new(self.epoch, self.head().seq + 1);
        self.log.push(place);
        if self.following {
            self.stream.push_back(Sent::Entry(Self::entry(place)));
        }
    }

    fn pass(&mut self, entries: Vec<Entry>) {
        self.passed.extend(entries.iter().map(Entry::place));
        self.tell();
    }

    /// What the edge does after every change: tells what is passed over.
    fn tell(&mut self) {
        while let Some(span) = self.cursor.skip() {
            self.skipped.push(span);
        }
    }

    fn arrive(&mut self, room: bool) {
        match self.stream.pop_front() {
            None => {}
            Some(Sent::Attached(attached)) => assert!(self.cursor.attach(&attached)),
            Some(Sent::Departed(place)) => self.cursor.depart(place),
            Some(Sent::Entry(entry)) => match self.cursor.offer(entry, room) {
                Offer::Deliver(entry) => self.pass(vec![entry]),
                Offer::Hole => self.attach(),
                Offer::Repeat | Offer::Later => {}
            },
        }
        self.tell();
    }

    fn ask(&mut self) {
        if let Some(span) = self.cursor.ask(self.requests + 1) {
            self.requests += 1;
            self.request = Some((self.requests, span));
        }
    }

    fn answer(&mut self, most: usize) {
        let Some((request, span)) = self.request.take() else { return };
        let mut inside: Vec<_> = self.log.iter().copied().filter(|place| span.contains(*place)).collect();
        let mut span = span;
        if inside.len() > most {
            inside.truncate(most);
            span.upto = inside[most - 1];
        }
        let entries = inside.into_iter().map(Self::entry).collect();
        let page = Page { topic: 9, session: 1, span: span.into(), entries, lost: vec![], request };
        self.answered = Some(page.clone());
        let passed = self.cursor.page(page);
        self.pass(passed);
    }

    fn take(&mut self, event: &Event) {
        match *event {
            Event::Append(count) => (0..count).for_each(|_| self.append()),
            Event::Arrive { room } => self.arrive(room),
            Event::Lose { noticed } => {
                // A lost answer is always noticed: the edge waits for it.
                let lost = self.stream.pop_front();
                if noticed || matches!(lost, Some(Sent::Attached(_))) {
                    self.attach();
                }
            }
            Event::Change => {
                let head = self.head();
                if self.present() {
                    self.spans.last_mut().unwrap().upto = head;
                    self.spans.retain(|span| span.after < span.upto);
                    if self.following {
                        self.stream.push_back(Sent::Departed(head));
                    }
                    self.following = false;
                } else {
                    self.spans.push(Span::new(head, Place::END));
                    self.attach();
                }
            }
            Event::Ask => self.ask(),
            Event::Answer { most } => self.answer(most.into()),
            Event::AnswerLate => {
                let passed = self.answered.clone().map(|page| self.cursor.page(page)).unwrap_or_default();
                assert!(passed.is_empty(), "a late answer passed {passed:?}");
            }
            Event::Forget => {
                self.request = None;
                self.cursor.forget_request();
            }
            Event::Epoch { lost } => {
                // What the user saw before the loss stays seen; nobody else will ever see it.
                let first = self.log.len().saturating_sub(lost.into());
                let floor =
                    self.spans.iter().map(|span| span.after.max(if span.upto == Place::END { span.after } else { span.upto })).max();
                let first = first.max(self.log.partition_point(|place| floor.is_some_and(|floor| *place <= floor)));
                self.gone.extend(self.log.drain(first..));
                self.epoch += 1;
                self.stream.clear();
                self.attach();
            }
            Event::Attach => self.attach(),
        }
    }

    fn drain(&mut self) {
        // Behind a lost departure only the owner knows how the topic stands: the edge attaches when the shard falls silent.
        self.attach();
        for _ in 0..10_000 {
            self.arrive(true);
            self.ask();
            self.answer(50);
            if self.stream.is_empty() && self.cursor.ask(u64::MAX).is_none() {
                return;
            }
            self.cursor.forget_request();
        }
        panic!("the cursor never catches up: {:?}", self.cursor);
    }

    fn check(&self) {
        assert!(self.passed.is_sorted_by(|a, b| a < b), "repeated or out of order: {:?}", self.passed);
        let held: Vec<_> = self.passed.iter().filter(|place| !self.gone.contains(place)).copied().collect();
        let visible: Vec<_> = self.log.iter().copied().filter(|place| self.visible(*place)).collect();
        assert_eq!(held, visible);
        for place in &self.log {
            let told = self.skipped.iter().filter(|span| span.contains(*place)).count();
            let behind = *place <= self.cursor.at();
            let expected = usize::from(!self.visible(*place) && (behind || told > 0));
            assert_eq!(told, expected, "{place} was told as passed over {told} times, {:?}", self.skipped);
        }
    }
}

proptest! {
    #![proptest_config(super::config(500))]

    #[test]
    fn a_cursor_passes_on_what_is_visible_once_and_in_order(events in events()) {
        let mut run = Run::new();
        for event in &events {
            run.take(event);
            prop_assert!(format!("{:?}", run.cursor).matches("Entry {").count() <= 256, "memory is bounded");
        }
        run.drain();
        run.check();
    }
}

/// The stream lost the last entries before a departure and no counter shows it.
#[test]
fn what_never_came_before_a_departure_is_asked_for() {
    let mut run = Run::new();
    run.arrive(true);
    run.append();
    run.append();
    run.take(&Event::Lose { noticed: false });
    run.take(&Event::Lose { noticed: false });
    run.take(&Event::Change);
    run.arrive(true);
    run.ask();
    run.answer(5);
    assert_eq!(run.passed, [Place::new(1, 1), Place::new(1, 2)]);
    assert!(run.cursor.ended());
}
