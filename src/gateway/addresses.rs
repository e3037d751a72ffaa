//! Which node's addresses a client should use, and moving an account to another node.
//!
//! Anybody may ask, so the answer tells nothing else: an IMEI or account that nobody knows is answered as one on the default node is.
//! `{"server": null}` means that the deployment has no file of nodes. SQL is asked each time; nothing is remembered that could drift.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::{Extension, Json};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value as Json_, json};

use super::desk::{Desk, Params};
use super::refuse::{Refusal, Why};
use super::serve::Peer;
use crate::model::UserId;

type Asked = Result<Query<HashMap<String, String>>, QueryRejection>;

/// The longest name that is looked up, in characters.
const NAME_CHARACTERS_MAX: usize = 100;
/// The most digits of an IMEI.
const IMEI_DIGITS_MAX: usize = 15;

fn answer(desk: &Desk, node: Option<&str>) -> Json<Json_> {
    Json(json!({ "server": desk.nodes.find(node) }))
}

/// `GET /server/addr?imei=`. `version` and `ip`, which clients of the predecessor send, change nothing.
pub(super) async fn of_device(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Extension<Peer>,
    query: Asked,
) -> Result<Json<Json_>, Refusal> {
    desk.count(peer)?;
    let params = Params::of(query)?;
    let imei = params.text("imei")?;
    if imei.len() > IMEI_DIGITS_MAX || !imei.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::of(Why::FieldInvalid, "imei"));
    }
    let node = desk.store.node_of_imei(imei).await?;
    Ok(answer(&desk, node.as_deref()))
}

/// `GET /server/dispatcher/addr?account-id=|account-name=`; the id wins.
pub(super) async fn of_account(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Extension<Peer>,
    query: Asked,
) -> Result<Json<Json_>, Refusal> {
    desk.count(peer)?;
    let params = Params::of(query)?;
    let node = if let Some(id) = params.optional("account-id") {
        let id = id.parse().map_err(|_| Refusal::of(Why::FieldInvalid, "account-id"))?;
        desk.store.node_of(UserId(id)).await?
    } else {
        let name = params.optional("account-name").ok_or(Refusal::of(Why::FieldMissing, "account-id"))?;
        if name.chars().count() > NAME_CHARACTERS_MAX {
            return Err(Refusal::of(Why::FieldInvalid, "account-name"));
        }
        desk.store.node_of_name(name).await?
    };
    Ok(answer(&desk, node.as_deref()))
}

/// The body of a move.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    account: u64,
    node: String,
}

/// `POST /server/change` with `{"account": 7, "node": "south"}`, by an account that manages it. The move, the row that says who made it and
/// what everybody concerned is told are one transaction.
pub(super) async fn change(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    wanted: Result<Json<Move>, JsonRejection>,
) -> Result<Json<Json_>, Refusal> {
    let caller = desk.caller(&headers).await?;
    let Json(Move { account, node }) = wanted.map_err(|_| Refusal::of(Why::FieldInvalid, "body"))?;
    // Before anything is told of the nodes: only who manages the account may know that this one is none.
    if !caller.store.manages(UserId(account)).await? {
        return Err(Refusal::of(Why::NotPermitted, "account"));
    }
    if !desk.nodes.has(&node) {
        return Err(Refusal::of(Why::UnknownNode, "node"));
    }
    let told = caller.store.move_account(UserId(account), &node, desk.clock.now_ms()).await?;
    Ok(Json(json!({ "account": account, "node": node, "told": told })))
}
