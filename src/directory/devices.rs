//! Devices.

use super::login::Desk;
use crate::model::Reason;
use crate::proto::status::Refused;
use crate::proto::v1;

impl Desk {
    pub(super) async fn import_device_by_root(
        &self,
        _request: v1::ImportDeviceByRootRequest,
    ) -> Result<v1::ImportDeviceByRootResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn select_device_by_imei(
        &self,
        _request: v1::SelectDeviceByImeiRequest,
    ) -> Result<v1::SelectDeviceByImeiResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn get_devices_info(&self, _request: v1::GetDevicesInfoRequest) -> Result<v1::GetDevicesInfoResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn list_devices(&self, _request: v1::ListDevicesRequest) -> Result<v1::ListDevicesResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn update_device_info(&self, _request: v1::UpdateDeviceInfoRequest) -> Result<v1::UpdateDeviceInfoResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn multi_trans_device(&self, _request: v1::MultiTransDeviceRequest) -> Result<v1::MultiTransDeviceResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn renew_enrolment(&self, _request: v1::RenewEnrolmentRequest) -> Result<v1::RenewEnrolmentResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn retire_device(&self, _request: v1::RetireDeviceRequest) -> Result<v1::RetireDeviceResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }

    pub(super) async fn get_device_log_info(&self, _request: v1::GetDeviceLogInfoRequest) -> Result<v1::GetDeviceLogInfoResponse, Refused> {
        Err(Reason::WrongDoor.into())
    }
}
