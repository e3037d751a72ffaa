//! Seed files: tenants, accounts and groups as they should be.
//!
//! Applying a file again changes nothing and says so; applying a changed one makes the difference: nicknames, kinds, parents, passwords, and of a
//! group's members who is missing joins and who is not named leaves. Nothing that the file does not name is touched or removed. The whole
//! file is judged before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::registry::{AccountSpec, Registry, RegistryError};
use crate::model::{TenantId, UserId, UserKind};
use crate::retry::ErrorClass;
use crate::store::{self, Ensured};

/// A seed file. See `config/demo.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedFile {
    /// Where it was read; for errors.
    #[serde(skip)]
    path: PathBuf,
    #[serde(default, rename = "tenant")]
    tenants: Vec<TenantEntry>,
    #[serde(default, rename = "account")]
    accounts: Vec<AccountEntry>,
    #[serde(default, rename = "group")]
    groups: Vec<GroupEntry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantEntry {
    name: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountEntry {
    name: String,
    /// The login name when it is not given.
    nickname: Option<String>,
    kind: UserKind,
    tenant: String,
    /// The login name of the account above, which manages it: in the file or in the store. Left as it is when it is not given.
    parent: Option<String>,
    /// Left as it is when it is not given.
    password: Option<String>,
}

impl fmt::Debug for AccountEntry {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountEntry").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupEntry {
    name: String,
    tenant: String,
    members: Vec<String>,
}

/// Why a seed file was not applied. Up to [`Error::Change`] nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML of this form.
    #[error("{} is not a seed file", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// An entry names what neither the file nor the store has.
    #[error("{}: {entry} names the {kind} {name:?}, which is neither in the file nor in the store", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The entry: `group "Apollo"`.
        entry: String,
        /// `tenant` or `account`.
        kind: &'static str,
        /// What it names.
        name: String,
    },
    /// An account of the file stands below another of the file whose kind is not above.
    #[error("{}: {entry} stands below {parent:?}, whose kind is not above", path.display())]
    NotAbove {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// The account it names.
        parent: String,
    },
    /// Two entries have one name.
    #[error("{}: {entry} is there twice", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: String,
    },
    /// The store could not be asked.
    #[error("{}: cannot look into the store", path.display())]
    Look {
        /// The file.
        path: PathBuf,
        /// Why.
        source: store::Error,
    },
    /// An entry could not be applied; those before it are.
    #[error("{}: cannot apply {entry}", path.display())]
    Change {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// Why.
        source: Box<RegistryError>,
    },
}

impl Error {
    /// What trying again would change.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Read { .. } | Self::Syntax { .. } | Self::Unknown { .. } | Self::NotAbove { .. } | Self::Twice { .. } => {
                ErrorClass::Permanent
            }
            Self::Look { source, .. } => source.class(),
            Self::Change { source, .. } => source.class(),
        }
    }
}

/// What applying a file did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Entries in the file: tenants, accounts and groups.
    pub entries: u64,
    /// Tenants created.
    pub tenants_created: u64,
    /// Accounts created.
    pub accounts_created: u64,
    /// Accounts whose nickname, kind or parent changed.
    pub accounts_changed: u64,
    /// Passwords set, those of created accounts included.
    pub passwords_set: u64,
    /// Groups created.
    pub groups_created: u64,
    /// Members that joined.
    pub members_joined: u64,
    /// Members that left.
    pub members_left: u64,
}

impl Summary {
    /// Whether anything was not as wanted.
    pub fn changed(&self) -> bool {
        *self != Self { entries: self.entries, ..Self::default() }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.changed() {
            return write!(f, "nothing to change: all {} entries are as wanted", self.entries);
        }
        let parts = [
            (self.tenants_created, "tenants created"),
            (self.accounts_created, "accounts created"),
            (self.accounts_changed, "accounts changed"),
            (self.passwords_set, "passwords set"),
            (self.groups_created, "groups created"),
            (self.members_joined, "members joined"),
            (self.members_left, "members left"),
        ];
        let done: Vec<String> = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(&done.join(", "))
    }
}

impl SeedFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Syntax`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads a text that stands in `path`.
    ///
    /// # Errors
    /// [`Error::Syntax`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let file: Self = toml::from_str(text).map_err(|source| Error::Syntax { path: path.to_owned(), source: Box::new(source) })?;
        Ok(Self { path: path.to_owned(), ..file })
    }

    /// Refuses names that are there twice, or nowhere.
    async fn judge(&self, registry: &Registry) -> Result<(), Error> {
        let look = |source| Error::Look { path: self.path.clone(), source };
        let tenants: Vec<String> = self.tenants.iter().map(|tenant| tenant.name.clone()).collect();
        let accounts: Vec<String> = self.accounts.iter().map(|account| account.name.clone()).collect();
        let groups = self.groups.iter().map(|group| format!("{:?} of {:?}", group.name, group.tenant)).collect();
        let quoted = |names: &[String]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>();
        self.once("tenant", quoted(&tenants))?;
        self.once("account", quoted(&accounts))?;
        self.once("group", groups)?;

        let mut tenants: BTreeSet<String> = tenants.into_iter().collect();
        tenants.extend(registry.store.tenants().await.map_err(look)?.into_iter().map(|tenant| tenant.name));
        let named = self.accounts.iter().map(|account| (format!("account {:?}", account.name), &account.tenant));
        for (entry, tenant) in named.chain(self.groups.iter().map(|group| (format!("group {:?}", group.name), &group.tenant))) {
            if !tenants.contains(tenant) {
                return Err(Error::Unknown { path: self.path.clone(), entry, kind: "tenant", name: tenant.clone() });
            }
        }
        self.judge_parents()?;
        let mut accounts: BTreeSet<String> = accounts.into_iter().collect();
        let parents = self.accounts.iter().filter_map(|account| Some((format!("account {:?}", account.name), account.parent.as_ref()?)));
        let members =
            self.groups.iter().flat_map(|group| group.members.iter().map(move |member| (format!("group {:?}", group.name), member)));
        for (entry, name) in parents.chain(members) {
            if !accounts.contains(name) {
                if registry.store.account_by_name(name).await.map_err(look)?.is_none() {
                    return Err(Error::Unknown { path: self.path.clone(), entry, kind: "account", name: name.clone() });
                }
                accounts.insert(name.clone());
            }
        }
        Ok(())
    }

    /// Refuses parents of the file that are not of a higher kind; so there is no circle either.
    fn judge_parents(&self) -> Result<(), Error> {
        let kinds: BTreeMap<&str, UserKind> = self.accounts.iter().map(|account| (account.name.as_str(), account.kind)).collect();
        for account in &self.accounts {
            let Some(parent) = &account.parent else { continue };
            if kinds.get(parent.as_str()).is_some_and(|kind| *kind <= account.kind) {
                let (path, entry) = (self.path.clone(), format!("account {:?}", account.name));
                return Err(Error::NotAbove { path, entry, parent: parent.clone() });
            }
        }
        Ok(())
    }

    /// The accounts as the file has them, but each behind the one it stands below.
    fn accounts_from_above(&self) -> Vec<&AccountEntry> {
        let mut waiting: Vec<&AccountEntry> = self.accounts.iter().collect();
        let mut sorted = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let names: BTreeSet<&str> = waiting.iter().map(|account| account.name.as_str()).collect();
            let waits = |account: &&AccountEntry| account.parent.as_ref().is_some_and(|parent| names.contains(parent.as_str()));
            let (later, now): (Vec<_>, Vec<_>) = waiting.into_iter().partition(waits);
            // Kinds fall from above, so there is always one that waits for none.
            debug_assert!(!now.is_empty(), "a circle of accounts passed for a tree");
            waiting = later;
            sorted.extend(now);
        }
        sorted
    }

    fn once(&self, kind: &str, names: Vec<String>) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        match names.into_iter().find(|name| !seen.insert(name.clone())) {
            Some(name) => Err(Error::Twice { path: self.path.clone(), entry: format!("{kind} {name}") }),
            None => Ok(()),
        }
    }

    fn failed(&self, entry: String) -> impl FnOnce(RegistryError) -> Error {
        let path = self.path.clone();
        move |source| Error::Change { path, entry, source: Box::new(source) }
    }
}

/// Makes the store as a seed file wants it.
///
/// # Errors
/// [`Error::Unknown`] and [`Error::Twice`] before anything is written. After [`Error::Change`] apply it again: what was done stays done.
pub async fn apply(registry: &Registry, file: &SeedFile) -> Result<Summary, Error> {
    file.judge(registry).await?;
    let mut summary = Summary::default();
    let mut tenants = BTreeMap::new();
    for name in file.tenants.iter().map(|tenant| &tenant.name) {
        tenant(registry, file, &mut tenants, &mut summary, name).await?;
        summary.entries += 1;
    }
    let mut accounts: BTreeMap<String, UserId> = BTreeMap::new();
    for entry in file.accounts_from_above() {
        let tenant = tenant(registry, file, &mut tenants, &mut summary, &entry.tenant).await?;
        let spec = entry.spec();
        let failed = file.failed(format!("account {:?}", entry.name));
        let (ensured, password_set) = registry.ensure_account(&spec, entry.parent.as_deref(), tenant).await.map_err(failed)?;
        match ensured {
            Ensured::Created(_) => summary.accounts_created += 1,
            Ensured::Changed(_) => summary.accounts_changed += 1,
            Ensured::Unchanged(_) => {}
        }
        summary.passwords_set += u64::from(password_set);
        summary.entries += 1;
        accounts.insert(entry.name.clone(), ensured.id());
    }
    for entry in &file.groups {
        let tenant = tenant(registry, file, &mut tenants, &mut summary, &entry.tenant).await?;
        let failed = || file.failed(format!("group {:?}", entry.name));
        let store_failed = |source| failed()(RegistryError::Store { source });
        let ensured = registry.store.ensure_group(tenant, &entry.name).await.map_err(store_failed)?;
        summary.groups_created += u64::from(matches!(ensured, Ensured::Created(_)));
        let mut members = Vec::with_capacity(entry.members.len());
        for name in &entry.members {
            let id = match accounts.get(name) {
                Some(id) => *id,
                None => registry.account(name).await.map_err(failed())?.id,
            };
            accounts.insert(name.clone(), id);
            members.push(id);
        }
        let changed = registry.store.set_members(ensured.id(), &members, registry.clock.now_ms()).await.map_err(store_failed)?;
        summary.members_joined += changed.joined;
        summary.members_left += changed.left;
        summary.entries += 1;
    }
    if summary.changed() {
        let said = serde_json::json!({ "file": file.path, "summary": summary });
        registry.store.note_seed(said).await.map_err(|source| file.failed("its note".to_owned())(RegistryError::Store { source }))?;
    }
    Ok(summary)
}

async fn tenant(
    registry: &Registry,
    file: &SeedFile,
    known: &mut BTreeMap<String, TenantId>,
    summary: &mut Summary,
    name: &str,
) -> Result<TenantId, Error> {
    if let Some(id) = known.get(name) {
        return Ok(*id);
    }
    let failed = |source| file.failed(format!("tenant {name:?}"))(RegistryError::Store { source });
    let ensured = registry.store.ensure_tenant(name).await.map_err(failed)?;
    summary.tenants_created += u64::from(matches!(ensured, Ensured::Created(_)));
    known.insert(name.to_owned(), ensured.id());
    Ok(ensured.id())
}

impl AccountEntry {
    fn spec(&self) -> AccountSpec {
        let Self { name, nickname, kind, tenant, parent: _, password } = self.clone();
        AccountSpec { nickname: nickname.unwrap_or_else(|| name.clone()), name, kind, tenant, password }
    }
}
