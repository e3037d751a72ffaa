//! Devices, as those who manage them see them.

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::super::conn::{Conn, Value, pieces, places, values};
use super::super::{Error, Store};
use super::account::lock_account;
use super::change::{Noted, note};
use super::outbox::{notice, push_outbox};
use super::profile::set_nickname;
use super::scope::{check_manages, managed, not_permitted};
use super::tree::below;
use super::{bad_nickname, check_name};
use crate::model::{Imei, MessageKind, TopicId, UserId, UserKind};
use crate::topic::frame::NoticeBody;

/// A device: an account of the lowest kind, with a radio or without one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Device {
    /// Its account.
    pub id: UserId,
    /// Its login name.
    pub name: String,
    /// What it is known by; empty for a person without a radio, as are the next four.
    pub imei: String,
    /// What it is.
    pub model: String,
    /// UTC milliseconds; 0 when not said.
    pub activated_ms: u64,
    /// UTC milliseconds; 0 when not said.
    pub sold_ms: u64,
    /// Whether it is to send its log.
    pub log_upload: bool,
    /// What others see.
    pub nickname: String,
    /// Who manages it; 0 for nobody but operators.
    pub manager: UserId,
    /// May not log in.
    pub disabled: bool,
}

/// What to change of a device; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct DeviceUpdate {
    /// What others see, 1 to 100 characters.
    pub nickname: Option<String>,
    /// Whether it is to send its log.
    pub log_upload: Option<bool>,
}

type DeviceRecord = (i64, String, String, i64, i64, Option<String>, Option<String>, Option<i64>, Option<i64>, Option<i64>);

const SELECT_DEVICES: &str = "SELECT account.id, account.name, account.nickname, account.parent, account.disabled, \
                              device.imei, device.model, device.activated_ms, device.sold_ms, device.log_upload \
                              FROM account LEFT JOIN device ON device.account = account.id \
                              WHERE account.kind = 1 AND account.deleted_ms = 0 AND ";

impl Store {
    /// The device of an IMEI, if the author manages it.
    pub async fn device_of_imei(&self, imei: Imei) -> Result<Option<UserId>, Error> {
        self.read(format!("device of IMEI {imei}"), move |conn| Box::pin(async move { device_of(conn, imei).await })).await
    }

    /// Of some accounts the devices, by id; those that the author does not manage are left out.
    pub async fn devices(&self, ids: &[UserId]) -> Result<Vec<Device>, Error> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        self.read(format!("look at {} devices", ids.len()), move |conn| {
            Box::pin(async move {
                let ids: Vec<UserId> = managed(conn, &ids).await?.into_iter().collect();
                let mut devices = Vec::with_capacity(ids.len());
                for piece in pieces(&ids, usize::MAX, |_| 0) {
                    let sql = format!("{SELECT_DEVICES} account.id IN {} ORDER BY account.id", places(1, piece.len()));
                    let bound: Vec<Value<'_>> = piece.iter().map(|user| Value::from(user.0)).collect();
                    let rows: Vec<DeviceRecord> = conn.all(AssertSqlSafe(sql), &bound).await?;
                    devices.extend(rows.into_iter().map(device));
                }
                Ok(devices)
            })
        })
        .await
    }

    /// The devices of an account, with `deep` those of the accounts below it too: behind `after` by id, at most `limit`.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] when the author does not manage the account.
    pub async fn devices_below(&self, top: UserId, deep: bool, after: UserId, limit: u32) -> Result<Vec<Device>, Error> {
        self.read(format!("devices of account {top}"), move |conn| {
            Box::pin(async move {
                check_manages(conn, &[top]).await?;
                let (before, parents, mut bound) = if deep {
                    let (before, bound) = below(conn, top).await?;
                    (before, "account.parent IN (SELECT id FROM below)", bound)
                } else {
                    ("", "account.parent = ?", vec![Value::from(top.0)])
                };
                let sql = format!("{before} {SELECT_DEVICES} {parents} AND account.id > ? ORDER BY account.id LIMIT ?");
                bound.extend_from_slice(values![after.0, limit]);
                let rows: Vec<DeviceRecord> = conn.all(AssertSqlSafe(sql), &bound).await?;
                Ok(rows.into_iter().map(device).collect())
            })
        })
        .await
    }

    /// All devices behind `after` by id, at most `limit`. For operators: nobody's permission is asked.
    pub async fn device_page(&self, after: UserId, limit: u32) -> Result<Vec<Device>, Error> {
        self.read("list the devices".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = format!("{SELECT_DEVICES} account.id > ? ORDER BY account.id LIMIT ?");
                let rows: Vec<DeviceRecord> = conn.all(AssertSqlSafe(sql), values![after.0, limit]).await?;
                Ok(rows.into_iter().map(device).collect())
            })
        })
        .await
    }

    /// Changes a device, and tells its inbox.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] unless it is a device that the author manages; [`Error::Invalid`] for a nickname that breaks its rule, or the
    /// log of somebody without a radio.
    pub async fn update_device(&self, device: UserId, update: DeviceUpdate, now_ms: u64) -> Result<(), Error> {
        let operation = format!("update device {device}");
        if let Some(nickname) = &update.nickname {
            check_name(&operation, nickname).map_err(|_| bad_nickname(&operation))?;
        }
        self.write(operation, move |conn| {
            Box::pin(async move {
                check_manages(conn, &[device]).await?;
                let account = lock_account(conn, device).await?;
                if account.kind != UserKind::Device {
                    return Err(not_permitted(conn));
                }
                let mut outgoing = match &update.nickname {
                    Some(nickname) => set_nickname(conn, &account, nickname).await?,
                    None => Vec::new(),
                };
                if let Some(on) = update.log_upload
                    && set_log_upload(conn, device, on).await?
                {
                    let body = NoticeBody { on, ..NoticeBody::default() };
                    outgoing.push(notice(TopicId::inbox(device), MessageKind::LogUpload, body));
                }
                push_outbox(conn, &outgoing, now_ms).await
            })
        })
        .await
    }
}

/// The device of an IMEI, if the author manages it.
async fn device_of(conn: &mut Conn, imei: Imei) -> Result<Option<UserId>, Error> {
    let sql = "SELECT account FROM device WHERE imei = ?";
    let Some((user,)) = conn.first::<(i64,)>(sql, values![imei.as_str()]).await? else { return Ok(None) };
    let user = UserId(user.cast_unsigned());
    Ok(managed(conn, &[user]).await?.contains(&user).then_some(user))
}

/// Whether that changed the switch.
async fn set_log_upload(conn: &mut Conn, user: UserId, on: bool) -> Result<bool, Error> {
    let Some(before) = device_row(conn, user).await?.filter(|row| !row.imei.is_empty()) else {
        let operation = conn.operation.clone();
        return Err(Error::Invalid { operation, field: "log_upload", rule: "is for devices with an IMEI" });
    };
    if before.log_upload == on {
        return Ok(false);
    }
    conn.execute("UPDATE device SET log_upload = ? WHERE account = ?", values![on, user.0]).await?;
    let state = |on: bool| json!({ "imei": before.imei, "log_upload": on });
    let (before, after) = (state(before.log_upload), state(on));
    note(conn, Noted { what: "device.log_switched", subject: format!("account:{user}"), before, after }).await?;
    Ok(true)
}

/// A device, as it stands.
pub(super) async fn device_row(conn: &mut Conn, user: UserId) -> Result<Option<Device>, Error> {
    let sql = format!("{SELECT_DEVICES} account.id = ?");
    let row: Option<DeviceRecord> = conn.first(AssertSqlSafe(sql), values![user.0]).await?;
    Ok(row.map(device))
}

fn device((id, name, nickname, parent, disabled, imei, model, activated_ms, sold_ms, log_upload): DeviceRecord) -> Device {
    let number = |number: Option<i64>| number.unwrap_or(0).cast_unsigned();
    Device {
        id: UserId(id.cast_unsigned()),
        name,
        imei: imei.unwrap_or_default(),
        model: model.unwrap_or_default(),
        activated_ms: number(activated_ms),
        sold_ms: number(sold_ms),
        log_upload: log_upload.is_some_and(|on| on != 0),
        nickname,
        manager: UserId(parent.cast_unsigned()),
        disabled: disabled != 0,
    }
}
