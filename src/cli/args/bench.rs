//! The arguments of `roger bench`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Doors, duration};

#[derive(Args, Debug)]
pub(in crate::cli) struct Bench {
    /// Start a private Redis and fleet in a temporary folder, and stop them afterwards. Without it the configured fleet is used.
    #[arg(long, global = true)]
    pub(in crate::cli) spawn: bool,
    /// How the private Redis makes writes durable.
    #[arg(long, global = true, value_enum, default_value_t = Appendfsync::Everysec)]
    pub(in crate::cli) appendfsync: Appendfsync,
    /// Makes the private Redis a cluster of so many primaries: 1 to 16. Without it, it is one server.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(in crate::cli) primaries: Option<u16>,
    /// Which database the private fleet has.
    #[arg(long, global = true, value_enum, default_value_t = Sql::Sqlite)]
    pub(in crate::cli) sql: Sql,
    /// Length of each text in bytes: 16 to 65536.
    #[arg(long, global = true, default_value_t = 200, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub(in crate::cli) bytes: u32,
    /// How long to wait for what is missing at the end.
    #[arg(long, global = true, value_parser = duration, default_value = "60s")]
    pub(in crate::cli) within: Duration,
    #[command(flatten)]
    pub(in crate::cli) doors: Doors,
    #[command(subcommand)]
    pub(in crate::cli) load: Load,
}

/// When Redis calls fsync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Appendfsync {
    Always,
    Everysec,
}

/// A database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Sql {
    Sqlite,
    /// Of the package mariadb-server.
    Mariadb,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Load {
    /// Devices in pairs, the one writes to the other; a message counts when its sender has the receipt and was told that its receiver
    /// acknowledged it.
    Direct {
        /// Devices; even.
        #[arg(long, default_value_t = 200)]
        devices: u32,
        /// Messages without a receipt or acknowledgement, a sender.
        #[arg(long, default_value_t = 64)]
        window: u32,
        /// Messages in all.
        #[arg(long, default_value_t = 500_000)]
        messages: u64,
    },
    /// Groups of devices; one writes, all get it.
    Group {
        /// Groups.
        #[arg(long, default_value_t = 10)]
        groups: u32,
        /// Members of each.
        #[arg(long, default_value_t = 100)]
        members: u32,
        /// Messages of a group without a receipt.
        #[arg(long, default_value_t = 64)]
        window: u32,
        /// Messages in all; each is delivered to all members.
        #[arg(long, default_value_t = 20_000)]
        messages: u64,
    },
    /// Sessions that do nothing.
    Idle {
        /// Sessions.
        #[arg(long, default_value_t = 4_000)]
        sessions: u32,
    },
    /// What a fleet uses while nobody says anything; takes a fleet of its own (--spawn).
    Rest {
        /// Sessions that do nothing but beat.
        #[arg(long, default_value_t = 1_000)]
        sessions: u32,
        /// For how long, once all are there.
        #[arg(long = "for", value_parser = duration, default_value = "60s")]
        length: Duration,
        /// How often the metrics of every program are scraped; 0s for a fleet that measures nothing.
        #[arg(long, value_parser = duration, default_value = "5s")]
        scrape: Duration,
    },
    /// Devices come on the air and get what was sent meanwhile.
    Catchup {
        /// Devices.
        #[arg(long, default_value_t = 1_000)]
        devices: u32,
        /// Messages for each.
        #[arg(long, default_value_t = 100)]
        backlog: u64,
    },
    /// Devices are imported and a large group changes, again and again while messages flow; then Redis is emptied, which takes a fleet of its
    /// own (--spawn).
    People {
        /// Devices of each import.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=10_000))]
        devices: u32,
        /// Members of the group, half of which are in it at a time; no more than devices.
        #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(2..=10_000))]
        members: u32,
        /// Imports; and half of the changes.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// Groups, with all devices in them, when Redis is emptied; 0 to leave that out.
        #[arg(long, default_value_t = 2_000)]
        groups: u32,
        /// Messages a second.
        #[arg(long, default_value_t = 500)]
        pace: u32,
    },
    /// SOS pressed again and again, with nothing else to do, and then while chat and positions are offered at ten times what the fleet takes.
    Sos {
        /// Presses with nothing else to do.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        idle: u32,
        /// Presses beside the flood.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        overload: u32,
        /// Devices that write, each to another one.
        #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        writers: u32,
        /// Devices that report their positions.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        reporters: u32,
        /// Then each process is killed and started again, with a press during each; takes a fleet of its own (--spawn).
        #[arg(long)]
        kill: bool,
    },
    /// Bursts that Janus recorded, to a room; and the floor, from the button until its grant. Takes a fleet and a Janus of its own (--spawn).
    Talk {
        /// Devices in the room.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=10_000))]
        members: u32,
        /// Recorded bursts, one behind the other.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        bursts: u32,
        /// Presses, one behind the other.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        presses: u32,
    },
    /// A list of Janus with recordings, repeats and garbage, worked off while the program that does it is killed again and again, beside the bare move
    /// of the same list into a stream; takes a fleet of its own (--spawn).
    Recordings {
        /// Items in all.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        items: u64,
        /// How often the program janus is killed; 0s to leave that out.
        #[arg(long, value_parser = duration, default_value = "1s")]
        kill_every: Duration,
    },
    /// Devices report where they are, into SQL, beside plain inserts of the same rows; takes a fleet of its own (--spawn).
    Fixes {
        /// Devices, each with one call under way.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        devices: u32,
        /// Fixes in all.
        #[arg(long, default_value_t = 500_000)]
        fixes: u64,
        /// Fixes of a call.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        batch: u32,
        /// How long SQL is then kept slower than what is reported.
        #[arg(long, value_parser = duration, default_value = "0s")]
        slow: Duration,
    },
    /// One day of one device, out of tables of these sizes; takes a database of its own (--spawn).
    Trace {
        /// Fixes in the table; for each size.
        #[arg(long, default_values_t = [10_000, 100_000_000])]
        rows: Vec<u64>,
        /// Days that are read of each.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        days: u32,
    },
    /// How far off devices are placed by access points, in a generated town; needs no fleet.
    Wifi {
        /// Another town for each.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Access points on a square kilometre.
        #[arg(long, default_value_t = 400)]
        points: u32,
        /// Reports with a fix, which teach.
        #[arg(long, default_value_t = 2_000)]
        lessons: u32,
        /// Reports without one, which are placed.
        #[arg(long, default_value_t = 2_000)]
        held_out: u32,
    },
    /// Direct, group, idle, catch-up and the floor, each as it is by default and with a fleet of its own, and what is wanted of them.
    All,
    /// The same number of XADD, XREADGROUP and XACK through raw Redis pipelines.
    Floor {
        /// Messages in all.
        #[arg(long, default_value_t = 500_000)]
        messages: u64,
        /// Pairs, each with a stream.
        #[arg(long, default_value_t = 100)]
        pairs: u32,
        /// Messages of a pipeline.
        #[arg(long, default_value_t = 64)]
        window: u32,
    },
}

impl Load {
    /// The loads of `all`: those of the published table.
    pub(in crate::cli) fn reference() -> [Self; 4] {
        [
            Self::Direct { devices: 200, window: 64, messages: 500_000 },
            Self::Group { groups: 10, members: 100, window: 64, messages: 20_000 },
            Self::Idle { sessions: 4_000 },
            Self::Catchup { devices: 1_000, backlog: 100 },
        ]
    }
}
