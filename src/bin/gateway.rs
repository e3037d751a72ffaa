//! Hands out app releases, files and server addresses over HTTP.

fn main() -> std::process::ExitCode {
    roger::program::gateway()
}
