//! `roger`: operates a fleet, and is a client of it.

fn main() -> std::process::ExitCode {
    roger::cli::main()
}
