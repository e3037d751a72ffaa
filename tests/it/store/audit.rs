//! The audit names what was planted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use roger::model::{InstallationId, Place, UserId};
use roger::store::{Finding, Store};
use roger::topic::frame::{Mark, Outcome};

use super::{Database, INSTALLATION, archive, batch, entry, frame, over_both, topic};

over_both!(an_archive_in_order_has_no_findings, what_was_planted_is_named, an_audit_goes_topic_by_topic, an_archive_at_work_looks_right);

async fn findings(store: &Store) -> Vec<Finding> {
    let page = store.audit(None, 100).await.unwrap();
    assert_eq!(page.findings_total, page.findings.len() as u64);
    page.findings
}

async fn an_archive_in_order_has_no_findings(database: &Database) {
    let store = &database.store;
    let group = topic("g:1");
    // More than a page of the audit, over three epochs, the second of which begins below the head.
    let places = (1..=2_500).map(|seq| (1, seq)).chain((2_490..=2_600).map(|seq| (2, seq))).chain([(9, 2_601)]);
    archive(store, 1, places.enumerate().map(|(n, (epoch, seq))| entry(group, epoch, seq, 3 * n as u64 + 1))).await.unwrap();
    let mark = Mark { topic: group.packed(), user: 1, installation: u64::MAX, place: Place::new(9, 2_601).into() };
    // Notices of the fleet have no number.
    let notice = |seq| {
        let mut notice = entry(topic("u:1"), 1, seq, 0);
        (notice.sender, notice.installation) = (0, 0);
        Outcome::Entry(notice)
    };
    store.archive(batch([frame(1, 2, [Outcome::Mark(mark), notice(1), notice(2)])])).await.unwrap();
    let page = store.audit(None, 100).await.unwrap();
    assert_eq!(page.findings, []);
    assert_eq!((page.topics, page.messages, page.marks, page.next), (2, 2_500 + 111 + 1 + 2, 1, None));
}

async fn what_was_planted_is_named(database: &Database) {
    let store = &database.store;
    let (sender, installation) = (UserId(7), InstallationId(INSTALLATION));
    let at = Place::new;
    let plant = async |name: &str, entries: &[(u64, u64, u64)]| {
        let topic = topic(name);
        let entries = entries.iter().map(|(epoch, seq, client_seq)| entry(topic, *epoch, *seq, *client_seq));
        archive(store, 1, entries).await.unwrap();
        topic
    };
    let topic = plant("g:1", &[(1, 1, 1), (1, 2, 2), (1, 4, 3)]).await;
    let mut expected = vec![Finding::Lost { topic, after: at(1, 2), next: at(1, 4) }];
    let topic = plant("g:2", &[(1, 2, 1)]).await;
    expected.push(Finding::Lost { topic, after: at(0, 0), next: at(1, 2) });
    let topic = plant("g:3", &[(1, 1, 1), (2, 3, 2)]).await;
    expected.push(Finding::Lost { topic, after: at(1, 1), next: at(2, 3) });
    let topic = plant("g:4", &[(1, 1, 5), (1, 2, 6), (2, 3, 5)]).await;
    expected.push(Finding::Duplicate { topic, sender, installation, client_seq: 5, first: at(1, 1), again: at(2, 3) });
    let topic = plant("g:5", &[(1, 1, 5), (1, 2, 5)]).await;
    expected.push(Finding::Duplicate { topic, sender, installation, client_seq: 5, first: at(1, 1), again: at(1, 2) });
    let topic = plant("g:6", &[(1, 1, 5), (1, 2, 4)]).await;
    expected.push(Finding::Disordered {
        topic,
        sender,
        installation,
        client_seq: 4,
        at: at(1, 2),
        later_client_seq: 5,
        later_at: at(1, 1),
    });
    let topic = plant("g:7", &[(1, 1, 1)]).await;
    let mark = |user, seq| Outcome::Mark(Mark { topic: topic.packed(), user, installation: 3, place: at(1, seq).into() });
    store.archive(batch([frame(1, 2, [mark(1, 1), mark(2, 2)])])).await.unwrap();
    let (user, installation) = (UserId(2), InstallationId(3));
    expected.push(Finding::MarkBeyondHead { topic, user, installation, mark: at(1, 2), head: at(1, 1) });
    let topic = plant("g:8", &[(1, 1, 1), (1, 2, 2)]).await;
    delete(database, "DELETE FROM message WHERE topic = 'g:8' AND seq = 2").await;
    expected.push(Finding::HeadDiffers { topic, head: Some(at(1, 2)), last: at(1, 1) });
    let topic = plant("g:9", &[(1, 1, 1)]).await;
    delete(database, "DELETE FROM topic_head WHERE topic = 'g:9'").await;
    expected.push(Finding::HeadDiffers { topic, head: None, last: at(1, 1) });

    assert_eq!(findings(store).await, expected);
}

/// Damages the archive behind the store's back.
async fn delete(database: &Database, sql: &'static str) {
    use sqlx::{Connection, Executor};
    let deleted = match database.url.starts_with("sqlite:") {
        true => sqlx::SqliteConnection::connect(&database.url).await.unwrap().execute(sql).await.unwrap().rows_affected(),
        false => sqlx::MySqlConnection::connect(&database.url).await.unwrap().execute(sql).await.unwrap().rows_affected(),
    };
    assert_eq!(deleted, 1);
}

async fn an_audit_goes_topic_by_topic(database: &Database) {
    let store = &database.store;
    let names = ["g:1", "g:10", "g:2", "su:1", "u:1", "u:2"];
    archive(store, 1, names.iter().map(|name| entry(topic(name), 1, 1, 1))).await.unwrap();
    let mut next = None;
    let mut pages = Vec::new();
    loop {
        let page = store.audit(next, 4).await.unwrap();
        pages.push((page.topics, page.messages, page.next));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(pages, [(4, 4, Some(topic("su:1"))), (2, 2, None)]);
}

async fn an_archive_at_work_looks_right(database: &Database) {
    let store = database.store.clone();
    let audits = Arc::new(AtomicU32::new(0));
    let seen = audits.clone();
    let writer = tokio::spawn(async move {
        let mut commits = 0;
        // On a machine that stands still for a moment it would be over before anybody looks.
        while commits < 150 || seen.load(Ordering::Relaxed) < 2 {
            commits += 1;
            let commit = commits;
            let outcomes = ["g:1", "u:1"].into_iter().flat_map(|name| {
                let topic = topic(name);
                let place = Place::new(1, commit * 10).into();
                let entries = (commit * 10 - 9..=commit * 10).map(move |seq| Outcome::Entry(entry(topic, 1, seq, seq)));
                entries.chain([Outcome::Mark(Mark { topic: topic.packed(), user: 1, installation: 3, place })])
            });
            store.archive(batch([frame(1, commit, outcomes)])).await.unwrap();
        }
        commits
    });
    while !writer.is_finished() {
        assert_eq!(findings(&database.store).await, []);
        audits.fetch_add(1, Ordering::Relaxed);
    }
    let commits = writer.await.unwrap();
    assert_eq!(database.store.audit(None, 10).await.unwrap().messages, 20 * commits);
}
