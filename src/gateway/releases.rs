//! Releases of the app: taken in from whoever may and holds the release key, handed out to everybody.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, HeaderMap, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use serde_json::{Value as Json_, json};

use super::apk::{Apk, is_package};
use super::desk::{Desk, Params, may_release};
use super::download::{self, Content};
use super::refuse::{Refusal, Why};
use super::serve::Peer;
use super::spool::{self, Spooled};
use crate::model::InstallationId;
use crate::retry::ErrorClass;
use crate::store::{NewRelease, Release, ReleaseAdded};

type Asked = Result<Query<HashMap<String, String>>, QueryRejection>;

const APK: &str = "application/vnd.android.package-archive";
/// Such a URL always names the same bytes.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Where the bytes of a release lie.
fn object_of(release_sha256: impl std::fmt::Display) -> String {
    format!("releases/{release_sha256}")
}

fn url_of(release: &Release) -> String {
    format!("/releases/{}/{}.apk", release.package, release.version_code)
}

/// `POST /releases/{package}?signature=`, the APK as the body.
pub(super) async fn upload(
    State(desk): State<Arc<Desk>>,
    Path(package): Path<String>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let caller = desk.caller(&headers).await?;
    if !may_release(caller.kind) {
        return Err(Why::NotPermitted.into());
    }
    let key = desk.release_key.as_ref().ok_or(Why::ReleasesClosed)?;
    let params = Params::of(query)?;
    let signature = params.text("signature")?.to_lowercase();
    let bytes_max = desk.settings.release_bytes_max;
    spool::check_declared(&headers, bytes_max)?;
    let _room = desk.room()?;
    let spooled = spool::receive(body, bytes_max, &desk.settings.spool_dir, desk.settings.stall).await?;
    // Before anything of the file is read: only who holds the key can have it parsed.
    key.verify(spooled.sha256, &signature).map_err(|_| Refusal::of(Why::SignatureWrong, "signature"))?;
    let release = judged(&desk, &package, &spooled, signature).await?;
    desk.objects.put(&object_of(release.sha256), spooled.file).await?;
    let added = caller.store.add_release(release, desk.clock.now_ms()).await?;
    let release = accepted(added)?;
    tracing::info!(release.id = %release.id, package = release.package, version_code = release.version_code, "release added");
    Ok((StatusCode::CREATED, [(LOCATION, url_of(&release))], Json(release)).into_response())
}

/// The release of a spooled APK, after everything that can be said against it.
async fn judged(desk: &Desk, package: &str, spooled: &Spooled, signature: String) -> Result<NewRelease, Refusal> {
    let file = spooled.file.try_clone().map_err(|error| Refusal::unavailable("read an upload", ErrorClass::Defect, &error))?;
    let apk = tokio::task::spawn_blocking(move || Apk::read(file)).await;
    let apk = apk.map_err(|_| Refusal::of(Why::NotAnApk, "body"))?.map_err(|why| Refusal::of(why, "body"))?;
    if apk.package != package {
        return Err(Refusal::of(Why::OtherPackage, "package"));
    }
    if let Some(refused) = desk.store.judge_release(&apk.package, apk.version_code, apk.certificate).await? {
        accepted(refused)?;
    }
    let Apk { package, version_code, version_name, certificate } = apk;
    Ok(NewRelease { package, version_code, version_name, bytes: spooled.bytes, sha256: spooled.sha256, signature, certificate })
}

fn accepted(added: ReleaseAdded) -> Result<Release, Refusal> {
    match added {
        ReleaseAdded::Added(release) => Ok(release),
        ReleaseAdded::NotNewer(_) => Err(Refusal::of(Why::NotNewer, "body")),
        ReleaseAdded::OtherCertificate(_) => Err(Refusal::of(Why::OtherCertificate, "body")),
    }
}

/// `GET /releases/{package}/current?installation=&version=`: what an installation should run, and whether that is newer than what it has.
pub(super) async fn current(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Extension<Peer>,
    Path(package): Path<String>,
    query: Asked,
) -> Result<Json<Json_>, Refusal> {
    desk.count(peer)?;
    let params = Params::of(query)?;
    let installation = u64::from_str_radix(params.text("installation")?, 16).ok().filter(|id| *id != 0);
    let installation = installation.ok_or(Refusal::of(Why::FieldInvalid, "installation"))?;
    let has = params.optional("version").map(str::parse::<u64>).transpose();
    let has = has.map_err(|_| Refusal::of(Why::FieldInvalid, "version"))?.unwrap_or(0);
    let release = desk.store.release_for(&package, InstallationId(installation)).await?;
    let Some(release) = release else { return Ok(Json(json!({ "release": null, "update": false }))) };
    let (update, url) = (release.version_code > has, url_of(&release));
    let Release { package, version_code, version_name, bytes, sha256, signature, certificate, .. } = release;
    let release = json!({
        "package": package, "version_code": version_code, "version_name": version_name, "bytes": bytes, "sha256": sha256,
        "signature": signature, "certificate": certificate, "url": url,
    });
    Ok(Json(json!({ "release": release, "update": update })))
}

/// `GET /releases/{package}/{version_code}.apk`.
pub(super) async fn apk(
    State(desk): State<Arc<Desk>>,
    Path((package, file)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let version_code = file.strip_suffix(".apk").and_then(|number| number.parse::<u64>().ok());
    let version_code = version_code.filter(|_| is_package(&package)).ok_or(Why::NotFound)?;
    let release = desk.store.release(&package, version_code).await?.ok_or(Why::NotFound)?;
    let object = object_of(release.sha256);
    let content = Content {
        object: &object,
        bytes: release.bytes,
        sha256: release.sha256,
        media_type: APK,
        headers: vec![(CACHE_CONTROL, IMMUTABLE)],
    };
    download::answer(&desk.objects, content, &method, &headers).await
}
