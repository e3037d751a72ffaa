//! Which node's addresses a client should use.
//!
//! Anybody may ask, so the answer tells nothing else: an IMEI or account that nobody knows is answered as one on the default node is.
//! `{"server": null}` means that the deployment has no file of nodes. SQL is asked each time; nothing is remembered that could drift.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde_json::{Value as Json_, json};

use super::desk::{Desk, Params};
use super::refuse::{Refusal, Why};
use super::serve::Peer;
use crate::model::UserId;

type Asked = Result<Query<HashMap<String, String>>, QueryRejection>;

/// The longest name or IMEI that is looked up, in characters.
const NAME_CHARACTERS_MAX: usize = 100;

fn answer(desk: &Desk, node: Option<&str>) -> Json<Json_> {
    Json(json!({ "server": desk.nodes.find(node) }))
}

/// `GET /server/dispatcher/addr?account-id=|account-name=`; the id wins. `version` and `ip`, which clients of the predecessor send, change
/// nothing.
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
