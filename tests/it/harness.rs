//! The harness does what its tests rely on.

use std::net::TcpListener;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use roger::config::{Config, Program as Role, Sources};

use crate::support::fleet::config_text;
use crate::support::process::{Process, Program};
use crate::support::redis::{Appendfsync, Redis};
use crate::support::{ports, wait_until};

fn shell(script: &str) -> (Process, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let program = Program {
        name: "shell".to_owned(),
        executable: "sh".into(),
        package: "dash",
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![("WORD".to_owned(), "hello".to_owned())],
        log: folder.path().join("log"),
        show: Vec::new(),
    };
    (Process::start(program), folder)
}

fn alive(pid: i32) -> bool {
    // A killed grandchild nobody has waited for is still known to the kernel, as Z.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn redis_keeps_its_data_over_a_kill() {
    let mut redis = Redis::start();
    assert_eq!(redis.cli(&["CONFIG", "GET", "appendfsync"]), "appendfsync\nalways");
    redis.cli(&["SET", "key", "value"]);
    redis.kill();
    redis.restart();
    assert_eq!(redis.cli(&["GET", "key"]), "value");
    redis.flushall();
    assert_eq!(redis.cli(&["DBSIZE"]), "0");
    assert!(redis.terminate().success());
}

#[test]
fn redis_freezes_and_goes_on() {
    let redis = Redis::start_with(Appendfsync::Everysec, &["--maxmemory", "10mb"]);
    assert_eq!(redis.cli(&["CONFIG", "GET", "maxmemory"]), "maxmemory\n10485760");
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", redis.pid())).unwrap();
    redis.stop();
    wait_until("Redis is stopped", || state().contains(") T "));
    redis.cont();
    assert_eq!(redis.cli(&["PING"]), "PONG");
}

#[test]
fn a_process_goes_with_its_children() {
    let (mut process, _folder) = shell("sleep 1000 & echo $WORD child=$!; wait");
    process.wait_for_log("\n");
    assert!(process.log().starts_with("hello child="));
    let child: i32 = process.log().trim().rsplit_once('=').unwrap().1.parse().unwrap();
    assert!(alive(child));
    drop(process);
    wait_until("the child is gone", || !alive(child));
}

#[test]
fn a_process_that_is_asked_ends() {
    let (mut process, _folder) = shell("trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.01; done");
    process.wait_for_log("up");
    assert_eq!(process.terminate().code(), Some(7));
    process.wait_for_log("asked");
    let again = Process::start(process.program().clone());
    assert_eq!(again.log().matches("asked").count(), 0, "the log of an earlier run");
    nix::sys::signal::kill(Pid::from_raw(i32::try_from(again.pid()).unwrap()), Signal::SIGKILL).unwrap();
}

#[test]
#[should_panic(expected = "ended with")]
fn a_process_that_ends_early_fails_its_test_at_once() {
    shell("exit 3").0.wait_for_log("ready");
}

#[test]
#[should_panic(expected = "it is in the Debian package no-such-package")]
fn a_missing_server_names_its_package() {
    let missing = PathBuf::from("no-such-server");
    let folder = tempfile::tempdir().unwrap();
    let (name, log) = ("missing".to_owned(), folder.path().join("log"));
    Process::start(Program { name, executable: missing, package: "no-such-package", args: vec![], env: vec![], log, show: vec![] });
}

#[test]
fn ports_are_free_and_given_once() {
    let ports: Vec<u16> = (0..50).map(|_| ports::free()).collect();
    let listeners: Vec<_> = ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port)).unwrap()).collect();
    assert_eq!(listeners.len(), 50);
    assert!(ports.iter().all(|port| *port < 32_768));
}

#[test]
fn a_configuration_of_the_harness_is_one_the_programs_take() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roger.toml");
    let keys = [("redis.url", "\"redis://127.0.0.1:1/0\"".to_owned()), ("fleet.shards", "2".to_owned()), ("fleet.shards", "4".to_owned())];
    std::fs::write(&path, config_text(keys)).unwrap();
    let config = Config::load(Role::Delivery, &Sources { file: Some(path), ..Sources::default() }).unwrap();
    assert_eq!((config.fleet.shards, config.redis.url.as_str()), (4, "redis://127.0.0.1:1/0"));
}
