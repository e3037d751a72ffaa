//! How an alert stands.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{AlertId, GroupId, Position, TenantId, TopicId, UserId};

/// An alert. As JSON it stands on Redis, and in SQL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The alert.
    pub id: AlertId,
    /// Who pressed.
    pub device: UserId,
    /// Of which company.
    pub tenant: TenantId,
    /// What others see of the device.
    pub nickname: String,
    /// Counts the commits.
    pub version: u64,
    /// Counts the events.
    pub events: u64,
    /// When it was pressed first, UTC ms.
    pub opened_ms: u64,
    /// How often it was pressed.
    pub presses: u32,
    /// The entry of the last press in the stream of SOS: what takes back an earlier one does not take back this one.
    #[serde(default)]
    pub pressed_by: (u64, u64),
    /// When a press was told last, UTC ms.
    pub pressed_ms: u64,
    /// Where the device is, or was last.
    pub spot: Option<Spot>,
    /// What the device said with the last press that said anything.
    pub text: String,
    /// What comes next.
    pub stage: Stage,
    /// When, UTC ms; `None` for nothing by itself.
    pub due_ms: Option<u64>,
    /// Who is told.
    pub told: Told,
    /// Who is told later.
    pub chain: Chain,
    /// Who has it.
    pub holder: Option<Holder>,
    /// When it was over, UTC ms.
    pub closed_ms: Option<u64>,
}

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spot {
    /// The fix.
    pub position: Position,
    /// Percent, when it was said with it.
    pub battery: Option<u32>,
    /// It came with a press; else it was known before.
    pub by_press: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The device's inbox decides who is told; it is asked again when it does not answer.
    Deciding,
    /// Whoever is told has time to acknowledge; then comes the step of the chain with this index.
    Waiting(usize),
    /// The chain is at its end: telephones are told, again and again.
    Texting,
    /// Somebody has it.
    Held,
    /// It was cancelled or closed.
    Over,
}

/// Who is told of an alert, decided when it was raised, and added to by escalation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The groups whose rooms are told.
    pub rooms: Vec<GroupId>,
    /// Who managed the device when it was raised.
    pub manager: Option<UserId>,
    /// Accounts that are told: whoever manages the device, and those it was escalated to.
    pub accounts: BTreeSet<UserId>,
    /// Accounts above the device, which may act on it.
    pub above: BTreeSet<UserId>,
}

impl Told {
    /// The topics of all who are told, the device included.
    pub fn topics(&self, device: UserId) -> Vec<TopicId> {
        let rooms = self.rooms.iter().copied().map(TopicId::alert_room);
        rooms.chain(self.accounts.iter().copied().map(TopicId::alert_inbox)).chain([TopicId::alert_inbox(device)]).collect()
    }
}

/// Who acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The account; 0 for an operator at the command line.
    pub id: UserId,
    /// As people know it.
    pub name: String,
}

/// Who is told when nobody acknowledges, and how soon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// How long whoever is told at once has.
    pub first_wait_ms: u64,
    /// Then these, one after the other.
    pub steps: Vec<ChainStep>,
    /// Then these telephones.
    pub numbers: Vec<String>,
    /// How long lies between two texts to the same number.
    pub text_every_ms: u64,
}

impl Default for Chain {
    /// For accounts without one: nobody further, who is told is told again every minute.
    fn default() -> Self {
        Self { first_wait_ms: 60_000, steps: Vec::new(), numbers: Vec::new(), text_every_ms: 60_000 }
    }
}

/// One who is told later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainStep {
    /// The account.
    pub account: UserId,
    /// What others see of it.
    #[serde(default)]
    pub name: String,
    /// How long they have.
    pub wait_ms: u64,
}

/// What is known of the account that manages a device: its chain, and the accounts above it. As JSON it stands on Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desk {
    /// Its own, or that of the nearest account above; `None` when there is none.
    pub chain: Option<Chain>,
    /// Nearest first.
    pub above: Vec<UserId>,
}
