use std::error::Error as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

fn load_in(folder: &Path, program: Program, file: &str, environment: &[(&str, &str)]) -> Result<Config, Error> {
    let path = folder.join("roger.toml");
    fs::write(&path, file).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(program, &Sources { file: Some(path), environment, flags: Vec::new() })
}

/// The error's text, with the folder written as `DIR`; empty when there is none.
fn check(file: &str, environment: &[(&str, &str)], expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let text = load_in(folder.path(), Program::Roger, file, environment).map_or_else(|error| error.to_string(), |_| String::new());
    assert_eq!(text.replace(folder.path().to_str().unwrap(), "DIR"), expected, "for {file:?} with {environment:?}");
}

#[test]
fn the_documented_file_is_the_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/roger.toml");
    let sources = Sources { file: Some(path), ..Sources::default() };
    assert_eq!(Config::load(Program::Roger, &sources).unwrap(), Config::defaults().unwrap());
}

#[test]
fn defaults_hold_their_rules() {
    for key in KEYS {
        assert!(key.rule.holds(&key.default_json()), "{}", key.path());
    }
    assert_eq!(Config::defaults().unwrap().shutdown.grace, Duration::from_secs(6));
}

#[test]
fn wrong_values_are_named() {
    check("[fleet]\nshards = 1", &[], "");
    check("[fleet]\nshards = 0", &[], "fleet.shards = 0: must be an integer from 1 to 1024 (from DIR/roger.toml)");
    check("[fleet]\nshards = 1025", &[], "fleet.shards = 1025: must be an integer from 1 to 1024 (from DIR/roger.toml)");
    check("[fleet]\nshards = -1", &[], "fleet.shards = -1: must be an integer from 1 to 1024 (from DIR/roger.toml)");
    check("[fleet]\nshards = 1.5", &[], "fleet.shards = 1.5: must be an integer from 1 to 1024 (from DIR/roger.toml)");
    check("[fleet]\nshards = \"8\"", &[], "fleet.shards = \"8\": must be an integer from 1 to 1024 (from DIR/roger.toml)");
    check("fleet = 3", &[], "fleet = 3: must be a table (from DIR/roger.toml)");
    check(
        "[edge]\nname = \"Edge 1\"",
        &[],
        "edge.name = \"Edge 1\": must be 1 to 32 lower-case letters, digits and hyphens (from DIR/roger.toml)",
    );
    check(
        "[edge]\nlisten = \"localhost:1\"",
        &[],
        "edge.listen = \"localhost:1\": must be an IP address with a port, as 127.0.0.1:7701 (from DIR/roger.toml)",
    );
    check("[edge]\ncleartext_beyond_loopback = 1", &[], "edge.cleartext_beyond_loopback = 1: must be true or false (from DIR/roger.toml)");
    check(
        "[edge]\ncors_origins = [\"https://a.example\", \"b/\"]",
        &[],
        "edge.cors_origins = [\"https://a.example\",\"b/\"]: must be a list of origins, as https://console.example.org (from DIR/roger.toml)",
    );
    check(
        "[auth]\npublic_key_file = \"token.pub\"",
        &[],
        "auth.public_key_file = \"token.pub\": must be an absolute path (from DIR/roger.toml)",
    );
    check("[log]\nformat = \"xml\"", &[], "log.format = \"xml\": must be one of text, json (from DIR/roger.toml)");
    check(
        "[metrics]\nedge_listen = \"0.0.0.0:9\"",
        &[],
        "metrics.edge_listen = \"0.0.0.0:9\": must be a loopback address with a port, as 127.0.0.1:7801, or empty for off (from DIR/roger.toml)",
    );
    check(
        "[sql]\nurl = \"postgres://x\"",
        &[],
        "sql.url = \"postgres://x\": must be a URL that begins with sqlite:/ or mysql:// (from DIR/roger.toml)",
    );
}

#[test]
fn unknown_keys_are_refused() {
    check("[flet]\nshards = 1", &[], "flet: there is no such key (from DIR/roger.toml)");
    check("[fleet]\nshard = 1", &[], "fleet.shard: there is no such key (from DIR/roger.toml)");
    check("", &[("ROGER_EDGE_LISTENS", "x")], "edge.listens: there is no such key (from the environment, ROGER_EDGE_LISTENS)");
    check("", &[("ROGER_CONFIG", "x"), ("ROGER_HOME", "y"), ("ROGER_OTHER_THING", "z"), ("EDGE_LISTEN", "w")], "");
}

#[test]
fn the_environment_overrides_the_file_and_a_flag_both() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[edge]\nlisten = \"127.0.0.1:1\"\nname = \"a\"";
    let environment =
        [("ROGER_EDGE_LISTEN", "127.0.0.1:2"), ("ROGER_EDGE_CORS_ORIGINS", "http://a, http://b"), ("ROGER_FLEET_SHARDS", "4")];
    let config = load_in(folder.path(), Program::Roger, file, &environment).unwrap();
    assert_eq!((config.edge.name.as_str(), config.edge.listen.port(), config.fleet.shards), ("a", 2, 4));
    assert_eq!(config.edge.cors_origins, ["http://a", "http://b"]);
    let sources = Sources::default().flag("edge.listen", "--listen", Some("127.0.0.1:3".to_owned())).flag("edge.name", "--name", None);
    assert_eq!(Config::load(Program::Roger, &sources).unwrap().edge.listen.port(), 3);
    let wrong = Sources::default().flag("edge.name", "--name", Some(String::new()));
    let text = Config::load(Program::Roger, &wrong).unwrap_err().to_string();
    assert_eq!(text, "edge.name = \"\": must be 1 to 32 lower-case letters, digits and hyphens (from the flag --name)");
    check(
        "",
        &[("ROGER_FLEET_SHARDS", "many")],
        "fleet.shards = \"many\": must be an integer from 1 to 1024 (from the environment, ROGER_FLEET_SHARDS)",
    );
}

#[test]
fn keys_that_do_not_go_together_are_named() {
    check(
        "[edge]\nlisten = \"0.0.0.0:7701\"",
        &[],
        "edge.listen = \"0.0.0.0:7701\": must be a loopback address unless edge.cleartext_beyond_loopback is true (from DIR/roger.toml)",
    );
    check("[edge]\nlisten = \"0.0.0.0:7701\"\ncleartext_beyond_loopback = true", &[], "");
    check("[directory]\nlisten = \"[::ffff:127.0.0.1]:1\"", &[], "");
    check(
        "",
        &[("ROGER_DIRECTORY_LISTEN", "[::]:1")],
        "directory.listen = \"[::]:1\": must be a loopback address unless directory.cleartext_beyond_loopback is true (from the environment, ROGER_DIRECTORY_LISTEN)",
    );
    check(
        "[edge]\nrate_messages_per_s = 0",
        &[],
        "edge.rate_burst = 200: must be 0 when edge.rate_messages_per_s is 0, and only then (the default)",
    );
    check(
        "[sql]\nstandby_url = \"mysql://roger:secret@db2/roger\"",
        &[],
        "sql.standby_url = \"mysql://roger:***@db2/roger\": must be empty unless sql.url is of another server of MariaDB (from DIR/roger.toml)",
    );
    check("[sql]\nurl = \"mysql://r@db1/roger\"\nstandby_url = \"mysql://r@db2/roger\"", &[], "");
    check(
        "[auth]\nresume_lifetime_s = 60",
        &[],
        "auth.resume_lifetime_s = 60: must be at least auth.token_lifetime_s (from DIR/roger.toml)",
    );
    check(
        "[delivery]\nbacklog_frames_max = 20",
        &[],
        "delivery.backlog_frames_max = 20: must be at least delivery.batch_frames_max (from DIR/roger.toml)",
    );
}

#[test]
fn passwords_are_not_shown() {
    check(
        "",
        &[("ROGER_SQL_URL", "postgres://roger:pass@word@db/roger")],
        "sql.url = \"postgres://roger:***@db/roger\": must be a URL that begins with sqlite:/ or mysql:// (from the environment, ROGER_SQL_URL)",
    );
}

#[test]
fn files_are_looked_at_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let file = format!("[auth]\npublic_key_file = {:?}\nsecret_key_file = {:?}", at("p"), at("s"));
    let load = |program| load_in(folder.path(), program, &file, &[]);
    let missing = load(Program::Edge).unwrap_err();
    assert_eq!(missing.to_string(), format!("auth.public_key_file = {:?}: cannot be read (from {})", at("p"), at("roger.toml").display()));
    assert!(missing.source().is_some());
    fs::write(at("p"), "").unwrap();
    fs::write(at("s"), "").unwrap();
    assert!(load(Program::Edge).is_ok());
    let set_mode = |mode| fs::set_permissions(at("s"), fs::Permissions::from_mode(mode)).unwrap();
    for (mode, allowed) in [(0o600, true), (0o640, true), (0o644, false), (0o660, false), (0o740, false)] {
        set_mode(mode);
        assert_eq!(load(Program::Directory).is_ok(), allowed, "mode {mode:o}");
    }
    let text = load(Program::Directory).unwrap_err().to_string();
    assert!(text.contains("must be a file whose mode is at most 0640, not 0740"), "{text}");
}

#[test]
fn the_secret_of_janus_is_looked_at_where_there_is_a_janus() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let file = format!("[janus]\nurl = \"ws://127.0.0.1:8188\"\napi_secret_file = {path:?}");
    let load = |program| load_in(folder.path(), program, &file, &[]).map(drop).map_err(|error| error.to_string());
    let write = |text: &str, mode| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    assert!(load(Program::Janus).unwrap_err().contains("janus.api_secret_file"));
    assert_eq!(load(Program::Delivery), Ok(()));
    for (text, mode, expected) in [
        ("correct horse\n", 0o644, "must be a file whose mode is at most 0640, not 0644"),
        ("janusrocks\n", 0o600, "must be a file whose secret is one of your own: this one stands in the sample configuration of Janus"),
        ("short", 0o600, "must be a file whose secret is 8 to 256 printable ASCII characters"),
    ] {
        write(text, mode);
        let text = load(Program::Janus).unwrap_err();
        assert!(text.contains("janus.api_secret_file") && text.contains(expected), "{text}");
    }
    write("correct horse\n", 0o600);
    assert_eq!(load(Program::Janus), Ok(()));
    check("[janus]\nurl = \"ws://h:1\"", &[], "janus.api_secret_file = \"\": must be set when janus.url is (the default)");
    check(
        "[janus]\nurl = \"http://h:1\"",
        &[],
        "janus.url = \"http://h:1\": must be URLs that begin with ws://, separated by spaces, or empty for off (from DIR/roger.toml)",
    );
    check(
        "[janus]\ncommands = \"janusImUrlList\"",
        &[],
        "janus.commands = \"janusImUrlList\": must be another list than janus.list (from DIR/roger.toml)",
    );
    check(
        "[janus]\ncommand_timeout_ms = 1000",
        &[],
        "janus.command_timeout_ms = 1000: must be at least janus.request_timeout_ms (from DIR/roger.toml)",
    );
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_named() {
    check("[fleet", &[], "DIR/roger.toml is not TOML");
    let sources = Sources { file: Some("/nonexistent/roger.toml".into()), ..Sources::default() };
    let text = Config::load(Program::Roger, &sources).unwrap_err().to_string();
    assert_eq!(text, "cannot read the configuration /nonexistent/roger.toml");
}
