//! `roger trace`: where a device was.

use geo_types::Point;
use gpx::{Gpx, GpxVersion, Track, TrackSegment, Waypoint};
use serde::Serialize;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::args::{self, TraceFormat};
use super::context::Context;
use super::error::Error;
use super::output::{Output, raw, table};
use super::when::utc;
use crate::model::PositionSource;
use crate::store::TraceRow;

/// How many fixes are read at once.
const PAGE: u32 = 10_000;

/// A fix, as it is printed. Units and what is absent are as in SQL.
#[derive(Serialize)]
struct Fix {
    time: String,
    fix_ms: u64,
    arrival_ms: u64,
    latitude: f64,
    longitude: f64,
    source: PositionSource,
    accuracy_m: Option<f32>,
    altitude_m: Option<f32>,
    speed_mps: Option<f32>,
    course_deg: Option<f32>,
    battery_percent: Option<u32>,
    group_id: u64,
    flags: u32,
}

impl From<TraceRow> for Fix {
    fn from(row: TraceRow) -> Self {
        Self {
            time: utc(row.key.fix_ms),
            fix_ms: row.key.fix_ms,
            arrival_ms: row.arrival_ms,
            latitude: row.latitude,
            longitude: row.longitude,
            source: row.key.source,
            accuracy_m: row.accuracy_m,
            altitude_m: row.altitude_m,
            speed_mps: row.speed_mps,
            course_deg: row.course_deg,
            battery_percent: row.battery,
            group_id: row.group.0,
            flags: row.flags,
        }
    }
}

pub(super) async fn trace(context: &Context, args: args::Trace) -> Result<(), Error> {
    let args::Trace { device, from, to, wifi, format } = args;
    let now_ms = context.clock.now_ms();
    let (from_ms, to_ms) = (from.time_ms(now_ms), to.map_or(now_ms, |to| to.time_ms(now_ms)));
    let device = context.registry().await?.device(&device).await?;
    let store = context.store()?;
    let (mut fixes, mut after) = (Vec::<Fix>::new(), None);
    loop {
        let page = store.trace_page(&[device.id], from_ms, to_ms, wifi, after, PAGE).await?;
        after = page.last().map(|row| row.key);
        let last = page.len() < PAGE as usize;
        fixes.extend(page.into_iter().map(Fix::from));
        if last {
            break;
        }
    }
    match format {
        TraceFormat::Gpx => raw(&track(&device.nickname, &fixes)?),
        TraceFormat::Geojson => Output { json: true }.answer(&geojson(&fixes), |_| String::new()),
        TraceFormat::Json => Output { json: true }.answer(&fixes, |_| String::new()),
        TraceFormat::Table => context.out.answer(&fixes, |fixes| text(fixes)),
    }
    Ok(())
}

fn text(fixes: &[Fix]) -> String {
    if fixes.is_empty() {
        return "No fixes.".to_owned();
    }
    let known = |value: Option<f32>| value.map(|value| format!("{value:.0}")).unwrap_or_default();
    let row = |fix: &Fix| {
        let source = match fix.source {
            PositionSource::Gps => "gps",
            PositionSource::Wifi => "wifi",
        };
        [
            fix.time.clone(),
            format!("{:.6}", fix.latitude),
            format!("{:.6}", fix.longitude),
            source.to_owned(),
            known(fix.accuracy_m),
            known(fix.speed_mps),
            known(fix.course_deg),
            fix.battery_percent.map(|percent| format!("{percent} %")).unwrap_or_default(),
        ]
    };
    table(&["WHEN", "NORTH", "EAST", "BY", "± M", "M/S", "COURSE", "BATTERY"], fixes.iter().map(row))
}

fn track(name: &str, fixes: &[Fix]) -> Result<Vec<u8>, Error> {
    let waypoint = |fix: &Fix| {
        let mut point = Waypoint::new(Point::new(fix.longitude, fix.latitude));
        point.elevation = fix.altitude_m.map(f64::from);
        point.time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(fix.fix_ms) * 1_000_000).ok().map(Into::into);
        point
    };
    let segment = TrackSegment { points: fixes.iter().map(waypoint).collect() };
    let track = Track { name: Some(name.to_owned()), segments: vec![segment], ..Track::default() };
    let gpx = Gpx { version: GpxVersion::Gpx11, creator: Some("roger".to_owned()), tracks: vec![track], ..Gpx::default() };
    let mut file = Vec::new();
    gpx::write(&gpx, &mut file)?;
    file.push(b'\n');
    Ok(file)
}

/// Points, and not a line: one alone is good too, and nothing must be cut at the date line.
fn geojson(fixes: &[Fix]) -> Json {
    let feature = |fix: &Fix| {
        let mut place = vec![fix.longitude, fix.latitude];
        place.extend(fix.altitude_m.map(f64::from));
        json!({ "type": "Feature", "geometry": { "type": "Point", "coordinates": place }, "properties": fix })
    };
    json!({ "type": "FeatureCollection", "features": fixes.iter().map(feature).collect::<Vec<_>>() })
}
