//! `roger replay radio`: a recorded conversation through the fleet, and whether everybody heard it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::args::{Radio, Speed};
use super::context::Context;
use super::error::Error;
use super::fresh::Fresh;
use super::roster::Roster;
use crate::model::TopicId;

/// The three in the spacecraft: commander, command module pilot, lunar module pilot.
const CREW: [&str; 3] = ["CDR", "CMP", "LMP"];
/// A silence of the crew above this is taken as the far side of the Moon.
const LOS_S: f64 = 600.0;
/// How long one transmission may wait for its receipt: longer than any part of a fleet takes to come back.
const RECEIPT_WITHIN: Duration = Duration::from_secs(60);

/// A line of the recording.
#[derive(Debug, Deserialize)]
struct Transmission {
    t_s: f64,
    speaker: String,
    text: String,
}

pub(super) async fn radio(context: &Context, args: Radio) -> Result<(), Error> {
    let mut recording = read(&args.file)?;
    recording.truncate(args.limit.unwrap_or(usize::MAX));
    let run = format!("replay-{:x}", context.clock.now_ms());
    let fresh = Fresh::new(context.store()?, &context.config.auth.secret_key_file, context.clock.clone(), &run).await?;
    let names: BTreeSet<String> = recording.iter().map(|transmission| transmission.speaker.clone()).collect();
    let mut devices = Vec::new();
    for name in &names {
        devices.push(fresh.device(name).await?);
    }
    let users: Vec<_> = devices.iter().map(|device| device.user).collect();
    let topic = TopicId::group(fresh.group("air-to-ground", &users).await?);
    fresh.relayed(args.within).await?;
    let mut roster = Roster::new(context.live_edges(&args.doors).await?);
    for device in devices {
        roster.join(&device.name, device.user, device.installation, device.tokens, [topic])?;
    }
    roster.ready(args.within).await?;
    play(context, &args, &recording, topic, &mut roster).await?;
    roster.settle(args.within).await?;
    let report = roster.report().await?;
    context.out.answer(&report, super::roster::Report::text);
    if report.sound { Ok(()) } else { Err(Error::Findings) }
}

async fn play(context: &Context, args: &Radio, recording: &[Transmission], topic: TopicId, roster: &mut Roster) -> Result<(), Error> {
    let silences = if args.los { silences(recording) } else { BTreeSet::new() };
    let crew: Vec<&str> = CREW.into_iter().filter(|name| recording.iter().any(|transmission| transmission.speaker == *name)).collect();
    let bar = context.out.progress(recording.len() as u64, "on the air");
    let mut clock_s = recording.first().map_or(0.0, |first| first.t_s);
    for (number, transmission) in recording.iter().enumerate() {
        if let Speed::Times(times) = args.speed {
            let wait_s = (transmission.t_s - clock_s).max(0.0) / times;
            tokio::time::sleep(Duration::try_from_secs_f64(wait_s).unwrap_or_default()).await;
            clock_s = transmission.t_s;
        }
        if roster.is_off(&transmission.speaker) {
            for name in &crew {
                roster.on(name)?;
            }
        }
        roster.say(&transmission.speaker, topic, &transmission.text, RECEIPT_WITHIN).await?;
        if silences.contains(&number) {
            for name in &crew {
                roster.off(name).await?;
            }
        }
        bar.inc(1);
    }
    for name in crew {
        roster.on(name)?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// The numbers of the crew's transmissions that a long silence of the crew follows.
fn silences(recording: &[Transmission]) -> BTreeSet<usize> {
    let of_crew: Vec<usize> = (0..recording.len()).filter(|at| CREW.contains(&recording[*at].speaker.as_str())).collect();
    of_crew.windows(2).filter(|pair| recording[pair[1]].t_s - recording[pair[0]].t_s > LOS_S).map(|pair| pair[0]).collect()
}

fn read(path: &Path) -> Result<Vec<Transmission>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut recording = Vec::new();
    for (number, line) in BufReader::new(File::open(path).map_err(failed)?).lines().enumerate() {
        let line = line.map_err(failed)?;
        if line.trim().is_empty() {
            continue;
        }
        let transmission = serde_json::from_str(&line);
        recording.push(transmission.map_err(|source| Error::Recording { path: path.to_owned(), line: number + 1, source })?);
    }
    if recording.is_empty() {
        return Err(Error::Usage(format!("{} holds no transmission", path.display())));
    }
    Ok(recording)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_silences_of_the_crew_count() {
        let spoken = |t_s, speaker: &str| Transmission { t_s, speaker: speaker.into(), text: "x".into() };
        let recording = [
            spoken(0.0, "CDR"),
            spoken(10.0, "CC"),
            spoken(500.0, "CC"),
            spoken(700.0, "LMP"),
            spoken(1_200.0, "CMP"),
            spoken(9_000.0, "CC"),
        ];
        assert_eq!(silences(&recording), BTreeSet::from([0]));
    }
}
