//! The commands that import, show and change devices.

use serde::Serialize;

use super::args;
use super::context::Context;
use super::error::Error;
use super::operate::confirmed;
use super::output::{note, table};
use crate::directory::{Imported, Stocked};
use crate::model::UserId;
use crate::store::{Device, DeviceUpdate};

/// What became of one device that was to be imported.
#[derive(Serialize)]
struct ImportLine {
    imei: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<UserId>,
    /// Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

pub(super) async fn device(context: &Context, command: args::Device) -> Result<(), Error> {
    match command {
        args::Device::Import(args) => import(context, args).await?,
        args::Device::List { of, deep, limit } => list(context, of.as_deref(), deep, limit).await?,
        args::Device::Show { device } => {
            let device = context.registry().await?.device(&device).await?;
            context.out.answer(&device, |device| rows([device].into_iter()));
        }
        args::Device::Set { device, nickname, log_upload } => {
            let update = DeviceUpdate { nickname, log_upload: log_upload.map(|switch| switch == args::Switch::On) };
            context.registry().await?.update_device(&device, update).await?;
            context.out.answer(&serde_json::json!({ "device": device }), |_| format!("{device} is as wanted."));
        }
        args::Device::Transfer { imeis, from, to, yes } => {
            confirmed(yes, &format!("{} devices of {from} would leave all their groups and be those of {to}", imeis.len()))?;
            let count = context.registry().await?.transfer_devices(&imeis, &from, &to).await?;
            context.out.answer(&serde_json::json!({ "transferred": count }), |_| format!("{to} has {count} devices of {from} now."));
        }
        args::Device::Renew { device, yes } => {
            confirmed(yes, &format!("{device} would have to log in with a new code"))?;
            let code = context.registry().await?.renew_enrolment(&device).await?;
            context.out.answer(&serde_json::json!({ "device": device, "code": code }), |_| format!("{device} logs in with {code}."));
        }
        args::Device::Phone { device, revoke: true, .. } => {
            let revoked = context.registry().await?.revoke_phone(&device).await?;
            context.out.answer(&serde_json::json!({ "device": device, "revoked": revoked }), |_| {
                if revoked { format!("No phone reports as {device} any more.") } else { format!("No phone reported as {device}.") }
            });
        }
        args::Device::Phone { device, door, .. } => {
            let (id, renewed) = context.registry().await?.enrol_phone(&device).await?;
            let url = door.gateway.unwrap_or_else(|| format!("http://{}", context.config.gateway.listen));
            context.out.answer(&serde_json::json!({ "device": device, "url": url, "id": id, "renewed": renewed }), |_| {
                let void = if renewed { " The one before is void." } else { "" };
                format!(
                    "Type into the app on the phone (Traccar Client, or OsmAnd's online tracking):\n\n  server URL          {url}\n  \
                     device identifier   {id}\n\nThe identifier is the phone's secret, and is not shown again.{void} OsmAnd wants one URL:\n\n  \
                     {url}/?id={id}&lat={{0}}&lon={{1}}&timestamp={{2}}&hdop={{3}}&altitude={{4}}&bearing={{6}}"
                )
            });
        }
        args::Device::Retire { device, yes } => {
            confirmed(yes, &format!("{device} would be out of service for good"))?;
            context.registry().await?.retire_device(&device).await?;
            context.out.answer(&serde_json::json!({ "device": device }), |_| format!("{device} is out of service."));
        }
    }
    Ok(())
}

pub(super) async fn import(context: &Context, args: args::Import) -> Result<(), Error> {
    let args::Import { file, imei, to } = args;
    let stocked = match file {
        Some(path) => {
            let failed = |source| Error::Table { path: path.clone(), source };
            let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(false).from_path(&path).map_err(failed)?;
            reader.deserialize().collect::<Result<Vec<Stocked>, _>>().map_err(failed)?
        }
        None => imei.into_iter().map(|imei| Stocked { imei, ..Stocked::default() }).collect(),
    };
    let imeis: Vec<String> = stocked.iter().map(|device| device.imei.clone()).collect();
    let imported = context.registry().await?.import_devices(&to, stocked).await?;
    let lines: Vec<ImportLine> = imeis.into_iter().zip(imported).map(line).collect();
    let refused = lines.iter().filter(|line| line.device_id.is_none()).count();
    context.out.answer(&lines, |lines| {
        let row = |line: &ImportLine| {
            let id = line.device_id.map(|id| id.to_string()).unwrap_or_default();
            [line.imei.clone(), id, line.outcome.to_owned(), line.code.clone().unwrap_or_default()]
        };
        table(&["IMEI", "ID", "OUTCOME", "CODE"], lines.iter().map(row))
    });
    if refused > 0 {
        note(&format!("roger: {refused} of {} were not imported", lines.len()));
        return Err(Error::Findings);
    }
    Ok(())
}

fn line((imei, imported): (String, Imported)) -> ImportLine {
    let (outcome, imported) = match imported {
        Imported::As { device, code } => ("imported", Some((device, code))),
        Imported::Duplicate => ("duplicate", None),
        Imported::MalformedImei => ("malformed_imei", None),
        Imported::MalformedField => ("malformed_field", None),
    };
    let (device_id, code) = imported.unzip();
    ImportLine { imei, outcome, device_id, code }
}

async fn list(context: &Context, of: Option<&str>, deep: bool, limit: u32) -> Result<(), Error> {
    // One more than asked for, to know whether there are more.
    let mut devices = context.registry().await?.devices(of, deep, limit.saturating_add(1)).await?;
    let more = devices.len() > limit as usize;
    devices.truncate(limit as usize);
    context.out.answer(&serde_json::json!({ "devices": devices, "more": more }), |_| {
        if devices.is_empty() {
            return "No devices.".to_owned();
        }
        let more = if more { "\n\nThere are more: raise --limit." } else { "" };
        format!("{}{more}", rows(devices.iter()))
    });
    Ok(())
}

fn rows<'a>(devices: impl Iterator<Item = &'a Device>) -> String {
    let switch = |on: bool| if on { "on" } else { "" }.to_owned();
    let row = |device: &Device| {
        let Device { id, name, nickname, model, manager, log_upload, disabled, .. } = device;
        let disabled = if *disabled { "disabled" } else { "" }.to_owned();
        [id.to_string(), name.clone(), nickname.clone(), model.clone(), manager.to_string(), switch(*log_upload), disabled]
    };
    table(&["ID", "IMEI OR NAME", "NICKNAME", "MODEL", "MANAGER", "LOG", ""], devices.map(row))
}
