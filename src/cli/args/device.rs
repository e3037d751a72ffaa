//! The arguments of `roger device` and `roger import`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::GatewayDoor;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Device {
    /// Import devices for an account, and print the code that each one logs in with the first time; codes are shown once.
    Import(Import),
    /// List the devices of an account, or all there are.
    List {
        /// The login name of who manages them.
        #[arg(long, value_name = "NAME")]
        of: Option<String>,
        /// Those of the accounts below it too.
        #[arg(long, requires = "of")]
        deep: bool,
        /// The most to list; the answer says when there are more.
        #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
        limit: u32,
    },
    /// Show a device.
    Show {
        /// Its IMEI or login name.
        #[arg(value_name = "IMEI")]
        device: String,
    },
    /// Change what others see of a device, and whether it sends its log; it hears of it at once.
    Set {
        /// Its IMEI or login name.
        #[arg(value_name = "IMEI")]
        device: String,
        /// What others see.
        #[arg(long, required_unless_present = "log_upload")]
        nickname: Option<String>,
        /// Whether it is to send its log.
        #[arg(long, value_enum)]
        log_upload: Option<Switch>,
    },
    /// Hand devices from one account to another of the same company: they leave all their groups, and all are handed over or none.
    Transfer {
        /// Their IMEIs.
        #[arg(value_name = "IMEI", required = true)]
        imeis: Vec<String>,
        /// The login name of who manages them now.
        #[arg(long, value_name = "NAME")]
        from: String,
        /// The login name of who is to manage them.
        #[arg(long, value_name = "NAME")]
        to: String,
        /// Do it; without this the command only says what it would do.
        #[arg(long)]
        yes: bool,
    },
    /// Give a device a new code to log in with, shown once; its password and its logins are void, a phone's identifier is not.
    Renew {
        /// Its IMEI or login name.
        #[arg(value_name = "IMEI")]
        device: String,
        /// Do it; without this the command only says what it would do.
        #[arg(long)]
        yes: bool,
    },
    /// Let a phone with Traccar Client or OsmAnd report as a device: prints what to type into the app, once; what was printed before is void.
    Phone {
        /// Its IMEI or login name.
        #[arg(value_name = "IMEI")]
        device: String,
        /// Void what was printed, and print nothing new.
        #[arg(long)]
        revoke: bool,
        #[command(flatten)]
        door: GatewayDoor,
    },
    /// Take a device out of service: it leaves its groups, and its IMEI may be imported again, as a new device.
    Retire {
        /// Its IMEI or login name.
        #[arg(value_name = "IMEI")]
        device: String,
        /// Do it; without this the command only says what it would do.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Import {
    /// A CSV file with a header: column imei, and if you like model and nickname.
    #[arg(value_name = "FILE.csv", required_unless_present = "imei", conflicts_with = "imei")]
    pub(in crate::cli) file: Option<PathBuf>,
    /// IMEIs instead of a file.
    #[arg(long, value_delimiter = ',')]
    pub(in crate::cli) imei: Vec<String>,
    /// The login name of who gets them: a dispatcher, distributor or company.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) to: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Switch {
    /// It sends it.
    On,
    /// It does not.
    Off,
}
