//! `roger replay track`: a GPX file as the position reports of a device, and what became of each at the door.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gpx::Waypoint;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;
use time::OffsetDateTime;

use super::args::{Speed, Track};
use super::context::Context;
use super::error::Error;
use super::fresh::minted;
use super::output::table;
use super::radio::tokens;
use super::state::State;
use crate::client::{Reporter, Tokens};
use crate::model::{InstallationId, Reason, UserId, UserKind};
use crate::proto::v1;
use crate::store::NewAccount;
use crate::token::{Claims, Signer};

const HOUR_MS: u64 = 3_600_000;

/// A report, and when it is to go: at a time of the file, UTC ms.
#[derive(Clone, Debug, PartialEq)]
struct Due {
    at_ms: u64,
    report: v1::Report,
}

/// What became of the points of a file.
#[derive(Debug, Default, Serialize)]
struct Answer {
    file: PathBuf,
    device_id: UserId,
    /// Of its tracks.
    points: usize,
    without_time: usize,
    /// Waypoints and points of routes, which are no track.
    left_out: usize,
    /// All that were sent and answered.
    reports: u64,
    calls: u64,
    /// Calls that had no answer and were sent again.
    repeated_calls: u64,
    /// Those the fleet has on its queue. A duplicate is found later: `roger fate` tells.
    stored: u64,
    /// The least of all calls; absent when nothing was stored.
    durability: Option<String>,
    refused: Vec<Refused>,
    /// What was left out of reports, or stands out, by its name.
    flags: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Refused {
    reason: String,
    field: String,
    reports: u64,
}

pub(super) async fn track(context: &Context, args: Track) -> Result<(), Error> {
    let (points, left_out) = read(&args.file)?;
    let (device, tokens) = device(context, &args).await?;
    let edges = if args.doors.edges.is_empty() { context.edges(&args.doors) } else { args.doors.edges.clone() };
    let mut reporter = Reporter::new(edges, tokens)?;
    let mut answer = Answer {
        file: args.file.clone(),
        device_id: device,
        points: points.len(),
        without_time: points.iter().filter(|point| point.time.is_none()).count(),
        left_out,
        ..Answer::default()
    };
    let all = in_order(&args, &points);
    let bar = context.out.progress(all.len() as u64, "reporting");
    let mut tally = Tally::default();
    let (begun, mut next) = (Instant::now(), 0);
    while next < all.len() {
        wait_until_due(args.speed, begun, all[0].at_ms, all[next].at_ms).await;
        let end = match args.speed {
            Speed::Max => all.len(),
            Speed::Times(times) => {
                let now_ms = all[0].at_ms + (begun.elapsed().as_secs_f64() * times * 1_000.0) as u64;
                // At least the one that was waited for, whatever the rounding says.
                next + all[next..].partition_point(|due| due.at_ms <= now_ms).max(1)
            }
        };
        let reports: Vec<v1::Report> = all[next..end.min(next + usize::from(args.batch))].iter().map(|due| due.report.clone()).collect();
        let late = |_| Error::Late { what: "an answer to reports".to_owned(), seconds: args.within.as_secs() };
        let answers = tokio::time::timeout(args.within, reporter.report(&reports)).await.map_err(late)??;
        tally.count(&answers);
        answer.calls += 1;
        next += reports.len();
        bar.set_position(next as u64);
    }
    bar.finish_and_clear();
    answer.repeated_calls = reporter.repeated();
    tally.into_answer(&mut answer);
    context.out.answer(&answer, text);
    Ok(())
}

/// The points of the tracks of a file in their order; and how many other points it has.
fn read(path: &Path) -> Result<(Vec<Waypoint>, usize), Error> {
    let file = File::open(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let gpx = gpx::read(BufReader::new(file)).map_err(|source| Error::NotGpx { path: path.to_owned(), source })?;
    let left_out = gpx.waypoints.len() + gpx.routes.iter().map(|route| route.points.len()).sum::<usize>();
    let segments = gpx.tracks.into_iter().flat_map(|track| track.segments);
    Ok((segments.flat_map(|segment| segment.points).collect(), left_out))
}

/// Who reports, and their tokens: by a login on this machine, or signed with the key of the fleet.
async fn device(context: &Context, args: &Track) -> Result<(UserId, Arc<dyn Tokens>), Error> {
    let name = &args.device;
    if args.tenant.is_none()
        && let Ok(state) = State::of(name)
        && let Ok(kept) = state.load()
    {
        return Ok((kept.login.user, tokens(&state, &kept)?));
    }
    let registry = context.registry().await?;
    let store = context.store()?;
    if let Some(tenant) = &args.tenant
        && store.account_by_name(name).await?.is_none()
    {
        let tenant = store.ensure_tenant(tenant).await?.id();
        let (name, nickname, password_hash) = (name.clone(), name.clone(), String::new());
        let account = NewAccount { name, nickname, kind: UserKind::Device, tenant, password_hash, parent: None };
        store.ensure_account(account, context.clock.now_ms()).await?;
    }
    let id = registry.device(name).await?.id;
    let account = store.account(id).await?.ok_or_else(|| Error::Usage(format!("{name} is gone")))?;
    let claims = Claims {
        user: id,
        tenant: account.tenant,
        kind: UserKind::Device,
        installation: InstallationId(rand::random_range(1..=u64::MAX)),
        name: account.nickname,
        expires_ms: 0,
        issued_ms: 0,
        token_id: 0,
    };
    let signer = Arc::new(Signer::load(&context.config.auth.secret_key_file)?);
    Ok((id, minted(signer, context.clock.clone(), claims)))
}

/// The time of a point, UTC ms. One without a time, or from before 1970, has 0: the fleet says what it thinks of that.
fn time_ms(point: &Waypoint) -> u64 {
    let time = point.time.map(OffsetDateTime::from);
    time.and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()).unwrap_or(0)
}

fn report(number: usize, point: &Waypoint) -> v1::Report {
    let place = point.point();
    let fix = v1::Fix {
        time_ms: time_ms(point),
        latitude: place.y(),
        longitude: place.x(),
        altitude_m: point.elevation.map(|metres| metres as f32),
        speed_mps: point.speed.map(|speed| speed as f32),
        ..v1::Fix::default()
    };
    v1::Report { report_id: number as u64, fix: Some(fix), ..v1::Report::default() }
}

/// What is sent, in its order.
fn in_order(args: &Track, points: &[Waypoint]) -> Vec<Due> {
    let copies = if args.double { 2 } else { 1 };
    let mut all = Vec::with_capacity(points.len() * copies);
    let mut at_ms = points.iter().map(time_ms).find(|time_ms| *time_ms > 0).unwrap_or(0);
    for (number, point) in points.iter().enumerate() {
        // In the order of the file, even where its times go back.
        at_ms = at_ms.max(time_ms(point));
        all.extend(std::iter::repeat_n(Due { at_ms, report: report(number, point) }, copies));
    }
    if let Some(hours) = args.late {
        let mut draw = StdRng::seed_from_u64(args.seed);
        for due in &mut all {
            due.at_ms += draw.random_range(0..=u64::from(hours) * HOUR_MS);
        }
        all.sort_by_key(|due| due.at_ms);
    }
    if let Some(seed) = args.shuffle {
        // The moments stay: only who goes at which is drawn.
        let mut reports: Vec<v1::Report> = all.iter().map(|due| due.report.clone()).collect();
        reports.shuffle(&mut StdRng::seed_from_u64(seed));
        all.iter_mut().zip(reports).for_each(|(due, report)| due.report = report);
    }
    all
}

async fn wait_until_due(speed: Speed, begun: Instant, first_ms: u64, at_ms: u64) {
    if let Speed::Times(times) = speed {
        let due = Duration::try_from_secs_f64((at_ms - first_ms) as f64 / 1_000.0 / times).unwrap_or(Duration::MAX);
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
    }
}

/// Counts answers.
#[derive(Default)]
struct Tally {
    reports: u64,
    stored: u64,
    durability: Option<v1::Durability>,
    refused: BTreeMap<(String, String), u64>,
    flags: BTreeMap<String, u64>,
}

impl Tally {
    fn count(&mut self, answers: &[v1::ReportAnswer]) {
        for answer in answers {
            self.reports += 1;
            for flag in answer.flags() {
                *self.flags.entry(word(flag.as_str_name(), "FIX_FLAG_")).or_default() += 1;
            }
            if answer.reason == v1::Reason::Unspecified as i32 {
                self.stored += 1;
                let durability = answer.durability();
                self.durability = Some(self.durability.map_or(durability, |least| least.min(durability)));
            } else {
                let reason = u32::try_from(answer.reason).ok().and_then(Reason::from_number);
                let reason = reason.map_or_else(|| format!("reason {}", answer.reason), |reason| reason.to_string());
                *self.refused.entry((reason, answer.field.clone())).or_default() += 1;
            }
        }
    }

    fn into_answer(self, answer: &mut Answer) {
        answer.reports = self.reports;
        answer.stored = self.stored;
        answer.durability = self.durability.map(|durability| word(durability.as_str_name(), "DURABILITY_"));
        answer.refused = self.refused.into_iter().map(|((reason, field), reports)| Refused { reason, field, reports }).collect();
        answer.flags = self.flags;
    }
}

/// The name of an enum's value without that of the enum.
fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

fn text(answer: &Answer) -> String {
    let Answer { points, without_time, left_out, reports, calls, repeated_calls, stored, .. } = answer;
    let safety = answer.durability.as_ref().map(|durability| format!(" ({durability})")).unwrap_or_default();
    let mut text = format!(
        "{}: {points} points of tracks, {without_time} of them without a time; {left_out} other points left out.\n\
         {reports} reports in {calls} calls, {repeated_calls} times sent again: {stored} on the queue{safety}.",
        answer.file.display()
    );
    let refused = answer
        .refused
        .iter()
        .map(|refused| ["refused".to_owned(), refused.reason.clone(), refused.field.clone(), refused.reports.to_string()]);
    let flags = answer.flags.iter().map(|(flag, reports)| ["flagged".to_owned(), flag.clone(), String::new(), reports.to_string()]);
    let rows: Vec<_> = refused.chain(flags).collect();
    if !rows.is_empty() {
        text.push_str("\n\n");
        text.push_str(&table(&["WHAT", "WHY", "FIELD", "REPORTS"], rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use geo_types::Point;

    use super::super::args::{Cli, Command, Replay};
    use super::*;

    fn args(more: &[&str]) -> Track {
        let all = ["roger", "replay", "track", "x.gpx", "--as", "neil"].iter().chain(more);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Replay(Replay::Track(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    fn points() -> Vec<Waypoint> {
        let point = |second: Option<i64>| {
            let mut point = Waypoint::new(Point::new(13.0, 45.0));
            point.time = second.map(|second| OffsetDateTime::from_unix_timestamp(second).unwrap().into());
            point
        };
        [None, Some(1_000), Some(1_010), None, Some(1_005), Some(1_020)].map(point).into()
    }

    fn order(more: &[&str]) -> Vec<(u64, u64)> {
        in_order(&args(more), &points()).iter().map(|due| (due.at_ms / 1_000, due.report.report_id)).collect()
    }

    #[test]
    fn points_go_in_the_order_of_the_file_and_those_without_a_time_with_the_one_before() {
        assert_eq!(order(&[]), [(1_000, 0), (1_000, 1), (1_010, 2), (1_010, 3), (1_010, 4), (1_020, 5)]);
        let sent = in_order(&args(&[]), &points());
        assert_eq!(
            sent.iter().map(|due| due.report.fix.unwrap().time_ms).collect::<Vec<_>>(),
            [0, 1_000_000, 1_010_000, 0, 1_005_000, 1_020_000]
        );
    }

    #[test]
    fn another_order_has_the_same_points() {
        let numbers = |more: &[&str]| order(more).iter().map(|(_, number)| *number).collect::<Vec<_>>();
        assert_eq!(numbers(&["--double"]), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
        for more in [["--shuffle", "7"], ["--late", "48"]] {
            let mut drawn = numbers(&more);
            assert_eq!(drawn, numbers(&more), "the same seed draws the same");
            assert_ne!(drawn, [0, 1, 2, 3, 4, 5]);
            drawn.sort_unstable();
            assert_eq!(drawn, [0, 1, 2, 3, 4, 5]);
        }
        let late = order(&["--late", "48"]);
        assert!(late.is_sorted_by_key(|(at, _)| *at) && late.iter().all(|(at, _)| *at <= 1_020 + 48 * 3_600));
    }
}
