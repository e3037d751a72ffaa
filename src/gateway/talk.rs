//! Bursts of talk that could not be said live: while the media server is away, or on a way too thin for it. Kept as the recording of a burst is, and
//! told of in the same way.

use std::collections::{BTreeSet, HashMap};
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{HeaderMap, LOCATION};
use http::{HeaderValue, StatusCode};
use md5::{Digest as _, Md5};
use serde_json::json;

use super::desk::{Caller, Desk, Params};
use super::refuse::{Refusal, Why};
use super::spool::{self, Spooled};
use crate::audio::OggOpus;
use crate::config::Config;
use crate::model::{FilePurpose, GroupId, TopicId};
use crate::retry::ErrorClass;
use crate::store::NewFile;
use crate::talk::{ANNOUNCED_FOR, Burst, announcement, file_id};

const DAY_MS: u64 = 86_400_000;
/// How long after it was said a burst is taken.
const AGE_MAX: Duration = Duration::from_secs(86_400);
/// How far the clock of a client may be ahead.
const AHEAD_MAX: Duration = Duration::from_secs(60);
/// Of whole frames: the last one may stand out.
const LENGTH_SLACK: Duration = Duration::from_millis(200);
/// What a client names a burst by, bytes.
const BURST_BYTES_MAX: usize = 64;

/// What counts for bursts.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The list that talk is read from.
    list: String,
    /// How long a burst may be.
    burst_max: Duration,
    /// How many days members can download it; 0: for ever.
    keep_days: u64,
    shards: u32,
}

impl Settings {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            list: config.janus.list.clone(),
            burst_max: Duration::from_millis(config.floor.burst_ms) + LENGTH_SLACK,
            keep_days: config.janus.recordings_keep_days,
            shards: u32::from(config.fleet.shards),
        }
    }
}

/// `POST /talk?group=&burst=&said_ms=`, a file of Ogg Opus as the body. The same again is answered as the first time, and told once; another sound under
/// the same name is refused. It is taken once the primary of Redis has it, with its replicas where some follow: nobody says it again.
pub(super) async fn upload(
    State(desk): State<Arc<Desk>>,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let caller = desk.caller(&headers).await?;
    let params = Params::of(query)?;
    let group = params.text("group")?.parse().map(GroupId).map_err(|_| Refusal::of(Why::FieldInvalid, "group"))?;
    let name = named(params.text("burst")?)?;
    let now_ms = desk.clock.now_ms();
    let said_ms = said_ms(&params, now_ms)?;
    may_talk(&desk, &caller, group).await?;
    let bytes_max = desk.settings.file_bytes_max;
    spool::check_declared(&headers, bytes_max)?;
    let _room = desk.room()?;
    let spooled = spool::receive(body, bytes_max, &desk.settings.spool_dir, desk.settings.stall).await?;
    let (spooled, duration_ms, md5) = measured(spooled).await?;
    if u128::from(duration_ms) > desk.talk.burst_max.as_millis() {
        return Err(Refusal::of(Why::TooLong, "body"));
    }

    let id = format!("up-{}-{name}", caller.user);
    let file = NewFile {
        id: file_id(&id, &spooled.sha256.0),
        tenant: caller.tenant,
        uploader: caller.user,
        purpose: FilePurpose::Recording,
        topic: Some(TopicId::group(group)),
        name: format!("talk-{group}-{}-{said_ms}.opus", caller.user),
        media_type: "audio/ogg".to_owned(),
        bytes: spooled.bytes,
        sha256: spooled.sha256,
        expires_ms: if desk.talk.keep_days == 0 { u64::MAX } else { now_ms + desk.talk.keep_days * DAY_MS },
    };
    let file_id = file.id;
    // One that is there was handed over before, and the answer was lost.
    let fresh = desk.store.file(file_id, now_ms).await?.is_none();
    if fresh {
        desk.objects.keep(&desk.store, &desk.clock, file, &spooled.file, desk.settings.tenant_bytes_max).await?;
    }
    let burst = Burst {
        id,
        speaker: caller.user,
        group,
        file: format!("/files/{file_id}"),
        md5,
        spoken_ms: said_ms,
        over_ms: said_ms,
        duration_ms,
        host: String::new(),
        cut: false,
    };
    let told = desk.redis.announce_talk(&desk.talk.list, &burst.id, &announcement(&burst), ANNOUNCED_FOR).await;
    let told = told.map_err(|error| Refusal::unavailable("announce a burst", error.class(), &error))?;
    if fresh && !told {
        return Err(Refusal::of(Why::BurstReused, "burst"));
    }
    let answer = json!({ "id": file_id, "bytes": spooled.bytes, "duration_ms": duration_ms, "said_ms": said_ms });
    let location = HeaderValue::from_str(&burst.file).map(|file| [(LOCATION, file)]);
    Ok((StatusCode::CREATED, location.ok(), Json(answer)).into_response())
}

fn named(burst: &str) -> Result<&str, Refusal> {
    let plain = burst.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if plain && burst.len() <= BURST_BYTES_MAX { Ok(burst) } else { Err(Refusal::of(Why::FieldInvalid, "burst")) }
}

/// When it was over; now, for who does not say.
fn said_ms(params: &Params, now_ms: u64) -> Result<u64, Refusal> {
    let Some(text) = params.optional("said_ms") else { return Ok(now_ms) };
    let oldest = now_ms.saturating_sub(AGE_MAX.as_millis() as u64);
    let newest = now_ms + AHEAD_MAX.as_millis() as u64;
    let said = text.parse().ok().filter(|said| (oldest..=newest).contains(said));
    // Nobody is to have come by a time that is not there yet.
    said.map(|said: u64| said.min(now_ms)).ok_or(Refusal::of(Why::FieldInvalid, "said_ms"))
}

/// Talk is for who is in the room.
async fn may_talk(desk: &Desk, caller: &Caller, group: GroupId) -> Result<(), Refusal> {
    if !caller.store.may_attach(caller.user, caller.tenant, TopicId::group(group)).await? {
        return Err(Refusal::of(Why::NotMember, "group"));
    }
    let rooms = desk.store.rooms_of(&BTreeSet::from([caller.user]), desk.talk.shards).await?;
    if rooms.get(&caller.user) == Some(&group) { Ok(()) } else { Err(Refusal::of(Why::NotInRoom, "group")) }
}

/// How long it is, and its MD5 as announcements say it.
async fn measured(spooled: Spooled) -> Result<(Spooled, u64, String), Refusal> {
    let measuring = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Seek as _};

        let mut content = Vec::new();
        let mut file = &spooled.file;
        let read = file.read_to_end(&mut content).and_then(|_| file.rewind());
        read.map_err(|error| Refusal::unavailable("read an upload", ErrorClass::Defect, &error))?;
        let not_opus = Refusal::of(Why::NotOpus, "body");
        let ogg = OggOpus::read_from(BufReader::new(std::io::Cursor::new(&content)), Path::new("the body")).map_err(|_| not_opus)?;
        let duration_ms = ogg.length_ms().ok().filter(|ms| *ms > 0).ok_or(not_opus)?;
        Ok((spooled, duration_ms, hex::encode(Md5::digest(&content))))
    });
    measuring.await.map_err(|error| Refusal::unavailable("read an upload", ErrorClass::Defect, &error))?
}
