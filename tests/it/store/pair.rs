//! The switch of a pair where it fails, is refused, or meets another.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use roger::store::{Done, Options, Pair, PairAccounts, PairError, Store, Wish};
use sqlx::{Connection as _, MySqlConnection};

use super::patient;
use crate::support::eventually;
use crate::support::mariadb::MariaDb;

const GO: Wish<'static> = Wish::Switch { to: None };

/// A pair with the tables of a fleet, and nobody who writes.
struct Scene {
    old: MariaDb,
    new: MariaDb,
    pair: Pair,
}

impl Scene {
    async fn set() -> Self {
        let [old, new] = MariaDb::pair().await;
        let options = Options { standby_url: Some(new.fleet_url()), ..patient(&old.fleet_url()) };
        Store::open_with(&options).unwrap().migrate().await.unwrap();
        let accounts = PairAccounts {
            admin_user: "roger_admin".to_owned(),
            admin_password: "pair's".to_owned(),
            replication_user: "roger_repl".to_owned(),
            replication_password: "repl".to_owned(),
        };
        let pair = Pair::new(&old.fleet_url(), &new.fleet_url(), accounts).unwrap();
        let scene = Self { old, new, pair };
        scene.follows().await;
        scene
    }

    /// Waits until the second server follows the first one, and has all it has.
    async fn follows(&self) {
        eventually("the standby follows", async || {
            let [Ok(old), Ok(new)] = self.pair.look().await.servers else { return None };
            (new.replication.is_some_and(|held| held.runs()) && old.gtid == new.gtid).then_some(())
        })
        .await;
    }

    /// Nobody was promoted, and the primary takes writes.
    async fn stays(&self) {
        let old = eventually("the primary answers", async || self.pair.look().await.servers[0].as_ref().ok().cloned()).await;
        assert!(old.is_named() && old.epoch == 1 && !old.read_only, "{old:?}");
        self.follows().await;
    }

    async fn switch(&self, wish: Wish<'_>) -> Result<Done, PairError> {
        self.told(wish, |_| {}).await
    }

    /// Switches, and does something after a step.
    async fn told(&self, wish: Wish<'_>, then: impl Fn(u8) + Send + Sync) -> Result<Done, PairError> {
        let told = |step: u8, _: &str| tokio::task::block_in_place(|| then(step));
        self.pair.switch(wish, Some(1), ("a test", 0), &told, async |_| true).await
    }
}

fn now<F: Future>(work: F) -> F::Output {
    tokio::runtime::Handle::current().block_on(work)
}

fn refused(done: &Result<Done, PairError>, why: &str) {
    assert!(matches!(done, Err(PairError::Refused { .. })), "{done:?}");
    let text = done.as_ref().unwrap_err().to_string();
    assert!(text.contains(why), "{text}");
}

/// How many connections to a server there are, taken by it or not yet: the kernel makes them while it is stopped.
fn connections(server: &MariaDb) -> usize {
    let port: u16 = server.address().rsplit(':').next().unwrap().parse().unwrap();
    let (theirs, table) = (format!("0100007F:{port:04X}"), std::fs::read_to_string("/proc/net/tcp").unwrap());
    let is_one = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1) == Some(&theirs.as_str()) && fields.get(3) == Some(&"01")
    };
    table.lines().filter(is_one).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_before_the_epoch_is_raised_is_undone() {
    let scene = Scene::set().await;
    let undone = |done: Result<Done, PairError>| {
        let Err(PairError::Undone { primary, .. }) = done else { panic!("{done:?}") };
        assert_eq!(primary, scene.old.address());
    };
    // The standby dies before it has caught up.
    let died = scene
        .told(GO, |step| {
            if step == 1 {
                scene.new.stop()
            }
        })
        .await;
    undone(died);
    scene.new.resume();
    scene.stays().await;
    // It stopped replicating, and does not take the epoch.
    let broken = "SET SESSION sql_log_bin = 0; ALTER TABLE roger_fleet.sql_primary ADD CONSTRAINT first CHECK (epoch < 2)";
    scene.new.admin(broken).await;
    undone(scene.switch(GO).await);
    scene.stays().await;
    // A switch was killed in between: whoever runs it again and fails leaves a primary that works, too.
    scene.old.admin("SET GLOBAL read_only = 1").await;
    scene.new.admin("STOP SLAVE").await;
    undone(scene.switch(GO).await);
    scene.stays().await;
    scene.new.admin("SET SESSION sql_log_bin = 0; ALTER TABLE roger_fleet.sql_primary DROP CONSTRAINT first").await;
    assert_eq!(scene.switch(GO).await.unwrap().primary, scene.new.address());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_nobody_knows_of_is_not_undone() {
    let scene = Scene::set().await;
    let done = scene
        .told(GO, |step| {
            if step == 3 {
                scene.new.signal(Signal::SIGSTOP)
            }
        })
        .await;
    assert!(matches!(&done, Err(PairError::Undecided { epoch: 2, .. })), "{done:?}");
    let [old, _] = scene.pair.look().await.servers;
    assert!(old.unwrap().read_only);
    scene.new.signal(Signal::SIGCONT);
    let again = async || scene.switch(GO).await.ok();
    let done = eventually("the command that was left ends, and the switch is finished", again).await;
    assert_eq!((done.primary, done.epoch, done.standby), (scene.new.address(), 2, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_whose_answer_was_late_is_looked_for() {
    let scene = Scene::set().await;
    let frozen = tokio::sync::Notify::new();
    let before = AtomicUsize::new(0);
    let freeze = |step| {
        if step == 3 {
            scene.new.signal(Signal::SIGSTOP);
            before.store(connections(&scene.new), Ordering::SeqCst);
            frozen.notify_one();
        }
    };
    let thaw = async {
        frozen.notified().await;
        // The statement is given up, and what became of it is asked on another connection.
        let asked = async || (connections(&scene.new) > before.load(Ordering::SeqCst)).then_some(());
        eventually("it is looked for", asked).await;
        scene.new.signal(Signal::SIGCONT);
    };
    let (done, ()) = tokio::join!(scene.told(GO, freeze), thaw);
    // Whether it was written before the connection was ended nobody can say; but what is told is so.
    match done {
        Ok(done) => assert_eq!((done.primary, done.standby), (scene.new.address(), true)),
        Err(PairError::Undone { .. }) => scene.stays().await,
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_far_behind_is_refused_before_anything_is_done() {
    let scene = Scene::set().await;
    let mut reader = MySqlConnection::connect(&scene.new.fleet_url()).await.unwrap();
    sqlx::raw_sql("LOCK TABLES setting READ").execute(&mut reader).await.unwrap();
    scene.old.admin("SET SESSION timestamp = UNIX_TIMESTAMP() - 100; INSERT INTO roger_fleet.setting VALUES ('late', 'yes')").await;
    let behind = async || {
        let [_, new] = scene.pair.look().await.servers;
        new.unwrap().replication?.behind_s.filter(|behind_s| *behind_s >= 100)
    };
    eventually("the standby is behind", behind).await;
    let done = scene.told(GO, |step| panic!("step {step} was done")).await;
    refused(&done, " s behind ");
    drop(reader);
    scene.stays().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_who_may_not_raise_the_epoch_is_refused_before_anything_is_done() {
    let scene = Scene::set().await;
    for server in [&scene.old, &scene.new] {
        let may = async |update: &str| {
            let sql = format!("UPDATE mysql.db SET Update_priv = '{update}' WHERE User = 'roger_admin'; FLUSH PRIVILEGES");
            server.admin(&format!("SET SESSION sql_log_bin = 0; {sql}")).await;
        };
        may("N").await;
        let done = scene.told(GO, |step| panic!("step {step} was done")).await;
        refused(&done, &format!("lacks UPDATE on sql_primary on {}", server.address()));
        may("Y").await;
    }
    scene.stays().await;
    scene.switch(GO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_answers_again_is_not_called_dead() {
    let scene = Scene::set().await;
    scene.old.stop();
    let done = scene
        .told(Wish::PrimaryIsDead, |step| {
            if step == 2 {
                scene.old.resume()
            }
        })
        .await;
    refused(&done, &format!("the primary {} answers again: nothing was promoted", scene.old.address()));
    scene.stays().await;
    scene.switch(GO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_was_not_told_is_said() {
    let scene = Scene::set().await;
    let told = Mutex::new(Vec::new());
    let tell = |step: u8, text: &str| {
        if step == 6 {
            told.lock().unwrap().push(text.to_owned());
        }
    };
    let switch = async |wish, noted, note| scene.pair.switch(wish, noted, ("a test", 0), &tell, async move |_| note).await;
    // Both servers answer: whoever looks at them learns it.
    switch(GO, None, false).await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["Redis does not answer: programs learn of epoch 2 from the servers alone"]);
    told.lock().unwrap().clear();

    // The primary is dead for us alone, perhaps, and nobody would hear that it is the primary no more.
    scene.new.stop();
    refused(&switch(Wish::PrimaryIsDead, None, true).await, "Redis does not say");
    let done = switch(Wish::PrimaryIsDead, Some(2), false).await;
    refused(&done, "has epoch 3, Redis does not answer");
    let read_only = "SELECT CAST(@@global.read_only AS CHAR)";
    assert_eq!(scene.old.ask("mysql", read_only).await, "ON");
    assert_eq!(*told.lock().unwrap(), [""; 0]);
    let done = switch(Wish::PrimaryIsDead, Some(2), true).await.unwrap();
    assert_eq!((done.primary, done.epoch, done.standby), (scene.old.address(), 3, false));
    assert_eq!(*told.lock().unwrap(), ["epoch 3 is noted in Redis"]);
    assert_eq!(scene.old.ask("mysql", read_only).await, "OFF");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_switches_at_once_one_is_refused_by_name() {
    let scene = Scene::set().await;
    // Somebody holds the first step up, so that connections are ended.
    let mut writer = MySqlConnection::connect(&scene.old.fleet_url()).await.unwrap();
    sqlx::raw_sql("LOCK TABLES setting WRITE, sql_primary READ").execute(&mut writer).await.unwrap();
    let others = Mutex::new(Vec::new());
    let done = scene
        .told(GO, |_| {
            let other = now(scene.told(Wish::Rejoin, |step| panic!("step {step} was done beside another command")));
            others.lock().unwrap().push(other);
        })
        .await
        .unwrap();
    assert_eq!((done.primary, done.epoch, done.standby), (scene.new.address(), 2, true));
    let others = others.into_inner().unwrap();
    assert_eq!(others.len(), 9);
    for other in others {
        let text = other.unwrap_err().to_string();
        assert!(text.starts_with(&format!("another `roger sql` is at work on {}", scene.old.address())), "{text}");
    }
    scene.switch(Wish::Rejoin).await.unwrap();
}
