//! Devices with what is known of them now: SQL says what they are, Redis who is connected and what was last heard, the archive their room.

use std::collections::BTreeSet;

use super::caller::Caller;
use super::devices::check_count;
use super::login::Desk;
use super::{page_limit, store_failed, unavailable};
use crate::broker::{self, Live};
use crate::model::{PresenceState, UserId};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::Device;

/// The most devices that one call asks for by id.
const ASKED_DEVICES_MAX: usize = 1_000;

impl Desk {
    pub(super) async fn get_devices_info(&self, request: v1::GetDevicesInfoRequest) -> Result<v1::GetDevicesInfoResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        check_count(request.device_ids.len(), ASKED_DEVICES_MAX, "device_ids")?;
        let ids: Vec<UserId> = request.device_ids.into_iter().map(UserId).collect();
        let devices = caller.store.devices(&ids).await.map_err(store_failed)?;
        Ok(v1::GetDevicesInfoResponse { devices: self.as_of_now(&caller, devices).await? })
    }

    pub(super) async fn list_devices(&self, request: v1::ListDevicesRequest) -> Result<v1::ListDevicesResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let limit = page_limit(request.limit)?;
        let (top, after) = (caller.or(request.account_id), UserId(request.after_device_id));
        // One more than asked for, to know whether there are more.
        let mut devices = caller.store.devices_below(top, request.deep, after, limit + 1).await.map_err(store_failed)?;
        let more = devices.len() > limit as usize;
        devices.truncate(limit as usize);
        let devices = self.as_of_now(&caller, devices).await?;
        let online = devices.iter().filter(|device| device.presence() != v1::PresenceState::Offline).count() as u32;
        Ok(v1::ListDevicesResponse { devices, more, online })
    }

    /// Devices with where they are and how they do.
    async fn as_of_now(&self, caller: &Caller, devices: Vec<Device>) -> Result<Vec<v1::Device>, Refused> {
        let ids: Vec<UserId> = devices.iter().map(|device| device.id).collect();
        let users: BTreeSet<UserId> = ids.iter().copied().collect();
        let redis_failed = |error: broker::Error| unavailable("ask how devices do", error.class(), &error);
        let online = self.redis.online_among(&users, self.shards).await.map_err(redis_failed)?;
        let live = self.redis.live_of(&ids, self.shards).await.map_err(redis_failed)?;
        let rooms = caller.store.rooms_of(&users, self.shards).await.map_err(store_failed)?;
        let with_state = |(device, live): (Device, Live)| {
            let room = rooms.get(&device.id).copied();
            let presence = match (online.contains(&device.id), room) {
                (false, _) => PresenceState::Offline,
                (true, None) => PresenceState::Online,
                (true, Some(_)) => PresenceState::InRoom,
            };
            v1::Device {
                device_id: device.id.0,
                imei: device.imei,
                nickname: device.nickname,
                model: device.model,
                manager_id: device.manager.0,
                activated_ms: device.activated_ms,
                sold_ms: device.sold_ms,
                log_upload: device.log_upload,
                disabled: device.disabled,
                presence: v1::PresenceState::from(presence).into(),
                current_group_id: room.unwrap_or_default().0,
                battery_percent: live.battery.map(|(percent, _)| percent),
                battery_ms: live.battery.map_or(0, |(_, said_ms)| said_ms),
                last_position: live.position.map(Into::into),
                talk_quality: live.quality.filter(|_| presence != PresenceState::Offline).map(Into::into),
            }
        };
        Ok(devices.into_iter().zip(live).map(with_state).collect())
    }
}
