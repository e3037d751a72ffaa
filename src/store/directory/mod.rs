//! People, groups, and what the shards must hear of them.
//!
//! A change of members is one transaction: the group's version, the member's row, and an outbox row for each topic that must hear of it,
//! first the group's, then the user's inbox. Numbers of outbox rows rise in the order in which their transactions end, so a reader
//! that has seen number n has seen all below n.
//!
//! Every change also leaves a row that says who made it (`change`), in the same transaction.

mod account;
mod call;
mod change;
mod create;
mod device;
mod dissolve;
mod enrol;
mod friend;
mod grant;
mod group;
mod members;
mod named;
mod node;
mod outbox;
mod people;
mod phone;
mod profile;
mod revocation;
mod roles;
mod rooms;
mod scope;
mod temporary;
mod text;
mod token;
mod transfer;
mod tree;

use std::ops::RangeInclusive;

use super::Error;
use super::conn::{Conn, values};
pub use account::{Account, Ensured, NewAccount, Tenant};
pub use call::FoundGroup;
pub use change::{Author, ChangeRecord, ChangesWanted};
pub(super) use change::{Noted, Stamp, note};
pub use create::{NewGroup, OWNER_GROUPS_MAX};
pub use device::{Device, DeviceUpdate};
pub use enrol::NewDevice;
pub use friend::{FRIENDS_MAX, Friend};
pub use group::{Group, GroupMember, GroupPage, UserGroup};
pub use members::{GROUP_MEMBERS_MAX, MembersChanged};
pub use node::NODE_CHARACTERS_MAX;
pub use outbox::OutboxRow;
pub(super) use outbox::{Outgoing, notice, push_outbox};
pub use people::FoundUser;
pub use phone::Phone;
pub use profile::{AccountProfile, AccountUpdate};
pub use revocation::{ACCESS_TOKENS_MAX, Access, Revocations, Revoked};
pub(super) use scope::{author, author_kind, check_manages, managed};
pub use temporary::{TEMPORARY_NAME, TemporaryGroup, Tie};
pub use token::{LoginRecord, ResumeToken, Rotation};
pub use tree::{AccountCard, Named, NewChild};

/// The longest name of an account, group or tenant, in characters; the shortest has one.
pub const NAME_CHARACTERS_MAX: usize = 100;
/// The longest login name, in characters; the shortest has one.
pub const LOGIN_NAME_CHARACTERS_MAX: usize = 64;

/// SQLite does not check the length of a column, so it is checked here for both.
fn check_name(operation: &str, name: &str) -> Result<(), Error> {
    match name.chars().count() {
        1..=NAME_CHARACTERS_MAX => Ok(()),
        characters => Err(Error::BadName { operation: operation.to_owned(), characters }),
    }
}

/// The same for whatever else has a length in characters.
fn check_length(operation: &str, field: &'static str, text: &str, fits: RangeInclusive<usize>, rule: &'static str) -> Result<(), Error> {
    if fits.contains(&text.chars().count()) {
        return Ok(());
    }
    Err(Error::Invalid { operation: operation.to_owned(), field, rule })
}

fn bad_nickname(operation: &str) -> Error {
    Error::Invalid { operation: operation.to_owned(), field: "nickname", rule: "has 1 to 100 characters" }
}

/// Locks a counter until the transaction ends, so that of two callers that would both create a thing the second finds it.
pub(super) async fn lock_counter(conn: &mut Conn, counter: &'static str) -> Result<(), Error> {
    conn.execute("UPDATE counter SET value = value WHERE name = ?", values![counter]).await.map(drop)
}

/// Takes the next `count` numbers of a counter and returns the first. The counter stays locked until the transaction ends.
pub(super) async fn next_numbers(conn: &mut Conn, counter: &'static str, count: u64) -> Result<u64, Error> {
    conn.execute("UPDATE counter SET value = value + ? WHERE name = ?", values![count, counter]).await?;
    let (last,): (i64,) = conn.one("SELECT value FROM counter WHERE name = ?", values![counter]).await?;
    Ok(last.cast_unsigned() - count + 1)
}
