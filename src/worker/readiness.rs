//! Whether a program makes progress. A process that is up and consumes nothing is a defect, and this shows it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::shutdown::Shutdown;

/// How often it is judged.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a program that is not ready says what it waits for.
const REMIND_EVERY: Duration = Duration::from_secs(10);

/// The readiness of a program: all its parts make progress. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, Option<String>>>>);

/// One part of a program, by which it reports.
#[derive(Clone, Debug)]
pub struct Part {
    readiness: Readiness,
    name: String,
}

impl Readiness {
    /// A program without parts, which is not ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// A part of the program; it holds the program up until it first says that it makes progress.
    pub fn part(&self, name: impl Into<String>) -> Part {
        let part = Part { readiness: self.clone(), name: name.into() };
        part.waits_for("its start");
        part
    }

    /// What the program waits for, each with the name of the part; empty when it is ready.
    pub fn waits_for(&self) -> Vec<String> {
        let parts = self.parts();
        if parts.is_empty() {
            return vec!["its start".to_owned()];
        }
        parts.iter().filter_map(|(name, trouble)| trouble.as_ref().map(|trouble| format!("{name}: {trouble}"))).collect()
    }

    /// Whether all parts make progress.
    pub fn is_ready(&self) -> bool {
        self.waits_for().is_empty()
    }

    /// Logs a line with the word ready when the program becomes ready, each time; when it no longer is, a warning with what it waits
    /// for, again every ten seconds. Ends with the shutdown.
    pub async fn watch(self, program: &'static str, shutdown: Shutdown) {
        let mut ready = false;
        let mut since_said = Duration::ZERO;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => since_said += LOOK_EVERY,
            }
            let waits_for = self.waits_for();
            metrics::gauge!("roger_ready", "program" => program).set(if waits_for.is_empty() { 1.0 } else { 0.0 });
            if waits_for.is_empty() {
                if !ready {
                    tracing::info!(program, "ready");
                }
                (ready, since_said) = (true, Duration::ZERO);
            } else if ready || since_said >= REMIND_EVERY {
                let state = if ready { "no longer makes progress" } else { "waits to make progress" };
                tracing::warn!(program, waits_for = waits_for.join("; "), "{state}");
                (ready, since_said) = (false, Duration::ZERO);
            }
        }
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// The part makes progress.
    pub fn goes_on(&self) {
        self.set(None);
    }

    /// The part makes no progress until `what` is there.
    pub fn waits_for(&self, what: impl Into<String>) {
        self.set(Some(what.into()));
    }

    fn set(&self, trouble: Option<String>) {
        self.readiness.parts().insert(self.name.clone(), trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_ready_when_all_its_parts_go_on() {
        let readiness = Readiness::new();
        assert!(!readiness.is_ready());
        let (deliver, archive) = (readiness.part("deliver"), readiness.part("archive"));
        deliver.goes_on();
        assert_eq!(readiness.waits_for(), ["archive: its start"]);
        archive.goes_on();
        assert!(readiness.is_ready());
        archive.waits_for("SQL");
        assert_eq!(readiness.waits_for(), ["archive: SQL"]);
    }
}
