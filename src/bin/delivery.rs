//! Owns shards: orders what comes in into topic logs and sends each edge what its sessions need.

fn main() -> std::process::ExitCode {
    roger::program::delivery()
}
