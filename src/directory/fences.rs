//! Geofences as desks administer them: each account its own.

use super::login::Desk;
use super::store_failed;
use crate::location::fence::Fence;
use crate::model::{FenceId, Reason};
use crate::proto::status::Refused;
use crate::proto::v1;

/// The most geofences of a page, and how many one holds unless told.
const PAGE_MAX: u32 = 1_000;

impl Desk {
    pub(super) async fn put_geofence(&self, request: v1::PutGeofenceRequest) -> Result<v1::PutGeofenceResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let missing = |field: &'static str| Refused::new(Reason::FieldMissing).field(field);
        let fence = request.fence.ok_or_else(|| missing("fence"))?;
        let shape = fence.shape.ok_or_else(|| missing("fence.shape"))?;
        let v1::Geofence { fence_id, name, enter, leave, stay_ms, .. } = fence;
        let fence = Fence { id: FenceId(fence_id), name, shape: shape.into(), enter, leave, stay_ms };
        let FenceId(fence_id) = caller.store.put_fence(caller.account.id, fence).await.map_err(store_failed)?;
        Ok(v1::PutGeofenceResponse { fence_id })
    }

    pub(super) async fn delete_geofence(&self, request: v1::DeleteGeofenceRequest) -> Result<v1::DeleteGeofenceResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        caller.store.delete_fence(caller.account.id, FenceId(request.fence_id)).await.map_err(store_failed)?;
        Ok(v1::DeleteGeofenceResponse {})
    }

    pub(super) async fn get_geofences(&self, request: v1::GetGeofencesRequest) -> Result<v1::GetGeofencesResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let limit = match request.limit {
            0 => PAGE_MAX,
            limit if limit > PAGE_MAX => return Err(Refused::new(Reason::TooMany).field("limit")),
            limit => limit,
        };
        // One more than asked for, to know whether there are more.
        let fences = caller.store.fences(caller.account.id, FenceId(request.after_fence_id), limit + 1).await;
        let mut fences = fences.map_err(store_failed)?;
        let more = fences.len() > limit as usize;
        fences.truncate(limit as usize);
        Ok(v1::GetGeofencesResponse { fences: fences.into_iter().map(v1::Geofence::from).collect(), more })
    }
}
