//! Groups, members and friends, as operators see and change them: by name.

use super::registry::{Registry, RegistryError, store_failed};
use crate::model::{GroupId, MemberRole, TopicId, UserId};
use crate::store::{Ensured, Friend, Group, NewGroup, UserGroup};

/// How many groups, or friends, are read at once.
const PAGE: u32 = 1_000;

impl Registry {
    /// Creates a group: without members, or of an owner, who is its first one.
    ///
    /// # Errors
    /// [`RegistryError::NoTenant`], [`RegistryError::NoAccount`]; [`crate::store::Error::NameTaken`] within [`RegistryError::Store`] when the
    /// owner, or the tenant for none, has one of the name, [`crate::store::Error::OtherTenant`] when the owner is of another tenant.
    pub async fn add_group(&self, tenant: &str, name: &str, owner: Option<&str>) -> Result<GroupId, RegistryError> {
        let tenant = self.tenant(tenant).await?;
        let Some(owner) = owner else { return self.store.create_group(tenant, name).await.map_err(store_failed) };
        let owner = self.account(owner).await?;
        if owner.tenant != tenant {
            let operation = format!("add group {name:?}");
            let source = crate::store::Error::OtherTenant { operation, user: owner.id, has: owner.tenant, wanted: tenant };
            return Err(store_failed(source));
        }
        let wanted = NewGroup::Normal { name: name.to_owned() };
        let made = self.store.create_group_of(owner.id, wanted, Vec::new(), self.clock.now_ms()).await;
        made.map(|(group, _)| group).map_err(store_failed)
    }

    /// Gives a group another name. False when it has it already.
    ///
    /// # Errors
    /// As of [`Registry::find_group`]; [`crate::store::Error::NameTaken`] within [`RegistryError::Store`] when another one has the name.
    pub async fn rename_group(&self, tenant: &str, name: &str, wanted: &str) -> Result<bool, RegistryError> {
        let group = self.find_group(tenant, name).await?;
        let renamed = self.store.rename_group(group.id, wanted, self.clock.now_ms()).await.map_err(store_failed)?;
        Ok(!matches!(renamed, Ensured::Unchanged(_)))
    }

    /// Dissolves a group: all leave, and nobody finds it any more.
    ///
    /// # Errors
    /// As of [`Registry::find_group`].
    pub async fn dissolve_group(&self, tenant: &str, name: &str) -> Result<(), RegistryError> {
        let group = self.find_group(tenant, name).await?;
        self.store.dissolve_group(group.id, self.clock.now_ms()).await.map_err(store_failed)
    }

    /// The live groups of a tenant, by id.
    ///
    /// # Errors
    /// [`RegistryError::NoTenant`].
    pub async fn groups(&self, tenant: &str) -> Result<Vec<Group>, RegistryError> {
        let tenant = self.tenant(tenant).await?;
        let mut groups: Vec<Group> = Vec::new();
        loop {
            let after = groups.last().map(|group| group.id).unwrap_or_default();
            let page = self.store.groups_of_tenant(tenant, after, PAGE).await.map_err(store_failed)?;
            let full = page.len() == PAGE as usize;
            groups.extend(page);
            if !full {
                return Ok(groups);
            }
        }
    }

    /// A group with its members.
    ///
    /// # Errors
    /// As of [`Registry::find_group`].
    pub async fn group(&self, tenant: &str, name: &str) -> Result<UserGroup, RegistryError> {
        let group = self.find_group(tenant, name).await?;
        self.store.group_with_members(group.id).await.map_err(store_failed)
    }

    /// Makes a member of a group a manager, or a mere member. False when it is that already.
    ///
    /// # Errors
    /// As of [`Registry::find_group`], [`RegistryError::NoAccount`]; [`crate::store::Error::NotPermitted`] within [`RegistryError::Store`] when
    /// it is no member, [`crate::store::Error::OwnerStays`] when it owns the group.
    pub async fn set_role(&self, tenant: &str, group: &str, account: &str, role: MemberRole) -> Result<bool, RegistryError> {
        let (group, account) = (self.find_group(tenant, group).await?, self.account(account).await?);
        let changed = self.store.set_roles(group.id, &[account.id], role, self.clock.now_ms()).await.map_err(store_failed)?;
        Ok(changed > 0)
    }

    /// Makes an account a member of a group. False when it is one.
    ///
    /// # Errors
    /// As of [`Registry::find_group`], [`RegistryError::NoAccount`]; [`crate::store::Error::OtherTenant`] within [`RegistryError::Store`].
    pub async fn add_member(&self, tenant: &str, group: &str, account: &str) -> Result<bool, RegistryError> {
        let (group, account) = (self.find_group(tenant, group).await?, self.account(account).await?);
        self.store.join_group(group.id, account.id, self.clock.now_ms()).await.map_err(store_failed)
    }

    /// Ends a membership. False when there is none.
    ///
    /// # Errors
    /// As of [`Registry::find_group`], [`RegistryError::NoAccount`]; [`crate::store::Error::OwnerStays`] within [`RegistryError::Store`].
    pub async fn remove_member(&self, tenant: &str, group: &str, account: &str) -> Result<bool, RegistryError> {
        let (group, account) = (self.find_group(tenant, group).await?, self.account(account).await?);
        self.store.leave_group(group.id, account.id, self.clock.now_ms()).await.map_err(store_failed)
    }

    /// The friends of an account, and wishes either way, by id.
    ///
    /// # Errors
    /// [`RegistryError::NoAccount`].
    pub async fn friends(&self, account: &str) -> Result<Vec<Friend>, RegistryError> {
        // As many as there may be, and wishes that crossed the bound.
        let account = self.account(account).await?;
        self.store.friends_of(account.id, UserId(0), 2 * PAGE).await.map_err(store_failed)
    }

    /// The live group of a tenant that is called so, or has the id that `g:7` names.
    ///
    /// # Errors
    /// [`RegistryError::NoTenant`], [`RegistryError::NoGroup`]; [`crate::store::Error::Ambiguous`] within [`RegistryError::Store`] when
    /// several owners have one of the name.
    pub async fn find_group(&self, tenant: &str, name: &str) -> Result<Group, RegistryError> {
        let id = self.tenant(tenant).await?;
        let by_id = name.parse::<TopicId>().ok().and_then(TopicId::group_of);
        let found = match by_id {
            Some(group) => self.store.group(group).await.map_err(store_failed)?.filter(|group| group.tenant == id),
            None => self.store.group_by_name(id, name).await.map_err(store_failed)?,
        };
        found.ok_or_else(|| RegistryError::NoGroup { tenant: tenant.to_owned(), group: name.to_owned() })
    }
}
