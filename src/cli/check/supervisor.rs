//! The files of supervisord: whether they run the whole fleet, stop it as it wants to be stopped, and let the listeners hear.

use std::path::Path;
use std::time::Duration;

use ini::{Ini, Properties};

use super::{Error, Finding, finding};

/// The programs of a fleet.
const PROGRAMS: [&str; 8] = ["delivery", "directory", "edge", "gateway", "gps", "janus", "offline", "sos"];
/// What a listener has to hear of.
const EVENTS: [&str; 5] = ["PROCESS_STATE", "SUPERVISOR_STATE_CHANGE", "PROCESS_COMMUNICATION", "PROCESS_LOG", "TICK_60"];
/// The fewest events that may wait for a listener.
const BUFFER_MIN: u64 = 1000;

/// A section, and where it stands.
struct Section {
    place: String,
    name: String,
    keys: Properties,
}

impl Section {
    fn text(&self, key: &str) -> &str {
        // As supervisord has it, a comment begins behind a space and a semicolon.
        self.keys.get(key).map_or("", |value| value.split(" ;").next().unwrap_or("").trim())
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.text(key).parse().ok()
    }
}

/// Judges all files of a folder that end in `.conf`.
pub(super) fn judge(folder: &Path, grace: Duration, looks_into_lines: bool) -> Result<Vec<Finding>, Error> {
    let (sections, mut findings) = read(folder)?;
    let of = |kind: &str| -> Vec<&Section> { sections.iter().filter(|section| section.name.starts_with(kind)).collect() };
    let (programs, listeners) = (of("program:"), of("eventlistener:"));
    let group: String = of("group:").iter().map(|group| format!(",{},", group.text("programs").replace(' ', ""))).collect();
    let shown = folder.display().to_string();
    for name in PROGRAMS {
        if !programs.iter().any(|program| program.name == format!("program:{name}")) {
            findings.push(finding(
                &shown,
                format!("{name} is not run"),
                format!("add [program:{name}], as Roger's supervisor/{name}.conf"),
            ));
        } else if !group.contains(&format!(",{name},")) {
            findings.push(finding(&shown, format!("{name} is in no group"), format!("add {name} to programs of [group:roger]")));
        }
    }
    for section in programs.iter().chain(&listeners) {
        judge_process(section, grace, &mut findings);
    }
    for program in programs.iter().filter(|program| PROGRAMS.iter().any(|name| program.name == format!("program:{name}"))) {
        if looks_into_lines && (program.text("stdout_events_enabled") != "true" || program.text("redirect_stderr") != "true") {
            let wrong = "the rules look for patterns, and what it prints does not reach the listeners";
            findings.push(finding(&program.place, wrong, "set redirect_stderr=true and stdout_events_enabled=true"));
        }
    }
    judge_listeners(&shown, &listeners, &programs, &mut findings);
    judge_socket(&shown, &sections, &mut findings);
    Ok(findings)
}

fn read(folder: &Path) -> Result<(Vec<Section>, Vec<Finding>), Error> {
    let failed = |source| Error::File { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "conf") {
            paths.push(path);
        }
    }
    paths.sort();
    let (mut sections, mut findings) = (Vec::new(), Vec::new());
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        match Ini::load_from_str_noescape(&text) {
            Err(error) => findings.push(finding(path.display().to_string(), error.to_string(), "write it as supervisord reads it")),
            Ok(ini) => sections.extend(ini.iter().filter_map(|(name, keys)| {
                let name = name?.to_owned();
                Some(Section { place: format!("{} [{name}]", path.display()), name, keys: keys.clone() })
            })),
        }
    }
    Ok((sections, findings))
}

fn judge_process(section: &Section, grace: Duration, findings: &mut Vec<Finding>) {
    // The value that supervisord has for it without a word.
    let wait = section.number("stopwaitsecs").unwrap_or(10);
    if Duration::from_secs(wait.unsigned_abs()) <= grace {
        let wrong = format!("stopwaitsecs={wait}: it is killed before shutdown.grace_ms = {} is over", grace.as_millis());
        findings.push(finding(&section.place, wrong, format!("set stopwaitsecs to {} or more", grace.as_secs() + 2)));
    }
    for (key, why) in [("stopasgroup", "what it started would go on"), ("killasgroup", "what it started would outlive it")] {
        if section.text(key) != "true" {
            findings.push(finding(&section.place, format!("{key} is not true: {why}"), format!("set {key}=true")));
        }
    }
    if section.number("startsecs") == Some(0) {
        findings.push(finding(&section.place, "startsecs=0: it is started again for ever, and never FATAL", "set startsecs to 1 or more"));
    }
    if !section.text("command").starts_with("setpriv --pdeathsig KILL ") {
        let wrong = "it outlives a supervisord that is killed, and works beside the next set";
        findings.push(finding(&section.place, wrong, "begin command with setpriv --pdeathsig KILL --"));
    }
}

fn judge_listeners(shown: &str, listeners: &[&Section], programs: &[&Section], findings: &mut Vec<Finding>) {
    let ours: Vec<&&Section> = listeners.iter().filter(|listener| listener.text("command").contains("/sms-listener ")).collect();
    if ours.len() < 2 {
        let wrong = format!("{} of two listeners: nobody tells when it is silent", ours.len());
        findings.push(finding(shown, wrong, "add both sections of Roger's supervisor/sms-listener.conf"));
    }
    let first = programs.iter().map(|program| program.number("priority").unwrap_or(999)).min().unwrap_or(999);
    for listener in ours {
        let name = listener.text("command").split_whitespace().skip_while(|word| *word != "--name").nth(1).unwrap_or("a");
        if listener.name != format!("eventlistener:sms-listener-{name}") {
            let wrong = format!("its --name is {name}: the other listener could not start it again");
            findings.push(finding(&listener.place, wrong, format!("call the section eventlistener:sms-listener-{name}")));
        }
        if listener.number("priority").unwrap_or(-1) >= first {
            findings.push(finding(&listener.place, "it starts behind a program, whose start it does not hear", "set priority=-1"));
        }
        if listener.number("buffer_size").unwrap_or(10).unsigned_abs() < BUFFER_MIN {
            findings.push(finding(
                &listener.place,
                "so few events may wait for it that some are lost",
                format!("set buffer_size to {BUFFER_MIN} or more"),
            ));
        }
        let heard: Vec<&str> = listener.text("events").split(',').map(str::trim).collect();
        for missing in EVENTS.iter().filter(|event| !heard.contains(event)) {
            findings.push(finding(&listener.place, format!("it does not hear {missing}"), format!("set events={}", EVENTS.join(","))));
        }
        if listener.text("autorestart") != "true" {
            findings.push(finding(&listener.place, "autorestart is not true: once it has ended, nobody tells", "set autorestart=true"));
        }
    }
}

fn judge_socket(shown: &str, sections: &[Section], findings: &mut Vec<Finding>) {
    for inet in sections.iter().filter(|section| section.name == "inet_http_server") {
        findings.push(finding(
            &inet.place,
            "whoever reaches the port starts and stops programs",
            "remove it; supervisorctl uses the socket",
        ));
    }
    let Some(socket) = sections.iter().find(|section| section.name == "unix_http_server") else {
        findings.push(finding(
            shown,
            "there is no socket: listeners cannot ask why a program ended, nor start it again",
            "add [unix_http_server]",
        ));
        return;
    };
    // Without a word it is 0700.
    let mode = u32::from_str_radix(if socket.text("chmod").is_empty() { "0700" } else { socket.text("chmod") }, 8).unwrap_or(0o777);
    if mode & 0o077 != 0 {
        findings.push(finding(&socket.place, format!("chmod={mode:04o}: others may start and stop programs"), "set chmod=0700"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with Roger's own files after a change to one of them.
    fn wrong(change: impl Fn(&str, String) -> String) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("supervisor");
        for entry in std::fs::read_dir(ours).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.file_name().unwrap().to_str().unwrap();
                let text = change(name, std::fs::read_to_string(&path).unwrap());
                std::fs::write(folder.path().join(name), text).unwrap();
            }
        }
        judge(folder.path(), Duration::from_secs(6), true).unwrap().into_iter().map(|found| found.wrong).collect()
    }

    #[test]
    fn our_own_files_hold_and_each_change_for_the_worse_is_named() {
        assert_eq!(wrong(|_, text| text), [""; 0]);
        let check = |file: &str, from: &str, to: &str, expected: &[&str]| {
            let found = wrong(|name, text| {
                assert!(name != file || text.contains(from), "{file} has no {from:?}");
                if name == file { text.replacen(from, to, 1) } else { text }
            });
            assert_eq!(found, expected, "{file}: {from:?} as {to:?}");
        };
        check("sos.conf", "stopwaitsecs=10", "stopwaitsecs=6", &["stopwaitsecs=6: it is killed before shutdown.grace_ms = 6000 is over"]);
        check("sos.conf", "[program:sos]", "[program:soss]", &["sos is not run"]);
        check("sos.conf", "stopasgroup=true", "", &["stopasgroup is not true: what it started would go on"]);
        check("sos.conf", "startsecs=3", "startsecs=0", &["startsecs=0: it is started again for ever, and never FATAL"]);
        check("sos.conf", "setpriv --pdeathsig KILL -- ", "", &["it outlives a supervisord that is killed, and works beside the next set"]);
        check(
            "sos.conf",
            "stdout_events_enabled=true",
            "",
            &["the rules look for patterns, and what it prints does not reach the listeners"],
        );
        check("roger.conf", "sos,", "", &["sos is in no group"]);
        check("supervisord.conf", "chmod=0700", "chmod=0770", &["chmod=0770: others may start and stop programs"]);
        check(
            "supervisord.conf",
            "[supervisorctl]",
            "[inet_http_server]\nport=*:9001\n[supervisorctl]",
            &["whoever reaches the port starts and stops programs"],
        );
        check("sms-listener.conf", "buffer_size=1024", "", &["so few events may wait for it that some are lost"]);
        check("sms-listener.conf", ",TICK_60", "", &["it does not hear TICK_60"]);
        check("sms-listener.conf", "priority=-1", "priority=10", &["it starts behind a program, whose start it does not hear"]);
        check("sms-listener.conf", "--name a", "--name c", &["its --name is c: the other listener could not start it again"]);
        check("sms-listener.conf", "autorestart=true", "autorestart=false", &["autorestart is not true: once it has ended, nobody tells"]);
    }
}
