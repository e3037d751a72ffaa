//! Holds the streams of clients and nothing else.

fn main() -> std::process::ExitCode {
    roger::program::edge()
}
