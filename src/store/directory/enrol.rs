//! Devices come and go: import, new enrolment codes, retirement.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use super::account::{Account, lock_account, profile_of};
use super::change::{Noted, note, note_all};
use super::device::device_row;
use super::members::lock_accounts;
use super::outbox::{Outgoing, push_outbox};
use super::revocation::revoke_access;
use super::scope::{author_kind, check_manages, not_permitted};
use super::transfer::check_receiver;
use super::tree::close_account;
use super::{lock_counter, next_numbers};
use crate::model::{Imei, TenantId, UserId, UserKind};

/// A device to be registered. Its login name is the IMEI.
#[derive(Clone)]
pub struct NewDevice {
    /// What it is known by.
    pub imei: Imei,
    /// At most 64 characters.
    pub model: String,
    /// What others see, 1 to 100 characters.
    pub nickname: String,
    /// UTC milliseconds; 0 when not said.
    pub activated_ms: u64,
    /// UTC milliseconds; 0 when not said.
    pub sold_ms: u64,
    /// The hash of its enrolment code.
    pub password_hash: String,
}

impl Store {
    /// Registers devices for an account, in one transaction. Answers each in its turn: its id, or `None` when it was registered before or stands
    /// earlier among these.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] unless the author is a root or a company and manages the receiver, which may have devices.
    pub async fn import_devices(&self, receiver: UserId, devices: Vec<NewDevice>, now_ms: u64) -> Result<Vec<Option<UserId>>, Error> {
        self.write(format!("import {} devices for account {receiver}", devices.len()), move |conn| {
            Box::pin(async move {
                lock_counter(conn, "account").await?;
                lock_accounts(conn, &[receiver]).await?;
                check_manages(conn, &[receiver]).await?;
                if author_kind(conn).await?.is_some_and(|kind| kind < UserKind::Company) {
                    return Err(not_permitted(conn));
                }
                let tenant = check_receiver(conn, receiver).await?;
                let mut known = known_among(conn, &devices).await?;
                let fresh: Vec<&NewDevice> = devices.iter().filter(|device| known.insert(device.imei.to_string())).collect();
                if fresh.is_empty() {
                    return Ok(vec![None; devices.len()]);
                }
                let first = next_numbers(conn, "account", fresh.len() as u64).await?;
                let numbered: Vec<(UserId, &NewDevice)> = (first..).map(UserId).zip(fresh).collect();
                insert_devices(conn, &numbered, receiver, tenant, now_ms).await?;
                // Both are in one order, and of two with one IMEI the first is the one that was taken.
                let mut ids = numbered.iter().peekable();
                let answer = |device: &NewDevice| ids.next_if(|(_, next)| std::ptr::eq(*next, device)).map(|(user, _)| *user);
                Ok(devices.iter().map(answer).collect())
            })
        })
        .await
    }

    /// Gives a device another enrolment code, by its hash; its password and tokens are void.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] unless it is a device that the author manages.
    pub async fn renew_enrolment(&self, device: UserId, hash: &str) -> Result<(), Error> {
        let hash = hash.to_owned();
        self.write(format!("renew the enrolment of device {device}"), move |conn| {
            Box::pin(async move {
                let account = lock_device(conn, device).await?;
                conn.execute("UPDATE account SET password = ? WHERE id = ?", values![hash.as_str(), device.0]).await?;
                let state = |hash: &str| json!({ "name": account.name, "password": !hash.is_empty() });
                let (before, after) = (state(&account.password_hash), state(&hash));
                note(conn, Noted { what: "device.enrolment_renewed", subject: format!("account:{device}"), before, after }).await?;
                revoke_access(conn, device, None, conn.stamp.now_ms()).await
            })
        })
        .await
    }

    /// Takes a device out of service: it leaves all groups, its tokens are void, and its IMEI may be imported again, as a new device.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] unless it is a device that the author manages.
    pub async fn retire_device(&self, device: UserId, now_ms: u64) -> Result<(), Error> {
        self.write(format!("retire device {device}"), move |conn| {
            Box::pin(async move {
                lock_counter(conn, "account").await?;
                let account = lock_device(conn, device).await?;
                let row = device_row(conn, device).await?;
                close_account(conn, &account, "device.retired", row.map_or(Json::Null, |row| json!(row)), now_ms).await
            })
        })
        .await
    }
}

/// A device that the author manages, locked. Somebody without a radio is one too.
pub(super) async fn lock_device(conn: &mut Conn, device: UserId) -> Result<Account, Error> {
    check_manages(conn, &[device]).await?;
    let account = lock_account(conn, device).await?;
    if account.kind == UserKind::Device { Ok(account) } else { Err(not_permitted(conn)) }
}

/// The IMEIs among these that are registered, or that somebody has as a login name.
async fn known_among(conn: &mut Conn, devices: &[NewDevice]) -> Result<BTreeSet<String>, Error> {
    let mut known = BTreeSet::new();
    for piece in pieces(devices, usize::MAX, |_| 0) {
        let some = places(1, piece.len());
        let sql = format!("SELECT imei FROM device WHERE imei IN {some} UNION SELECT name FROM account WHERE name IN {some}");
        let bound: Vec<Value<'_>> = piece.iter().chain(piece).map(|device| Value::from(device.imei.as_str())).collect();
        known.extend(conn.all::<(String,)>(AssertSqlSafe(sql), &bound).await?.into_iter().map(|(imei,)| imei));
    }
    Ok(known)
}

async fn insert_devices(
    conn: &mut Conn,
    devices: &[(UserId, &NewDevice)],
    manager: UserId,
    tenant: TenantId,
    now_ms: u64,
) -> Result<(), Error> {
    let kind = UserKind::Device as u32;
    for piece in pieces(devices, usize::MAX, |_| 0) {
        let columns = "id, name, nickname, kind, tenant, password, version, created_ms, disabled, parent";
        let sql = format!("INSERT INTO account ({columns}) VALUES {}", places(piece.len(), 10));
        let mut bound: Vec<Value<'_>> = Vec::with_capacity(piece.len() * 10);
        for (user, device) in piece {
            let (imei, nickname, hash) = (device.imei.as_str(), device.nickname.as_str(), device.password_hash.as_str());
            bound.extend_from_slice(values![user.0, imei, nickname, kind, tenant.0, hash, 1u64, now_ms, false, manager.0]);
        }
        conn.execute(AssertSqlSafe(sql), &bound).await?;
        let columns = "account, imei, model, activated_ms, sold_ms, log_upload";
        let sql = format!("INSERT INTO device ({columns}) VALUES {}", places(piece.len(), 6));
        let mut bound: Vec<Value<'_>> = Vec::with_capacity(piece.len() * 6);
        for (user, device) in piece {
            let NewDevice { imei, model, activated_ms, sold_ms, .. } = device;
            bound.extend_from_slice(values![user.0, imei.as_str(), model.as_str(), *activated_ms, *sold_ms, false]);
        }
        conn.execute(AssertSqlSafe(sql), &bound).await?;
    }
    let noted = |(user, device): &(UserId, &NewDevice)| {
        let NewDevice { imei, model, nickname, .. } = device;
        let after = json!({ "imei": imei.as_str(), "model": model, "nickname": nickname, "manager": manager, "tenant": tenant });
        Noted { what: "device.imported", subject: format!("account:{user}"), before: Json::Null, after }
    };
    note_all(conn, &devices.iter().map(noted).collect::<Vec<_>>()).await?;
    let profile = |(user, device): &(UserId, &NewDevice)| profile_of(*user, tenant, 1, manager, &device.nickname);
    push_outbox(conn, &devices.iter().map(profile).collect::<Vec<Outgoing>>(), now_ms).await
}
