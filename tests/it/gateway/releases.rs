//! Releases over HTTP, of real APKs: which are taken in, what an installation is told, and downloads that go on.

use reqwest::StatusCode;
use roger::store::ReleaseChange;
use serde_json::{Value, json as json_of};

use super::torn::Raw;
use super::{Crew, Ground, Running, json, refusal, refused};
use crate::store::{Database, over_both};
use crate::support::apk::ApkSpec;

over_both!(a_release_goes_the_whole_way,);

const PACKAGE: &str = "org.example.radio";
const CURRENT: &str = "/releases/org.example.radio/current?installation=f00d";

fn spec(version_code: u32) -> ApkSpec<'static> {
    ApkSpec { package: PACKAGE, version_code, key: Some("crew"), payload_bytes: 1_000 }
}

/// Uploads an APK, signed by the release key, as the root.
async fn upload(ground: &Ground, gateway: &Running, crew: &Crew, apk: &[u8]) -> reqwest::Response {
    let path = format!("/releases/{PACKAGE}?signature={}", ground.signature(apk));
    gateway.post(&path, Some(&ground.token(&crew.root)), apk.to_vec()).await
}

async fn stage(ground: &Ground, version_code: u64, change: ReleaseChange) {
    let store = ground.store().await;
    let release = store.release(PACKAGE, version_code).await.unwrap().unwrap();
    store.change_release(release.id, change).await.unwrap();
}

async fn current(gateway: &Running) -> Value {
    json(gateway.get(CURRENT, None, &[]).await, StatusCode::OK).await
}

async fn a_release_goes_the_whole_way(database: &Database) {
    let ground = Ground::on(&database.url);
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[]).await;
    let nothing = json_of!({ "release": null, "update": false });
    assert_eq!(current(&gateway).await, nothing, "of a package that nobody knows");

    let apk = spec(7).build();
    let sent = upload(&ground, &gateway, &crew, &apk).await;
    assert_eq!(sent.headers()["location"], "/releases/org.example.radio/7.apk");
    let release = json(sent, StatusCode::CREATED).await;
    assert_eq!(
        (release["package"].as_str(), release["version_code"].as_u64(), release["version_name"].as_str()),
        (Some(PACKAGE), Some(7), Some("1.7"))
    );
    let sha256 = release["sha256"].as_str().unwrap().to_owned();
    assert_eq!(ground.objects(), [format!("releases/{sha256}")]);
    assert_eq!(current(&gateway).await, nothing, "it is for nobody until it is staged");

    stage(&ground, 7, ReleaseChange::Stage(100)).await;
    let told = current(&gateway).await;
    let url = "/releases/org.example.radio/7.apk";
    assert_eq!(
        told["release"],
        json_of!({
            "package": PACKAGE, "version_code": 7, "version_name": "1.7", "bytes": apk.len(), "sha256": sha256,
            "signature": ground.signature(&apk), "certificate": release["certificate"], "url": url,
        })
    );
    assert_eq!(told["update"], true);
    for (version, update) in [(6, true), (7, false), (8, false)] {
        let told = json(gateway.get(&format!("{CURRENT}&version={version}"), None, &[]).await, StatusCode::OK).await;
        assert_eq!((told["release"]["version_code"].as_u64(), told["update"].as_bool()), (Some(7), Some(update)), "from {version}");
    }
    let wanted = roger::store::ChangesWanted { limit: 10, what: Some("release".into()), ..Default::default() };
    let changes = ground.store().await.changes(wanted).await.unwrap();
    let authors: Vec<String> = changes.into_iter().map(|change| format!("{} {}", change.who, change.what)).collect();
    assert_eq!(authors, ["fleet release.staged".to_owned(), format!("account:{} release.added", crew.root.user)]);

    // To everybody, whole or in parts.
    let whole = gateway.get(url, None, &[]).await;
    let (etag, tag) = (format!("\"{sha256}\""), whole.headers()["etag"].to_str().unwrap().to_owned());
    assert_eq!((whole.status(), &tag), (StatusCode::OK, &etag));
    assert_eq!(whole.headers()["content-type"], "application/vnd.android.package-archive");
    assert_eq!(whole.bytes().await.unwrap(), apk);
    let half = apk.len() / 2;
    let (first, rest) = (format!("bytes=0-{}", half - 1), format!("bytes={half}-"));
    let mut joined = Vec::new();
    for range in [&first, &rest] {
        let part = gateway.get(url, None, &[("range", range), ("if-range", &etag)]).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let (from, to) = if joined.is_empty() { (0, half - 1) } else { (half, apk.len() - 1) };
        assert_eq!(part.headers()["content-range"], format!("bytes {from}-{to}/{}", apk.len()));
        joined.extend_from_slice(&part.bytes().await.unwrap());
    }
    assert_eq!(joined, apk);
    // What was begun of another file is begun anew.
    let other = gateway.get(url, None, &[("range", &rest), ("if-range", "\"0\"")]).await;
    assert_eq!((other.status(), other.bytes().await.unwrap().len()), (StatusCode::OK, apk.len()));
    let beyond = gateway.get(url, None, &[("range", &format!("bytes={}-", apk.len()))]).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers()["content-range"], format!("bytes */{}", apk.len()));
    assert_eq!(gateway.get(url, None, &[("if-none-match", &etag)]).await.status(), StatusCode::NOT_MODIFIED);
    let head = gateway.http.head(format!("{}{url}", gateway.url)).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], apk.len().to_string().as_str());
    for unknown in ["/releases/org.example.radio/8.apk", "/releases/org.example.radio/7", "/releases/..%2f..%2fetc/7.apk"] {
        assert_eq!(refused(gateway.get(unknown, None, &[]).await).await, refusal(404, "not_found", ""), "{unknown}");
    }
    for (query, expected) in
        [("", refusal(422, "field_missing", "installation")), ("?installation=x", refusal(400, "field_invalid", "installation"))]
    {
        let path = format!("/releases/{PACKAGE}/current{query}");
        assert_eq!(refused(gateway.get(&path, None, &[]).await).await, expected);
    }

    // Halted, the one before it is current again; resumed, it is back.
    let sent = upload(&ground, &gateway, &crew, &spec(9).build()).await;
    json(sent, StatusCode::CREATED).await;
    for (change, expected) in [(ReleaseChange::Stage(100), 9), (ReleaseChange::Halt, 7), (ReleaseChange::Resume, 9)] {
        stage(&ground, 9, change).await;
        assert_eq!(current(&gateway).await["release"]["version_code"], expected, "{change:?}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_leaves_nothing_and_the_old_release_served() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[("gateway.release_bytes_max", "500000")]).await;
    let old = spec(7).build();
    json(upload(&ground, &gateway, &crew, &old).await, StatusCode::CREATED).await;
    stage(&ground, 7, ReleaseChange::Stage(100)).await;
    let (served, objects) = (current(&gateway).await, ground.objects());
    let root = ground.token(&crew.root);
    let good = spec(8).build();
    let signed = |file: &[u8]| format!("/releases/{PACKAGE}?signature={}", ground.signature(file));
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;

    let checks = [
        ("no session", signed(&good), None, good.clone(), refusal(401, "token_missing", "authorization")),
        ("a device", signed(&good), Some(ground.token(&crew.neil)), good.clone(), refusal(403, "not_permitted", "")),
        ("a dispatcher", signed(&good), Some(ground.token(&crew.capcom)), good.clone(), refusal(403, "not_permitted", "")),
        ("no signature", format!("/releases/{PACKAGE}"), Some(root.clone()), good.clone(), refusal(422, "field_missing", "signature")),
        (
            "no good signature",
            format!("/releases/{PACKAGE}?signature=00"),
            Some(root.clone()),
            good.clone(),
            refusal(422, "signature_wrong", "signature"),
        ),
        ("the signature of another file", signed(&old), Some(root.clone()), good.clone(), refusal(422, "signature_wrong", "signature")),
        ("a bit changed on the way", signed(&good), Some(root.clone()), changed, refusal(422, "signature_wrong", "signature")),
        (
            "another key",
            format!("/releases/{PACKAGE}?signature={}", Ground::new().signature(&good)),
            Some(root.clone()),
            good.clone(),
            refusal(422, "signature_wrong", "signature"),
        ),
    ];
    for (what, path, token, body, expected) in checks {
        assert_eq!(refused(gateway.post(&path, token.as_deref(), body).await).await, expected, "{what}");
    }
    let other = ApkSpec { package: "org.example.console", ..spec(8) }.build();
    let stranger = ApkSpec { key: Some("stranger"), ..spec(8) }.build();
    let unsigned = ApkSpec { key: None, ..spec(8) }.build();
    let checks = [
        ("the same version", old.clone(), refusal(409, "version_not_newer", "body")),
        ("an older version", spec(6).build(), refusal(409, "version_not_newer", "body")),
        ("another package", other, refusal(422, "other_package", "package")),
        ("another certificate", stranger, refusal(409, "other_certificate", "body")),
        ("an unsigned APK", unsigned, refusal(422, "apk_not_signed", "body")),
        ("no APK", b"PK\x03\x04 and no more".to_vec(), refusal(422, "not_an_apk", "body")),
        ("half an APK", good[..good.len() / 2].to_vec(), refusal(422, "not_an_apk", "body")),
    ];
    for (what, apk, expected) in checks {
        assert_eq!(refused(upload(&ground, &gateway, &crew, &apk).await).await, expected, "{what}");
    }
    // Too large by its word, and torn in the middle.
    let answer = Raw::post(&gateway.url, &signed(&good), &root, Some(600_000_000)).read_answer();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("too_large"), "{answer}");
    let mut raw = Raw::post(&gateway.url, &signed(&good), &root, Some(good.len()));
    raw.send(&good[..good.len() - 1]).unwrap();
    drop(raw);

    assert_eq!(ground.store().await.releases(None, 10).await.unwrap().len(), 1);
    assert_eq!((ground.objects(), ground.spooled()), (objects, vec![]));
    assert_eq!(current(&gateway).await, served);
    let url = served["release"]["url"].as_str().unwrap();
    assert_eq!(gateway.get(url, None, &[]).await.bytes().await.unwrap(), old);
    gateway.stop().await;

    // Without a release key nothing is taken in.
    let gateway = ground.start(&[("gateway.release_public_key_file", "")]).await;
    assert_eq!(refused(upload(&ground, &gateway, &crew, &good).await).await, refusal(403, "releases_closed", ""));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_replaced_and_halted_meanwhile_is_downloaded_to_its_end() {
    let ground = Ground::new();
    let crew = Crew::of(&ground).await;
    let gateway = ground.start(&[]).await;
    // More than sockets hold, so that the rest is still to be read when the release is gone.
    let old = ApkSpec { payload_bytes: 24_000_000, ..spec(7) }.build();
    let new = spec(8).build();
    json(upload(&ground, &gateway, &crew, &old).await, StatusCode::CREATED).await;
    stage(&ground, 7, ReleaseChange::Stage(100)).await;
    let mut begun = gateway.get("/releases/org.example.radio/7.apk", None, &[]).await;
    let mut got = begun.chunk().await.unwrap().unwrap().to_vec();

    json(upload(&ground, &gateway, &crew, &new).await, StatusCode::CREATED).await;
    stage(&ground, 8, ReleaseChange::Stage(100)).await;
    stage(&ground, 7, ReleaseChange::Halt).await;
    assert_eq!(current(&gateway).await["release"]["version_code"], 8);
    while let Some(chunk) = begun.chunk().await.unwrap() {
        got.extend_from_slice(&chunk);
    }
    assert!(got == old, "{} of {} bytes", got.len(), old.len());
    // And one that was cut off goes on where it was.
    let range = format!("bytes={}-", old.len() - 1_000);
    let rest = gateway.get("/releases/org.example.radio/7.apk", None, &[("range", &range)]).await;
    assert_eq!(rest.bytes().await.unwrap(), old[old.len() - 1_000..]);
    gateway.stop().await;
}
