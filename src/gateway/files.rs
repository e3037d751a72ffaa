//! Files that go with messages, and logs of devices: for those of the topic, and for whoever manages the device.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, HeaderMap, HeaderName, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode};
use serde_json::json;

use super::desk::{Caller, Desk, Params};
use super::download::{self, Content};
use super::label;
use super::refuse::{Refusal, Why};
use super::spool;
use crate::model::{FilePurpose, TopicId, TopicKind};
use crate::store::{NewFile, StoredFile};

const DAY_MS: u64 = 86_400_000;

/// `POST /files?name=&purpose=&topic=`, the content as the body.
pub(super) async fn upload(
    State(desk): State<Arc<Desk>>,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let caller = desk.caller(&headers).await?;
    let params = Params::of(query)?;
    let name = label::checked(params.text("name")?)?.to_owned();
    let purpose = FilePurpose::from_word(params.text("purpose")?).ok_or(Refusal::of(Why::FieldInvalid, "purpose"))?;
    let topic = topic_of(&caller, purpose, &params).await?;
    let bytes_max = desk.settings.file_bytes_max;
    spool::check_declared(&headers, bytes_max)?;
    let _room = desk.room()?;
    let spooled = spool::receive(body, bytes_max, &desk.settings.spool_dir, desk.settings.stall).await?;
    let now_ms = desk.clock.now_ms();
    let days = match purpose {
        FilePurpose::Attachment => desk.settings.attachment_days,
        FilePurpose::Log => desk.settings.log_days,
        // Only its recorder stores such.
        FilePurpose::Recording => return Err(Refusal::of(Why::FieldInvalid, "purpose")),
    };
    let file = NewFile {
        id: crate::model::FileId(rand::random()),
        tenant: caller.tenant,
        uploader: caller.user,
        purpose,
        topic,
        name,
        media_type: label::media_type(&spooled.head).to_owned(),
        bytes: spooled.bytes,
        sha256: spooled.sha256,
        expires_ms: if days == 0 { u64::MAX } else { now_ms + days * DAY_MS },
    };
    let stored = desk.objects.keep(&desk.store, &desk.clock, file, &spooled.file, desk.settings.tenant_bytes_max).await?;
    let StoredFile { id, name, media_type, bytes, sha256, expires_ms, .. } = stored;
    let answer = json!({
        "id": id, "name": name, "media_type": media_type, "bytes": bytes, "sha256": sha256, "expires_ms": expires_ms,
    });
    Ok((StatusCode::CREATED, [(LOCATION, format!("/files/{id}"))], Json(answer)).into_response())
}

/// The topic of an attachment, if the caller may write there; a log has none.
async fn topic_of(caller: &Caller, purpose: FilePurpose, params: &Params) -> Result<Option<TopicId>, Refusal> {
    if purpose == FilePurpose::Log {
        return match params.optional("topic") {
            Some(_) => Err(Refusal::of(Why::FieldInvalid, "topic")),
            None => Ok(None),
        };
    }
    let topic: TopicId = params.text("topic")?.parse().map_err(|_| Refusal::of(Why::FieldInvalid, "topic"))?;
    let why = match topic.kind() {
        TopicKind::Inbox => Why::UnknownRecipient,
        TopicKind::Group => Why::NotMember,
        _ => return Err(Refusal::of(Why::FieldInvalid, "topic")),
    };
    if caller.store.may_attach(caller.user, caller.tenant, topic).await? { Ok(Some(topic)) } else { Err(Refusal::of(why, "topic")) }
}

/// Whether the caller may have a file.
async fn may_read(caller: &Caller, file: &StoredFile) -> Result<bool, Refusal> {
    // Everybody manages themselves; the root manages all companies.
    if file.purpose == FilePurpose::Log {
        return Ok(caller.store.manages(file.uploader).await?);
    }
    Ok(caller.store.may_read_file(file, caller.user, caller.tenant).await?)
}

/// `GET /files/{id}`.
pub(super) async fn download(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let caller = desk.caller(&headers).await?;
    let id = id.parse().map_err(|_| Why::NotFound)?;
    let file = desk.store.file(id, desk.clock.now_ms()).await?.ok_or(Why::NotFound)?;
    // As if it were not there: nobody learns what others have.
    if !may_read(&caller, &file).await? {
        return Err(Why::NotFound.into());
    }
    let content =
        Content { object: &file.object, bytes: file.bytes, sha256: file.sha256, media_type: &file.media_type, headers: headers_of(&file) };
    download::answer(&desk.objects, content, &method, &headers).await
}

/// What keeps a browser from running what somebody uploaded.
fn headers_of(file: &StoredFile) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = vec![
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
        (HeaderName::from_static("content-security-policy"), HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    headers.extend(label::disposition(&file.name).parse().ok().map(|value| (CONTENT_DISPOSITION, value)));
    headers
}
