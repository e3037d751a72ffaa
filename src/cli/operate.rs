//! The commands of an operator: audit, keys.

use serde::Serialize;

use super::args;
use super::context::Context;
use super::error::Error;
use super::output::note;
use crate::broker::ShardLook;
use crate::store::Finding;
use crate::token::KeyPair;

/// Topics audited in one call.
const AUDIT_TOPICS: u32 = 50;

/// Refuses what cannot be taken back unless it was asked for twice.
pub(super) fn confirmed(yes: bool, what: &str) -> Result<(), Error> {
    if yes { Ok(()) } else { Err(Error::Usage(format!("not done: {what}. Add --yes to do it"))) }
}

#[derive(Serialize)]
struct AuditAnswer {
    topics: u64,
    messages: u64,
    marks: u64,
    findings_total: u64,
    findings: Vec<String>,
}

pub(super) async fn audit(context: &Context) -> Result<(), Error> {
    let store = context.store()?;
    let mut answer = AuditAnswer { topics: 0, messages: 0, marks: 0, findings_total: 0, findings: Vec::new() };
    let bar = context.out.progress(0, "auditing topics");
    let mut after = None;
    loop {
        let page = store.audit(after, AUDIT_TOPICS).await?;
        answer.topics += page.topics;
        answer.messages += page.messages;
        answer.marks += page.marks;
        answer.findings_total += page.findings_total;
        answer.findings.extend(page.findings.iter().map(Finding::to_string));
        bar.inc(page.topics);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    bar.finish_and_clear();
    let lag: Vec<ShardLook> = match context.redis()?.look_at_shards(context.shards()).await {
        Ok(looks) => looks.into_iter().filter(|look| look.archive_lag != Some(0)).collect(),
        Err(error) => {
            note(&format!("roger: Redis does not answer ({error}), so what is not in SQL yet was not counted"));
            Vec::new()
        }
    };
    if !lag.is_empty() {
        note(&format!("roger: {} shards have commits that SQL does not hold yet; audit again when `roger queues` shows none", lag.len()));
    }
    let sound = answer.findings_total == 0;
    context.out.answer(&answer, |answer| {
        let verdict =
            if sound { "nothing is lost, doubled or disordered".to_owned() } else { format!("{} findings", answer.findings_total) };
        let mut text = answer.findings.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{} topics, {} messages, {} marks: {verdict}.", answer.topics, answer.messages, answer.marks));
        text
    });
    if sound { Ok(()) } else { Err(Error::Findings) }
}

pub(super) fn keys(context: &Context, command: &args::Keys) -> Result<(), Error> {
    let args::Keys::Create { release, dir } = command;
    if *release {
        KeyPair::create_for_releases(dir)?;
        context.out.answer(&serde_json::json!({ "dir": dir }), |_| {
            format!("{0}/release.secret is for whoever builds the app, and for no server; {0}/release.pub for the gateway.", dir.display())
        });
        return Ok(());
    }
    KeyPair::create(dir)?;
    context.out.answer(&serde_json::json!({ "dir": dir }), |_| {
        format!("{0}/token.secret is for the directory alone, {0}/token.pub for the directory, the gateway and all edges.", dir.display())
    });
    Ok(())
}
