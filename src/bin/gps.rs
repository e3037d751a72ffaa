//! Takes reports of positions in: where devices are now, and into SQL.

fn main() -> std::process::ExitCode {
    roger::program::gps()
}
