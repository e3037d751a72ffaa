//! A pair of MariaDB servers, as its administrator works on it: how both stand, and the switch from one to the other.
//!
//! Nothing here goes through the connections of a [`super::Store`]: each call connects anew with the administrator's account, which may write to
//! a read-only server, and every statement is bounded in time. Whoever changes anything holds a lock on each server that answers, so that one
//! plan is carried out at a time.

mod acts;
mod error;
mod look;
mod plan;
mod session;
mod steps;

use std::fmt;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::mysql::MySqlRow;

use super::primary::Server;
use session::Session;

pub use error::PairError;
pub use look::{PairLook, Replication, ServerState};
pub use steps::{Done, Wish};

/// How long a server has for a connection, and for a statement that does not wait by itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The accounts with which a pair is worked on.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairAccounts {
    /// The administrator, the same on both servers.
    pub admin_user: String,
    /// Its password.
    pub admin_password: String,
    /// With which the standby follows the primary, the same on both.
    pub replication_user: String,
    /// Its password.
    pub replication_password: String,
}

impl fmt::Debug for PairAccounts {
    /// Without the passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairAccounts").field("admin_user", &self.admin_user).finish_non_exhaustive()
    }
}

/// Two servers, each the other's standby.
pub struct Pair {
    servers: [Server; 2],
    accounts: PairAccounts,
}

impl Pair {
    /// The pair of the two URLs of the configuration, whose accounts are not used. Does not connect.
    ///
    /// # Errors
    /// [`super::Error::Url`] when one of them cannot be read.
    pub fn new(url: &str, standby_url: &str, accounts: PairAccounts) -> Result<Self, super::Error> {
        let server = |url| {
            let mut server = Server::new(url)?;
            server.connect = server.connect.username(&accounts.admin_user).password(&accounts.admin_password);
            Ok::<_, super::Error>(server)
        };
        Ok(Self { servers: [server(url)?, server(standby_url)?], accounts })
    }

    /// The servers as `host:port`, in the order of the configuration.
    pub fn names(&self) -> [&str; 2] {
        let [first, second] = &self.servers;
        [&first.name, &second.name]
    }

    fn server(&self, at: usize) -> &Server {
        let [first, second] = &self.servers;
        if at == 0 { first } else { second }
    }
}

/// A column as text; unprepared statements answer with nothing else.
fn text(row: &MySqlRow, column: &str) -> Option<String> {
    row.try_get_unchecked::<Option<String>, _>(column).ok().flatten()
}

/// A string of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
