//! Tracks through the fleet and back: whatever the order, however often, and whatever dies, each point comes out as it went in.
//!
//! The files are made by [`course`]. With `TRACKS_DIR` the long test takes those of a folder instead: scripts/tracks does that.

mod check;
mod course;

use check::{Site, Variant};

use crate::support::fleet::SqlServer;

#[test]
fn a_track_comes_out_as_it_is_in_whatever_order_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    course::write(folder.path(), 300);
    let mut site = Site::start(SqlServer::Sqlite, folder.path());
    for variant in [Variant::InOrder, Variant::Shuffled, Variant::Doubled, Variant::Late] {
        site.run(variant);
    }
    site.verdict();
}

mod long {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    #[test]
    fn tracks_come_out_equal_while_gps_is_killed_and_sql_is_away() {
        let made = tempfile::tempdir().unwrap();
        let given = std::env::var_os("TRACKS_DIR").map(PathBuf::from);
        let (folder, away) = match &given {
            Some(given) => (given.as_path(), Duration::from_secs(20)),
            None => {
                course::write(made.path(), 4_000);
                (made.path(), Duration::from_secs(5))
            }
        };
        let mut site = Site::start(SqlServer::MariaDb, folder);
        for variant in [Variant::InOrder, Variant::Shuffled, Variant::Doubled, Variant::Late, Variant::Killed, Variant::Outage(away)] {
            site.run(variant);
        }
        site.verdict();
    }
}
