//! How the servers of a pair stand.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Pair, PairError, Session, text};

/// How a server follows another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replication {
    /// Whom it follows, as `host:port`.
    pub from: String,
    /// It fetches.
    pub fetches: bool,
    /// It applies what it fetched.
    pub applies: bool,
    /// By how many seconds it is behind; `None` when MariaDB cannot say.
    pub behind_s: Option<u64>,
    /// Up to where it has fetched, as a GTID position.
    pub fetched: String,
    /// MariaDB's words about what went wrong; empty when nothing did.
    pub error: String,
}

impl Replication {
    /// Both threads work.
    pub fn runs(&self) -> bool {
        self.fetches && self.applies
    }
}

/// How a server stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerState {
    /// As `host:port`.
    pub server: String,
    /// `@@version`.
    pub version: String,
    /// `@@server_id`.
    pub server_id: i64,
    /// Whether it refuses writes of the fleet.
    pub read_only: bool,
    /// The epoch of its row; 0 before the tables are there.
    pub epoch: u64,
    /// The server id that its row names as the primary.
    pub primary_id: i64,
    /// Whether the switch that raised it came to its end.
    pub settled: bool,
    /// When that was raised, UTC ms; 0 for the first epoch.
    pub raised_ms: u64,
    /// By whom.
    pub raised_by: String,
    /// All it has, as a GTID position.
    pub gtid: String,
    /// All it got from another server.
    pub applied: String,
    /// Whom it follows; `None` when nobody.
    pub replication: Option<Replication>,
    /// As a primary it waits for a standby before it answers a commit: configured, and not given up.
    pub semi_sync_primary: bool,
    /// How many standbys acknowledge to it.
    pub semi_sync_standbys: u64,
    /// As a standby it acknowledges.
    pub semi_sync_standby: bool,
}

impl ServerState {
    /// Its own row names it as the primary.
    pub fn is_named(&self) -> bool {
        self.epoch > 0 && self.primary_id == self.server_id
    }
}

/// How the pair stands.
#[derive(Debug)]
pub struct PairLook {
    /// In the order of the configuration: the state, or why it could not be seen.
    pub servers: [Result<ServerState, PairError>; 2],
}

impl Pair {
    /// Looks at both servers, for three seconds each at most a statement.
    pub async fn look(&self) -> PairLook {
        let (first, second) = tokio::join!(self.state(0), self.state(1));
        PairLook { servers: [first, second] }
    }

    pub(super) async fn state(&self, at: usize) -> Result<ServerState, PairError> {
        look(&mut Session::open(self.server(at)).await?).await
    }
}

pub(super) async fn look(session: &mut Session<'_>) -> Result<ServerState, PairError> {
    let sql = "SELECT @@version AS version, @@global.server_id AS id, @@global.read_only AS read_only, @@global.gtid_current_pos AS gtid, \
               @@global.gtid_slave_pos AS applied";
    let rows = session.rows("say what it is", sql.to_owned()).await?;
    let of = |column: &str| rows.first().and_then(|row| text(row, column)).unwrap_or_default();
    let mut state = ServerState {
        server: session.server.name.clone(),
        version: of("version"),
        server_id: of("id").parse().unwrap_or_default(),
        read_only: of("read_only") != "0",
        gtid: of("gtid"),
        applied: of("applied"),
        ..ServerState::default()
    };
    let there = "SELECT COUNT(*) AS tables FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'sql_primary'";
    let there = session.rows("look for sql_primary", there.to_owned()).await?;
    if there.first().and_then(|row| text(row, "tables")).is_some_and(|count| count == "1") {
        let sql = "SELECT epoch, server, settled, raised_ms, raised_by FROM sql_primary WHERE one = 1";
        if let Some(row) = session.rows("read sql_primary", sql.to_owned()).await?.first() {
            let number = |column| text(row, column).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
            state.epoch = number("epoch").cast_unsigned();
            state.primary_id = number("server");
            state.settled = number("settled") != 0;
            state.raised_ms = number("raised_ms").cast_unsigned();
            state.raised_by = text(row, "raised_by").unwrap_or_default();
        }
    }
    state.replication = replication(session).await?;
    let rows = session.rows("say how semi-sync is", "SHOW GLOBAL STATUS LIKE 'Rpl\\_semi\\_sync%'".to_owned()).await?;
    let status: BTreeMap<String, String> =
        rows.iter().filter_map(|row| Some((text(row, "Variable_name")?.to_ascii_lowercase(), text(row, "Value")?))).collect();
    let on = |name: &str| status.get(name).is_some_and(|value| value == "ON");
    state.semi_sync_primary = on("rpl_semi_sync_master_status");
    state.semi_sync_standby = on("rpl_semi_sync_slave_status");
    state.semi_sync_standbys = status.get("rpl_semi_sync_master_clients").and_then(|value| value.parse().ok()).unwrap_or(0);
    Ok(state)
}

pub(super) async fn replication(session: &mut Session<'_>) -> Result<Option<Replication>, PairError> {
    let rows = session.rows("say whom it follows", "SHOW SLAVE STATUS".to_owned()).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let of = |column: &str| text(row, column).unwrap_or_default();
    let errors: Vec<String> = [("Last_IO_Errno", "Last_IO_Error"), ("Last_SQL_Errno", "Last_SQL_Error")]
        .into_iter()
        .filter(|(_, error)| !of(error).is_empty())
        .map(|(number, error)| format!("{} ({})", of(error), of(number)))
        .collect();
    Ok(Some(Replication {
        from: format!("{}:{}", of("Master_Host"), of("Master_Port")),
        fetches: of("Slave_IO_Running") == "Yes",
        applies: of("Slave_SQL_Running") == "Yes",
        behind_s: text(row, "Seconds_Behind_Master").and_then(|seconds| seconds.parse().ok()),
        fetched: of("Gtid_IO_Pos"),
        error: errors.join("; "),
    }))
}
