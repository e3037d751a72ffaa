//! Logs people in and keeps accounts and groups.

fn main() -> std::process::ExitCode {
    roger::program::directory()
}
