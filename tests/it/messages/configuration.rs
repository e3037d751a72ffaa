//! The programs judge their configuration before they do anything.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::fleet::{binary, config_text};
use crate::support::process::{Process, Program};

const PROGRAMS: [&str; 5] = ["edge", "directory", "gateway", "delivery", "offline"];
const EXIT_CONFIGURATION: i32 = 78;

/// One wrong configuration, by file, environment or flag, and what the program says of it: key, value, rule and who set it. `DIR` stands for
/// the folder.
struct Wrong {
    keys: Vec<(&'static str, &'static str)>,
    environment: Vec<(&'static str, &'static str)>,
    args: Vec<&'static str>,
    says: &'static str,
}

fn in_file(key: &'static str, value: &'static str, says: &'static str) -> Wrong {
    Wrong { keys: vec![(key, value)], environment: vec![], args: vec![], says }
}

fn in_environment(variable: &'static str, value: &'static str, says: &'static str) -> Wrong {
    Wrong { keys: vec![], environment: vec![(variable, value)], args: vec![], says }
}

fn by_flag(args: &[&'static str], says: &'static str) -> Wrong {
    Wrong { keys: vec![], environment: vec![], args: args.to_vec(), says }
}

/// What is wrong for any program.
fn for_all() -> Vec<Wrong> {
    vec![
        in_file("fleet.shards", "0", "fleet.shards = 0: must be an integer from 1 to 1024 (from DIR/roger.toml)"),
        in_file("fleet.shard", "16", "fleet.shard: there is no such key (from DIR/roger.toml)"),
        in_file("log.format", "\"xml\"", "log.format = \"xml\": must be one of text, json (from DIR/roger.toml)"),
        in_environment(
            "ROGER_REDIS_URL",
            "http://roger:secret@127.0.0.1",
            "redis.url = \"http://roger:***@127.0.0.1\": must be a URL that begins with redis:// or redis+unix:/// or redis-sentinel:// or redis-cluster:// (from the environment, ROGER_REDIS_URL)",
        ),
        in_environment("ROGER_FLEET_SHARD", "1", "fleet.shard: there is no such key (from the environment, ROGER_FLEET_SHARD)"),
        by_flag(&["--config", "/nonexistent/roger.toml"], "cannot read the configuration /nonexistent/roger.toml"),
    ]
}

/// What is wrong for one of them.
fn for_one(program: &str) -> Vec<Wrong> {
    match program {
        "edge" => vec![
            by_flag(
                &["--listen", "0.0.0.0:7701"],
                "edge.listen = \"0.0.0.0:7701\": must be a loopback address unless edge.cleartext_beyond_loopback is true (from the flag --listen)",
            ),
            by_flag(
                &["--name", "Edge One"],
                "edge.name = \"Edge One\": must be 1 to 32 lower-case letters, digits and hyphens (from the flag --name)",
            ),
            in_environment(
                "ROGER_EDGE_RATE_BURST",
                "0",
                "edge.rate_burst = 0: must be 0 when edge.rate_messages_per_s is 0, and only then (from the environment, ROGER_EDGE_RATE_BURST)",
            ),
            in_file(
                "auth.public_key_file",
                "\"/nonexistent/token.pub\"",
                "auth.public_key_file = \"/nonexistent/token.pub\": cannot be read (from DIR/roger.toml)",
            ),
        ],
        "directory" => vec![
            in_file(
                "auth.secret_key_file",
                "\"DIR/open.secret\"",
                "auth.secret_key_file = \"DIR/open.secret\": must be a file whose mode is at most 0640, not 0644 (from DIR/roger.toml)",
            ),
            in_file(
                "auth.resume_lifetime_s",
                "60",
                "auth.resume_lifetime_s = 60: must be at least auth.token_lifetime_s (from DIR/roger.toml)",
            ),
        ],
        "gateway" => vec![
            in_file(
                "gateway.object_url",
                "\"ftp://objects\"",
                "gateway.object_url = \"ftp://objects\": must be a URL that begins with file:/// or s3:// (from DIR/roger.toml)",
            ),
            in_file(
                "gateway.nodes_file",
                "\"/nonexistent/nodes.toml\"",
                "gateway.nodes_file = \"/nonexistent/nodes.toml\": cannot be read (from DIR/roger.toml)",
            ),
            in_environment(
                "ROGER_GATEWAY_SPOOL_DIR",
                "spool",
                "gateway.spool_dir = \"spool\": must be an absolute path (from the environment, ROGER_GATEWAY_SPOOL_DIR)",
            ),
        ],
        "delivery" => vec![in_file(
            "delivery.backlog_frames_max",
            "20",
            "delivery.backlog_frames_max = 20: must be at least delivery.batch_frames_max (from DIR/roger.toml)",
        )],
        _ => vec![in_environment(
            "ROGER_SQL_URL",
            "postgres://roger:secret@127.0.0.1/roger",
            "sql.url = \"postgres://roger:***@127.0.0.1/roger\": must be a URL that begins with sqlite:/ or mysql:// (from the environment, ROGER_SQL_URL)",
        )],
    }
}

/// Runs a program to its end; returns its exit code and what it wrote.
fn run(folder: &Path, name: &str, wrong: &Wrong, taken: &str) -> (Option<i32>, String) {
    let path = |file: &str| format!("{:?}", folder.join(file));
    let good = [
        ("auth.public_key_file", path("token.pub")),
        ("auth.secret_key_file", path("token.secret")),
        ("edge.listen", format!("{taken:?}")),
        ("directory.listen", format!("{taken:?}")),
        ("gateway.listen", format!("{taken:?}")),
        ("gateway.object_url", format!("\"file://{}\"", folder.join("objects").display())),
        ("gateway.spool_dir", path("spool")),
        ("metrics.edge_listen", format!("{taken:?}")),
        ("metrics.directory_listen", format!("{taken:?}")),
        ("metrics.gateway_listen", format!("{taken:?}")),
        ("metrics.delivery_listen", format!("{taken:?}")),
        ("metrics.offline_listen", format!("{taken:?}")),
    ];
    let dir = folder.to_str().unwrap();
    let keys = wrong.keys.iter().map(|(key, value)| (*key, value.replace("DIR", dir)));
    let config = folder.join("roger.toml");
    fs::write(&config, config_text(good.into_iter().chain(keys))).unwrap();
    let mut args = vec!["--config".to_owned(), config.display().to_string()];
    if wrong.args.first() == Some(&"--config") {
        args.clear();
    }
    args.extend(wrong.args.iter().map(|arg| (*arg).to_owned()));
    let program = Program {
        name: name.to_owned(),
        executable: binary(name),
        package: "",
        args,
        env: wrong.environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        log: folder.join("log"),
        show: vec![config],
    };
    let mut process = Process::start(program);
    let code = process.wait().code();
    (code, process.log().replace(dir, "DIR"))
}

#[test]
fn a_wrong_configuration_names_key_value_and_rule_and_ends_with_78_before_a_port_is_bound() {
    let folder = tempfile::tempdir().unwrap();
    roger::token::KeyPair::create(folder.path()).unwrap();
    let open = folder.path().join("open.secret");
    fs::write(&open, "").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    // Every address a program would bind is taken: one that bound first would say so, with 69.
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    for name in PROGRAMS {
        for wrong in for_all().into_iter().chain(for_one(name)) {
            let (code, said) = run(folder.path(), name, &wrong, &taken);
            assert_eq!(said.trim_end(), format!("{name}: {}", wrong.says));
            assert_eq!(code, Some(EXIT_CONFIGURATION), "{name}: {said}");
        }
        let right = Wrong { keys: vec![], environment: vec![], args: vec![], says: "" };
        let (code, said) = run(folder.path(), name, &right, &taken);
        assert!(said.contains(&taken), "{name}: {said}");
        assert_eq!(code, Some(69), "with nothing wrong the address is missed: {said}");
    }
}

#[test]
fn a_key_file_that_holds_no_key_is_named_before_clients_could_connect() {
    let folder = tempfile::tempdir().unwrap();
    roger::token::KeyPair::create(folder.path()).unwrap();
    fs::write(folder.path().join("other.pub"), "no key").unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    for name in ["edge", "directory", "gateway"] {
        let keys = vec![
            ("auth.public_key_file", "\"DIR/other.pub\""),
            ("sql.url", "\"sqlite:DIR/roger.db\""),
            ("metrics.edge_listen", "\"\""),
            ("metrics.directory_listen", "\"\""),
            ("metrics.gateway_listen", "\"\""),
        ];
        let (code, said) = run(folder.path(), name, &Wrong { keys, environment: vec![], args: vec![], says: "" }, &taken);
        assert_eq!(code, Some(EXIT_CONFIGURATION), "{name}: {said}");
        for part in ["auth.public_key_file", "DIR/other.pub", "holds no k4.public key"] {
            assert!(said.contains(part), "{name} does not say {part:?}: {said}");
        }
    }
}
