//! Groups of apps.

use super::group_desk::{id, ids, name, some_ids};
use super::login::Desk;
use super::store_failed;
use crate::model::{GroupId, Reason, UserId};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::NewGroup;

/// The most people one call takes in.
const INVITED_MAX: usize = 200;
/// The longest text to look for, in characters.
const TEXT_CHARACTERS_MAX: usize = 100;
/// The most results of a search.
pub(super) const FOUND_MAX: u32 = 100;

/// A text to look for, of `least` to 100 characters.
pub(super) fn text(text: &str, least: usize) -> Result<&str, Refused> {
    match text.chars().count() {
        0 => Err(Refused::new(Reason::FieldMissing).field("text")),
        count if count < least || count > TEXT_CHARACTERS_MAX => Err(Refused::new(Reason::FieldInvalid).field("text")),
        _ => Ok(text),
    }
}

impl Desk {
    pub(super) async fn create_group(&self, request: v1::CreateGroupRequest) -> Result<v1::CreateGroupResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let users = ids(&request.user_ids, "user_ids", INVITED_MAX)?;
        let name = if request.name.is_empty() { None } else { Some(name(request.name)?) };
        let made = caller.store.create_group_of(caller.account.id, NewGroup::Call { name }, users, self.clock.now_ms()).await;
        let (group, _) = made.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::CreateGroupResponse { group_id: group.0 })
    }

    pub(super) async fn join_group(&self, request: v1::JoinGroupRequest) -> Result<v1::JoinGroupResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let group = GroupId(id(request.group_id, "group_id")?);
        caller.store.join_by_wish(group, caller.account.id, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::JoinGroupResponse {})
    }

    pub(super) async fn invite_user_into_group(
        &self,
        request: v1::InviteUserIntoGroupRequest,
    ) -> Result<v1::InviteUserIntoGroupResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let group = GroupId(id(request.group_id, "group_id")?);
        let users = some_ids(&request.user_ids, "user_ids", INVITED_MAX)?;
        let changed = caller.store.invite(group, &users, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::InviteUserIntoGroupResponse { joined: u32::try_from(changed.joined).unwrap_or(u32::MAX) })
    }

    pub(super) async fn remove_grp_user(&self, request: v1::RemoveGrpUserRequest) -> Result<v1::RemoveGrpUserResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let (group, user) = (GroupId(id(request.group_id, "group_id")?), UserId(id(request.user_id, "user_id")?));
        caller.store.leave_group(group, user, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::RemoveGrpUserResponse {})
    }

    pub(super) async fn exit_grp(&self, request: v1::ExitGrpRequest) -> Result<v1::ExitGrpResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let group = GroupId(id(request.group_id, "group_id")?);
        caller.store.exit_group(group, caller.account.id, self.clock.now_ms()).await.map_err(store_failed)?;
        self.settle().await;
        Ok(v1::ExitGrpResponse {})
    }

    pub(super) async fn remove_grp(&self, request: v1::RemoveGrpRequest) -> Result<v1::RemoveGrpResponse, Refused> {
        self.dissolve(&request.token, request.group_id).await?;
        Ok(v1::RemoveGrpResponse {})
    }

    pub(super) async fn search_group(&self, request: v1::SearchGroupRequest) -> Result<v1::SearchGroupResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let text = text(&request.text, 1)?;
        let found = caller.store.search_groups(caller.account.id, text, FOUND_MAX).await.map_err(store_failed)?;
        let groups = found.into_iter().map(|found| v1::FoundGroup {
            group_id: found.id.0,
            name: found.name,
            kind: v1::GroupKind::from(found.kind).into(),
            member: found.member,
        });
        Ok(v1::SearchGroupResponse { groups: groups.collect() })
    }

    pub(super) async fn get_group_info(&self, request: v1::GetGroupInfoRequest) -> Result<v1::GetGroupInfoResponse, Refused> {
        let caller = self.caller(&request.token).await?;
        let group = GroupId(id(request.group_id, "group_id")?);
        let found = caller.store.group_with_members(group).await.map_err(store_failed)?;
        Ok(v1::GetGroupInfoResponse { group: self.with_presence(vec![found]).await?.pop() })
    }
}
