//! Hears from supervisord what happens to programs, and sends texts to whoever is on call.

fn main() -> std::process::ExitCode {
    roger::program::listener()
}
