//! Starts programs again that supervisord has given up, at growing intervals: what kept them down may have gone.

use std::collections::HashMap;

use super::rpc::Supervisord;
use super::rules::Rules;

/// How often supervisord is asked.
const LOOK_MS: u64 = 5_000;

/// What was tried with programs that are FATAL.
#[derive(Debug)]
pub(super) struct Revival {
    first_ms: u64,
    longest_ms: u64,
    looked_ms: u64,
    /// Attempts so far, and when the next one is.
    tried: HashMap<String, (u32, u64)>,
}

impl Revival {
    /// The first attempt after `first_ms`, each further one after twice the time, at most `longest_ms`; none when `first_ms` is zero.
    pub(super) fn new(first_ms: u64, longest_ms: u64) -> Self {
        Self { first_ms, longest_ms, looked_ms: 0, tried: HashMap::new() }
    }

    pub(super) async fn turn(&mut self, supervisord: Option<&Supervisord>, rules: &Rules, now_ms: u64) {
        let (Some(supervisord), true) = (supervisord, self.first_ms > 0) else { return };
        if now_ms < self.looked_ms + LOOK_MS.min(self.first_ms) {
            return;
        }
        self.looked_ms = now_ms;
        let Ok(processes) = supervisord.processes().await else { return };
        let fatal = processes.iter().filter(|process| process.state == "FATAL" && rules.revives(&process.program));
        for program in self.due(&fatal.map(|process| process.program.clone()).collect::<Vec<_>>(), now_ms) {
            tracing::warn!(program, "is FATAL: started again");
            if let Err(error) = supervisord.start(&program).await {
                tracing::warn!(program, error = &error as &dyn std::error::Error, "cannot be started again");
            }
        }
    }

    /// Which of the programs that are FATAL are started now.
    fn due(&mut self, fatal: &[String], now_ms: u64) -> Vec<String> {
        // One that was up for as long as the longest wait begins anew.
        self.tried.retain(|program, (_, next_ms)| fatal.contains(program) || now_ms < *next_ms + self.longest_ms);
        let mut due = Vec::new();
        for program in fatal {
            let (attempts, next_ms) = self.tried.entry(program.clone()).or_insert((0, now_ms + self.first_ms));
            if now_ms >= *next_ms {
                *attempts += 1;
                let wait = self.first_ms.saturating_mul(1 << (*attempts).min(20)).min(self.longest_ms);
                *next_ms = now_ms + wait;
                due.push(program.clone());
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_at_growing_intervals_and_begin_anew_after_a_good_while() {
        let mut revival = Revival::new(60, 200);
        let fatal = ["edge".to_owned()];
        let mut due = |fatal: &[String], now_ms| revival.due(fatal, now_ms).len();
        assert_eq!([0, 59, 60, 61, 179, 180, 379, 380, 580].map(|now_ms| due(&fatal, now_ms)), [0, 0, 1, 0, 0, 1, 0, 1, 1]);
        assert_eq!((due(&[], 900), due(&fatal, 901)), (0, 1), "it was up for too short a time");
        assert_eq!((due(&[], 1_400), due(&fatal, 1_401), due(&fatal, 1_461)), (0, 0, 1));
    }
}
