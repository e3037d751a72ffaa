//! Groups of dispatchers.

use super::login::Desk;
use super::store_failed;
use crate::model::{GroupId, GroupKind, InstallationId, MemberRole, Reason, SessionId, UserId};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::{Ensured, GROUP_MEMBERS_MAX, NAME_CHARACTERS_MAX, NewGroup, Tie};

/// The most members whose role one call changes.
const ROLES_MAX: usize = 1_000;

/// Ids of a request, at most `max`.
pub(super) fn ids(ids: &[u64], field: &'static str, max: usize) -> Result<Vec<UserId>, Refused> {
    match ids.len() {
        count if count > max => Err(Refused::new(Reason::TooMany).field(field)),
        _ => Ok(ids.iter().copied().map(UserId).collect()),
    }
}

/// Ids of a request, at least one.
pub(super) fn some_ids(some: &[u64], field: &'static str, max: usize) -> Result<Vec<UserId>, Refused> {
    if some.is_empty() { Err(missing(field)) } else { ids(some, field, max) }
}

/// An id that must be given.
pub(super) fn id(id: u64, field: &'static str) -> Result<u64, Refused> {
    if id == 0 { Err(missing(field)) } else { Ok(id) }
}

pub(super) fn missing(field: &'static str) -> Refused {
    Refused::new(Reason::FieldMissing).field(field)
}

/// A name of 1 to 100 characters, none of which is a control character.
pub(super) fn name(name: String) -> Result<String, Refused> {
    if name.is_empty() {
        return Err(missing("name"));
    }
    if name.chars().count() > NAME_CHARACTERS_MAX || name.chars().any(char::is_control) {
        return Err(Refused::new(Reason::FieldInvalid).field("name"));
    }
    Ok(name)
}

impl Desk {
    pub(super) async fn web_create_group(&self, request: v1::WebCreateGroupRequest) -> Result<v1::WebCreateGroupResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let devices = ids(&request.device_ids, "device_ids", GROUP_MEMBERS_MAX as usize)?;
        let wanted = match Option::<GroupKind>::from(request.kind()) {
            Some(GroupKind::Normal) => NewGroup::Normal { name: name(request.name)? },
            Some(GroupKind::Temporary) => NewGroup::Temporary(Tie {
                session: SessionId(id(request.session_id, "session_id")?),
                installation: InstallationId(id(request.installation_id, "installation_id")?),
            }),
            None if request.kind == 0 => return Err(missing("kind")),
            Some(GroupKind::Call) | None => return Err(Refused::new(Reason::FieldInvalid).field("kind")),
        };
        let made = caller.store.create_group_of(caller.account.id, wanted, devices, self.clock.now_ms()).await;
        let (group, version) = made.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::WebCreateGroupResponse { group_id: group.0, version })
    }

    pub(super) async fn update_group(&self, request: v1::UpdateGroupRequest) -> Result<v1::UpdateGroupResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let group = GroupId(id(request.group_id, "group_id")?);
        let max = GROUP_MEMBERS_MAX as usize;
        let add = ids(&request.add_ids, "add_ids", max)?;
        let remove = ids(&request.remove_ids, "remove_ids", max - add.len())?;
        let (changed, version) = caller.store.update_group(group, add, remove, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(v1::UpdateGroupResponse { version, joined: count(changed.joined), left: count(changed.left) })
    }

    pub(super) async fn update_group_info(&self, request: v1::UpdateGroupInfoRequest) -> Result<v1::UpdateGroupInfoResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let group = GroupId(id(request.group_id, "group_id")?);
        let wanted = name(request.name)?;
        let (Ensured::Created(version) | Ensured::Changed(version) | Ensured::Unchanged(version)) =
            caller.store.rename_group(group, &wanted, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::UpdateGroupInfoResponse { version })
    }

    pub(super) async fn delete_group(&self, request: v1::DeleteGroupRequest) -> Result<v1::DeleteGroupResponse, Refused> {
        self.dissolve(&request.token, request.group_id).await?;
        Ok(v1::DeleteGroupResponse {})
    }

    /// Dissolves a group that the caller owns, or of whoever the caller manages.
    pub(super) async fn dissolve(&self, token: &str, group: u64) -> Result<(), Refused> {
        let caller = self.caller(token).await?;
        let group = GroupId(id(group, "group_id")?);
        caller.store.dissolve_group(group, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(())
    }

    pub(super) async fn update_group_manager(
        &self,
        request: v1::UpdateGroupManagerRequest,
    ) -> Result<v1::UpdateGroupManagerResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let group = GroupId(id(request.group_id, "group_id")?);
        let users = some_ids(&request.user_ids, "user_ids", ROLES_MAX)?;
        let role = match Option::<MemberRole>::from(request.role()) {
            Some(role @ (MemberRole::Member | MemberRole::Manager)) => role,
            None if request.role == 0 => return Err(missing("role")),
            Some(MemberRole::Owner) | None => return Err(Refused::new(Reason::FieldInvalid).field("role")),
        };
        caller.store.set_roles(group, &users, role, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::UpdateGroupManagerResponse {})
    }
}
