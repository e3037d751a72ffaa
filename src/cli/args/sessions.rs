//! The arguments of `roger sessions`.

use clap::{Args, Subcommand};

use crate::model::InstallationId;

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Sessions {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<EndSessions>,
    /// Of the account with this login name: its sessions, what may come back without a password, and its last logins.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["user", "edge"])]
    pub(in crate::cli) account: Option<String>,
    /// Only those of the user with this id or login name.
    #[arg(long, value_name = "ID|NAME")]
    pub(in crate::cli) user: Option<String>,
    /// Only the edge of this name, as in edge.name of its configuration.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) edge: Option<String>,
    /// The most sessions to list; the answer says when there are more.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub(in crate::cli) limit: usize,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum EndSessions {
    /// End the sessions of an account, and call its tokens back: it has to log in again with its password.
    Revoke {
        /// The login name.
        account: String,
        /// Only those of this installation, as listed; without it all.
        #[arg(long, value_name = "HEX", value_parser = installation)]
        installation: Option<InstallationId>,
        /// Do it; without this the command only says what it would do.
        #[arg(long)]
        yes: bool,
    },
}

/// An installation as it is listed.
fn installation(text: &str) -> Result<InstallationId, String> {
    match u64::from_str_radix(text, 16) {
        Ok(id) if id > 0 => Ok(InstallationId(id)),
        _ => Err("write hexadecimal digits, as `roger sessions` lists them".to_owned()),
    }
}
