//! Files and releases in S3: the program against a real S3 server, which checks every signature.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use reqwest::StatusCode;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

use super::serving::Served;
use super::{Crew, Ground, START_MS, client, json};
use crate::support::apk::noise;
use crate::support::eventually;

/// A server over a folder; a bucket is a folder in it.
async fn serve_s3(root: &Path) -> SocketAddr {
    let mut builder = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
    builder.set_auth(SimpleAuth::from_single("ACCESS", "SECRET"));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let _closed = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// The objects in the bucket below the prefix, without that of the health check and the server's own notes.
fn objects(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    super::files_below(&root.join("media/fleet/files"), &mut found);
    found.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_lie_in_s3_as_they_lie_in_a_folder() {
    let ground = Ground::new();
    let store = ground.store().await;
    let crew = Crew::of(&ground).await;
    let root = ground.path("s3");
    std::fs::create_dir_all(root.join("media")).unwrap();
    let address = serve_s3(&root).await;
    let endpoint = format!("http://{address}");
    let env = [
        ("AWS_ENDPOINT", endpoint.as_str()),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "ACCESS"),
        ("AWS_SECRET_ACCESS_KEY", "SECRET"),
    ];
    let mut served = Served::start(&ground, &[("gateway.object_url", "s3://media/fleet")], &env);
    let (http, token) = (client(), ground.token(&crew.neil));
    // One that goes as a whole, and one that takes several parts.
    for (seed, bytes) in [(1, 1_000), (2, 20_000_000)] {
        let content = noise(bytes, seed);
        let path = format!("{}/files?name=a&purpose=log", served.url);
        let sent = http.post(path).bearer_auth(&token).body(content.clone()).send().await.unwrap();
        let file = json(sent, StatusCode::CREATED).await;
        let url = format!("{}/files/{}", served.url, file["id"].as_str().unwrap());
        let got = http.get(&url).bearer_auth(&token).send().await.unwrap();
        assert_eq!(got.status(), StatusCode::OK);
        assert!(got.bytes().await.unwrap() == content, "{bytes} bytes came back as others");
        let part = http.get(&url).bearer_auth(&token).header("range", "bytes=500-599").send().await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.bytes().await.unwrap(), content[500..600]);
    }
    assert_eq!(objects(&root).len(), 2);
    // Their time is over; the program that comes next sweeps as it starts.
    served.stop();
    ground.execute("UPDATE file SET expires_ms = 1").await;
    let mut served = Served::start(&ground, &[("gateway.object_url", "s3://media/fleet")], &env);
    eventually("the objects are swept", || async { objects(&root).is_empty().then_some(()) }).await;
    // Each is forgotten once it is gone.
    eventually("the sweep is over", || async { store.stray_objects(START_MS * 2, 10).await.unwrap().is_empty().then_some(()) }).await;
    served.stop();
}
