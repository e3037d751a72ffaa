//! The arguments of `roger keys`, `roger release` and `roger file`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::As;

/// Where the gateway is.
#[derive(Args, Clone, Debug, Default)]
pub(in crate::cli) struct GatewayDoor {
    /// The gateway. Without it gateway.listen of the configuration.
    #[arg(long, value_name = "http://HOST:PORT", env = "ROGER_CLIENT_GATEWAY")]
    pub(in crate::cli) gateway: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Keys {
    /// Make a pair: token.secret for the directory, token.pub for it, the edges and the gateway.
    Create {
        /// Make release.secret, for whoever builds the app, and release.pub, for the gateway, instead.
        #[arg(long)]
        release: bool,
        /// The folder to put them into; keys that are there already are left, and nothing is made.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Release {
    /// Sign an APK with the release key, and print the signature.
    Sign {
        /// The APK.
        file: PathBuf,
        /// The secret release key, as `roger keys create --release` makes it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Upload a signed APK as the root of the deployment; nobody gets it until it is staged.
    Upload(ReleaseUpload),
    /// List releases, the newest first.
    List {
        /// Only of this package.
        #[arg(long, value_name = "NAME")]
        package: Option<String>,
        /// The most to list.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: u32,
    },
    /// Say for how many of a hundred installations a release is; a higher number only adds some.
    Stage {
        /// As listed.
        id: u64,
        /// 0 to 100.
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: u8,
    },
    /// Take a release back: those it was for are told the one before it. What was downloaded stays.
    Halt {
        /// As listed.
        id: u64,
        /// Do it; without this the command only says what it would do.
        #[arg(long)]
        yes: bool,
    },
    /// Give a halted release to those again that it was for.
    Resume {
        /// As listed.
        id: u64,
    },
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ReleaseUpload {
    /// The APK.
    pub(in crate::cli) file: PathBuf,
    /// The package it must be of, as org.example.radio.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) package: String,
    /// Sign it with this secret release key.
    #[arg(long, value_name = "FILE", required_unless_present = "signature", conflicts_with = "signature")]
    pub(in crate::cli) key: Option<PathBuf>,
    /// The signature that `roger release sign` printed.
    #[arg(long, value_name = "HEX")]
    pub(in crate::cli) signature: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) door: GatewayDoor,
    #[command(flatten)]
    pub(in crate::cli) who: As,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Files {
    /// Upload a file for those of a topic, or a log.
    Put {
        /// The file.
        file: PathBuf,
        /// For whom: `u:7` for a user, `g:3` for a group.
        #[arg(long, value_name = "TOPIC", required_unless_present = "log", conflicts_with = "log")]
        topic: Option<String>,
        /// As a log, for whoever manages the account.
        #[arg(long)]
        log: bool,
        #[command(flatten)]
        door: GatewayDoor,
        #[command(flatten)]
        who: As,
    },
    /// Download a file; one that was begun is gone on with.
    Get {
        /// Its id.
        id: String,
        /// Where to put it; without it the id is its name, here.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        door: GatewayDoor,
        #[command(flatten)]
        who: As,
    },
    /// List files of all accounts, the newest first.
    List {
        /// Only of the account with this id.
        #[arg(long, value_name = "ID")]
        user: Option<u64>,
        /// The most to list.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: u32,
    },
    /// Remove files whose time is over, and what of them lies around; a running gateway does so every minute.
    Sweep,
}
