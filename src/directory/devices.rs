//! Devices: import, transfer, retirement, and what is changed of them.

use super::accounts::given;
use super::caller::Caller;
use super::login::Desk;
use super::stock::{self, IMPORT_DEVICES_MAX, Imported, Stocked};
use super::store_failed;
use crate::model::{Imei, Reason, UserId};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::DeviceUpdate;

/// The most devices of one transfer.
const TRANSFER_DEVICES_MAX: usize = 1_000;

impl Desk {
    pub(super) async fn import_device_by_root(
        &self,
        request: v1::ImportDeviceByRootRequest,
    ) -> Result<v1::ImportDeviceByRootResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let receiver = given(request.receiver_id, "receiver_id")?;
        check_count(request.devices.len(), IMPORT_DEVICES_MAX, "devices")?;
        let imeis: Vec<String> = request.devices.iter().map(|device| device.imei.clone()).collect();
        let stocked = request.devices.into_iter().map(|device| {
            let v1::ImportedDevice { imei, model, activated_ms, sold_ms, nickname } = device;
            Stocked { imei, model, nickname, activated_ms, sold_ms }
        });
        let imported = stock::import(&caller.store, receiver, stocked.collect(), self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        let answers = imeis.into_iter().zip(imported).map(|(imei, imported)| {
            use v1::ImportOutcome as O;
            let (outcome, device_id, enrolment_code) = match imported {
                Imported::As { device, code } => (O::Imported, device.0, code),
                Imported::Duplicate => (O::Duplicate, 0, String::new()),
                Imported::MalformedImei => (O::MalformedImei, 0, String::new()),
                Imported::MalformedField => (O::MalformedField, 0, String::new()),
            };
            v1::ImportAnswer { imei, outcome: outcome.into(), device_id, enrolment_code }
        });
        Ok(v1::ImportDeviceByRootResponse { answers: answers.collect() })
    }

    pub(super) async fn select_device_by_imei(
        &self,
        request: v1::SelectDeviceByImeiRequest,
    ) -> Result<v1::SelectDeviceByImeiResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let found = caller.store.device_of_imei(imei(&request.imei, "imei")?).await.map_err(store_failed)?;
        Ok(v1::SelectDeviceByImeiResponse { device_id: found.unwrap_or_default().0 })
    }

    pub(super) async fn update_device_info(&self, request: v1::UpdateDeviceInfoRequest) -> Result<v1::UpdateDeviceInfoResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let device = named_device(&caller, request.device_id, &request.imei).await?;
        let v1::UpdateDeviceInfoRequest { nickname, log_upload, .. } = request;
        let update = DeviceUpdate { nickname, log_upload };
        caller.store.update_device(device, update, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::UpdateDeviceInfoResponse {})
    }

    pub(super) async fn multi_trans_device(&self, request: v1::MultiTransDeviceRequest) -> Result<v1::MultiTransDeviceResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let sender = given(request.sender_id, "sender_id")?;
        let receiver = given(request.receiver_id, "receiver_id")?;
        check_count(request.imeis.len(), TRANSFER_DEVICES_MAX, "imeis")?;
        let imeis: Vec<Imei> = request.imeis.iter().map(|text| imei(text, "imeis")).collect::<Result<_, _>>()?;
        let transferred = caller.store.transfer_devices(imeis, sender, receiver, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::MultiTransDeviceResponse { transferred: u32::try_from(transferred).unwrap_or(u32::MAX) })
    }

    pub(super) async fn renew_enrolment(&self, request: v1::RenewEnrolmentRequest) -> Result<v1::RenewEnrolmentResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let device = given(request.device_id, "device_id")?;
        let enrolment_code = stock::renew(&caller.store, device).await.map_err(store_failed)?;
        self.settle().await;
        self.enforce(device).await;
        Ok(v1::RenewEnrolmentResponse { enrolment_code })
    }

    pub(super) async fn retire_device(&self, request: v1::RetireDeviceRequest) -> Result<v1::RetireDeviceResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let device = given(request.device_id, "device_id")?;
        caller.store.retire_device(device, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        self.enforce(device).await;
        Ok(v1::RetireDeviceResponse {})
    }

    pub(super) async fn get_device_log_info(&self, request: v1::GetDeviceLogInfoRequest) -> Result<v1::GetDeviceLogInfoResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let device = given(request.device_id, "device_id")?;
        if caller.store.devices(&[device]).await.map_err(store_failed)?.is_empty() {
            return Err(Reason::NotPermitted.into());
        }
        let log = self.store.latest_log(device).await.map_err(store_failed)?;
        Ok(log
            .map(|log| v1::GetDeviceLogInfoResponse { file_id: log.id.to_string(), uploaded_ms: log.created_ms, bytes: log.bytes })
            .unwrap_or_default())
    }
}

/// A device by its id, or else by its IMEI.
async fn named_device(caller: &Caller, id: u64, text: &str) -> Result<UserId, Refused> {
    match (id, text) {
        (0, "") => Err(Refused::new(Reason::FieldMissing).field("device_id")),
        (0, text) => {
            let found = caller.store.device_of_imei(imei(text, "imei")?).await.map_err(store_failed)?;
            found.ok_or_else(|| Reason::NotPermitted.into())
        }
        (id, _) => Ok(UserId(id)),
    }
}

fn imei(text: &str, field: &'static str) -> Result<Imei, Refused> {
    match text {
        "" => Err(Refused::new(Reason::FieldMissing).field(field)),
        text => text.parse().map_err(|_| Refused::new(Reason::FieldInvalid).field(field)),
    }
}

/// Refuses a list that is empty, or has more than `most`.
pub(super) fn check_count(count: usize, most: usize, field: &'static str) -> Result<(), Refused> {
    match count {
        0 => Err(Refused::new(Reason::FieldMissing).field(field)),
        count if count > most => Err(Refused::new(Reason::TooMany).field(field)),
        _ => Ok(()),
    }
}
