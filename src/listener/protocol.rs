//! What supervisord writes to an event listener, read from any cut of it into events.
//!
//! A header line of `key:value` tokens, then the payload. The `len` of the header counts characters and not bytes (supervisor 4.2.5 takes the
//! length of a text of Python); where a version counts bytes, or a length lies, the payload ends when nothing more comes. What is no header is
//! skipped up to the next one, so that nothing that is read makes the listener deaf. Pure: who reads says when nothing came for a while.

/// The most bytes of a header line.
pub(super) const HEADER_BYTES_MAX: usize = 4096;
/// The most characters of a payload that a header may announce; supervisord sends what a program wrote at once, some 64 KiB.
pub(super) const PAYLOAD_CHARS_MAX: usize = 4 * 1024 * 1024;

/// The header of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Counts the events of a supervisord, the same in all pools.
    pub(super) serial: u64,
    /// Counts the events of a pool: a jump is what its buffer discarded.
    pub(super) pool_serial: u64,
    /// The pool, which is the section of the listener.
    pub(super) pool: String,
    /// As `PROCESS_STATE_FATAL`.
    pub(super) name: String,
    /// Characters of the payload, as announced.
    pub(super) len: usize,
}

/// An event as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its header.
    pub(super) header: Header,
    /// What follows it; what is no UTF-8 became U+FFFD.
    pub(super) payload: String,
    /// Whether the payload is as long as announced.
    pub(super) whole: bool,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// An event, to be answered.
    Event(Event),
    /// So many bytes that are none, and nothing behind them: supervisord may wait for an answer.
    Garbage(usize),
}

/// Reads events from bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
    header: Option<Header>,
    /// Bytes skipped since the last event.
    skipped: usize,
    /// Whether anything came since the last event.
    fresh: bool,
}

impl Decoder {
    /// Takes what came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.fresh |= !bytes.is_empty();
    }

    /// The next event, when it is all there.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(header) = &self.header {
                let end = end_of(&self.bytes, header.len)?;
                return self.finish(end, true);
            }
            let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
                // Behind a header that does not end is none that could be found.
                if self.bytes.len() > HEADER_BYTES_MAX {
                    self.skipped += self.bytes.len();
                    self.bytes.clear();
                }
                return None;
            };
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            match parse(&line[..end]) {
                Some((header, before)) => {
                    self.skipped += before;
                    self.header = Some(header);
                }
                None => self.skipped += line.len(),
            }
        }
    }

    /// Nothing came for a while: what is there is all there will be. `None` when supervisord waits for nothing.
    pub(super) fn idle(&mut self) -> Option<Got> {
        if !self.fresh {
            return None;
        }
        if let Some(header) = &self.header {
            let whole = self.bytes.len() == header.len;
            return self.finish(self.bytes.len(), whole).map(Got::Event);
        }
        let skipped = self.skipped + self.bytes.len();
        self.bytes.clear();
        (self.skipped, self.fresh) = (0, false);
        Some(Got::Garbage(skipped))
    }

    /// How many bytes were skipped before the event that was read last.
    pub(super) fn take_skipped(&mut self) -> usize {
        std::mem::take(&mut self.skipped)
    }

    fn finish(&mut self, end: usize, whole: bool) -> Option<Event> {
        let header = self.header.take()?;
        let payload: Vec<u8> = self.bytes.drain(..end).collect();
        // What is left of a payload that was longer than announced waits for no answer.
        self.fresh = false;
        Some(Event { header, payload: String::from_utf8_lossy(&payload).into_owned(), whole })
    }
}

/// The header at the end of a line, and how many bytes stand before it: the rest of a payload that was longer than announced.
fn parse(line: &[u8]) -> Option<(Header, usize)> {
    // The word "server" ends in the same letters.
    let behind = line.windows(8).rposition(|part| part == b" server:")?;
    let at = line[..behind].windows(4).rposition(|part| part == b"ver:")?;
    let text = std::str::from_utf8(&line[at..]).ok().filter(|text| text.len() <= HEADER_BYTES_MAX)?;
    let value = |key: &str| text.split(' ').find_map(|token| token.strip_prefix(key)?.strip_prefix(':'));
    let header = Header {
        serial: value("serial")?.parse().ok()?,
        pool_serial: value("poolserial")?.parse().ok()?,
        pool: value("pool")?.to_owned(),
        name: value("eventname")?.to_owned(),
        len: value("len")?.trim_end().parse().ok().filter(|len| *len <= PAYLOAD_CHARS_MAX)?,
    };
    Some((header, at))
}

/// Behind how many bytes the first `chars` characters end; `None` when they are not all there.
fn end_of(bytes: &[u8], chars: usize) -> Option<usize> {
    let mut at = 0;
    for _ in 0..chars {
        let width = match bytes.get(at)? {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            _ => 1,
        };
        // A character that breaks off ends where the next one begins.
        let inner = bytes[at + 1..].iter().take(width - 1).take_while(|byte| **byte & 0xC0 == 0x80).count();
        if inner < width - 1 && at + 1 + inner == bytes.len() {
            return None;
        }
        at += 1 + inner;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(serial: u64, name: &str, len: usize, payload: &str) -> Vec<u8> {
        let header = format!("ver:3.0 server:supervisor serial:{serial} pool:alerts poolserial:{serial} eventname:{name} len:{len}\n");
        [header.as_bytes(), payload.as_bytes()].concat()
    }

    fn event(serial: u64, payload: &str) -> Vec<u8> {
        wire(serial, "PROCESS_LOG_STDOUT", payload.chars().count(), payload)
    }

    fn read_all(decoder: &mut Decoder) -> Vec<(u64, String)> {
        std::iter::from_fn(|| decoder.next_event()).map(|event| (event.header.serial, event.payload)).collect()
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_events(
            payloads in prop::collection::vec("[\\PC\n]{0,40}", 1..8), cuts in prop::collection::vec(1..50_usize, 1..40)
        ) {
            let bytes: Vec<u8> = payloads.iter().zip(0..).flat_map(|(payload, serial)| event(serial, payload)).collect();
            let (mut decoder, mut got, mut rest) = (Decoder::default(), Vec::new(), bytes.as_slice());
            for cut in cuts.iter().cycle() {
                let (part, behind) = rest.split_at((*cut).min(rest.len()));
                decoder.push(part);
                got.extend(read_all(&mut decoder));
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, (0..).zip(payloads).collect::<Vec<_>>());
            prop_assert_eq!((decoder.take_skipped(), decoder.idle()), (0, None));
        }

        #[test]
        fn a_length_that_lies_costs_at_most_its_own_event(payload in "[a-zæøå ]{0,30}", more in 1..20_usize, fewer in 1..20_usize) {
            let chars = payload.chars().count();
            let mut decoder = Decoder::default();
            decoder.push(&wire(1, "TICK_60", payload.len() + more, &payload));
            prop_assert_eq!(decoder.next_event(), None);
            let Some(Got::Event(cut)) = decoder.idle() else { panic!("nothing") };
            prop_assert_eq!((cut.payload.as_str(), cut.whole), (payload.as_str(), false));

            decoder.push(&wire(2, "TICK_60", chars.saturating_sub(fewer), &payload));
            prop_assert_eq!(decoder.next_event().map(|event| event.header.serial), Some(2));
            prop_assert_eq!(decoder.idle(), None);
            decoder.push(&event(3, "next"));
            prop_assert_eq!(read_all(&mut decoder), [(3, "next".to_owned())]);
        }

        #[test]
        fn nothing_makes_it_deaf(garbage in prop::collection::vec(any::<u8>(), 0..6000)) {
            let mut decoder = Decoder::default();
            decoder.push(&garbage);
            while decoder.next_event().is_some() {}
            let _told = decoder.idle();
            decoder.push(&event(7, "heard"));
            prop_assert_eq!(read_all(&mut decoder), [(7, "heard".to_owned())]);
        }
    }

    #[test]
    fn bytes_that_were_counted_instead_of_characters_are_whole() {
        let mut decoder = Decoder::default();
        decoder.push(&wire(1, "PROCESS_LOG_STDOUT", "blåbær".len(), "blåbær"));
        assert_eq!(decoder.next_event(), None);
        assert!(matches!(decoder.idle(), Some(Got::Event(event)) if event.whole && event.payload == "blåbær"));
    }

    #[test]
    fn what_is_no_header_is_skipped_and_told() {
        let mut decoder = Decoder::default();
        decoder.push(b"ver:3.0 serial:x len:-1\n");
        assert_eq!((decoder.next_event(), decoder.idle()), (None, Some(Got::Garbage(24))));
        decoder.push(b"ver:3.0 server:s serial:1 pool:p poolserial:1 eventname:E len:99999999999999999999\n");
        decoder.push(&event(2, "x"));
        assert_eq!(read_all(&mut decoder), [(2, "x".to_owned())]);
        assert!(decoder.take_skipped() > 80);
        decoder.push(&vec![b'x'; HEADER_BYTES_MAX + 1]);
        assert_eq!((decoder.next_event(), decoder.bytes.len()), (None, 0));
    }
}
