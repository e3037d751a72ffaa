//! The verdict, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::audit::Audit;
use crate::check::{BREACHES, Findings};
use crate::episode::Episode;
use crate::faults::Fault;

/// How many breaches of a kind are told.
const TOLD: usize = 20;

/// What a run came to.
pub struct Verdict {
    /// The command that repeats it.
    pub again: String,
    pub lasted: Duration,
    pub episodes: Vec<Episode>,
    /// Whether one of its faults can take from Redis what had its receipt.
    pub may_be_lost: bool,
    /// What was without a receipt, or not in SQL, when the patience at the end was over.
    pub unsettled: Vec<String>,
    pub heard_all: bool,
    pub audit: Audit,
    pub findings: Findings,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        let well = self.episodes.iter().all(|episode| episode.well.is_some());
        let settled = self.unsettled.is_empty() && self.heard_all && self.audit.judge(&self.findings).is_ok();
        self.findings.breaches.is_empty() && settled && well
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let Self { again, lasted, episodes, findings, .. } = self;
        let verdict = if self.holds() { "Every promise was kept." } else { "**A promise was broken.**" };
        let faults: usize = episodes.iter().map(|episode| episode.faults.len()).sum();
        let refused: usize = episodes.iter().map(|episode| episode.refused.len()).sum();
        writeln!(text, "# Verdict\n\n{verdict}\n").unwrap();
        writeln!(text, "| | |\n|---|---|").unwrap();
        let mut row = |name: &str, value: String| writeln!(text, "| {name} | {value} |").unwrap();
        row("again with", format!("`{again}`"));
        row("faults that happened", format!("{faults} in {} episodes within {:.0} s", episodes.len(), lasted.as_secs_f64()));
        row("faults that were refused", refused.to_string());
        row("said by radios", findings.said.to_string());
        row("stored in SQL", findings.stored.to_string());
        row("heard, by all who listen", findings.heard.to_string());
        row("promised: receipts that said `replica`", findings.promised.to_string());
        let unknown = if self.may_be_lost { "" } else { "; each with a receipt a loss, as nothing can have taken it from Redis" };
        row(&format!("unknown: promised less, and not stored{unknown}"), findings.unpromised.to_string());
        row("decided anew, and dropped by clients", findings.echoes.to_string());
        row("heard again after such an unknown was lost and said anew", findings.again.to_string());
        row("sent too early, and refused for that", findings.too_early.to_string());
        row("refused otherwise", findings.refused.to_string());
        row("sessions taken over by another one with the same identity", findings.taken_over.to_string());
        for what in BREACHES {
            row(&format!("**{what}**"), format!("**{}**", findings.breaches.get(what).map_or(0, Vec::len)));
        }
        let yes = |holds: bool| if holds { "yes" } else { "**no**" }.to_owned();
        row("everything said had its receipt and was in SQL in the end", yes(self.unsettled.is_empty()));
        row("everybody heard everything in the end", yes(self.heard_all));
        row("`roger audit`", self.audit.judge(findings).map_or_else(|breach| format!("**{breach}**"), str::to_owned));
        self.faults(&mut text);
        self.refused(&mut text);
        for (what, breaches) in &findings.breaches {
            writeln!(text, "\n## {what}: {}\n", breaches.len()).unwrap();
            for breach in breaches.iter().take(TOLD) {
                writeln!(text, "- {breach}").unwrap();
            }
        }
        if !self.unsettled.is_empty() {
            writeln!(text, "\n## Not settled in the end\n\n- {}", self.unsettled.join("\n- ")).unwrap();
        }
        if self.audit.code != 0 {
            writeln!(text, "\n## roger audit\n\n{}{}", self.audit.stdout, self.audit.stderr).unwrap();
        }
        text
    }

    /// Which faults were refused, how often, and why they were.
    fn refused(&self, text: &mut String) {
        let mut refused: BTreeMap<(Fault, &str), usize> = BTreeMap::new();
        for (fault, why) in self.episodes.iter().flat_map(|episode| &episode.refused) {
            *refused.entry((*fault, why)).or_default() += 1;
        }
        if refused.is_empty() {
            return;
        }
        writeln!(text, "\n## Refused, so that nothing happened\n\n| fault | how often | why |\n|---|---|---|").unwrap();
        for ((fault, why), count) in refused {
            writeln!(text, "| {} | {count} | {} |", fault.name(), why.replace('|', "\\|")).unwrap();
        }
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
