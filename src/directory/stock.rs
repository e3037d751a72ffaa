//! Devices as they come into stock: judged one by one, registered in one transaction, each with a code that is told once.

use super::enrolment::stored;
use super::registry::{Registry, RegistryError, store_failed};
use crate::model::{Imei, UserId};
use crate::store::{self, Device, DeviceUpdate, NAME_CHARACTERS_MAX, NewDevice, Store};
use crate::token::Code;

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

fn judge(stocked: Stocked) -> Result<(NewDevice, Code), Imported> {
    let imei: Imei = stocked.imei.parse().map_err(|_| Imported::MalformedImei)?;
    let Stocked { imei: _, model, nickname, activated_ms, sold_ms } = stocked;
    if model.chars().count() > MODEL_CHARACTERS_MAX || nickname.chars().count() > NAME_CHARACTERS_MAX {
        return Err(Imported::MalformedField);
    }
    let nickname = if nickname.is_empty() { imei.last_six().to_owned() } else { nickname };
    let code = Code::random();
    Ok((NewDevice { imei, model, nickname, activated_ms, sold_ms, password_hash: stored(&code) }, code))
}

/// Gives a device another code, which is told here alone; its password and tokens are void.
pub(super) async fn renew(store: &Store, device: UserId) -> Result<String, store::Error> {
    let code = Code::random();
    store.renew_enrolment(device, &stored(&code)).await?;
    Ok(code.text())
}

/// What operators do with devices, by name.
impl Registry {
    /// Registers devices for the account of a login name; one answer each, in order.
    ///
    /// # Errors
    /// [`RegistryError::NoAccount`], [`RegistryError::ImportSize`]; [`store::Error::NotPermitted`] within [`RegistryError::Store`] when the
    /// account is of a kind that has no devices.
    pub async fn import_devices(&self, receiver: &str, stocked: Vec<Stocked>) -> Result<Vec<Imported>, RegistryError> {
        if stocked.len() > IMPORT_DEVICES_MAX {
            return Err(RegistryError::ImportSize { count: stocked.len() });
        }
        let receiver = self.account(receiver).await?.id;
        import(&self.store, receiver, stocked, self.clock.now_ms()).await.map_err(store_failed)
    }

    /// The device of an IMEI or a login name, which is the IMEI of those that have one.
    ///
    /// # Errors
    /// [`RegistryError::NoDevice`].
    pub async fn device(&self, name: &str) -> Result<Device, RegistryError> {
        let none = || RegistryError::NoDevice { device: name.to_owned() };
        let account = self.store.account_by_name(name).await.map_err(store_failed)?.ok_or_else(none)?;
        self.store.devices(&[account.id]).await.map_err(store_failed)?.pop().ok_or_else(none)
    }

    /// The devices of an account, with `deep` those of the accounts below it too; without an account all there are. By id, at most `limit`.
    ///
    /// # Errors
    /// [`RegistryError::NoAccount`].
    pub async fn devices(&self, of: Option<&str>, deep: bool, limit: u32) -> Result<Vec<Device>, RegistryError> {
        match of {
            Some(name) => {
                let top = self.account(name).await?.id;
                self.store.devices_below(top, deep, UserId(0), limit).await.map_err(store_failed)
            }
            None => self.store.device_page(UserId(0), limit).await.map_err(store_failed),
        }
    }

    /// Changes a device.
    ///
    /// # Errors
    /// [`RegistryError::NoDevice`]; [`store::Error::Invalid`] within [`RegistryError::Store`].
    pub async fn update_device(&self, name: &str, update: DeviceUpdate) -> Result<(), RegistryError> {
        let device = self.device(name).await?.id;
        self.store.update_device(device, update, self.clock.now_ms()).await.map_err(store_failed)
    }

    /// Hands devices from one account to another: all or none. Returns how many it was.
    ///
    /// # Errors
    /// [`RegistryError::NoDevice`] for what is no IMEI, [`RegistryError::NoAccount`]; [`store::Error::NotPermitted`] within
    /// [`RegistryError::Store`] when one of them is not the sender's, or the accounts are of two tenants.
    pub async fn transfer_devices(&self, imeis: &[String], sender: &str, receiver: &str) -> Result<u64, RegistryError> {
        let parse = |text: &String| text.parse::<Imei>().map_err(|_| RegistryError::NoDevice { device: text.clone() });
        let imeis = imeis.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let (sender, receiver) = (self.account(sender).await?.id, self.account(receiver).await?.id);
        self.store.transfer_devices(imeis, sender, receiver, self.clock.now_ms()).await.map_err(store_failed)
    }

    /// Gives a device another code, which is told here alone.
    ///
    /// # Errors
    /// [`RegistryError::NoDevice`].
    pub async fn renew_enrolment(&self, name: &str) -> Result<String, RegistryError> {
        let device = self.device(name).await?.id;
        renew(&self.store, device).await.map_err(store_failed)
    }

    /// Gives a device another secret that a phone reports by over HTTP, told here alone, and whether that voids one of before: the gateway
    /// knows within seconds.
    ///
    /// # Errors
    /// [`RegistryError::NoDevice`].
    pub async fn enrol_phone(&self, name: &str) -> Result<(String, bool), RegistryError> {
        let (device, code) = (self.device(name).await?.id, Code::random());
        let renewed = self.store.enrol_phone(device, code.hash()).await.map_err(store_failed)?;
        Ok((code.text(), renewed))
    }

    /// Takes that secret back; false when the device had none.
    ///
    /// # Errors
    /// [`RegistryError::NoDevice`].
    pub async fn revoke_phone(&self, name: &str) -> Result<bool, RegistryError> {
        let device = self.device(name).await?.id;
        self.store.revoke_phone(device).await.map_err(store_failed)
    }

    /// Takes a device out of service.
    ///
    /// # Errors
    /// [`RegistryError::NoDevice`].
    pub async fn retire_device(&self, name: &str) -> Result<(), RegistryError> {
        let device = self.device(name).await?.id;
        self.store.retire_device(device, self.clock.now_ms()).await.map_err(store_failed)
    }

    /// A page of the accounts that are no devices, each with how many it manages: behind `after`, at most `limit`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn account_page(&self, after: UserId, limit: u32) -> Result<Vec<(store::Account, u64)>, RegistryError> {
        self.store.account_page(after, limit).await.map_err(store_failed)
    }
}
