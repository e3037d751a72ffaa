//! The faults: what can happen, and to what.

/// How the servers of Redis stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// A primary and its replica, with three sentinels over them.
    Sentinels,
    /// Three primaries with a replica each. What happens to "the primary" happens to one of them.
    Cluster,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    KillEdge,
    FreezeEdge,
    ClockOfEdge,
    KillDelivery,
    FreezeDelivery,
    ClockOfDelivery,
    KillOffline,
    FreezeOffline,
    ClockOfOffline,
    KillDirectory,
    KillSupervisord,
    KillPrimary,
    FreezePrimary,
    BusyPrimary,
    NoRoom,
    ClockOfPrimary,
    KillReplica,
    FreezeReplica,
    KillSentinels,
    FreezeSentinel,
    SwitchPlanned,
    SwitchUnplanned,
    ClusterFailover,
    MoveSlots,
    RedisFull,
    EmptyRedis,
    KillSql,
    FreezeSql,
    SqlReadOnly,
    SwitchSql,
    CutNetwork,
    SilentNetwork,
    AcknowledgementsLost,
    ReceiptsLost,
    SlowNetwork,
    Twin,
}

/// Of everything but the number of a program, which is chosen.
pub const ALL: [Fault; 36] = [
    Fault::KillEdge,
    Fault::FreezeEdge,
    Fault::ClockOfEdge,
    Fault::KillDelivery,
    Fault::FreezeDelivery,
    Fault::ClockOfDelivery,
    Fault::KillOffline,
    Fault::FreezeOffline,
    Fault::ClockOfOffline,
    Fault::KillDirectory,
    Fault::KillSupervisord,
    Fault::KillPrimary,
    Fault::FreezePrimary,
    Fault::BusyPrimary,
    Fault::NoRoom,
    Fault::ClockOfPrimary,
    Fault::KillReplica,
    Fault::FreezeReplica,
    Fault::KillSentinels,
    Fault::FreezeSentinel,
    Fault::SwitchPlanned,
    Fault::SwitchUnplanned,
    Fault::ClusterFailover,
    Fault::MoveSlots,
    Fault::RedisFull,
    Fault::EmptyRedis,
    Fault::KillSql,
    Fault::FreezeSql,
    Fault::SqlReadOnly,
    Fault::SwitchSql,
    Fault::CutNetwork,
    Fault::SilentNetwork,
    Fault::AcknowledgementsLost,
    Fault::ReceiptsLost,
    Fault::SlowNetwork,
    Fault::Twin,
];

impl Fault {
    /// What the verdict calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillEdge => "an edge is killed",
            Self::FreezeEdge => "an edge stands still",
            Self::ClockOfEdge => "the clock of an edge jumps by an hour",
            Self::KillDelivery => "a delivery program is killed",
            Self::FreezeDelivery => "a delivery program stands still",
            Self::ClockOfDelivery => "the clock of a delivery program jumps by an hour",
            Self::KillOffline => "an offline program is killed",
            Self::FreezeOffline => "an offline program stands still",
            Self::ClockOfOffline => "the clock of an offline program jumps by an hour",
            Self::KillDirectory => "the directory is killed",
            Self::KillSupervisord => "supervisord is killed",
            Self::KillPrimary => "the primary of Redis is killed",
            Self::FreezePrimary => "the primary of Redis stands still",
            Self::BusyPrimary => "the primary of Redis is busy with a script",
            Self::NoRoom => "the primary of Redis has no room for its append-only file",
            Self::ClockOfPrimary => "the clock of the primary of Redis jumps by an hour",
            Self::KillReplica => "the replica of Redis is killed",
            Self::FreezeReplica => "the replica of Redis stands still",
            Self::KillSentinels => "two of three sentinels are killed",
            Self::FreezeSentinel => "a sentinel stands still",
            Self::SwitchPlanned => "roger redis switch",
            Self::SwitchUnplanned => "SENTINEL FAILOVER",
            Self::ClusterFailover => "CLUSTER FAILOVER",
            Self::MoveSlots => "slots move to other primaries",
            Self::RedisFull => "Redis reaches its maxmemory",
            Self::EmptyRedis => "Redis is emptied in a quiet moment",
            Self::KillSql => "a server of the SQL pair is killed",
            Self::FreezeSql => "a server of the SQL pair stands still",
            Self::SqlReadOnly => "the SQL primary takes no writes",
            Self::SwitchSql => "roger sql switch",
            Self::CutNetwork => "the network to an edge is cut",
            Self::SilentNetwork => "the network to an edge carries nothing and says nothing",
            Self::AcknowledgementsLost => "nothing comes up to an edge, what comes down does",
            Self::ReceiptsLost => "nothing comes down from an edge, what goes up does",
            Self::SlowNetwork => "the network to an edge is slow",
            Self::Twin => "a phone with the identity of a radio comes",
        }
    }

    /// What it happens to: two faults at a time are never of the same thing. The clock of a program is another thing than the program: one that
    /// starts again may find that the time of its machine is wrong.
    fn victim(self) -> u8 {
        match self {
            Self::KillEdge | Self::FreezeEdge => 0,
            Self::KillDelivery | Self::FreezeDelivery => 1,
            Self::KillOffline | Self::FreezeOffline => 2,
            Self::KillDirectory => 3,
            Self::KillPrimary
            | Self::FreezePrimary
            | Self::BusyPrimary
            | Self::NoRoom
            | Self::SwitchPlanned
            | Self::SwitchUnplanned
            | Self::ClusterFailover
            | Self::MoveSlots
            | Self::RedisFull
            | Self::EmptyRedis => 4,
            Self::KillReplica | Self::FreezeReplica => 5,
            Self::KillSentinels | Self::FreezeSentinel => 6,
            Self::KillSql | Self::FreezeSql | Self::SqlReadOnly | Self::SwitchSql => 7,
            Self::CutNetwork | Self::SilentNetwork | Self::AcknowledgementsLost | Self::ReceiptsLost | Self::SlowNetwork => 8,
            Self::ClockOfEdge | Self::ClockOfDelivery | Self::ClockOfOffline | Self::ClockOfPrimary => 9,
            Self::Twin => 10,
            Self::KillSupervisord => 11,
        }
    }

    /// Whether it is not to happen beside the other. What an emptied Redis had is in SQL only where nothing else happens, and slots are moved from and
    /// to servers that are there.
    fn rules_out(self, other: Self) -> bool {
        self == Self::EmptyRedis || self == Self::MoveSlots && matches!(other, Self::KillReplica | Self::FreezeReplica)
    }

    /// Whether the two can happen at the same time.
    pub fn goes_with(self, other: Self) -> bool {
        self.victim() != other.victim() && !self.rules_out(other) && !other.rules_out(self)
    }

    /// Whether there is such a thing where the servers of Redis stand so.
    pub fn exists_in(self, layout: Layout) -> bool {
        match self {
            Self::KillSentinels | Self::FreezeSentinel | Self::SwitchPlanned | Self::SwitchUnplanned | Self::ClockOfPrimary => {
                layout == Layout::Sentinels
            }
            Self::ClusterFailover | Self::MoveSlots => layout == Layout::Cluster,
            _ => true,
        }
    }

    /// Whether it needs every server of Redis, and replicas that have caught up: without them it is refused, and nothing happens.
    pub fn needs_replicas(self) -> bool {
        matches!(self, Self::SwitchPlanned | Self::SwitchUnplanned | Self::ClusterFailover | Self::MoveSlots | Self::EmptyRedis)
    }

    /// Whether it can take from Redis what had its receipt. What can is what a server or a sentinel feels: what is not at a replica yet is
    /// gone with its primary. Programs keep nothing of their own, and no server of Redis runs under supervisord.
    pub fn can_take_from_redis(self) -> bool {
        let of_servers = matches!(
            self,
            Self::KillPrimary
                | Self::FreezePrimary
                | Self::BusyPrimary
                | Self::NoRoom
                | Self::ClockOfPrimary
                | Self::KillReplica
                | Self::FreezeReplica
                | Self::RedisFull
                | Self::EmptyRedis
        );
        let of_primacy = matches!(
            self,
            Self::KillSentinels
                | Self::FreezeSentinel
                | Self::SwitchPlanned
                | Self::SwitchUnplanned
                | Self::ClusterFailover
                | Self::MoveSlots
        );
        of_servers || of_primacy
    }

    /// Whether nobody says anything when it begins, and everything said before is in SQL.
    pub fn needs_quiet(self) -> bool {
        self == Self::EmptyRedis
    }
}
