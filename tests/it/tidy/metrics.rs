//! Metrics are documented, and what is watched is there.

use std::collections::BTreeSet;

use super::{none, read, sources};

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_lowercase() || c == '_';
    let mut names = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find("roger_") {
        let whole = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '/' || c == '-');
        rest = &rest[at..];
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        if whole {
            names.insert(rest[..end].trim_end_matches("_bucket").to_owned());
        }
        rest = &rest[end..];
    }
    names
}

/// The metrics that the library counts.
fn counted() -> BTreeSet<String> {
    let mut counted = BTreeSet::new();
    for source in sources("src", &["rs"]) {
        for kind in ["counter!(", "gauge!(", "histogram!("] {
            for part in source.text.split(kind).skip(1) {
                let name = part.trim_start().strip_prefix('"').and_then(|part| part.split('"').next());
                counted.extend(name.filter(|name| name.starts_with("roger_")).map(str::to_owned));
            }
        }
    }
    counted
}

#[test]
fn every_metric_is_documented_and_every_watched_one_is_there() {
    let (counted, documented) = (counted(), names(&read("docs/metrics.md")));
    assert!(counted.len() > 50, "{counted:?}");
    let mut complaints: Vec<String> = Vec::new();
    complaints.extend(counted.difference(&documented).map(|name| format!("docs/metrics.md does not say what {name} counts")));
    complaints.extend(documented.difference(&counted).map(|name| format!("docs/metrics.md: nothing counts {name}")));
    for path in ["monitoring/alerts.yml", "monitoring/alerts_test.yml", "monitoring/dashboard.json"] {
        let watched = names(&read(path));
        assert!(!watched.is_empty(), "{path}");
        complaints.extend(watched.difference(&counted).map(|name| format!("{path}: nothing counts {name}")));
    }
    none(complaints);
}

#[test]
fn the_dashboard_can_be_read_and_each_panel_asks_something() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(
            !targets.is_empty() && targets.iter().all(|target| target["expr"].as_str().is_some_and(|expr| expr.contains("roger_"))),
            "{panel}"
        );
    }
}
