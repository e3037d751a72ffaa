//! Tables of before, with what was in them.

use std::path::Path;

use roger::model::{GroupId, UserId, UserKind};
use roger::store::Ensured;
use sqlx::migrate::Migrator;
use sqlx::{Connection, MySqlConnection, SqliteConnection};

use crate::support::mariadb::MariaDb;

/// A tenant with a group of two members, one of whom left, as the fourth version has them.
const BEFORE: &str = "INSERT INTO tenant (id, name) VALUES (1, 'apollo');
INSERT INTO account (id, name, nickname, kind, tenant, password, version, created_ms, disabled) VALUES
    (1, 'neil', 'Neil', 1, 1, 'hash', 1, 5, 0), (2, 'capcom', 'Houston', 2, 1, '', 1, 6, 0);
INSERT INTO grp (id, tenant, name, version) VALUES (1, 1, 'loop', 3);
INSERT INTO grp_member (grp, account, version, present) VALUES (1, 1, 3, 0), (1, 2, 2, 1);
UPDATE counter SET value = 2 WHERE name = 'account';
UPDATE counter SET value = 1 WHERE name IN ('tenant', 'grp');";

/// Brings an empty database to the fourth version, and fills it.
macro_rules! fill {
    ($connection:ty, $dialect:literal, $url:expr) => {{
        let folder = tempfile::tempdir().unwrap();
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations").join($dialect);
        for entry in std::fs::read_dir(migrations).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name < "0005" {
                std::fs::copy(&path, folder.path().join(name)).unwrap();
            }
        }
        let mut connection = <$connection>::connect($url).await.unwrap();
        let migrator = Migrator::new(folder.path()).await.unwrap();
        migrator.run_direct(None, &mut connection, false).await.unwrap();
        sqlx::raw_sql(BEFORE).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }};
}

async fn what_was_there_is_there(url: &str) {
    let store = super::open(url);
    store.migrate().await.unwrap();
    let (neil, capcom, group) = (UserId(1), UserId(2), GroupId(1));
    let account = store.account_by_name("neil").await.unwrap().unwrap();
    assert_eq!((account.id, account.nickname.as_str(), account.kind, account.parent), (neil, "Neil", UserKind::Device, UserId(0)));
    let groups = store.groups_of(capcom, None, 9, 10_000).await.unwrap().groups;
    let members: Vec<UserId> = groups[0].members.iter().map(|member| member.id).collect();
    assert_eq!((groups.len(), groups[0].group.name.as_str(), groups[0].group.version, members), (1, "loop", 3, vec![capcom]));
    assert!(store.groups_of(neil, None, 9, 10_000).await.unwrap().groups.is_empty());
    // Versions and numbers go on.
    assert!(store.join_group(group, neil, 9).await.unwrap());
    assert_eq!(store.group(group).await.unwrap().unwrap().version, 4);
    let tenant = account.tenant;
    assert_eq!(store.ensure_group(tenant, "loop").await.unwrap(), Ensured::Unchanged(group));
    assert_eq!(store.create_group(tenant, "two").await.unwrap(), GroupId(2));
    store.migrate().await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_groups_and_members() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("roger.db").display());
    fill!(SqliteConnection, "sqlite", &url);
    what_was_there_is_there(&url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_keeps_groups_and_members() {
    let server = MariaDb::shared();
    let url = server.database().await;
    fill!(MySqlConnection, "mysql", &url);
    what_was_there_is_there(&url).await;
}
