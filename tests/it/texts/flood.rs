//! Hundreds of changes of real programs, while the gateway is bad and both listeners are hurt; supervisord's own log says what there was to tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::Duration;

use super::changes_in;
use super::gateway::{Gateway, Mode};
use super::supervised::{Supervised, runs, supervised};
use crate::support::{wait_for, wait_until};

/// The flood grows with the machine's own pace.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many changes there were to tell, by the log of supervisord: ends that should not have been, and programs that were up after one.
fn happened(log: &str) -> usize {
    // Programs that were started and not seen up yet, and those in trouble.
    let (mut fresh, mut troubled, mut count) = (BTreeSet::new(), BTreeSet::new(), 0);
    for line in log.lines() {
        let Some((_, said)) = line.split_once(" INFO ").or_else(|| line.split_once(" WARN ")) else { continue };
        let (verb, rest) = said.split_once(": ").unwrap_or((said, ""));
        let program = rest.split(' ').next().unwrap_or("").trim_matches('\'').to_owned();
        match verb {
            "spawned" => drop(fresh.insert(program)),
            "success" => {
                fresh.remove(&program);
                count += usize::from(troubled.remove(&program));
            }
            "exited" => {
                // What need not stay up for any time counts as up when it ended before supervisord looked.
                if fresh.remove(&program) && !program.starts_with("sms-listener") {
                    count += usize::from(troubled.contains(&program));
                }
                count += 1;
                troubled.insert(program);
            }
            _ => {}
        }
    }
    count
}

/// How often changes of each kind stand in the spool of a listener: what supervisord said, and what only the listener knew.
fn spooled(supervised: &Supervised, name: &str) -> [BTreeMap<String, usize>; 2] {
    let mut kinds = [BTreeMap::new(), BTreeMap::new()];
    let files = fs::read_dir(supervised.folder.path().join("listener").join(name)).unwrap().flatten();
    for file in files.filter(|file| file.file_name().to_string_lossy().starts_with("events-")) {
        for line in fs::read_to_string(file.path()).unwrap().lines() {
            let Ok(change) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let known = &mut kinds[usize::from(change["id"] == "")];
            *known.entry(change["kind"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    kinds
}

fn known_to_listeners(supervised: &Supervised) -> BTreeMap<String, usize> {
    let [[_, mut known], [_, more]] = ["a", "b"].map(|name| spooled(supervised, name));
    more.into_iter().for_each(|(kind, count)| *known.entry(kind).or_insert(0) += count);
    known
}

#[test]
fn a_flood_of_a_real_supervisord_is_told_once_while_the_gateway_is_bad_and_both_listeners_are_hurt() {
    let gateway = Gateway::start(Mode::Down);
    let flaps = "command=setpriv --pdeathsig KILL -- sh -c \"sleep 0.2; exit 1\"\nstartsecs=0\n";
    let programs = format!(
        "[program:flaps]\n{flaps}autorestart=true\nnumprocs=8\nprocess_name=flaps-%(process_num)d\nstopasgroup=true\n\
         [program:last]\n{flaps}autostart=false\nautorestart=false\n"
    );
    let supervised = supervised(&gateway, "peer_silent_s = 4\nrevive_first_s = 0\n", &programs);
    let log = || fs::read_to_string(supervised.folder.path().join("log/supervisord.log")).unwrap_or_default();
    let modes = [Mode::Down, Mode::Fails, Mode::Slow, Mode::Garbage, Mode::BreaksOff];
    for turn in 0..10 {
        gateway.set(modes[turn % modes.len()]);
        match turn {
            2 => {
                let pid = wait_for("it runs", PATIENCE, || supervised.pid("sms-listener-b"));
                Command::new("kill").args(["-KILL", &pid]).status().unwrap();
            }
            5 => {
                let pid = wait_for("it runs", PATIENCE, || supervised.pid("sms-listener-a"));
                let signal = |name: &str| Command::new("kill").args([name, &pid]).output().unwrap();
                signal("-STOP");
                // The other one kills it, for it gives no sign of life; whether it was continued before matters no more.
                wait_for("it is replaced", PATIENCE, || (!runs(&pid)).then_some(()));
                signal("-CONT");
            }
            _ => {}
        }
        let least = (turn + 1) * 52;
        wait_for("programs end and come up", PATIENCE, || (happened(&log()) >= least).then_some(()));
    }
    // One that has just ended cannot be stopped, and is started again.
    wait_until("all are stopped", || {
        supervised.control("stop flaps:*");
        supervised.control("status flaps:*").matches(" STOPPED ").count() == 8
    });
    // What supervisord still had to say is said by then: a listener hears some hundred events a second.
    let ends = log().matches(" exited: ").count();
    wait_for("both have heard all", PATIENCE, || {
        let heard = |name: &str| ["exited", "backoff"].map(|kind| spooled(&supervised, name)[0].get(kind).copied().unwrap_or(0));
        ["a", "b"].iter().all(|name| heard(name).iter().sum::<usize>() >= ends).then_some(())
    });
    let before = gateway.texts().len();
    assert!(happened(&log()) >= 500 && before <= 4, "{} changes, {before} texts while it was bad", happened(&log()));
    gateway.set(Mode::Good);
    let told = || gateway.texts().iter().filter_map(|text| changes_in(text)).sum::<usize>();
    // supervisord began; the rest stands in its log, or in the spools.
    let all = || 1 + happened(&log()) + known_to_listeners(&supervised).values().sum::<usize>();
    // Attempts are up to 45 s apart by now.
    wait_for("all is told", PATIENCE, || (told() >= all()).then_some(()));
    let after = gateway.texts().iter().skip(before).filter(|text| changes_in(text).is_some()).count();
    assert!(after <= 5, "{after} messages: {:#?}", gateway.texts());

    // What would be told twice is told with this one, or before it.
    supervised.control("start last");
    wait_until("the last one has ended", || log().contains("exited: last "));
    wait_for("it is told", PATIENCE, || (told() >= all()).then_some(()));
    let known = known_to_listeners(&supervised);
    assert_eq!(told(), all(), "{known:?} {:#?}", gateway.texts());
    assert!(known.keys().all(|kind| kind.starts_with("peer_")) && known["peer_silent"] >= 1, "{known:?}");
}
