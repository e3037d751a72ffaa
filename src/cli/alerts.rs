//! `roger sos`, `roger alerts`, `roger escalation`: pressing, what became of it, and who is told next.

use std::time::Duration;

use prost::Message as _;
use serde::Serialize;
use serde_json::json;

use super::args;
use super::context::{Context, user_of};
use super::error::Error;
use super::output::{note, table, word};
use super::radio::tokens;
use super::state::State;
use super::when::utc;
use crate::alert::frame::{Act, Sos, SosFrame};
use crate::alert::{Alert, Chain, ChainStep, Stage};
use crate::broker::{Redis, keys};
use crate::client::Tokens as _;
use crate::model::{AlertEvent, AlertId, UserId};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::proto::v1::emergency_service_client::EmergencyServiceClient;
use crate::retry::Delays;
use crate::topic::frame::AlertBody;

/// How long it is waited until what an operator did shows.
const ACT_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Presses, at whatever edge takes it, again and again until one does: it is the same press each time.
pub(super) async fn sos(context: &Context, args: args::Sos) -> Result<(), Error> {
    let state = State::chosen(args.who.account.as_deref())?;
    let kept = state.load()?;
    let tokens = tokens(&state, &kept)?;
    let fix = args.at.map(|(latitude, longitude)| v1::Fix { time_ms: context.clock.now_ms(), latitude, longitude, ..v1::Fix::default() });
    let report = fix.map(|fix| v1::Report { fix: Some(fix), ..v1::Report::default() });
    let request = v1::ImSosPublishRequest {
        press_id: rand::random_range(1..=u64::MAX),
        report,
        text: args.text,
        cancel: args.cancel,
        ..v1::ImSosPublishRequest::default()
    };
    let edges = context.edges(&args.who.doors);
    let pressing = async {
        let mut delays = Delays::reconnecting();
        let mut token = tokens.token(None).await?;
        for edge in edges.iter().cycle() {
            let request = v1::ImSosPublishRequest { token: token.clone(), ..request.clone() };
            match press(edge, request).await {
                Ok(durability) => return Ok(durability),
                Err(why) if why.contains("token_expired") || why.contains("token_revoked") => token = tokens.token(Some(&token)).await?,
                Err(why) => {
                    note(&format!("roger: {edge} did not take it ({why}), trying again"));
                    tokio::time::sleep(delays.next_delay()).await;
                }
            }
        }
        Err(Error::Usage("there is no edge to press at".to_owned()))
    };
    let late = |_| Error::Late { what: "the receipt of an SOS".to_owned(), seconds: args.within.as_secs() };
    let durability: v1::Durability = tokio::time::timeout(args.within, pressing).await.map_err(late)??;
    let durability = durability.as_str_name().trim_start_matches("DURABILITY_").to_lowercase();
    context.out.answer(&json!({ "durability": durability, "cancel": args.cancel }), |_| {
        if args.cancel {
            format!("Taken back ({durability}).")
        } else {
            format!("Roger: the fleet has it ({durability}). `roger listen` shows who comes.")
        }
    });
    Ok(())
}

async fn press(edge: &str, request: v1::ImSosPublishRequest) -> Result<v1::Durability, String> {
    let mut client = EmergencyServiceClient::connect(edge.to_owned()).await.map_err(|error| error.to_string())?;
    let answer = client.im_sos_publish(request).await;
    answer.map(|answer| answer.into_inner().durability()).map_err(|status| match Refused::of(&status) {
        Some(refused) => refused.reason.to_string(),
        None => status.message().to_owned(),
    })
}

#[derive(Serialize)]
struct AlertLine {
    alert_id: AlertId,
    opened_ms: u64,
    device_id: UserId,
    nickname: String,
    presses: u32,
    stage: Stage,
    holder: Option<String>,
    closed_ms: Option<u64>,
    position: Option<crate::model::Position>,
}

fn line(alert: Alert) -> AlertLine {
    AlertLine {
        alert_id: alert.id,
        opened_ms: alert.opened_ms,
        device_id: alert.device,
        nickname: alert.nickname,
        presses: alert.presses,
        stage: alert.stage,
        holder: alert.holder.map(|holder| holder.name),
        closed_ms: alert.closed_ms,
        position: alert.spot.map(|spot| spot.position),
    }
}

#[derive(Serialize)]
struct EventLine {
    number: u64,
    time_ms: u64,
    event: Option<AlertEvent>,
    by_id: UserId,
    by_name: String,
    remark: String,
}

impl From<AlertBody> for EventLine {
    fn from(body: AlertBody) -> Self {
        let (number, time_ms, event) = (body.number, body.time_ms, AlertEvent::from_number(body.event));
        Self { number, time_ms, event, by_id: UserId(body.by), by_name: body.by_name, remark: body.remark }
    }
}

pub(super) async fn alerts(context: &Context, command: args::Alerts) -> Result<(), Error> {
    match command {
        args::Alerts::List { open, limit } => {
            let alerts = context.store()?.alerts(open, None, limit).await?;
            let lines: Vec<AlertLine> = alerts.into_iter().map(|kept| line(kept.alert)).collect();
            context.out.answer(&lines, |lines| list_text(lines));
        }
        args::Alerts::Show { id } => {
            let events = context.store()?.alert_events(AlertId(id)).await?;
            let lines: Vec<EventLine> = events.into_iter().map(EventLine::from).collect();
            context.out.answer(&lines, |lines| {
                let row = |line: &EventLine| {
                    [line.number.to_string(), utc(line.time_ms), word(line.event), line.by_name.clone(), line.remark.clone()]
                };
                table(&["NUMBER", "WHEN", "WHAT", "WHO", "REMARK"], lines.iter().map(row))
            });
        }
        args::Alerts::Acknowledge { id } => act(context, AlertId(id), AlertEvent::Acknowledged, String::new()).await?,
        args::Alerts::Close { id, false_alarm, remark } => {
            let event = if false_alarm { AlertEvent::FalseAlarm } else { AlertEvent::Resolved };
            act(context, AlertId(id), event, remark).await?;
        }
    }
    Ok(())
}

fn list_text(lines: &[AlertLine]) -> String {
    if lines.is_empty() {
        return "No alerts.".to_owned();
    }
    let row = |line: &AlertLine| {
        let how = match line.stage {
            Stage::Deciding | Stage::Waiting(_) => "nobody has it",
            Stage::Texting => "nobody has it, telephones are told",
            Stage::Held => "somebody has it",
            Stage::Over => "over",
        };
        let place = line.position.map(|position| format!("{:.5},{:.5}", position.latitude, position.longitude));
        let who = format!("{} ({})", line.nickname, line.device_id);
        let holder = line.holder.clone().unwrap_or_default();
        [line.alert_id.to_string(), utc(line.opened_ms), who, how.to_owned(), holder, place.unwrap_or_default()]
    };
    table(&["ALERT", "SINCE", "WHO", "HOW IT STANDS", "WHO HAS IT", "WHERE"], lines.iter().map(row))
}

/// Does something to an alert as an operator, and waits until it shows.
async fn act(context: &Context, id: AlertId, event: AlertEvent, remark: String) -> Result<(), Error> {
    let redis = context.sos_redis()?;
    let nobody = || Error::Usage(format!("there is no alert {id} that is not over"));
    let before = read(&redis, id).await?.filter(|alert| alert.closed_ms.is_none()).ok_or_else(nobody)?;
    let name = super::context::os_user();
    let act = Act { alert: id.0, name: name.clone(), event: event as u32, remark, arrival_ms: context.clock.now_ms(), ..Act::default() };
    redis.add(&keys::sos(), &SosFrame::from(Sos::Act(act)).encode_to_vec()).await?;
    let done = async {
        loop {
            let now = read(&redis, id).await?.ok_or_else(nobody)?;
            let is_done = match event {
                AlertEvent::Acknowledged => now.holder.as_ref().is_some_and(|holder| holder.name == name),
                _ => now.closed_ms.is_some(),
            };
            if is_done || now.events > before.events && now.closed_ms.is_some() {
                return Ok::<_, Error>(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let late = |_| Error::Late { what: format!("alert {id}"), seconds: ACT_WITHIN.as_secs() };
    tokio::time::timeout(ACT_WITHIN, done).await.map_err(late)??;
    context.out.answer(&json!({ "alert_id": id, "event": event }), |_| match event {
        AlertEvent::Acknowledged => format!("{name} has alert {id}."),
        _ => format!("Alert {id} is over."),
    });
    Ok(())
}

async fn read(redis: &Redis, id: AlertId) -> Result<Option<Alert>, Error> {
    Ok(redis.alert(id).await?.and_then(|json| serde_json::from_str(&json).ok()))
}

pub(super) async fn escalation(context: &Context, command: args::Escalation) -> Result<(), Error> {
    let store = context.store()?;
    store.migrate().await?;
    match command {
        args::Escalation::Show { account: name } => {
            let (own, effective) = store.escalation(user_of(&store, &name).await?).await?;
            let whose = if own.is_some() { "its own" } else { "that of an account above" };
            context.out.answer(&json!({ "own": own, "effective": effective }), |_| match &effective {
                Some(chain) => format!("{name} has {whose}: {}", chain_text(chain)),
                None => format!("{name} has none: whoever is told is told again every minute."),
            });
        }
        args::Escalation::Set { account: name, first, steps, numbers, text_every } => {
            let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let mut chain = Chain { first_wait_ms: millis(first), steps: Vec::new(), numbers, text_every_ms: millis(text_every) };
            for (step, wait) in steps {
                chain.steps.push(ChainStep { account: user_of(&store, &step).await?, name: step, wait_ms: millis(wait) });
            }
            store.put_escalation(user_of(&store, &name).await?, Some(chain.clone())).await?;
            context.out.answer(&json!({ "account": name, "own": chain }), |_| format!("{name} has {}", chain_text(&chain)));
        }
        args::Escalation::Remove { account: name } => {
            store.put_escalation(user_of(&store, &name).await?, None).await?;
            context.out.answer(&json!({ "account": name, "own": null }), |_| format!("{name} has none of its own any more."));
        }
    }
    Ok(())
}

fn chain_text(chain: &Chain) -> String {
    let mut text = format!("{} s", chain.first_wait_ms / 1_000);
    for step in &chain.steps {
        let who = if step.name.is_empty() { format!("account {}", step.account) } else { step.name.clone() };
        text.push_str(&format!(", then {who} for {} s", step.wait_ms / 1_000));
    }
    if !chain.numbers.is_empty() {
        text.push_str(&format!(", then texts to {} every {} s", chain.numbers.join(" and "), chain.text_every_ms / 1_000));
    }
    text.push('.');
    text
}
