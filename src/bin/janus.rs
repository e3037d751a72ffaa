//! Tells of talk that Janus recorded: keeps each burst once, and announces it to the room it was in.

fn main() -> std::process::ExitCode {
    roger::program::janus()
}
