//! A private MariaDB. The server itself comes with the tests of the store.

/// A mariadbd on a free port, with its data in a temporary folder.
#[derive(Debug)]
pub struct MariaDb;

impl MariaDb {
    /// Starts one and waits until it answers.
    pub fn start() -> Self {
        panic!("the MariaDB of the test harness is not there yet")
    }

    /// The URL of a database, which is created when it is not there.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://roger@127.0.0.1/{database}")
    }

    /// SIGKILL; the data stays.
    pub fn kill(&mut self) {}

    /// Starts it again on the same port and data.
    pub fn restart(&mut self) {}
}
