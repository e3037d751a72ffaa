//! The commands about groups, members and friends; what changes mean for the shards is relayed by a running directory.

use serde::Serialize;
use serde_json::json;

use super::args;
use super::context::Context;
use super::error::Error;
use super::operate::confirmed;
use super::output::{table, word};
use crate::model::{FriendState, GroupId, GroupKind, MemberRole, UserId, UserKind};
use crate::store::{Group, GroupMember};

#[derive(Serialize)]
struct GroupLine {
    group_id: GroupId,
    name: String,
    kind: GroupKind,
    owner_id: Option<UserId>,
    version: u64,
}

impl From<Group> for GroupLine {
    fn from(Group { id, name, kind, owner, version, tenant: _ }: Group) -> Self {
        Self { group_id: id, name, kind, owner_id: owner, version }
    }
}

#[derive(Serialize)]
struct MemberLine {
    user_id: UserId,
    name: String,
    nickname: String,
    kind: UserKind,
    role: MemberRole,
}

impl From<GroupMember> for MemberLine {
    fn from(GroupMember { id, name, nickname, kind, role }: GroupMember) -> Self {
        Self { user_id: id, name, nickname, kind, role }
    }
}

#[derive(Serialize)]
struct FriendLine {
    user_id: UserId,
    name: String,
    nickname: String,
    state: FriendState,
}

fn group_table<'a>(groups: impl IntoIterator<Item = &'a GroupLine>) -> String {
    let row = |group: &GroupLine| {
        let owner = group.owner_id.map(|owner| owner.to_string()).unwrap_or_default();
        vec![group.group_id.to_string(), group.name.clone(), word(group.kind), owner, group.version.to_string()]
    };
    table(&["ID", "NAME", "KIND", "OWNER", "VERSION"], groups.into_iter().map(row))
}

pub(super) async fn group(context: &Context, command: args::Group) -> Result<(), Error> {
    let registry = context.registry().await?;
    match command {
        args::Group::Add { name, tenant, owner } => {
            let group = registry.add_group(&tenant, &name, owner.as_deref()).await?;
            context.out.answer(&json!({ "name": name, "group_id": group }), |_| format!("{name} is group {group}."));
        }
        args::Group::Rename { name, wanted, tenant } => {
            let changed = registry.rename_group(&tenant, &name, &wanted).await?;
            let said = if changed { format!("{name} is called {wanted} now.") } else { format!("{name} is called {wanted} already.") };
            context.out.answer(&json!({ "name": wanted, "changed": changed }), |_| said);
        }
        args::Group::Dissolve { group: args::OneGroup { group, tenant }, yes } => {
            confirmed(yes, &format!("all members would leave {group}, and nobody would find it any more"))?;
            registry.dissolve_group(&tenant, &group).await?;
            context.out.answer(&json!({ "group": group, "dissolved": true }), |_| format!("{group} is no more."));
        }
        args::Group::List { tenant } => {
            let groups: Vec<GroupLine> = registry.groups(&tenant).await?.into_iter().map(GroupLine::from).collect();
            context.out.answer(&groups, |groups| group_table(groups));
        }
        args::Group::Show(args::OneGroup { group, tenant }) => {
            let found = registry.group(&tenant, &group).await?;
            let (group, members) = (GroupLine::from(found.group), found.members.into_iter().map(MemberLine::from).collect::<Vec<_>>());
            let row = |member: &MemberLine| {
                vec![member.user_id.to_string(), member.name.clone(), member.nickname.clone(), word(member.kind), word(member.role)]
            };
            let members_table = table(&["ID", "NAME", "NICKNAME", "KIND", "ROLE"], members.iter().map(row));
            let text = format!("{}\n\n{members_table}", group_table([&group]));
            context.out.answer(&json!({ "group": group, "members": members }), |_| text);
        }
        args::Group::Role { group: args::OneGroup { group, tenant }, account, role } => {
            let (role, word) = match role {
                args::Role::Member => (MemberRole::Member, "member"),
                args::Role::Manager => (MemberRole::Manager, "manager"),
            };
            let changed = registry.set_role(&tenant, &group, &account, role).await?;
            let said = format!("{account} is {} a {word} of {group}.", if changed { "now" } else { "already" });
            context.out.answer(&json!({ "account": account, "role": role, "changed": changed }), |_| said);
        }
    }
    Ok(())
}

pub(super) async fn member(context: &Context, command: args::Member) -> Result<(), Error> {
    let registry = context.registry().await?;
    let (changed, said) = match command {
        args::Member::Add(args::Membership { group, account, tenant }) => {
            let changed = registry.add_member(&tenant, &group, &account).await?;
            (changed, format!("{account} is {} a member of {group}.", if changed { "now" } else { "already" }))
        }
        args::Member::Remove { membership: args::Membership { group, account, tenant }, yes } => {
            confirmed(yes, &format!("{account} would see nothing that is said in {group} from then on"))?;
            let changed = registry.remove_member(&tenant, &group, &account).await?;
            (changed, format!("{account} is {} a member of {group}.", if changed { "no longer" } else { "not" }))
        }
    };
    context.out.answer(&json!({ "changed": changed }), |_| said);
    Ok(())
}

pub(super) async fn friend(context: &Context, command: args::Friend) -> Result<(), Error> {
    let registry = context.registry().await?;
    let args::Friend::List { account } = command;
    let line =
        |friend: crate::store::Friend| FriendLine { user_id: friend.id, name: friend.name, nickname: friend.nickname, state: friend.state };
    let friends: Vec<FriendLine> = registry.friends(&account).await?.into_iter().map(line).collect();
    let row = |friend: &FriendLine| vec![friend.user_id.to_string(), friend.name.clone(), friend.nickname.clone(), word(friend.state)];
    context.out.answer(&friends, |friends| table(&["ID", "NAME", "NICKNAME", "STATE"], friends.iter().map(row)));
    Ok(())
}
