//! The verdict, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::check::{DISORDERED, FOREIGN, Findings, LOST, REPEATED};
use crate::episode::Episode;
use crate::faults::{Fault, Layout};

/// How many breaches of a kind are told.
const TOLD: usize = 20;

/// What a run came to.
pub struct Verdict {
    pub seed: u64,
    pub lasted: Duration,
    pub radios: u32,
    pub at_a_time: u32,
    pub redis: Layout,
    pub episodes: Vec<Episode>,
    pub heard_all: bool,
    /// What is wrong in SQL.
    pub audit: String,
    pub findings: Findings,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        let well = self.episodes.iter().all(|episode| episode.well.is_some());
        self.findings.breaches.is_empty() && self.heard_all && self.audit_holds() && well
    }

    /// Whether SQL is as it should be. Places that were given to what is lost, unpromised, are not given again: nothing stands there.
    fn audit_holds(&self) -> bool {
        let mut findings = self.audit.lines().filter(|line| line.starts_with("g:") || line.starts_with("u:"));
        self.audit.is_empty() || self.findings.unpromised > 0 && findings.all(|line| line.contains(": nothing between "))
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let Self { seed, lasted, radios, at_a_time, redis, episodes, findings, .. } = self;
        let verdict = if self.holds() { "Every promise was kept." } else { "**A promise was broken.**" };
        let layout = if *redis == Layout::Cluster { " --redis cluster" } else { "" };
        let faults: usize = episodes.iter().map(|episode| episode.faults.len()).sum();
        writeln!(text, "# Verdict\n\n{verdict}\n").unwrap();
        writeln!(text, "| | |\n|---|---|").unwrap();
        let mut row = |name: &str, value: String| writeln!(text, "| {name} | {value} |").unwrap();
        row(
            "again with",
            format!(
                "`scripts/chaos --seed {seed} --minutes {:.0} --radios {radios} --at-a-time {at_a_time}{layout}`",
                lasted.as_secs_f64() / 60.0
            ),
        );
        row("faults", format!("{faults} in {} episodes within {:.0} s", episodes.len(), lasted.as_secs_f64()));
        row("said by radios", findings.said.to_string());
        row("stored in SQL", findings.stored.to_string());
        row("heard, by all who listen", findings.heard.to_string());
        row("promised: receipts that said `replica`", findings.promised.to_string());
        row("unknown: promised less, and not stored", findings.unpromised.to_string());
        row("decided anew, and dropped by clients", findings.echoes.to_string());
        row("heard again after such an unknown was lost and said anew", findings.again.to_string());
        row("sent too early, and refused for that", findings.too_early.to_string());
        row("sessions taken over by another one with the same identity", findings.taken_over.to_string());
        for what in [LOST, REPEATED, DISORDERED, FOREIGN] {
            row(&format!("**{what}**"), format!("**{}**", findings.breaches.get(what).map_or(0, Vec::len)));
        }
        row("everybody heard everything in the end", if self.heard_all { "yes" } else { "**no**" }.to_owned());
        let audit = match (self.audit.is_empty(), self.audit_holds()) {
            (true, _) => "finds nothing",
            (false, true) => "finds the places of what is unknown",
            (false, false) => "**finds something**",
        };
        row("`roger audit`", audit.to_owned());
        self.faults(&mut text);
        for (what, breaches) in &findings.breaches {
            writeln!(text, "\n## {what}: {}\n", breaches.len()).unwrap();
            for breach in breaches.iter().take(TOLD) {
                writeln!(text, "- {breach}").unwrap();
            }
        }
        if !self.audit.is_empty() {
            writeln!(text, "\n## roger audit\n\n{}", self.audit).unwrap();
        }
        text
    }

    /// How long each fault was felt.
    fn faults(&self, text: &mut String) {
        let mut alone: BTreeMap<Fault, Vec<&Episode>> = BTreeMap::new();
        let mut paired: BTreeMap<Fault, Vec<&Episode>> = BTreeMap::new();
        for episode in &self.episodes {
            for fault in &episode.faults {
                let of = if episode.faults.len() == 1 { &mut alone } else { &mut paired };
                of.entry(*fault).or_default().push(episode);
            }
        }
        let head = "\nThe longest that a word took, from being said at one edge until it was heard at another, of those said while the fault lasted (median and worst \
                    of its runs; where nobody got a word in, how long that was so), and the longest from its beginning until all was well.\n";
        for (name, of) in [("One fault at a time", alone), ("Two faults at a time", paired)] {
            if of.is_empty() {
                continue;
            }
            writeln!(
                text,
                "\n## {name}\n{head}\n| fault | runs | median wait (s) | worst wait (s) | well after, at worst (s) |\n|---|---|---|---|---|"
            )
            .unwrap();
            for (fault, episodes) in of {
                let seconds = |time: Option<Duration>| time.map_or(f64::INFINITY, |time| time.as_secs_f64());
                let mut waits: Vec<f64> = episodes.iter().map(|episode| seconds(episode.delay.or(episode.well))).collect();
                waits.sort_by(f64::total_cmp);
                let well = episodes.iter().map(|episode| seconds(episode.well)).fold(0.0, f64::max);
                let (median, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
                writeln!(text, "| {} | {} | {median:.1} | {worst:.1} | {well:.1} |", fault.name(), waits.len()).unwrap();
            }
        }
    }
}
