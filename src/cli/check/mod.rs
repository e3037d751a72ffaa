//! `roger config check`: the configuration, what it names, and whether the files of supervisord go with it. Needs no server.

mod supervisor;

use std::path::PathBuf;

use serde::Serialize;

use super::context::Context;
use super::error::Error;
use super::output::table;
use crate::listener::Rules;
use crate::sms;
use crate::worker::chain;

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// The file, and the section in it.
    place: String,
    /// What is wrong.
    wrong: String,
    /// What to do.
    fix: String,
}

fn finding(place: impl Into<String>, wrong: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { place: place.into(), wrong: wrong.into(), fix: fix.into() }
}

/// The configuration itself was judged when it was loaded.
pub(super) fn check(context: &Context, supervisor: Option<PathBuf>) -> Result<(), Error> {
    let config = &context.config;
    let mut findings = Vec::new();
    if let Err(error) = sms::provider(&config.sms) {
        findings.push(finding("[sms]", chain(&error), "mend the file that sms.http_file names; config/sms-http.toml is a sample"));
    }
    let rules = config.listener.rules_file.as_deref().map(Rules::read).transpose();
    let looks = match &rules {
        Err(error) => {
            findings.push(finding(
                "[listener]",
                chain(error),
                "mend the file that listener.rules_file names; config/alerts.toml is a sample",
            ));
            false
        }
        Ok(None) => {
            findings.push(finding(
                "[listener]",
                "rules_file is empty: nobody is told when programs fail",
                "set it to a file as config/alerts.toml",
            ));
            false
        }
        Ok(Some(rules)) => {
            if !rules.tells_anybody() {
                findings.push(finding("[listener]", "the rules name nobody to tell", "add somebody to always, or a [[shift]]"));
            }
            rules.looks_into_lines()
        }
    };
    if let Some(folder) = supervisor {
        findings.extend(supervisor::judge(&folder, config.shutdown.grace, looks)?);
    }
    let sound = findings.is_empty();
    context.out.answer(&findings, |findings| {
        if findings.is_empty() {
            return "all of it holds".to_owned();
        }
        table(&["WHERE", "WRONG", "WHAT TO DO"], findings.iter().map(|found| [found.place.clone(), found.wrong.clone(), found.fix.clone()]))
    });
    if sound { Ok(()) } else { Err(Error::Findings) }
}
