//! Archives what shards decide into SQL, answers replays from it, and gives shards that lost state their floor.

fn main() -> std::process::ExitCode {
    roger::program::offline()
}
