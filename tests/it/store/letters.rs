//! Letters that mean something to SQL.

use roger::model::{InstallationId, Place, Span, UserKind};
use roger::store::{LoginRecord, NewAccount, Store};

use super::{Database, archive, entry, over_both, topic};

over_both!(what_people_write_is_never_taken_for_sql,);

/// Each breaks out of a statement that is put together as text, in one database or the other.
const WRITTEN: [&str; 10] = [
    "O'Brien",
    "x'; DROP TABLE account; --",
    "x\"; DELETE FROM entry WHERE \"1\"=\"1",
    "\\' OR 1=1 -- ",
    "\\",
    "'||(SELECT password_hash FROM account)||'",
    "100% of _",
    "? ?1 :name @name $1",
    "/* */ # `account`",
    "two\nlines\t🌕",
];

async fn people(store: &Store, tenant: &str) -> usize {
    let mut found = 0;
    for written in WRITTEN {
        let account = store.account_by_name(&format!("{tenant}{written}")).await.unwrap();
        found += usize::from(account.is_some_and(|account| account.nickname == written));
    }
    found
}

async fn what_people_write_is_never_taken_for_sql(database: &Database) {
    let store = &database.store;
    for (number, written) in (1..).zip(WRITTEN) {
        let tenant = store.ensure_tenant(written).await.unwrap().id();
        let account = NewAccount {
            name: format!("A{written}"),
            nickname: written.to_owned(),
            kind: UserKind::Device,
            tenant,
            password_hash: written.to_owned(),
            parent: None,
        };
        let user = store.create_account(account, 5).await.unwrap();
        assert_eq!(store.account(user).await.unwrap().unwrap().password_hash, written);
        let group = store.create_group(tenant, written).await.unwrap();
        assert_eq!(store.group(group).await.unwrap().unwrap().name, written);
        store.join_group(group, user, 5).await.unwrap();

        let (installation, outcome, peer, app) = (InstallationId(7), written.into(), written.to_owned(), written.to_owned());
        store.record_login(LoginRecord { user, installation, time_ms: 5, outcome, peer, app }).await.unwrap();
        let records = store.login_records(user, 10).await.unwrap();
        assert_eq!((records.len(), records[0].peer.as_str(), records[0].app.as_str()), (1, written, written));

        let mut said = entry(topic("g:1"), 1, number, number);
        said.body = written.into();
        archive(store, number, [said]).await.unwrap();
    }
    // All of them, exactly once, and nothing is gone.
    let span = Span { after: Place::START, upto: Place::END };
    let bodies = store.entries(topic("g:1"), span, usize::MAX, usize::MAX).await.unwrap();
    assert_eq!(bodies.iter().map(|entry| &entry.body[..]).collect::<Vec<_>>(), WRITTEN.map(str::as_bytes));
    assert_eq!((people(store, "A").await, people(store, "").await), (WRITTEN.len(), 0));
    assert_eq!(store.tenants().await.unwrap().len(), WRITTEN.len());
}
