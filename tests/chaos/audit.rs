//! What `roger audit` said, and whether that is as it should be.

use roger::model::TopicId;

use super::check::Findings;

/// How it ended, and what it printed.
#[derive(Debug, Default)]
pub struct Audit {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Audit {
    /// What it comes to; as an error what is a breach. Places that were given to what is unknown are not given again: nothing stands there.
    pub fn judge(&self, findings: &Findings) -> Result<&'static str, String> {
        let (mut found, mut unexplained) = (0, 0);
        for (topic, what) in self.stdout.lines().filter_map(finding) {
            found += 1;
            unexplained += usize::from(!what.starts_with("nothing between ") || !findings.unknown_in.contains(&topic));
        }
        match (self.code, found, unexplained) {
            (0, ..) => Ok("finds nothing"),
            (1, 1.., 0) => Ok("finds the places of what is unknown"),
            (1, 1.., _) => Err(format!("finds something: {unexplained} of {found} are not the places of what is unknown")),
            _ => Err(format!("the audit did not run: exit code {}, {}", self.code, self.stderr.trim().replace('\n', "; "))),
        }
    }
}

/// The topic of a finding and what it says; `None` for a line that is no finding.
fn finding(line: &str) -> Option<(TopicId, &str)> {
    let (topic, what) = line.split_once(": ")?;
    Some((topic.parse().ok()?, what))
}
