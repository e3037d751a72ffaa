//! The groups of a user, in pages.

use super::login::Desk;
use super::store_failed;
use crate::model::{GroupId, Reason};
use crate::proto::status::Refused;
use crate::proto::v1;
use crate::store::{GroupMember, UserGroup};

/// The most groups of a page.
const PAGE_GROUPS_MAX: u32 = 100;
/// The most members of a page; a group that alone has more is a page of its own. Keeps an answer well below the 4 MiB that clients accept.
const PAGE_MEMBERS_MAX: usize = 10_000;

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
        // One more than asked for, to know whether there are more.
        let groups = self.store.groups_of(user, after, limit + 1).await.map_err(store_failed)?;
        let fitting = fitting(&groups, limit as usize);
        let more = groups.len() > fitting;
        Ok(v1::GetGroupListResponse { groups: groups.into_iter().take(fitting).map(group).collect(), more })
    }
}

/// How many of the groups fit on a page.
fn fitting(groups: &[UserGroup], limit: usize) -> usize {
    let mut members = 0;
    let full = groups.iter().take(limit).position(|group| {
        members += group.members.len();
        members > PAGE_MEMBERS_MAX
    });
    full.map_or(limit.min(groups.len()), |at| at.max(1))
}

fn group(UserGroup { group, members }: UserGroup) -> v1::Group {
    let members = members.into_iter().map(member).collect();
    v1::Group { group_id: group.id.0, name: group.name, version: group.version, members, ..v1::Group::default() }
}

fn member(member: GroupMember) -> v1::Member {
    let kind = v1::UserKind::from(member.kind).into();
    v1::Member { user_id: member.id.0, name: member.name, nickname: member.nickname, kind, ..v1::Member::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TenantId, UserId, UserKind};
    use crate::store::Group;

    #[test]
    fn a_page_ends_at_its_groups_or_its_members() {
        let of = |members: usize| UserGroup {
            group: Group { id: GroupId(1), tenant: TenantId(1), name: String::new(), version: 1 },
            members: vec![GroupMember { id: UserId(1), name: String::new(), nickname: String::new(), kind: UserKind::Device }; members],
        };
        let check = |sizes: &[usize], limit, expected| {
            let groups: Vec<UserGroup> = sizes.iter().map(|size| of(*size)).collect();
            assert_eq!(fitting(&groups, limit), expected, "{sizes:?}");
        };
        check(&[], 100, 0);
        check(&[1, 1, 1], 2, 2);
        check(&[9_000, 1_000, 1], 100, 2);
        check(&[20_000, 1], 100, 1);
        check(&[1, 20_000], 100, 1);
    }
}
