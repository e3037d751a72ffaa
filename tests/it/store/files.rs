//! Files: content once, a quota, an end; and no object that is forgotten or removed too early.

use std::sync::atomic::{AtomicU64, Ordering};

use roger::model::{Digest, FileId, FilePurpose, TenantId, TopicId, UserId, UserKind};
use roger::store::{ADOPT_WITHIN_MS, FileAdded, NewAccount, NewFile, Store, StoredFile};

use super::{Database, over_both};

over_both!(
    a_content_is_stored_once,
    the_quota_of_a_tenant_holds_for_uploads_at_the_same_time,
    what_is_over_goes_and_its_object_with_the_last_of_it,
    an_object_that_waited_too_long_is_not_adopted,
    a_sweep_and_an_upload_of_the_same_content_never_leave_a_file_without_one,
    readers_are_those_of_the_topic_now_or_ever,
    the_latest_log_is_the_newest_of_the_account,
);

const HOUR_MS: u64 = 3_600_000;

fn file(tenant: u64, content: u8) -> NewFile {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NewFile {
        id: FileId(NEXT.fetch_add(1, Ordering::Relaxed).into()),
        tenant: TenantId(tenant),
        uploader: UserId(7),
        purpose: FilePurpose::Attachment,
        topic: Some(TopicId::inbox(UserId(8))),
        name: "map.png".to_owned(),
        media_type: "image/png".to_owned(),
        bytes: 100,
        sha256: Digest([content; 32]),
        expires_ms: u64::MAX,
    }
}

#[track_caller]
fn stored(added: FileAdded) -> StoredFile {
    match added {
        FileAdded::Added(file) => file,
        refused => panic!("{refused:?}"),
    }
}

async fn store_new(store: &Store, file: NewFile, object: &str, now_ms: u64) -> StoredFile {
    store.note_object(object, now_ms).await.unwrap();
    stored(store.add_file(file, Some(object), 0, now_ms).await.unwrap())
}

async fn a_content_is_stored_once(database: &Database) {
    let store = &database.store;
    assert!(!store.has_content(Digest([1; 32])).await.unwrap());
    assert_eq!(store.add_file(file(1, 1), None, 0, 5).await.unwrap(), FileAdded::NoContent);
    let first = store_new(store, file(1, 1), "files/a", 5).await;
    assert!(store.has_content(Digest([1; 32])).await.unwrap());
    let again = stored(store.add_file(file(2, 1), None, 0, 6).await.unwrap());
    assert_eq!((again.object.as_str(), again.created_ms), ("files/a", 6));
    assert_eq!(store.file(first.id, 9).await.unwrap(), Some(StoredFile { expires_ms: i64::MAX as u64, ..first.clone() }));
    assert_ne!(first.id, again.id);
    // Two stored it at the same time: the second's object is swept.
    let second = store_new(store, file(1, 1), "files/b", 7).await;
    assert_eq!(second.object, "files/a");
    assert_eq!(store.stray_objects(7, 10).await.unwrap(), ["files/b"]);
    store.forget_object("files/b").await.unwrap();
    assert_eq!(store.stray_objects(u64::from(u32::MAX), 10).await.unwrap(), [""; 0]);
}

async fn the_quota_of_a_tenant_holds_for_uploads_at_the_same_time(database: &Database) {
    let store = &database.store;
    store_new(store, file(1, 1), "files/a", 5).await;
    let tasks = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.add_file(file(1, 1), None, 450, 5).await.unwrap() })
    });
    let (mut taken, mut refused) = (0, 0);
    for task in tasks.collect::<Vec<_>>() {
        match task.await.unwrap() {
            FileAdded::Added(_) => taken += 1,
            FileAdded::QuotaExceeded { used } => {
                assert!(used <= 400);
                refused += 1;
            }
            FileAdded::NoContent => panic!("the content went"),
        }
    }
    assert_eq!((taken, refused), (3, 5), "100 of 450 bytes were in use");
    stored(store.add_file(file(2, 1), None, 100, 5).await.unwrap());
}

async fn what_is_over_goes_and_its_object_with_the_last_of_it(database: &Database) {
    let store = &database.store;
    let first = store_new(store, NewFile { expires_ms: 10, ..file(1, 1) }, "files/a", 5).await;
    let second = stored(store.add_file(NewFile { expires_ms: 20, ..file(1, 1) }, None, 200, 5).await.unwrap());
    assert!(store.file(first.id, 9).await.unwrap().is_some());
    assert_eq!(store.file(first.id, 10).await.unwrap(), None, "over, swept or not");
    assert_eq!(store.expire_files(9).await.unwrap(), 0);
    assert_eq!(store.expire_files(10).await.unwrap(), 1);
    assert_eq!(store.stray_objects(10, 10).await.unwrap(), [""; 0], "the second file has the content");
    // What went no longer counts.
    assert!(store.file(second.id, 10).await.unwrap().is_some());
    stored(store.add_file(NewFile { expires_ms: 20, ..file(1, 1) }, None, 200, 10).await.unwrap());
    assert_eq!(store.expire_files(20).await.unwrap(), 2);
    assert_eq!(store.stray_objects(20, 10).await.unwrap(), ["files/a"]);
    assert!(!store.has_content(Digest([1; 32])).await.unwrap());
    // The same content again, while the old object still waits for its removal.
    let again = store_new(store, file(1, 1), "files/c", 21).await;
    assert_eq!(again.object, "files/c");
    assert_eq!(store.stray_objects(21, 10).await.unwrap(), ["files/a"]);
}

async fn an_object_that_waited_too_long_is_not_adopted(database: &Database) {
    let store = &database.store;
    store.note_object("files/a", 0).await.unwrap();
    assert_eq!(store.stray_objects(ADOPT_WITHIN_MS - 1, 10).await.unwrap(), [""; 0]);
    assert_eq!(store.add_file(file(1, 1), Some("files/a"), 0, ADOPT_WITHIN_MS - HOUR_MS).await.unwrap(), FileAdded::NoContent);
    assert!(!store.has_content(Digest([1; 32])).await.unwrap());
    assert_eq!(store.stray_objects(ADOPT_WITHIN_MS, 10).await.unwrap(), ["files/a"]);
    stored(store.add_file(file(1, 1), Some("files/a"), 0, ADOPT_WITHIN_MS - HOUR_MS - 1).await.unwrap());
    assert_eq!(store.stray_objects(ADOPT_WITHIN_MS, 10).await.unwrap(), [""; 0]);
}

/// Files of one content come and go, while another task sweeps: whenever a file is there, so is its object.
async fn a_sweep_and_an_upload_of_the_same_content_never_leave_a_file_without_one(database: &Database) {
    let store = &database.store;
    let removed = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let sweeper = tokio::spawn({
        let (store, removed, done) = (store.clone(), removed.clone(), done.clone());
        async move {
            while !done.load(Ordering::Relaxed) {
                // A deadlock would be a failure of the order of locks.
                store.expire_files(10).await.unwrap();
                for object in store.stray_objects(10, 100).await.unwrap() {
                    removed.lock().unwrap().push(object.clone());
                    store.forget_object(&object).await.unwrap();
                }
            }
        }
    });
    let mut swept = 0;
    for round in 0..40 {
        // Over from the beginning, so that the sweep takes it as soon as it sees it.
        let over = NewFile { expires_ms: 1, ..file(1, 1) };
        let lasting = file(1, 1);
        for (number, new) in [over, lasting.clone()].into_iter().enumerate() {
            if store.add_file(new.clone(), None, 0, 5).await.unwrap() == FileAdded::NoContent {
                swept += 1;
                store_new(store, new, &format!("files/{round}-{number}"), 5).await;
            }
        }
        let found = store.file(lasting.id, 5).await.unwrap().expect("a file without its content");
        assert!(!removed.lock().unwrap().contains(&found.object), "the object of a file was removed");
        // The content may go with this one.
        if round % 2 == 0 {
            continue;
        }
        while store.has_content(Digest([1; 32])).await.unwrap() {
            remove_all(database).await;
        }
    }
    done.store(true, Ordering::Relaxed);
    sweeper.await.unwrap();
    assert!(swept >= 20, "the content went {swept} times only");
}

/// Ends all files at once.
async fn remove_all(database: &Database) {
    database.store.expire_files(u64::MAX >> 1).await.unwrap();
}

async fn readers_are_those_of_the_topic_now_or_ever(database: &Database) {
    let store = &database.store;
    let (tenant, other) = (store.ensure_tenant("apollo").await.unwrap().id(), store.ensure_tenant("soyuz").await.unwrap().id());
    let account = async |name: &str, tenant| {
        let new = NewAccount {
            name: name.into(),
            nickname: name.into(),
            kind: UserKind::Device,
            tenant,
            password_hash: String::new(),
            parent: None,
        };
        store.create_account(new, 5).await.unwrap()
    };
    let (neil, buzz, mike) = (account("neil", tenant).await, account("buzz", tenant).await, account("mike", tenant).await);
    let alexei = account("alexei", other).await;
    let group = store.create_group(tenant, "loop").await.unwrap();
    for user in [neil, buzz] {
        store.join_group(group, user, 5).await.unwrap();
    }
    let (loop_, inbox, foreign) = (TopicId::group(group), TopicId::inbox(mike), TopicId::inbox(alexei));
    for (user, topic, may) in [(neil, loop_, true), (mike, loop_, false), (neil, inbox, true), (neil, foreign, false)] {
        assert_eq!(store.may_attach(user, tenant, topic).await.unwrap(), may, "{user} to {topic}");
    }
    assert!(!store.may_attach(alexei, other, inbox).await.unwrap());
    let of = |topic| NewFile { uploader: neil, topic: Some(topic), ..file(tenant.0, 1) };
    let to_loop = store_new(store, of(loop_), "files/a", 5).await;
    let to_mike = stored(store.add_file(of(inbox), None, 0, 5).await.unwrap());
    store.leave_group(group, buzz, 6).await.unwrap();
    assert!(!store.may_attach(buzz, tenant, loop_).await.unwrap(), "a former member attaches nothing more");
    for (file, user, may) in [
        (&to_loop, neil, true),
        (&to_loop, buzz, true),
        (&to_loop, mike, false),
        (&to_mike, neil, true),
        (&to_mike, mike, true),
        (&to_mike, buzz, false),
    ] {
        assert_eq!(store.may_read_file(file, user, tenant).await.unwrap(), may, "{user} and {:?}", file.topic);
        assert!(!store.may_read_file(file, user, other).await.unwrap());
    }
}

async fn the_latest_log_is_the_newest_of_the_account(database: &Database) {
    let store = &database.store;
    assert_eq!(store.latest_log(UserId(7)).await.unwrap(), None);
    let log = |content| NewFile { purpose: FilePurpose::Log, topic: None, ..file(1, content) };
    store_new(store, log(1), "files/a", 5).await;
    let newest = store_new(store, log(2), "files/b", 7).await;
    store_new(store, log(3), "files/c", 6).await;
    store_new(store, file(1, 4), "files/d", 8).await;
    store_new(store, NewFile { uploader: UserId(8), ..log(5) }, "files/e", 9).await;
    assert_eq!(store.latest_log(UserId(7)).await.unwrap().unwrap().id, newest.id);
    assert_eq!(store.latest_log(UserId(7)).await.unwrap().unwrap().topic, None);
    let listed: Vec<FilePurpose> = store.files(Some(UserId(7)), 2).await.unwrap().into_iter().map(|file| file.purpose).collect();
    assert_eq!(listed, [FilePurpose::Attachment, FilePurpose::Log]);
}
