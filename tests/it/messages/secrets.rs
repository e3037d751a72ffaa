//! What must not lie around: passwords and tokens.

use std::fs;
use std::path::Path;

use roger::client::{Directory, Login};
use roger::model::InstallationId;

use super::radio::Radio;
use super::stage::hello;
use crate::support::eventually;
use crate::support::fleet::{Fleet, FleetOptions};

const PASSWORD: &str = "one small step for a man";
const SEED: &str = r#"
[[tenant]]
name = "apollo"
[[account]]
name = "armstrong"
kind = "device"
tenant = "apollo"
password = "one small step for a man"
"#;

/// The files below some folders that hold a text.
fn holding(folders: &[&Path], text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = folders.iter().map(|folder| folder.to_path_buf()).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && fs::read(&path).unwrap().windows(text.len()).any(|piece| piece == text.as_bytes()) {
                found.push(path.file_name().unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_passwords_nor_tokens_stand_in_sql_in_redis_or_in_a_log() {
    let overrides = vec![("log.level", "\"debug\"".to_owned())];
    let fleet = Fleet::start(FleetOptions { edges: 1, overrides, ..FleetOptions::default() });
    fleet.apply(SEED);
    fs::remove_file(fleet.folder().join("seed.toml")).unwrap();
    let directory = Directory::new(&fleet.directory()).unwrap();
    directory.login("armstrong", "one small step for mankind", InstallationId(7)).await.unwrap_err();
    let first = directory.login("armstrong", PASSWORD, InstallationId(7)).await.unwrap();
    let second = directory.resume("armstrong", &first.resume_token, InstallationId(7)).await.unwrap();
    let mut radio = Radio::open(&fleet.edge(0), hello(&second, 7)).await.unwrap();
    radio.beat().await;

    // Everything the fleet ever wrote: the database, the log of Redis with each of its commands, and the logs of all programs.
    let folders = [fleet.folder(), fleet.redis.folder()];
    eventually("the name is found where it may stand", async || {
        let files = holding(&folders, "armstrong");
        (files.iter().any(|file| file.starts_with("roger.db")) && files.iter().any(|file| file.ends_with(".aof"))).then_some(())
    })
    .await;
    let Login { token, resume_token, .. } = first;
    for secret in [PASSWORD, "mankind", &token, &resume_token, &second.token, &second.resume_token] {
        assert_eq!(holding(&folders, secret), [""; 0], "{secret}");
    }
    let store = roger::store::Store::open(&format!("sqlite:{}", fleet.folder().join("roger.db").display())).unwrap();
    let account = store.account_by_name("armstrong").await.unwrap().unwrap();
    assert!(account.password_hash.starts_with("$argon2id$"), "{}", account.password_hash);
}
