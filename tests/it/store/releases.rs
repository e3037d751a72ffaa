//! Releases of the app: which are taken in, and whom each is for.

use roger::clock::Clock;
use roger::model::{Digest, InstallationId, ReleaseId};
use roger::store::{Author, ChangesWanted, NewRelease, Release, ReleaseAdded, ReleaseChange, Store};

use super::{Database, over_both};

over_both!(
    a_release_must_be_newer_and_of_the_same_certificate,
    of_two_at_a_time_one_is_taken,
    a_stage_only_grows_and_a_halt_gives_the_release_before_back,
    every_change_of_a_release_leaves_a_row,
);

const PACKAGE: &str = "org.example.radio";

fn release(package: &str, version_code: u64, certificate: u8) -> NewRelease {
    NewRelease {
        package: package.to_owned(),
        version_code,
        version_name: format!("1.{version_code}"),
        bytes: 1_000,
        sha256: Digest([version_code as u8; 32]),
        signature: "ab".repeat(64),
        certificate: Digest([certificate; 32]),
    }
}

async fn added(store: &Store, version_code: u64) -> ReleaseId {
    match store.add_release(release(PACKAGE, version_code, 1), 5).await.unwrap() {
        ReleaseAdded::Added(release) => release.id,
        refused => panic!("{refused:?}"),
    }
}

async fn current(store: &Store, installation: u64) -> Option<u64> {
    let release = store.release_for(PACKAGE, InstallationId(installation)).await.unwrap();
    release.map(|release| release.version_code)
}

async fn a_release_must_be_newer_and_of_the_same_certificate(database: &Database) {
    let store = &database.store;
    added(store, 7).await;
    let seven = store.release(PACKAGE, 7).await.unwrap().unwrap();
    let Release { version_name, bytes, sha256, percent, halted, created_ms, .. } = &seven;
    assert_eq!((version_name.as_str(), *bytes, *sha256, *percent, *halted, *created_ms), ("1.7", 1_000, Digest([7; 32]), 0, false, 5));
    for version_code in [6, 7] {
        let refused = ReleaseAdded::NotNewer(seven.clone());
        assert_eq!(store.judge_release(PACKAGE, version_code, Digest([1; 32])).await.unwrap(), Some(refused.clone()));
        assert_eq!(store.add_release(release(PACKAGE, version_code, 1), 6).await.unwrap(), refused);
    }
    let refused = ReleaseAdded::OtherCertificate(Digest([1; 32]));
    assert_eq!(store.add_release(release(PACKAGE, 8, 2), 6).await.unwrap(), refused);
    assert_eq!(store.judge_release(PACKAGE, 8, Digest([2; 32])).await.unwrap(), Some(refused));
    // Another package is none of its business; a halted release still counts.
    assert!(matches!(store.add_release(release("org.example.console", 1, 2), 6).await.unwrap(), ReleaseAdded::Added(_)));
    store.change_release(seven.id, ReleaseChange::Halt).await.unwrap();
    assert!(matches!(store.add_release(release(PACKAGE, 7, 1), 6).await.unwrap(), ReleaseAdded::NotNewer(_)));
    assert_eq!(store.judge_release(PACKAGE, 8, Digest([1; 32])).await.unwrap(), None);
    let listed: Vec<String> = store.releases(None, 10).await.unwrap().into_iter().map(|release| release.package).collect();
    assert_eq!(listed, ["org.example.console", PACKAGE]);
    assert_eq!(store.releases(Some(PACKAGE), 10).await.unwrap().len(), 1);
    assert_eq!(store.release("org.example.other", 7).await.unwrap(), None);
}

async fn of_two_at_a_time_one_is_taken(database: &Database) {
    let tasks = (0..4).map(|_| {
        let store = database.store.clone();
        tokio::spawn(async move { store.add_release(release(PACKAGE, 3, 1), 5).await.unwrap() })
    });
    let mut taken = 0;
    for task in tasks.collect::<Vec<_>>() {
        taken += u32::from(matches!(task.await.unwrap(), ReleaseAdded::Added(_)));
    }
    assert_eq!(taken, 1);
}

async fn a_stage_only_grows_and_a_halt_gives_the_release_before_back(database: &Database) {
    let store = &database.store;
    assert_eq!(current(store, 1).await, None);
    let old = added(store, 1).await;
    assert_eq!(current(store, 1).await, None, "at 0 percent it is for nobody");
    store.change_release(old, ReleaseChange::Stage(100)).await.unwrap();
    let new = added(store, 2).await;
    let reached = async |percent: u8| {
        store.change_release(new, ReleaseChange::Stage(percent)).await.unwrap();
        let mut reached = Vec::new();
        for installation in 1..=200 {
            match current(store, installation).await {
                Some(2) => reached.push(installation),
                Some(1) => {}
                other => panic!("{other:?} for installation {installation}"),
            }
        }
        reached
    };
    let (some, more, all) = (reached(20).await, reached(60).await, reached(100).await);
    assert!((20..=65).contains(&some.len()) && (90..=150).contains(&more.len()), "{} and {}", some.len(), more.len());
    assert!(some.iter().all(|installation| more.contains(installation)), "a higher stage took a release from somebody");
    assert_eq!(all.len(), 200);

    store.change_release(new, ReleaseChange::Halt).await.unwrap();
    assert_eq!(current(store, some[0]).await, Some(1), "the release before it is back");
    store.change_release(new, ReleaseChange::Resume).await.unwrap();
    assert_eq!(current(store, some[0]).await, Some(2));
    store.change_release(new, ReleaseChange::Halt).await.unwrap();
    store.change_release(old, ReleaseChange::Halt).await.unwrap();
    assert_eq!(current(store, some[0]).await, None);
    assert_eq!(store.change_release(ReleaseId(99), ReleaseChange::Halt).await.unwrap(), None);
}

async fn every_change_of_a_release_leaves_a_row(database: &Database) {
    let store = database.store.on_behalf_of(Author::Operator("ann".to_owned()), Clock::manual(9).0);
    let id = added(&store, 1).await;
    for change in [ReleaseChange::Stage(30), ReleaseChange::Stage(30), ReleaseChange::Halt, ReleaseChange::Halt, ReleaseChange::Resume] {
        store.change_release(id, change).await.unwrap();
    }
    let mut changes = store.changes(ChangesWanted { limit: 100, what: Some("release".to_owned()), ..Default::default() }).await.unwrap();
    changes.reverse();
    let said: Vec<String> =
        changes.iter().map(|change| format!("{} {} {} {}", change.who, change.what, change.subject, change.after["percent"])).collect();
    let row = |what: &str, percent: &str| format!("operator:ann release.{what} release:1 {percent}");
    assert_eq!(said, [row("added", "null"), row("staged", "30"), row("halted", "30"), row("resumed", "30")]);
    assert_eq!(changes[2].before["halted"], false);
    assert_eq!(changes[2].after["halted"], true);
}
