//! Lines of what programs print, from pieces that begin and end anywhere. Pure.

use std::collections::HashMap;

use super::event::Channel;

/// The most bytes of a line; what is behind them is dropped.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024;
/// The most programs whose lines are kept; the one that was silent longest goes.
const PROGRAMS_MAX: usize = 1024;

#[derive(Debug, Default)]
struct Tail {
    /// The begin of a line whose end did not come yet.
    begun: String,
    last: String,
    /// When it was heard of last, in pieces.
    turn: u64,
}

/// Puts lines together.
#[derive(Debug, Default)]
pub(super) struct Lines {
    tails: HashMap<(String, u32, Channel), Tail>,
    turn: u64,
}

impl Lines {
    /// Takes a piece and gives the lines it ends, without those that are empty.
    pub(super) fn take(&mut self, program: &str, pid: u32, channel: Channel, text: &str) -> Vec<String> {
        self.turn += 1;
        if self.tails.len() >= PROGRAMS_MAX {
            let oldest = self.tails.iter().min_by_key(|(_, tail)| tail.turn).map(|(key, _)| key.clone());
            oldest.map(|key| self.tails.remove(&key));
        }
        // Another process begins a line of its own.
        self.tails.retain(|(name, id, from), _| name != program || *id == pid || *from != channel);
        let tail = self.tails.entry((program.to_owned(), pid, channel)).or_default();
        tail.turn = self.turn;
        let mut lines = Vec::new();
        let mut rest = text;
        while let Some((line, behind)) = rest.split_once('\n') {
            append(&mut tail.begun, line);
            let line = std::mem::take(&mut tail.begun);
            let line = line.trim_end_matches('\r');
            if !line.trim().is_empty() {
                line.clone_into(&mut tail.last);
                lines.push(line.to_owned());
            }
            rest = behind;
        }
        append(&mut tail.begun, rest);
        lines
    }

    /// A program ended: what it had begun is a line now.
    pub(super) fn end(&mut self, program: &str) -> Vec<String> {
        let ended = self.tails.iter_mut().filter(|((name, ..), _)| name == program);
        let mut lines = Vec::new();
        for (_, tail) in ended {
            let begun = std::mem::take(&mut tail.begun);
            if !begun.trim().is_empty() {
                tail.last.clone_from(&begun);
                lines.push(begun);
            }
        }
        lines
    }

    /// The last line of a program, on whichever channel it spoke last; `None` when nothing was heard.
    pub(super) fn last(&self, program: &str) -> Option<&str> {
        let heard = self.tails.iter().filter(|((name, ..), tail)| name == program && !tail.last.is_empty());
        heard.max_by_key(|(_, tail)| tail.turn).map(|(_, tail)| tail.last.as_str())
    }
}

fn append(line: &mut String, text: &str) {
    let mut room = LINE_BYTES_MAX.saturating_sub(line.len()).min(text.len());
    while !text.is_char_boundary(room) {
        room -= 1;
    }
    line.push_str(&text[..room]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_cut_gives_the_same_lines(lines in prop::collection::vec("[a-zæ ]{0,20}", 0..10), cuts in prop::collection::vec(1..9_usize, 1..9)) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let chars: Vec<char> = text.chars().collect();
            let (mut reader, mut got, mut at) = (Lines::default(), Vec::new(), 0);
            for cut in cuts.iter().cycle().take_while(|_| !chars.is_empty()) {
                let end = (at + cut).min(chars.len());
                got.extend(reader.take("p", 1, Channel::Stdout, &chars[at..end].iter().collect::<String>()));
                at = end;
                if at == chars.len() {
                    break;
                }
            }
            let expected: Vec<String> = lines.into_iter().filter(|line| !line.trim().is_empty()).collect();
            prop_assert_eq!(reader.last("p"), expected.last().map(String::as_str));
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn processes_and_channels_do_not_mix_and_an_end_ends_a_line() {
        let mut lines = Lines::default();
        assert_eq!(lines.take("p", 1, Channel::Stdout, "one "), [""; 0]);
        assert_eq!(lines.take("p", 1, Channel::Stderr, "err\n"), ["err"]);
        assert_eq!(lines.take("q", 9, Channel::Stdout, "other\r\n"), ["other"]);
        assert_eq!(lines.take("p", 1, Channel::Stdout, "line\n"), ["one line"]);
        lines.take("p", 1, Channel::Stdout, "last words");
        assert_eq!((lines.end("p"), lines.last("p")), (vec!["last words".to_owned()], Some("last words")));
        assert_eq!(lines.take("p", 2, Channel::Stdout, "next\n"), ["next"]);
        let long = "x".repeat(LINE_BYTES_MAX + 5);
        assert_eq!(lines.take("p", 2, Channel::Stdout, &format!("{long}\n"))[0].len(), LINE_BYTES_MAX);
    }
}
