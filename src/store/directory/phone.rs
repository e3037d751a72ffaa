//! Secrets by which phones report over HTTP: each of one device, and here only as its hash.

use serde_json::{Value as Json, json};

use super::super::conn::{Conn, values};
use super::super::{Error, Store};
use super::change::{Noted, note};
use super::enrol::lock_device;
use crate::model::{TenantId, UserId};

/// The device that a phone reports as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    /// Its account.
    pub device: UserId,
    /// Its company.
    pub tenant: TenantId,
    /// What others see.
    pub nickname: String,
}

impl Store {
    /// Gives a device another secret to report by, by its hash. Returns whether that voids one of before.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] unless it is a device that the author manages.
    pub async fn enrol_phone(&self, device: UserId, hash: [u8; 32]) -> Result<bool, Error> {
        self.write(format!("enrol a phone as device {device}"), move |conn| {
            Box::pin(async move {
                lock_device(conn, device).await?;
                let renewed = forget_phone(conn, device).await?;
                let sql = "INSERT INTO phone_secret (hash, account, created_ms) VALUES (?, ?, ?)";
                conn.execute(sql, values![&hash[..], device.0, conn.stamp.now_ms()]).await?;
                note_phone(conn, "device.phone_enrolled", device, (renewed, true)).await?;
                Ok(renewed)
            })
        })
        .await
    }

    /// Takes the secret of a device back. Returns whether it had one.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] unless it is a device that the author manages.
    pub async fn revoke_phone(&self, device: UserId) -> Result<bool, Error> {
        self.write(format!("revoke the phone of device {device}"), move |conn| {
            Box::pin(async move {
                lock_device(conn, device).await?;
                let revoked = forget_phone(conn, device).await?;
                if revoked {
                    note_phone(conn, "device.phone_revoked", device, (true, false)).await?;
                }
                Ok(revoked)
            })
        })
        .await
    }

    /// Whose the secret of a hash is; `None` when it is nobody's, or the device may not log in.
    pub async fn phone(&self, hash: [u8; 32]) -> Result<Option<Phone>, Error> {
        self.read("look at the secret of a phone".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = "SELECT account.id, account.tenant, account.nickname FROM phone_secret \
                           JOIN account ON account.id = phone_secret.account \
                           WHERE phone_secret.hash = ? AND account.kind = 1 AND account.disabled = 0 AND account.deleted_ms = 0";
                let row: Option<(i64, i64, String)> = conn.first(sql, values![&hash[..]]).await?;
                Ok(row.map(|(device, tenant, nickname)| Phone {
                    device: UserId(device.cast_unsigned()),
                    tenant: TenantId(tenant.cast_unsigned()),
                    nickname,
                }))
            })
        })
        .await
    }
}

/// Whether the device had a secret.
pub(super) async fn forget_phone(conn: &mut Conn, device: UserId) -> Result<bool, Error> {
    Ok(conn.execute("DELETE FROM phone_secret WHERE account = ?", values![device.0]).await? > 0)
}

async fn note_phone(conn: &mut Conn, what: &'static str, device: UserId, (before, after): (bool, bool)) -> Result<(), Error> {
    let state = |phone: bool| -> Json { json!({ "phone": phone }) };
    note(conn, Noted { what, subject: format!("account:{device}"), before: state(before), after: state(after) }).await
}
