//! Drives emergency alerts from the press to the end: tells, escalates, keeps.

fn main() -> std::process::ExitCode {
    roger::program::sos()
}
