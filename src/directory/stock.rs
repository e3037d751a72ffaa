//! Devices as they come into stock: judged one by one, registered in one transaction, each with a code that is told once.

use super::enrolment::EnrolmentCode;
use crate::model::{Imei, UserId};
use crate::store::{self, NAME_CHARACTERS_MAX, NewDevice, Store};

/// The most devices of one import.
pub const IMPORT_DEVICES_MAX: usize = 10_000;
/// The longest model, in characters.
const MODEL_CHARACTERS_MAX: usize = 64;

/// A device as somebody wrote it down.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Stocked {
    /// 15 digits, the last one a check digit.
    pub imei: String,
    /// At most 64 characters.
    #[serde(default)]
    pub model: String,
    /// At most 100 characters; empty for the last six digits of the IMEI.
    #[serde(default)]
    pub nickname: String,
    /// UTC milliseconds; 0 when not known.
    #[serde(skip)]
    pub activated_ms: u64,
    /// UTC milliseconds; 0 when not known.
    #[serde(skip)]
    pub sold_ms: u64,
}

/// What became of a device that was to be imported. It has no `Debug`, for the code.
pub enum Imported {
    /// It is there.
    As {
        /// Its account.
        device: UserId,
        /// Its first password, with the IMEI as its login name.
        code: String,
    },
    /// It was there before, or stands earlier in the list.
    Duplicate,
    /// Not 15 digits, or the check digit is wrong.
    MalformedImei,
    /// Model or nickname is too long.
    MalformedField,
}

/// Registers devices for an account; one answer each, in order. The author of the store is who does it.
pub(super) async fn import(store: &Store, receiver: UserId, stocked: Vec<Stocked>, now_ms: u64) -> Result<Vec<Imported>, store::Error> {
    let mut codes = Vec::new();
    let mut devices = Vec::new();
    // Where it is sound, a place for the store's answer.
    let judged: Vec<Option<Imported>> = stocked
        .into_iter()
        .map(|device| {
            let (device, code) = match judge(device) {
                Ok(sound) => sound,
                Err(refused) => return Some(refused),
            };
            codes.push(code);
            devices.push(device);
            None
        })
        .collect();
    let ids = store.import_devices(receiver, devices, now_ms).await?;
    let mut answers = ids.into_iter().zip(codes).map(|(device, code)| match device {
        Some(device) => Imported::As { device, code: code.text() },
        None => Imported::Duplicate,
    });
    Ok(judged.into_iter().filter_map(|refused| refused.or_else(|| answers.next())).collect())
}

fn judge(stocked: Stocked) -> Result<(NewDevice, EnrolmentCode), Imported> {
    let imei: Imei = stocked.imei.parse().map_err(|_| Imported::MalformedImei)?;
    let Stocked { imei: _, model, nickname, activated_ms, sold_ms } = stocked;
    if model.chars().count() > MODEL_CHARACTERS_MAX || nickname.chars().count() > NAME_CHARACTERS_MAX {
        return Err(Imported::MalformedField);
    }
    let nickname = if nickname.is_empty() { imei.last_six().to_owned() } else { nickname };
    let code = EnrolmentCode::random();
    Ok((NewDevice { imei, model, nickname, activated_ms, sold_ms, password_hash: code.hash() }, code))
}

/// Gives a device another code, which is told here alone; its password and tokens are void.
pub(super) async fn renew(store: &Store, device: UserId) -> Result<String, store::Error> {
    let code = EnrolmentCode::random();
    store.renew_enrolment(device, &code.hash()).await?;
    Ok(code.text())
}
