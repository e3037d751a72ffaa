//! `roger release` and `roger file`, as people use them: logged in at a real directory, and as operators at the store.

use std::fs;
use std::process::{Command, Stdio};

use roger::clock::Clock;
use roger::config::{Config, Program, Sources};
use roger::directory;
use roger::model::InstallationId;
use roger::shutdown::Shutdown;
use serde_json::Value;

use super::Ground;
use super::serving::Served;
use crate::support::apk::{ApkSpec, noise};
use crate::support::fleet::{Answer, binary};
use crate::support::{eventually, ports};

/// Runs `roger` over a ground, with something to read.
fn roger(ground: &Ground, args: &[&str], stdin: &str) -> Answer {
    let mut command = Command::new(binary("roger"));
    command.args(args).env("ROGER_CONFIG", ground.path("roger.toml")).env("XDG_STATE_HOME", ground.path("state"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_and_files_go_by_command() {
    let ground = Ground::new();
    let at = |name: &str| ground.path(name).display().to_string();
    let listen = format!("127.0.0.1:{}", ports::free());
    let changes =
        [("directory.listen", listen.as_str()), ("auth.secret_key_file", &at("token.secret")), ("redis.url", "redis://127.0.0.1:1/0")];
    let mut served = Served::start(&ground, &changes, &[]);
    let config = Config::load(Program::Directory, &Sources { file: Some(ground.path("roger.toml")), ..Sources::default() }).unwrap();
    let stop = Shutdown::manual();
    let directory = tokio::spawn(directory::run(config, Clock::system(), stop.clone()));
    for name in ["chief", "neil"] {
        let add = ["account", "add", name, "--kind", "dispatcher", "--tenant", "apollo", "--password-stdin"];
        roger(&ground, &add, "a long password\n").succeeded();
    }
    ground.execute("UPDATE account SET kind = 5 WHERE name = 'chief'").await;
    eventually("the directory logs in", || async {
        let done = ["chief", "neil"].map(|name| roger(&ground, &["login", name, "--password-stdin"], "a long password\n").code);
        (done == [0, 0]).then_some(())
    })
    .await;

    let apk = ApkSpec { package: "org.example.radio", version_code: 7, key: Some("crew"), payload_bytes: 1_000 }.build();
    fs::write(ground.path("radio.apk"), &apk).unwrap();
    let signed = roger(&ground, &["release", "sign", &at("radio.apk"), "--key", &at("release.secret"), "--json"], "").succeeded().json();
    assert_eq!(signed["signature"], ground.signature(&apk));
    let upload = |package: &str, who: &str| {
        let args = ["release", "upload", &at("radio.apk"), "--package", package, "--key", &at("release.secret"), "--as", who, "--json"];
        roger(&ground, &args, "")
    };
    for (package, who, reason) in [("org.example.radio", "neil", "not_permitted"), ("org.example.other", "chief", "other_package")] {
        let refused = upload(package, who);
        assert!(refused.code == 64 && refused.stderr.contains(reason), "{refused:?}");
    }
    let release = upload("org.example.radio", "chief").succeeded().json();
    assert_eq!((release["id"].as_u64(), release["version_code"].as_u64()), (Some(1), Some(7)));
    let store = ground.store().await;
    let current = async || store.release_for("org.example.radio", InstallationId(9)).await.unwrap().map(|release| release.version_code);
    for (args, expected) in [
        (&["release", "stage", "1", "100"][..], Some(7)),
        (&["release", "halt", "1", "--yes"], None),
        (&["release", "resume", "1"], Some(7)),
    ] {
        roger(&ground, args, "").succeeded();
        assert_eq!(current().await, expected, "{args:?}");
    }
    for wrong in [&["release", "halt", "1"][..], &["release", "stage", "1", "101"], &["release", "stage", "99", "1"]] {
        assert_eq!(roger(&ground, wrong, "").code, 64, "{wrong:?}");
    }
    assert_eq!(current().await, Some(7));
    let listed = roger(&ground, &["release", "list", "--json"], "").succeeded().json();
    assert_eq!((listed[0]["sha256"].clone(), listed[0]["percent"].as_u64()), (signed["sha256"].clone(), Some(100)));

    let content = noise(3_000_000, 1);
    fs::write(ground.path("map.bin"), &content).unwrap();
    let me: Value = roger(&ground, &["file", "put", &at("map.bin"), "--topic", "u:2", "--as", "chief", "--json"], "").succeeded().json();
    let id = me["id"].as_str().unwrap();
    // The first half is there from an attempt that was cut off.
    fs::write(ground.path("got.part"), &content[..1_000_000]).unwrap();
    roger(&ground, &["file", "get", id, "--out", &at("got"), "--as", "neil"], "").succeeded();
    assert!(fs::read(ground.path("got")).unwrap() == content);
    assert!(!ground.path("got.part").exists());
    let missing = roger(&ground, &["file", "get", &"0".repeat(32), "--out", &at("none"), "--as", "neil"], "");
    assert!(missing.code == 64 && missing.stderr.contains("not_found"), "{missing:?}");
    let listed = roger(&ground, &["file", "list", "--json"], "").succeeded().json();
    assert_eq!((listed[0]["id"].as_str(), listed[0]["topic"].as_str()), (Some(id), Some("u:2")));
    served.stop();
    ground.execute("UPDATE file SET expires_ms = 1").await;
    let swept = roger(&ground, &["file", "sweep", "--json"], "").succeeded().json();
    assert_eq!(swept, serde_json::json!({ "files": 1, "objects": 1, "failed": 0 }));
    assert_eq!(ground.objects(), [format!("releases/{}", signed["sha256"].as_str().unwrap())]);
    stop.start();
    directory.await.unwrap().unwrap();
}
