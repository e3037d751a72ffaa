//! How `roger top` looks: lines from a look and the one before, and the part of them that a terminal has room for. Pure.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::lines::{age, counted, lines, time_of_day};
use super::look::Look;

const HELP: [&str; 10] = [
    "q, Esc, Ctrl-C     end",
    "p                  pause, and go on",
    "Up, Down           a line up, a line down",
    "PageUp, PageDown   a page up, a page down",
    "Home, End          to the first line, to the last one",
    "?                  this help, and back",
    "",
    "COMMITS/S and GROWTH/S are of the time since the look before.",
    "NOT IN SQL counts commits that the archive has still to write.",
    "OLDEST is how long the oldest entry of a stream has stood there.",
];

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Head,
    /// It may be as it should.
    Odd,
    /// Somebody has to act.
    Bad,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Head => Style::new().add_modifier(Modifier::BOLD),
            Self::Odd => Style::new().fg(Color::Yellow),
            Self::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

/// What is shown, and from where on.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    look: Option<Look>,
    /// The one before, for what there is of each second.
    before: Option<Look>,
    /// Since when Redis has not answered, and why.
    away: Option<(u64, String)>,
    pub(super) paused: bool,
    pub(super) help: bool,
    /// The first line that is shown; drawing moves it back to where there is something.
    pub(super) first: usize,
    /// How many lines there was room for when it was drawn last.
    pub(super) page: usize,
    /// Seconds between looks.
    interval_s: u64,
}

impl View {
    /// Nothing yet, with looks every `interval_s` seconds.
    pub(super) fn new(interval_s: u64) -> Self {
        Self { interval_s, ..Self::default() }
    }

    /// Takes a look that began at `begun_ms`; one that failed leaves the figures as they were.
    pub(super) fn take(&mut self, begun_ms: u64, look: Result<Look, String>) {
        match look {
            Ok(look) => {
                // What happened while nobody could look is in no second of these.
                self.before = self.look.replace(look).filter(|_| self.away.is_none());
                self.away = None;
            }
            Err(why) => self.away = Some((self.away.take().map_or(begun_ms, |(since_ms, _)| since_ms), why)),
        }
    }

    /// Everything, as text for a pipe.
    pub(super) fn text(&self) -> String {
        let body = self.look.iter().flat_map(|look| lines(look, self.before.as_ref()));
        let text: Vec<String> = body.map(|(line, _)| line.trim_end().to_owned()).collect();
        text.join("\n")
    }

    /// Draws it at the time `now_ms`.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, now_ms: u64) {
        let rows = [Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];
        let [title, status, body, foot] = Layout::vertical(rows).areas(frame.area());
        let paused = if self.paused { ", paused" } else { "" };
        let text = format!("roger top   {} UTC   every {} s{paused}", time_of_day(now_ms), self.interval_s);
        frame.render_widget(Paragraph::new(Span::styled(text, Tone::Head.style())), title);
        frame.render_widget(Paragraph::new(self.status(now_ms)), status);
        let shown = if self.help { HELP.iter().map(|line| ((*line).to_owned(), Tone::Plain)).collect() } else { self.body() };
        self.page = usize::from(body.height);
        self.first = self.first.min(shown.len().saturating_sub(self.page));
        let style = |tone: Tone| if self.away.is_some() && !self.help { Style::new().fg(Color::DarkGray) } else { tone.style() };
        let part = shown.iter().skip(self.first).take(self.page);
        let part: Vec<Line<'_>> = part.map(|(text, tone)| Line::styled(text.as_str(), style(*tone))).collect();
        frame.render_widget(Paragraph::new(part), body);
        self.draw_foot(frame, foot, shown.len());
    }

    fn body(&self) -> Vec<(String, Tone)> {
        self.look.as_ref().map(|look| lines(look, self.before.as_ref())).unwrap_or_default()
    }

    fn status(&self, now_ms: u64) -> Line<'static> {
        match (&self.away, &self.look) {
            (Some((since_ms, why)), look) => {
                let kept = look.as_ref().map_or(String::new(), |look| format!("; figures of {}", time_of_day(look.at_ms)));
                let lasts = age(now_ms.saturating_sub(*since_ms));
                let text = format!("Redis does not answer since {}, for {lasts}{kept}: {why}", time_of_day(*since_ms));
                Line::styled(text, Tone::Bad.style())
            }
            (None, None) => Line::raw("waiting for Redis"),
            (None, Some(look)) => {
                let alerts = match &look.alerts {
                    Some(alerts) if alerts.is_empty() => Span::raw("no SOS is open"),
                    Some(alerts) => Span::styled(format!("{} SOS open", alerts.len()), Tone::Bad.style()),
                    None => Span::styled("SOS unknown: its Redis does not answer", Tone::Bad.style()),
                };
                let dead = Span::styled(
                    format!(", {}", counted(look.dead, "dead letter")),
                    if look.dead > 0 { Tone::Odd.style() } else { Tone::Plain.style() },
                );
                let (edges, shards) = (counted(look.edges.len() as u64, "edge"), counted(look.shards.len() as u64, "shard"));
                let rest = format!(", {edges} with {}, {shards}", counted(look.sessions(), "session"));
                Line::from(vec![alerts, dead, Span::raw(rest)])
            }
        }
    }

    fn draw_foot(&self, frame: &mut Frame<'_>, area: Rect, lines: usize) {
        let last = (self.first + self.page).min(lines);
        let place = if lines > self.page { format!("   lines {} to {last} of {lines}", self.first + 1) } else { String::new() };
        let text = format!("q end   p pause   ? help{place}");
        frame.render_widget(Paragraph::new(Span::styled(text, Style::new().add_modifier(Modifier::REVERSED))), area);
    }
}
