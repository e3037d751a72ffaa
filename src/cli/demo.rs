//! `roger demo`: the sample dialogue over a running fleet, while a radio drops out and parts of the fleet are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::args::Demo;
use super::context::Context;
use super::error::Error;
use super::output::{note, table};
use super::roster::{Report, Roster};
use crate::client::{Directory, Memory, ResumeTokens, Tokens as _};
use crate::model::{GroupId, TopicId};

/// The dialogue: lines {"group", "speaker", "text"} among the accounts of config/demo.toml, and between them what happens: {"off": speaker},
/// {"on": speaker}, {"kill": program}.
const DIALOGUE: &str = include_str!("../../config/demo-dialogue.jsonl");
/// For each receipt, and for everybody to be on the air: above what any part takes to come back.
const WITHIN: Duration = Duration::from_secs(30);
/// Between two lines: as fast as people listen who are in a hurry.
const PAUSE: Duration = Duration::from_millis(60);

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Step {
    Say { group: String, speaker: String, text: String },
    Off { off: String },
    On { on: String },
    Kill { kill: String },
}

#[derive(Serialize)]
struct Answer {
    happened: Vec<[String; 2]>,
    #[serde(flatten)]
    report: Report,
}

pub(super) async fn demo(context: &Context, args: Demo) -> Result<(), Error> {
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str::<Step>(line).map_err(|source| Error::Recording {
            path: "config/demo-dialogue.jsonl".into(),
            line: number + 1,
            source,
        })
    };
    let steps = DIALOGUE.lines().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
    let mut roster = Roster::new(context.live_edges(&args.doors).await?);
    let topics = everybody(context, &args, &steps, &mut roster).await?;
    roster.ready(WITHIN).await?;
    let mut happened = Vec::new();
    let mut said = 0;
    let bar = context.out.progress(steps.len() as u64, "the night");
    for step in steps {
        let event = match step {
            Step::Say { group, speaker, text } => {
                let topic = topics.get(&group).ok_or_else(|| Error::NoSuchGroup { name: group.clone(), account: speaker.clone() })?;
                roster.say(&speaker, *topic, &text, WITHIN).await?;
                said += 1;
                tokio::time::sleep(PAUSE).await;
                None
            }
            Step::Off { off } => {
                roster.off(&off).await?;
                Some(format!("{off} drops out"))
            }
            Step::On { on } => {
                roster.on(&on)?;
                Some(format!("{on} is back, on the other edge"))
            }
            Step::Kill { kill } => {
                signal_kill(&args.supervisorctl, &kill).await?;
                Some(format!("{kill} is killed (SIGKILL)"))
            }
        };
        bar.inc(1);
        if let Some(event) = event {
            if bar.is_hidden() && !context.out.json {
                note(&format!("demo: after {said} messages {event}"));
            }
            happened.push([format!("after {said} messages"), event]);
        }
    }
    bar.finish_and_clear();
    roster.settle(WITHIN).await?;
    let report = roster.report().await?;
    let sound = report.sound;
    context.out.answer(&Answer { happened, report }, |answer| {
        format!("{}\n\n{}", table(&["WHEN", "WHAT HAPPENED"], answer.happened.iter().cloned()), answer.report.text())
    });
    if sound { Ok(()) } else { Err(Error::Findings) }
}

/// Logs everybody in who takes part, with the passwords of config/demo.toml, and finds the groups by name.
async fn everybody(context: &Context, args: &Demo, steps: &[Step], roster: &mut Roster) -> Result<BTreeMap<String, TopicId>, Error> {
    let address = context.directory(&args.doors);
    let directory = Directory::new(&address)?;
    let mut waiting: BTreeSet<String> =
        steps.iter().filter_map(|step| if let Step::Say { speaker, .. } = step { Some(speaker.clone()) } else { None }).collect();
    let mut topics = BTreeMap::new();
    while let Some(name) = waiting.pop_first() {
        let memory = Memory::new();
        let login = directory.login(&name, &format!("demo-{name}"), memory.installation).await?;
        let user = login.user;
        let tokens = ResumeTokens::new(directory.clone(), &name, memory.installation, login, |_| {});
        let mut own = Vec::new();
        for group in directory.groups(&tokens.token(None).await?).await? {
            let topic = TopicId::group(GroupId(group.group_id));
            topics.insert(group.name, topic);
            own.push(topic);
        }
        roster.join(&name, user, memory.installation, tokens, own)?;
    }
    Ok(topics)
}

async fn signal_kill(supervisorctl: &Path, program: &str) -> Result<(), Error> {
    let name = "supervisorctl".to_owned();
    let target = format!("roger:{program}");
    let run = Command::new(&name).arg("-c").arg(supervisorctl).args(["signal", "KILL", &target]).output().await;
    let output = run.map_err(|source| Error::Program { program: name.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
    Err(Error::ProgramFailed { program: format!("{name} signal KILL {target}"), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialogue_is_sound() {
        let mut off = BTreeSet::new();
        let (mut lines, mut kills) = (0, Vec::new());
        for line in DIALOGUE.lines() {
            match serde_json::from_str::<Step>(line).unwrap() {
                Step::Say { speaker, group, text } => {
                    assert!(!off.contains(&speaker), "{speaker} is off the air: {text}");
                    assert!(["search", "harbour"].contains(&group.as_str()));
                    lines += 1;
                }
                Step::Off { off: name } => assert!(off.insert(name)),
                Step::On { on } => assert!(off.remove(&on)),
                Step::Kill { kill } => kills.push(kill),
            }
        }
        assert!(lines >= 40 && off.is_empty(), "{lines} lines");
        assert_eq!(kills, ["delivery", "edge-1"]);
    }
}
