//! Kinds of accounts and groups, roles in groups. The numbers are those of the client protocol, of frames, and of SQL.

macro_rules! numbered {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $variant_doc:literal])* $variant:ident = $number:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[doc = $variant_doc])* $variant = $number,)*
        }

        impl $name {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The one of a number.
            pub fn from_number(number: u32) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| *known as u32 == number)
            }
        }
    };
}

numbered! {
    /// What kind of account a user is, from the lowest to the highest: each makes accounts of the kinds below its own.
    UserKind {
        /// A radio, or a phone used as one: one session, the last login wins.
        Device = 1,
        /// A dispatcher: one session for each installation, as all kinds above.
        Dispatcher = 2,
        /// Who hands devices to dispatchers.
        Distributor = 3,
        /// A company: the top of a tenant.
        Company = 4,
        /// The operator of the deployment.
        Root = 5,
    }
}

numbered! {
    /// What a group is for.
    GroupKind {
        /// Made by a dispatcher.
        Normal = 1,
        /// Made by a dispatcher for the while of a session; one at a time.
        Temporary = 2,
        /// Made by an app, for a call.
        Call = 3,
    }
}

numbered! {
    /// What a member may do in a group.
    MemberRole {
        /// Talk.
        Member = 1,
        /// Take members in and out, and rename the group.
        Manager = 2,
        /// Dissolve it as well, and say who is a manager.
        Owner = 3,
    }
}

numbered! {
    /// Why somebody is no longer a member of a group.
    LeftWhy {
        /// Taken out by who manages the group.
        Removed = 1,
        /// The user's own wish.
        Exited = 2,
        /// The group is no more.
        Dissolved = 3,
        /// The device has another manager.
        Transferred = 4,
    }
}

numbered! {
    /// Where somebody is, as members of a group are told.
    PresenceState {
        /// No session.
        Offline = 1,
        /// In no room, or that of another group.
        Online = 2,
        /// In the room of the group.
        InRoom = 3,
    }
}

numbered! {
    /// How an account stands with another one.
    FriendState {
        /// Both want it.
        Friends = 1,
        /// The account asked the other one.
        Asked = 2,
        /// The other one asked the account.
        Asks = 3,
    }
}

numbered! {
    /// What a device did at a geofence.
    FenceEvent {
        /// It came in.
        Enter = 1,
        /// It went out.
        Leave = 2,
        /// It was inside for as long as the geofence says.
        Stay = 3,
    }
}

numbered! {
    /// What happened to an alert.
    AlertEvent {
        /// Somebody pressed SOS.
        Raised = 1,
        /// Pressed again while the alert was open.
        Pressed = 2,
        /// A person said that they have it.
        Acknowledged = 3,
        /// Nobody said so in time: the next one is told.
        Escalated = 4,
        /// Nobody said so in time, and nobody is next: telephones are told.
        Texted = 5,
        /// Who pressed took it back.
        Cancelled = 6,
        /// A dispatcher closed it: dealt with.
        Resolved = 7,
        /// A dispatcher closed it: it was no emergency.
        FalseAlarm = 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_ordered_and_read_back() {
        for kind in UserKind::ALL {
            assert_eq!(UserKind::from_number(*kind as u32), Some(*kind));
        }
        assert_eq!(UserKind::from_number(0), None);
        assert_eq!(UserKind::from_number(6), None);
        assert!(UserKind::Root > UserKind::Company && UserKind::Dispatcher > UserKind::Device);
    }
}
