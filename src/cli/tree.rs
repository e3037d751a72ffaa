//! `roger account tree`: who stands below whom.

use std::collections::BTreeMap;

use serde::Serialize;

use super::context::Context;
use super::error::Error;
use crate::directory::RegistryError;
use crate::model::{TenantId, UserId, UserKind};

/// Accounts of one query.
const PAGE: u32 = 1_000;

/// An account with those below it.
#[derive(Serialize)]
struct Branch {
    user_id: UserId,
    name: String,
    nickname: String,
    kind: UserKind,
    tenant: TenantId,
    disabled: bool,
    /// How many devices it manages itself.
    devices: u64,
    below: Vec<Branch>,
}

pub(super) async fn tree(context: &Context, name: Option<String>) -> Result<(), Error> {
    let registry = context.registry().await?;
    let mut children: BTreeMap<UserId, Vec<Branch>> = BTreeMap::new();
    let (mut top, mut after) = (None, UserId(0));
    loop {
        let page = registry.account_page(after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = last.id;
        for (account, devices) in page {
            if name.as_deref() == Some(account.name.as_str()) {
                top = Some((account.id, account.parent));
            }
            let branch = Branch {
                user_id: account.id,
                name: account.name,
                nickname: account.nickname,
                kind: account.kind,
                tenant: account.tenant,
                disabled: account.disabled,
                devices,
                below: Vec::new(),
            };
            children.entry(account.parent).or_default().push(branch);
        }
    }
    let roots = match (name, top) {
        (None, _) => grow(&mut children, UserId(0)),
        (Some(_), Some((id, parent))) => {
            let mut beside = children.remove(&parent).unwrap_or_default();
            beside.retain(|branch| branch.user_id == id);
            for branch in &mut beside {
                branch.below = grow(&mut children, id);
            }
            beside
        }
        (Some(account), None) => return Err(RegistryError::NoAccount { account }.into()),
    };
    context.out.answer(&roots, |roots| {
        let mut lines = Vec::new();
        roots.iter().for_each(|root| draw(root, 0, &mut lines));
        if lines.is_empty() { "No accounts but devices.".to_owned() } else { lines.join("\n") }
    });
    Ok(())
}

/// Those below an account; kinds fall from parent to child, so it ends.
fn grow(children: &mut BTreeMap<UserId, Vec<Branch>>, parent: UserId) -> Vec<Branch> {
    let mut below = children.remove(&parent).unwrap_or_default();
    for branch in &mut below {
        branch.below = grow(children, branch.user_id);
    }
    below
}

fn draw(branch: &Branch, depth: usize, lines: &mut Vec<String>) {
    let Branch { user_id, name, kind, devices, disabled, .. } = branch;
    let kind = serde_json::to_value(kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    let devices = if *devices == 0 { String::new() } else { format!(", {devices} devices") };
    let disabled = if *disabled { ", disabled" } else { "" };
    lines.push(format!("{}{name} ({kind} {user_id}{devices}{disabled})", "    ".repeat(depth)));
    branch.below.iter().for_each(|below| draw(below, depth + 1, lines));
}
