//! The arguments of `roger account`.

use clap::{Subcommand, ValueEnum};

use crate::model::UserKind;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Account {
    /// Create an account.
    Add {
        /// The login name.
        name: String,
        /// What others see; without it the login name.
        #[arg(long)]
        nickname: Option<String>,
        /// What it may do; each kind makes and manages those listed before it.
        #[arg(long, value_enum, default_value_t = Kind::Device)]
        kind: Kind,
        /// The company it belongs to; made when there is none of the name. A root needs none.
        #[arg(long, value_name = "NAME", conflicts_with = "parent")]
        tenant: Option<String>,
        /// The login name of the account above, which manages it; it belongs to the same company, and a company below a root is one.
        #[arg(long, value_name = "NAME")]
        parent: Option<String>,
        /// Take the password from the first line of stdin; without it the account cannot log in.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Show who stands below whom, devices counted.
    Tree {
        /// Only this account and what stands below it, by login name.
        name: Option<String>,
    },
    /// Set the password, typed unseen or from the first line of stdin; no login of before can be renewed.
    Password {
        /// The login name.
        name: String,
    },
    /// Forbid an account to log in, or to renew a login; the tokens it has run out by themselves.
    Disable {
        /// The login name.
        name: String,
        /// Do it; without this the command only says what it would do.
        #[arg(long)]
        yes: bool,
    },
    /// Allow an account to log in again.
    Enable {
        /// The login name.
        name: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Kind {
    /// A radio or a phone: one session at a time; the last login wins.
    Device,
    /// One session for each installation, as all kinds above.
    Dispatcher,
    /// Who hands devices to dispatchers.
    Distributor,
    /// The top of a tenant.
    Company,
    /// The operator of the deployment.
    Root,
}

impl From<Kind> for UserKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Device => Self::Device,
            Kind::Dispatcher => Self::Dispatcher,
            Kind::Distributor => Self::Distributor,
            Kind::Company => Self::Company,
            Kind::Root => Self::Root,
        }
    }
}
