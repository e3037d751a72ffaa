//! What commands print: tables and lines for people, JSON with `--json`. The only place that writes to stdout.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Where a command prints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// One JSON value instead of text.
    pub(super) json: bool,
}

impl Output {
    /// The answer: as JSON, or as what `text` makes of it.
    pub(super) fn answer<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        if self.json {
            line(&serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")));
        } else {
            let text = text(value);
            if !text.is_empty() {
                line(&text);
            }
        }
    }

    /// A bar for long work; hidden unless somebody watches.
    pub(super) fn progress(self, length: u64, what: &str) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(length).with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {human_pos}/{human_len} {per_sec} {eta}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// A line on stdout. Whoever closed it does not want it.
fn line(text: &str) {
    let _gone = writeln!(io::stdout().lock(), "{text}");
}

/// Bytes as they are on stdout.
pub(super) fn raw(bytes: &[u8]) {
    let _gone = io::stdout().lock().write_all(bytes);
}

/// A line on stderr that says what goes on.
pub(super) fn note(text: &str) {
    let _gone = writeln!(io::stderr().lock(), "{text}");
}

/// A table for people.
pub(super) fn table<R: IntoIterator<Item = String>>(head: &[&str], rows: impl IntoIterator<Item = R>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head.iter().copied());
    for row in rows {
        table.add_row(row.into_iter().collect::<Vec<_>>());
    }
    table.trim_fmt()
}

/// Asks for a password on the terminal, unseen, or takes the first line of stdin.
pub(super) fn ask_password(prompt: &str) -> io::Result<String> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt);
    }
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// An enum as its JSON has it.
pub(super) fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
