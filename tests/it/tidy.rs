//! What the compiler does not hold: which room may know which, and that lists and files say the same.
//!
//! Reads the sources as text, as rustfmt leaves them. Exceptions may only shrink: one that is no longer needed fails too.

mod metrics;
mod predecessor;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use roger::config::KEYS;

/// The rooms of `src`, in steps: a room imports only rooms of earlier steps. `bin` is the last, and imports what it likes.
const STEPS: &[&[&str]] = &[
    &["model"],
    // Apart from the other plumbing, for they are set up from its types.
    &["config"],
    &["retry", "telemetry", "shutdown", "clock", "throttle"],
    &["floor"],
    &["topic", "location", "token", "talk", "audio"],
    &["alert"],
    &["broker", "store", "sms"],
    &["session", "janus", "objects", "listener"],
    &["worker", "proto"],
    &["client"],
    &["jobs", "edge", "directory", "gateway"],
    &["cli"],
    &["program"],
];

/// Rooms that lie to the left and yet are none of the importer's business.
const FORBIDDEN: &[(&str, &str)] = &[
    ("jobs", "proto"),
    ("edge", "worker"),
    ("edge", "store"),
    ("directory", "worker"),
    ("gateway", "worker"),
    ("client", "topic"),
    ("client", "broker"),
    ("client", "store"),
    ("client", "session"),
    ("client", "worker"),
];

/// Names and the only room that may say them.
const KEPT: &[(&str, &str)] = &[
    ("redis::", "broker"),
    ("sqlx::", "store"),
    ("tonic::include_proto", "proto"),
    ("backoff::", "retry"),
    ("object_store::", "objects"),
    ("opusic_c::", "audio"),
];

/// The programs of the fleet, each with a file in `supervisor` and one in `src/bin`.
const PROGRAMS: &[&str] = &["delivery", "directory", "edge", "gateway", "gps", "janus", "offline", "sos"];

/// The most lines of a source file.
const LINES_MAX: usize = 450;

/// Longer files, with the most lines each may have.
const LONG_FILES: &[(&str, usize)] = &[];

/// Imports that break the table: (file, room).
const IMPORTS_ALLOWED: &[(&str, &str)] = &[];

/// A file with its path from the root of the package.
struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder with one of the endings, in order; none when there is no such folder.
fn sources(folder: &str, endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if endings.contains(&ending) {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(root()).unwrap().display().to_string(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// `topic` for `src/topic.rs` and all below `src/topic`; `None` for the root of the library.
fn room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let room = inside.split_once('/').map_or_else(|| inside.trim_end_matches(".rs"), |(room, _)| room);
    (room != "lib").then_some(room)
}

/// The code of a file, without the lines that are comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What follows each place where `name` stands by itself, and not as the end of a longer path.
fn behind<'a>(line: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(name)
        .filter(|(at, _)| !line[..*at].ends_with(|c| is_part_of_name(c) || c == ':'))
        .map(|(at, _)| &line[at + name.len()..])
}

/// The rooms a line of `src` names, by `crate::` or, in programs, `roger::`; also those of `crate::{a, b}` on one line.
fn rooms_named(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for rest in ["crate::", "roger::"].into_iter().flat_map(|name| behind(line, name)) {
        let first = |part: &str| part.trim().chars().take_while(|c| is_part_of_name(*c)).collect::<String>();
        match rest.strip_prefix('{') {
            // Nested braces would only name more of the same room.
            Some(list) => rooms.extend(list.split(',').map(first)),
            None => rooms.push(first(rest)),
        }
    }
    rooms.retain(|room| STEPS.iter().any(|step| step.contains(&room.as_str())));
    rooms
}

fn step(room: &str) -> usize {
    STEPS.iter().position(|step| step.contains(&room)).unwrap_or(STEPS.len())
}

fn may_import(from: &str, to: &str) -> bool {
    from == to || (step(to) < step(from) && !FORBIDDEN.contains(&(from, to)))
}

/// Whether a line leaves its room by `super`. Indented lines stand in a module of their own within the file.
fn escapes(path: &str, line: &str) -> bool {
    let trimmed = line.trim_start();
    if !(trimmed.starts_with("use super::") || trimmed.starts_with("pub use super::") || trimmed.starts_with("pub(super) use super::")) {
        return false;
    }
    let modules = path.trim_start_matches("src/").trim_end_matches("/mod.rs").split('/').count();
    let inner = (line.len() - trimmed.len()) / 4;
    trimmed.matches("super::").count() > modules - 1 + inner
}

fn imports_of(source: &Source) -> Vec<(String, String)> {
    let Some(from) = room(&source.path) else { return Vec::new() };
    let mut complaints = Vec::new();
    for (at, line) in code(&source.text) {
        for to in rooms_named(line) {
            if !may_import(from, &to) && !IMPORTS_ALLOWED.contains(&(source.path.as_str(), to.as_str())) {
                complaints.push((to.clone(), format!("{}:{at}: {from} must not know {to}", source.path)));
            }
        }
        if escapes(&source.path, line) {
            complaints.push((String::new(), format!("{}:{at}: leaves its room by super; say crate::", source.path)));
        }
        for (name, home) in KEPT {
            if behind(line, name).next().is_some() && from != *home {
                complaints.push((String::new(), format!("{}:{at}: only src/{home} says {name}", source.path)));
            }
        }
    }
    complaints
}

#[test]
fn rooms_import_to_the_left() {
    let complaints = sources("src", &["rs"]).iter().flat_map(imports_of).map(|(_, text)| text).collect();
    none(complaints);
    let names = |path: &str, room: &str| code(&read(path)).any(|(_, line)| rooms_named(line).iter().any(|named| named == room));
    none(
        IMPORTS_ALLOWED.iter().filter(|(path, room)| !names(path, room)).map(|(path, _)| format!("{path}: exception not needed")).collect(),
    );
}

#[test]
fn the_import_check_sees_what_it_should() {
    let check = |path: &str, text: &str, expected: usize| {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        assert_eq!(imports_of(&source).len(), expected, "{path}: {text}");
    };
    check("src/topic/step.rs", "use crate::model::Place;", 0);
    check("src/topic/step.rs", "use crate::broker::keys;", 1);
    check("src/topic/step.rs", "/// Not [`crate::broker`].", 0);
    check("src/model/ids.rs", "use crate::{config, model, topic};", 2);
    check("src/edge/service.rs", "let x = crate::store::open();", 1);
    check("src/jobs/deliver.rs", "use crate::proto::v1;", 1);
    check("src/bin/edge.rs", "use roger::edge;", 0);
    check("src/broker/lists.rs", "use redis::cmd;", 0);
    check("src/edge/mod.rs", "use redis::cmd;", 1);
    check("src/edge/mod.rs", "use crate::config::redis::Url;", 0);
    check("src/clock.rs", "use super::topic;", 1);
    check("src/clock.rs", "    use super::*;", 0);
    check("src/topic/mod.rs", "use super::broker;", 1);
    check("src/topic/frame.rs", "use super::step;", 0);
    check("src/topic/frame.rs", "use super::super::broker;", 1);
    check("src/elsewhere.rs", "use crate::cli;", 0);
}

#[test]
fn every_room_is_in_the_table() {
    let rooms: BTreeSet<String> = sources("src", &["rs"]).iter().filter_map(|source| room(&source.path).map(str::to_owned)).collect();
    none(rooms.iter().filter(|room| *room != "bin" && step(room) == STEPS.len()).map(|room| format!("src/{room}: not a room")).collect());
}

#[test]
fn every_file_is_part_of_the_library() {
    let files = sources("src", &["rs"]);
    let texts: BTreeMap<&str, &str> = files.iter().map(|source| (source.path.as_str(), source.text.as_str())).collect();
    let declares = |parent: &str, module: &str| {
        texts.get(parent).is_some_and(|text| code(text).any(|(_, line)| line.trim_end().ends_with(&format!("mod {module};"))))
    };
    let mut complaints = Vec::new();
    // A folder without its root is not a room yet.
    let begun = |room: &str| [format!("src/{room}.rs"), format!("src/{room}/mod.rs")].iter().any(|root| texts.contains_key(root.as_str()));
    for source in files.iter().filter(|source| room(&source.path).is_some_and(|room| room != "bin" && begun(room))) {
        let path = source.path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        let (folder, module) = path.rsplit_once('/').unwrap();
        let parents =
            if folder == "src" { vec!["src/lib.rs".to_owned()] } else { vec![format!("{folder}/mod.rs"), format!("{folder}.rs")] };
        if !parents.iter().any(|parent| declares(parent, module)) {
            complaints.push(format!("{}: no module declares it", source.path));
        }
    }
    none(complaints);
}

#[test]
fn every_job_is_in_the_one_list() {
    let jobs = sources("src/jobs", &["rs"]);
    let Some(list) = jobs.iter().find(|source| source.path == "src/jobs/mod.rs") else { return };
    let stems = jobs.iter().map(|source| source.path.trim_start_matches("src/jobs/").trim_end_matches(".rs"));
    let listed = |stem: &str| code(&list.text).any(|(_, line)| behind(line, &format!("{stem}::")).next().is_some());
    none(
        stems
            .filter(|stem| *stem != "mod" && !stem.contains('/') && !listed(stem))
            .map(|stem| format!("src/jobs/{stem}.rs: not in src/jobs/mod.rs"))
            .collect(),
    );
}

/// The comment directly above a line.
fn doc_above(lines: &[&str], at: usize) -> String {
    let above = lines[..at].iter().rev().take_while(|line| ["///", "#["].iter().any(|start| line.trim_start().starts_with(start)));
    above.copied().collect::<Vec<_>>().join("\n").to_lowercase()
}

#[test]
fn every_redis_key_says_its_type_its_writer_and_its_readers() {
    let Some(keys) = sources("src/broker", &["rs"]).into_iter().find(|source| source.path == "src/broker/keys.rs") else { return };
    let lines: Vec<&str> = keys.text.lines().take_while(|line| *line != "#[cfg(test)]").collect();
    let mut complaints = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with("pub fn ")) {
        let doc = doc_above(&lines, at);
        let typed = ["stream", "list", "hash", "string", "set"].iter().any(|kind| doc.contains(kind));
        let complete = doc.contains("writ") && doc.contains("read");
        if !(typed && (complete || doc.contains("like [`"))) {
            complaints.push(format!("src/broker/keys.rs:{}: {} needs Redis type, writer and readers", at + 1, line.trim()));
        }
    }
    none(complaints);
}

#[test]
fn every_script_of_redis_has_a_header() {
    let mut complaints = Vec::new();
    for script in sources("src", &["lua"]) {
        let header: String = script
            .text
            .lines()
            .skip_while(|line| line.starts_with("#!"))
            .take_while(|line| line.starts_with("--"))
            .collect::<Vec<_>>()
            .join("\n");
        for word in ["KEYS", "ARGV", "eturns"] {
            if !header.contains(word) {
                complaints.push(format!("{}: its header does not name KEYS, ARGV and what it returns", script.path));
                break;
            }
        }
    }
    none(complaints);
}

#[test]
fn supervisor_runs_the_programs_there_are() {
    let confs = sources("supervisor", &["conf"]);
    let fleet = confs.iter().filter(|conf| !conf.path.starts_with("supervisor/demo/"));
    let programs: BTreeSet<String> = fleet
        .flat_map(|conf| conf.text.lines())
        .filter_map(|line| line.strip_prefix("[program:")?.strip_suffix(']'))
        .map(str::to_owned)
        .collect();
    assert_eq!(programs, PROGRAMS.iter().map(|program| (*program).to_owned()).collect());
    for conf in confs.iter().filter(|conf| conf.text.contains("[program:")) {
        for key in
            ["command=", "startsecs=", "stopsignal=TERM", "stopwaitsecs=", "stopasgroup=true", "killasgroup=true", "redirect_stderr=true"]
        {
            assert!(conf.text.lines().any(|line| line.starts_with(key)), "{}: {key} is missing", conf.path);
        }
    }
    let listener = read("supervisor/sms-listener.conf");
    assert_eq!(listener.matches("\n[eventlistener:").count(), 2, "two listeners, which watch each other");
    let bins = sources("src/bin", &["rs"]).into_iter().map(|source| PathBuf::from(source.path).file_stem().unwrap().display().to_string());
    none(
        bins.filter(|bin| !["roger", "sms-listener"].contains(&bin.as_str()) && !programs.contains(bin))
            .map(|bin| format!("src/bin/{bin}.rs: no file in supervisor"))
            .collect(),
    );
}

#[test]
fn files_are_short() {
    let mut complaints = Vec::new();
    for source in ["src", "tests"].iter().flat_map(|folder| sources(folder, &["rs"])) {
        let lines = source.text.lines().count();
        let exception = LONG_FILES.iter().find(|(path, _)| *path == source.path);
        match exception {
            Some((path, most)) if lines > *most => complaints.push(format!("{path}: {lines} lines, and it may only shrink")),
            Some((path, _)) if lines <= LINES_MAX => complaints.push(format!("{path}: exception not needed")),
            None if lines > LINES_MAX => complaints.push(format!("{}: {lines} lines; above {LINES_MAX} it should be two", source.path)),
            _ => {}
        }
    }
    none(complaints);
}

#[test]
fn names_say_something_and_promises_have_an_end() {
    let mut complaints = Vec::new();
    let folders = ["src", "tests", "scripts", "supervisor", "proto", "config"];
    let files = folders.iter().flat_map(|folder| sources(folder, &["rs", "lua", "proto", "sql", "toml", "conf", ""]));
    for source in files.filter(|source| source.path != "tests/it/tidy.rs") {
        let stem = Path::new(&source.path).file_stem().unwrap().to_str().unwrap().to_owned();
        if ["util", "utils", "common", "helper", "helpers", "misc"].contains(&stem.as_str()) {
            complaints.push(format!("{}: a name that says nothing", source.path));
        }
        for (at, line) in source.text.lines().enumerate() {
            let promise = line.contains("TODO") && !line.contains("until ");
            if promise || ["FIXME", "XXX", "HACK"].iter().any(|word| line.contains(word)) {
                complaints.push(format!("{}:{}: a promise without an end: say \"TODO: until …\"", source.path, at + 1));
            }
        }
    }
    none(complaints);
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let text = read("config/roger.toml");
    let file: BTreeMap<String, BTreeMap<String, toml::Value>> = toml::from_str(&text).unwrap();
    let documented: Vec<String> = file.iter().flat_map(|(section, keys)| keys.keys().map(move |key| format!("{section}.{key}"))).collect();
    let known: BTreeSet<String> = KEYS.iter().map(roger::config::Key::path).collect();
    assert_eq!(documented.into_iter().collect::<BTreeSet<_>>(), known);
    // Keys that stand together share the comment above the first.
    let mut last = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with('#') || line.starts_with('[') || !last.starts_with('['), "{line}: no comment above it");
        last = line;
    }
}

#[test]
fn scripts_stop_at_the_first_error() {
    for script in sources("scripts", &[""]).iter().chain(&sources(".ci", &[""])) {
        let strict = script.text.starts_with("#!/usr/bin/env bash\n") && script.text.contains("\nset -euo pipefail\n");
        assert!(strict, "{}: not bash with set -euo pipefail", script.path);
    }
}

#[test]
fn no_test_is_left_out() {
    let mut complaints = Vec::new();
    for source in ["src", "tests"].iter().flat_map(|folder| sources(folder, &["rs"])).filter(|source| source.path != "tests/it/tidy.rs") {
        let ignored = source.text.lines().position(|line| line.trim_start().starts_with("#[ignore") || line.contains(", ignore"));
        complaints.extend(ignored.map(|at| format!("{}:{}: an ignored test", source.path, at + 1)));
    }
    none(complaints);
}
