//! The arguments of commands about groups, members and friends.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Args, Debug)]
pub(in crate::cli) struct OneGroup {
    /// The group's name, or its id as `g:7` where several have the name.
    #[arg(value_name = "GROUP")]
    pub(in crate::cli) group: String,
    /// The company it belongs to.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) tenant: String,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Group {
    /// Create a group without members, or with its owner as the first.
    Add {
        /// Its name.
        name: String,
        /// The company it belongs to.
        #[arg(long, value_name = "NAME")]
        tenant: String,
        /// The account that owns it, by login name: a dispatcher or above; without it only operators change it.
        #[arg(long, value_name = "ACCOUNT")]
        owner: Option<String>,
    },
    /// Give a group another name.
    Rename {
        /// Its name, or its id as `g:7`.
        name: String,
        /// The new name.
        #[arg(value_name = "NEW_NAME")]
        wanted: String,
        /// The company it belongs to.
        #[arg(long, value_name = "NAME")]
        tenant: String,
    },
    /// Dissolve a group: all leave, and nobody finds it any more.
    Dissolve {
        #[command(flatten)]
        group: OneGroup,
        /// Do it; without this the command only says what it would do.
        #[arg(long)]
        yes: bool,
    },
    /// List the groups of a company.
    List {
        /// The company.
        #[arg(long, value_name = "NAME")]
        tenant: String,
    },
    /// Show a group with its members.
    Show(OneGroup),
    /// Make a member a manager of a group, or a mere member again.
    Role {
        #[command(flatten)]
        group: OneGroup,
        /// The member's login name.
        account: String,
        /// Which role.
        #[arg(value_enum)]
        role: Role,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Role {
    /// Talks.
    Member,
    /// Takes members in and out, and renames the group.
    Manager,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Member {
    /// Make an account a member of a group.
    Add(Membership),
    /// End a membership: the account sees nothing that is said from now on.
    Remove {
        #[command(flatten)]
        membership: Membership,
        /// Do it; without this the command only says what it would do.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Membership {
    /// The group's name, or its id as `g:7`.
    pub(in crate::cli) group: String,
    /// The account's login name.
    pub(in crate::cli) account: String,
    /// The company the group belongs to.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) tenant: String,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Friend {
    /// List the friends of an account, and wishes either way.
    List {
        /// The account's login name.
        account: String,
    },
}
