//! The listeners of `supervisor/` under a real supervisord, with real programs that cannot start.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::configure;
use super::gateway::{Gateway, Mode};
use crate::support::process::{Process, Program, run};
use crate::support::{ports, wait_until};

/// A supervisord with the listeners of `supervisor/` and programs of a test.
pub struct Supervised {
    pub process: Process,
    pub folder: tempfile::TempDir,
}

/// Starts one. `more` goes into the section of the listeners.
pub fn supervised(gateway: &Gateway, more: &str, programs: &str) -> Supervised {
    let folder = tempfile::Builder::new().prefix("roger-told-").tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["bin", "log"] {
        fs::create_dir(at(name)).unwrap();
    }
    configure(folder.path(), gateway, more);
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("supervisor");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sms-listener"), at("bin/sms-listener")).unwrap();
    let socket = at("s.sock").display().to_string();
    let conf = format!(
        "[supervisord]\nnodaemon=true\nlogfile={}\npidfile={}\nchildlogdir={}\n[unix_http_server]\nfile={socket}\nchmod=0700\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{socket}\n[include]\nfiles={}/sms-listener.conf\n{programs}",
        at("log/supervisord.log").display(),
        at("supervisord.pid").display(),
        at("log").display(),
        ours.display(),
    );
    fs::write(at("supervisord.conf"), conf).unwrap();
    let program = Program {
        name: "supervisord".to_owned(),
        executable: "supervisord".into(),
        package: "supervisor",
        args: ["-a", "256", "-c", at("supervisord.conf").to_str().unwrap()].map(str::to_owned).to_vec(),
        env: [
            ("ROGER_HOME", folder.path().display().to_string()),
            ("ROGER_BIN", at("bin").display().to_string()),
            ("ROGER_CONFIG", at("roger.toml").display().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec(),
        log: at("supervisord.out"),
        show: vec![at("log/sms-listener-a.log"), at("log/sms-listener-b.log"), at("log/supervisord.log")],
    };
    Supervised { process: Process::start(program), folder }
}

impl Supervised {
    /// The process id of a program that runs.
    pub fn pid(&self, program: &str) -> Option<String> {
        let status = self.control(&format!("status {program}"));
        Some(status.split_once("pid ")?.1.split(',').next()?.to_owned())
    }

    pub fn control(&self, verb: &str) -> String {
        let conf = self.folder.path().join("supervisord.conf");
        run("supervisor", "sh", &["-c", &format!("supervisorctl -c {} {verb} || true", conf.display())])
    }
}

const PACES: &str = "peer_silent_s = 10\nrevive_first_s = 2\nrevive_longest_s = 4\n";

fn section(name: &str, command: &str, more: &str) -> String {
    format!(
        "[program:{name}]\ncommand=setpriv --pdeathsig KILL -- {command}\nautorestart=unexpected\nexitcodes=0\nstartsecs=1\nstartretries=1\nredirect_stderr=true\nstopasgroup=true\nkillasgroup=true\n{more}\n"
    )
}

pub fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn each_program_that_cannot_start_is_told_by_name_with_what_it_said_last_and_is_revived() {
    let gateway = Gateway::start(Mode::Good);
    let (taken, scripts) = (TcpListener::bind(("127.0.0.1", ports::free())).unwrap(), tempfile::tempdir().unwrap());
    let port = taken.local_addr().unwrap().port();
    let broken = scripts.path().join("broken.toml");
    fs::write(&broken, "[fleet]\nshards = 0\n").unwrap();
    let crash = scripts.path().join("crash");
    fs::write(
        &crash,
        format!(
            "#!/bin/sh\n[ -e {}/mended ] && exec sleep 600\necho thrown by the fourth wall, password=hunter2\nexit 3\n",
            scripts.path().display()
        ),
    )
    .unwrap();
    fs::set_permissions(&crash, fs::Permissions::from_mode(0o755)).unwrap();
    let programs = [
        section("crashes", crash.to_str().unwrap(), ""),
        "[program:missing]\ncommand=/opt/no/such/program\nstartsecs=1\nstartretries=1\n".to_owned(),
        section("delivery", env!("CARGO_BIN_EXE_delivery"), &format!("environment=ROGER_METRICS_DELIVERY_LISTEN=\"127.0.0.1:{port}\"")),
        section("offline", &format!("{} --config {}", env!("CARGO_BIN_EXE_offline"), broken.display()), ""),
    ];
    let supervised = supervised(&gateway, PACES, &programs.concat());
    let told = |parts: &[&str]| gateway.texts().iter().any(|text| parts.iter().all(|part| text.contains(part)));
    wait_until("all four are told", || ["crashes", "missing", "delivery", "offline"].iter().all(|name| told(&[name, "FATAL"])));
    let all = gateway.texts().join("\n");
    for part in ["exit 3: thrown by the fourth wall, password=***", "can't find command", "exit 69", "exit 78: offline: fleet.shards = 0"] {
        assert!(all.contains(part), "{part:?} is not in\n{all}");
    }
    assert!(all.contains("already in use") && !all.contains("hunter2"), "{all}");

    fs::write(scripts.path().join("mended"), "").unwrap();
    wait_until("it is up by itself, and that is told", || told(&["crashes", "up again"]));
    assert!(supervised.control("status crashes").contains("RUNNING"));
}

#[test]
fn a_killed_supervisord_leaves_no_orphan_and_is_told_when_it_is_back() {
    let gateway = Gateway::start(Mode::Good);
    let mut first = supervised(&gateway, PACES, &section("works", "sleep 600", ""));
    wait_until("all run", || first.folder.path().join("s.sock").exists() && first.control("status").matches(" RUNNING ").count() == 3);
    wait_until("its start is told", || gateway.texts().iter().any(|text| text.contains("supervisord began")));
    let status = first.control("status");
    let pids: Vec<&str> = status.lines().filter_map(|line| line.split_once("pid ")?.1.split(',').next()).collect();
    assert!(pids.len() == 3 && pids.iter().all(|pid| runs(pid)), "{status}");
    std::process::Command::new("kill").args(["-KILL", &first.process.pid().to_string()]).status().unwrap();
    wait_until("none is left", || !pids.iter().any(|pid| runs(pid)));
    first.process.kill();
    first.process = Process::start(first.process.program().clone());
    wait_until("its death is told", || gateway.texts().iter().any(|text| text.contains("supervisord was killed, and is back")));
    wait_until("all run", || first.control("status").matches(" RUNNING ").count() == 3);

    // A listener that hangs is killed by the other one, and started again.
    let line = first.control("status sms-listener-a");
    let pid = line.split_once("pid ").unwrap().1.split(',').next().unwrap().to_owned();
    std::process::Command::new("kill").args(["-STOP", &pid]).status().unwrap();
    wait_until("it is told and replaced", || {
        gateway.texts().iter().any(|text| text.contains("sms-listener-a is silent"))
            && !runs(&pid)
            && first.control("status sms-listener-a").contains("RUNNING")
    });
}
