//! `roger trace`: where a device was.

use serde::Serialize;

use super::args::{self, TraceFormat};
use super::context::Context;
use super::error::Error;
use super::output::{Output, raw, table};
use super::when::utc;
use crate::location::{Export, ExportFormat, TraceRow};
use crate::model::PositionSource;

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
    let mut file = match format {
        TraceFormat::Gpx => Some(Export::new(ExportFormat::Gpx)),
        TraceFormat::Geojson => Some(Export::new(ExportFormat::GeoJson)),
        TraceFormat::Json | TraceFormat::Table => None,
    };
    if let Some(file) = &mut file {
        file.device(device.id.0, &device.nickname);
    }
    let (mut fixes, mut after) = (Vec::<Fix>::new(), None);
    loop {
        let page = store.trace_page(&[device.id], from_ms, to_ms, wifi, after, PAGE).await?;
        after = page.last().map(|row| row.key);
        let last = page.len() < PAGE as usize;
        match &mut file {
            Some(file) => {
                file.page(&page, &[], &[]);
                raw(&file.take());
            }
            None => fixes.extend(page.into_iter().map(Fix::from)),
        }
        if last {
            break;
        }
    }
    if let Some(mut file) = file {
        file.end();
        raw(&file.take());
    } else if format == TraceFormat::Json {
        Output { json: true }.answer(&fixes, |_| String::new());
    } else {
        context.out.answer(&fixes, |fixes| text(fixes));
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
