//! Groups with their members, and where these are now: what the lists and single groups of clients show.

use std::collections::{BTreeMap, BTreeSet};

use super::login::Desk;
use super::store_failed;
use crate::model::{GroupId, PresenceState, Reason, UserId};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::{GroupMember, UserGroup};

/// The most groups of a page.
const PAGE_GROUPS_MAX: u32 = 100;
/// The most members of a page; a group that alone has more is a page of its own. Keeps an answer well below the 4 MiB that clients accept.
const PAGE_MEMBERS_MAX: usize = 10_000;

/// Where some users are.
pub(super) struct Whereabouts {
    /// Those with a session; `None` when Redis does not say.
    online: Option<BTreeSet<UserId>>,
    /// The rooms they are in.
    rooms: BTreeMap<UserId, GroupId>,
}

impl Whereabouts {
    /// How a user stands with a group; with none of them for `None`.
    pub(super) fn of(&self, user: UserId, group: Option<GroupId>) -> v1::PresenceState {
        let Some(online) = &self.online else { return v1::PresenceState::Unspecified };
        let in_room = group.is_some() && self.rooms.get(&user).copied() == group;
        match (online.contains(&user), in_room) {
            (false, _) => PresenceState::Offline.into(),
            (true, false) => PresenceState::Online.into(),
            (true, true) => PresenceState::InRoom.into(),
        }
    }
}

impl Desk {
    /// A page of the caller's groups.
    pub(super) async fn group_list(&self, request: v1::GetGroupListRequest) -> Result<v1::GetGroupListResponse, Refused> {
        let user = self.caller(&request.token).await?.account.id;
        let limit = match request.limit {
            0 => PAGE_GROUPS_MAX,
            limit if limit > PAGE_GROUPS_MAX => return Err(Refused::new(Reason::TooMany).field("limit")),
            limit => limit,
        };
        let after = Some(GroupId(request.after_group_id));
        let page = self.store.groups_of(user, after, limit, PAGE_MEMBERS_MAX).await.map_err(store_failed)?;
        Ok(v1::GetGroupListResponse { more: page.more, groups: self.with_presence(page.groups).await? })
    }

    /// Groups as clients see them. Each member is asked for once, in however many of the groups they are.
    pub(super) async fn with_presence(&self, groups: Vec<UserGroup>) -> Result<Vec<v1::Group>, Refused> {
        let users = groups.iter().flat_map(|group| &group.members).map(|member| member.id).collect();
        let whereabouts = self.whereabouts(&users, true).await?;
        Ok(groups.into_iter().map(|found| group(found, &whereabouts)).collect())
    }

    /// Where users are, and in which rooms if that is wanted. With Redis away nothing is known of it.
    pub(super) async fn whereabouts(&self, users: &BTreeSet<UserId>, rooms: bool) -> Result<Whereabouts, Refused> {
        let online = self.redis.online_among(users, self.shards).await;
        let online = online.inspect_err(|error| tracing::debug!(error = error as &dyn std::error::Error, "not known who is online")).ok();
        let in_rooms = online.clone().filter(|online| rooms && !online.is_empty()).unwrap_or_default();
        let rooms = self.store.rooms_of(&in_rooms, self.shards).await.map_err(store_failed)?;
        Ok(Whereabouts { online, rooms })
    }
}

fn group(UserGroup { group, members }: UserGroup, whereabouts: &Whereabouts) -> v1::Group {
    let members: Vec<v1::Member> = members.into_iter().map(|one| member(one, group.id, whereabouts)).collect();
    let count = |states: &[PresenceState]| {
        let counted = |member: &&v1::Member| states.iter().any(|state| v1::PresenceState::from(*state) == member.presence());
        u32::try_from(members.iter().filter(counted).count()).unwrap_or(u32::MAX)
    };
    v1::Group {
        group_id: group.id.0,
        online: count(&[PresenceState::Online, PresenceState::InRoom]),
        in_room: count(&[PresenceState::InRoom]),
        name: group.name,
        version: group.version,
        members,
        kind: v1::GroupKind::from(group.kind).into(),
        owner_id: group.owner.unwrap_or_default().0,
    }
}

fn member(member: GroupMember, group: GroupId, whereabouts: &Whereabouts) -> v1::Member {
    v1::Member {
        user_id: member.id.0,
        kind: v1::UserKind::from(member.kind).into(),
        role: v1::MemberRole::from(member.role).into(),
        presence: whereabouts.of(member.id, Some(group)).into(),
        name: member.name,
        nickname: member.nickname,
    }
}
