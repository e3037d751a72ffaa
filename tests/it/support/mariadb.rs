//! A private MariaDB.
//!
//! One server for all tests of a process that run at the same time, a database for each test; a test that kills or freezes its server
//! starts one of its own. The server dies with its last user, and with the process at the latest.

use std::fs::File;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection, MySqlConnection};

const PACKAGE: &str = "Debian package mariadb-server (apt-get install mariadb-server)";
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The options with which the template is made and used: another log size would have it rebuilt at each start.
const INNODB: [&str; 2] = ["--innodb-log-file-size=4M", "--innodb-undo-tablespaces=0"];

/// What makes a server one of a pair.
const PAIR: [&str; 8] = [
    "--log-bin=bin",
    "--binlog-format=ROW",
    "--log-slave-updates=1",
    "--gtid-strict-mode=1",
    "--rpl-semi-sync-master-enabled=1",
    "--rpl-semi-sync-slave-enabled=1",
    "--rpl-semi-sync-master-timeout=2000",
    "--rpl-semi-sync-master-wait-no-slave=0",
];
/// The accounts of a pair, with no more rights than docs/sql.md gives them.
const PAIR_ACCOUNTS: &str = "CREATE USER IF NOT EXISTS roger_repl@'127.0.0.1' IDENTIFIED BY 'repl';\n\
    GRANT REPLICATION SLAVE ON *.* TO roger_repl@'127.0.0.1';\n\
    GRANT REPLICA MONITOR ON *.* TO roger@'127.0.0.1';\n\
    CREATE USER IF NOT EXISTS roger_admin@'127.0.0.1' IDENTIFIED BY 'pair''s';\n\
    GRANT READ_ONLY ADMIN, REPLICATION SLAVE ADMIN, RELOAD, REPLICA MONITOR, CONNECTION ADMIN, PROCESS ON *.* TO roger_admin@'127.0.0.1';\n\
    GRANT SELECT, UPDATE ON `roger\\_%`.* TO roger_admin@'127.0.0.1';\n";
/// The file of `sql.admin_file` for it.
pub(crate) const ADMIN_FILE: &str =
    "admin_user = \"roger_admin\"\nadmin_password = \"pair's\"\nreplication_user = \"roger_repl\"\nreplication_password = \"repl\"\n";

/// A running server.
#[derive(Debug)]
pub(crate) struct MariaDb {
    folder: tempfile::TempDir,
    port: u16,
    /// Its place in a pair, from 1.
    place: Option<u16>,
    child: Mutex<Option<Child>>,
}

impl MariaDb {
    /// The server that the tests of this process share.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start());
        *shared = Arc::downgrade(&server);
        server
    }

    /// A server of the test's own.
    pub(crate) fn start() -> Self {
        Self::start_as(None, &std::env::temp_dir())
    }

    /// The same, with its data in a folder of this one.
    pub(crate) fn start_in(parent: &Path) -> Self {
        Self::start_as(None, parent)
    }

    /// A primary and its standby, with GTIDs and semi-sync, set up as docs/sql.md says.
    pub(crate) async fn pair() -> [Self; 2] {
        let [primary, standby] = [1, 2].map(|place| Self::start_as(Some(place), &std::env::temp_dir()));
        standby.admin("SET GLOBAL read_only = 1").await;
        let follow = format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'roger_repl', MASTER_PASSWORD = 'repl', \
             MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
            primary.port
        );
        standby.admin(&follow).await;
        standby.admin("START SLAVE").await;
        [primary, standby]
    }

    fn start_as(place: Option<u16>, parent: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("roger-mariadb-").tempdir_in(parent).unwrap();
        let data = folder.path().join("data");
        // Without holes, so that what the server thinks it has it has, also on a disk that is full later.
        run(Command::new("cp").args(["-r", "--sparse=never"]).arg(template()).arg(&data));
        // A user without the right to ignore read_only, as in production.
        let accounts = "CREATE USER IF NOT EXISTS roger@'127.0.0.1' IDENTIFIED BY 'roger';\n\
                        GRANT ALL ON `roger\\_%`.* TO roger@'127.0.0.1';\n\
                        CREATE USER IF NOT EXISTS admin@'127.0.0.1' IDENTIFIED BY 'admin';\n\
                        GRANT ALL ON *.* TO admin@'127.0.0.1';\n\
                        CREATE DATABASE IF NOT EXISTS roger_fleet CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n";
        // A standby must have no transactions of its own.
        let accounts =
            if place.is_some() { format!("SET SESSION sql_log_bin = 0;\n{accounts}{PAIR_ACCOUNTS}") } else { accounts.to_owned() };
        std::fs::write(folder.path().join("accounts.sql"), accounts).unwrap();
        let server = Self { folder, port: super::ports::free(), place, child: Mutex::new(None) };
        server.resume();
        server
    }

    /// Creates a database for one test; its URL.
    pub(crate) async fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("roger_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.admin(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")).await;
        format!("mysql://roger:roger@127.0.0.1:{}/{name}", self.port)
    }

    /// The URL of the database of a fleet, which is there from the start.
    pub(crate) fn fleet_url(&self) -> String {
        format!("mysql://roger:roger@127.0.0.1:{}/roger_fleet", self.port)
    }

    /// `host:port`, as `roger sql` names it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What a query answers, as text; its first column must be text.
    pub(crate) async fn ask(&self, database: &str, sql: &str) -> String {
        let url = format!("mysql://admin:admin@127.0.0.1:{}/{database}", self.port);
        let mut connection = MySqlConnection::connect(&url).await.unwrap();
        let (answer,): (String,) = sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap();
        answer
    }

    /// Runs SQL as the administrator.
    pub(crate) async fn admin(&self, sql: &str) {
        let url = format!("mysql://admin:admin@127.0.0.1:{}/mysql", self.port);
        let mut connection = MySqlConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }

    /// Sends the server a signal. After SIGSTOP it does nothing any more.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.lock().unwrap();
        let id = child.as_ref().expect("the server was stopped by the test").id();
        kill(Pid::from_raw(id.cast_signed()), signal).unwrap();
        if signal == Signal::SIGSTOP {
            super::process::wait_until_stopped(id);
        }
    }

    /// Whether the server has ended of itself.
    pub(crate) fn ended(&self) -> bool {
        self.child.lock().unwrap().as_mut().is_some_and(|child| child.try_wait().unwrap().is_some())
    }

    /// Kills the server at once, as a power cut would.
    pub(crate) fn stop(&self) {
        if let Some(mut child) = self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the server again, on the same data and port.
    pub(crate) fn resume(&self) {
        let folder = self.folder.path();
        // Dies with this process, even when that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program("mariadbd"), "--no-defaults"]);
        command.args(INNODB).args(as_root());
        command.arg(format!("--datadir={}", folder.join("data").display()));
        command.arg(format!("--socket={}", folder.join("socket").display()));
        command.arg(format!("--init-file={}", folder.join("accounts.sql").display()));
        command.arg(format!("--port={}", self.port));
        command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=64M"]);
        command.args(["--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin"]);
        if let Some(place) = self.place {
            command.arg(format!("--server-id={place}")).args(PAIR);
        }
        let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = spawn(command);
        let deadline = Instant::now() + START_TIMEOUT;
        while greets(self.port).is_err() {
            let ended = child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                panic!("mariadbd on port {} did not start ({ended:?}); its log:\n{log}", self.port);
            }
            super::pause();
        }
        *self.child.lock().unwrap() = Some(child);
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether a server takes connections. It listens before it has run its init file, and says nothing until then.
fn greets(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.read_exact(&mut [0])
}

/// Starts a program from a thread that lives as long as the process: the signal on the parent's death is for the death of its thread.
fn spawn(command: Command) -> Child {
    type Request = (Command, mpsc::Sender<std::io::Result<Child>>);
    static KEEPER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in requests {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = mpsc::channel();
    keeper.send((command, answer)).unwrap();
    child.recv().unwrap().expect("setpriv does not start: install the Debian package util-linux")
}

/// An empty data folder, made once for this target folder.
fn template() -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(parent).unwrap();
    let template = parent.join("mariadb-template");
    let lock = File::create(parent.join("mariadb-template.lock")).unwrap();
    lock.lock().unwrap();
    if !template.exists() {
        let unfinished = parent.join("mariadb-template.new");
        let _ = std::fs::remove_dir_all(&unfinished);
        let mut command = Command::new(program("mariadb-install-db"));
        command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]).args(INNODB).args(as_root());
        run(command.arg(format!("--datadir={}", unfinished.display())));
        std::fs::rename(&unfinished, &template).unwrap();
    }
    template
}

/// The path of a program of MariaDB; a missing one fails the test and says what to install.
fn program(name: &'static str) -> &'static str {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].iter().any(|folder| Path::new(folder).join(name).exists());
    assert!(found, "{name} is not installed: {PACKAGE}");
    name
}

/// MariaDB refuses to run as root unless told to.
fn as_root() -> Option<&'static str> {
    (std::fs::metadata("/proc/self").unwrap().uid() == 0).then_some("--user=root")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}
