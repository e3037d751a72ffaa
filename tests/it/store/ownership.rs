//! Random changes of groups, against a small model: members are exactly who they should be, in SQL and by what the shards hear.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use roger::model::{GroupId, InstallationId, SessionId, UserId};
use roger::store::{NewGroup, Store, Tie};
use roger::topic::frame::Input;

use super::Database;
use super::groups::{by, drain, firm};

#[derive(Clone, Debug)]
enum Change {
    Make { owner: usize, name: u8, members: Vec<usize> },
    Temporary { owner: usize, session: u64, members: Vec<usize> },
    End { owner: usize, session: u64 },
    Update { group: usize, add: Vec<usize>, remove: Vec<usize> },
    Rename { group: usize, name: u8 },
    Dissolve { group: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let some = || prop::collection::vec(0..4_usize, 0..4);
    prop_oneof![
        (0..2_usize, 0..4_u8, some()).prop_map(|(owner, name, members)| Change::Make { owner, name, members }),
        (0..2_usize, 0..3_u64, some()).prop_map(|(owner, session, members)| Change::Temporary { owner, session, members }),
        (0..2_usize, 0..3_u64).prop_map(|(owner, session)| Change::End { owner, session }),
        (0..6_usize, some(), some()).prop_map(|(group, add, remove)| Change::Update { group, add, remove }),
        (0..6_usize, 0..4_u8).prop_map(|(group, name)| Change::Rename { group, name }),
        (0..6_usize).prop_map(|group| Change::Dissolve { group }),
    ]
}

/// A live group as it should be.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    owner: usize,
    name: String,
    /// Of a temporary one.
    session: Option<u64>,
    members: BTreeSet<UserId>,
}

#[derive(Default)]
struct Model {
    groups: BTreeMap<GroupId, Known>,
    /// What the shards know from what they were told: members with the version of their last change.
    told: BTreeMap<GroupId, BTreeMap<UserId, (u64, bool)>>,
}

impl Model {
    fn group(&self, at: usize) -> Option<GroupId> {
        self.groups.keys().copied().nth(at)
    }

    fn hear(&mut self, inputs: Vec<Input>) {
        for input in inputs {
            let Input::Membership(change) = input else { continue };
            let group = GroupId(roger::model::TopicId::from_packed(change.topic).unwrap().id());
            let known = self.told.entry(group).or_default().entry(UserId(change.user)).or_default();
            assert!(change.version > known.0 && change.joined != known.1, "{change:?} is no change: {known:?}");
            *known = (change.version, change.joined);
        }
    }
}

/// The company, which may all, and one of its desks are owners 0 and 1.
async fn apply(change: &Change, stores: &[Store; 2], owners: [UserId; 2], devices: &[UserId], model: &mut Model) {
    let users = |some: &[usize]| some.iter().map(|at| devices[*at]).collect::<Vec<_>>();
    let name = |name: u8| format!("group {name}");
    match change {
        Change::Make { owner, name: called, members } => {
            let free = !model.groups.values().any(|group| group.owner == *owner && group.name == name(*called));
            let wanted = NewGroup::Normal { name: name(*called) };
            let made = stores[*owner].create_group_of(owners[*owner], wanted, users(members), 7).await;
            assert_eq!(made.is_ok(), free, "{made:?}");
            if let Ok((group, _)) = made {
                let members = users(members).into_iter().chain([owners[*owner]]).collect();
                model.groups.insert(group, Known { owner: *owner, name: name(*called), session: None, members });
            }
        }
        Change::Temporary { owner, session, members } => {
            let tie = Tie { installation: InstallationId(1), session: SessionId(*session) };
            let made = stores[*owner].create_group_of(owners[*owner], NewGroup::Temporary(tie), users(members), 7).await;
            let group = made.unwrap().0;
            let before = model.groups.iter().find(|(_, known)| known.owner == *owner && known.session.is_some());
            assert!(before.is_none_or(|(before, _)| *before == group), "a second temporary group");
            let members = users(members).into_iter().chain([owners[*owner]]).collect();
            model.groups.insert(group, Known { owner: *owner, name: "temporary".to_owned(), session: Some(*session), members });
        }
        Change::End { owner, session } => {
            let store = &stores[*owner];
            let ended = store.dissolve_temporary(owners[*owner], InstallationId(1), Some(SessionId(*session)), 8).await.unwrap();
            let expected = model.groups.iter().find(|(_, known)| known.owner == *owner && known.session == Some(*session));
            assert_eq!(ended, expected.map(|(group, _)| *group));
            model.groups.retain(|group, _| Some(*group) != ended);
        }
        Change::Update { group, add, remove } => {
            let Some(group) = model.group(*group) else { return };
            let known = model.groups.get_mut(&group).unwrap();
            let (add, remove) = (users(add), users(remove));
            let good = if known.session.is_some() { remove.is_empty() } else { !add.iter().any(|user| remove.contains(user)) };
            let updated = stores[0].update_group(group, add.clone(), remove.clone(), 7).await;
            assert_eq!(updated.is_ok(), good, "{updated:?}");
            if good && known.session.is_some() {
                known.members = add.into_iter().chain([owners[known.owner]]).collect();
            } else if good {
                known.members.extend(add);
                known.members.retain(|user| !remove.contains(user));
            }
        }
        Change::Rename { group, name: called } => {
            let Some(group) = model.group(*group) else { return };
            let known = model.groups[&group].clone();
            let taken = model.groups.iter().any(|(other, its)| *other != group && its.owner == known.owner && its.name == name(*called));
            let renamed = stores[0].rename_group(group, &name(*called), 7).await;
            assert_eq!(renamed.is_ok(), !taken && known.session.is_none(), "{renamed:?}");
            if renamed.is_ok() {
                model.groups.get_mut(&group).unwrap().name = name(*called);
            }
        }
        Change::Dissolve { group } => {
            let Some(group) = model.group(*group) else { return };
            stores[0].dissolve_group(group, 8).await.unwrap();
            model.groups.remove(&group);
        }
    }
}

async fn check(store: &Store, model: &Model) {
    for (group, known) in &model.groups {
        let shown = store.group_with_members(*group).await.unwrap();
        assert_eq!(shown.group.name, known.name);
        assert_eq!(shown.members.iter().map(|member| member.id).collect::<BTreeSet<_>>(), known.members, "members of {group}");
        assert_eq!(shown.group.owner.map(|owner| known.members.contains(&owner)), Some(true));
    }
    for (group, told) in &model.told {
        let present: BTreeSet<UserId> = told.iter().filter(|(_, (_, joined))| *joined).map(|(user, _)| *user).collect();
        let expected = model.groups.get(group).map(|known| known.members.clone()).unwrap_or_default();
        assert_eq!(present, expected, "what the shards know of {group}");
    }
}

#[test]
fn members_are_who_they_should_be_after_any_changes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let played = TestRunner::new(config).run(&prop::collection::vec(change(), 1..40), |changes| {
        runtime.block_on(async {
            let database = Database::sqlite().await;
            let firm = firm(&database).await;
            let (owners, devices) = ([firm.company, firm.desk], [firm.radios, firm.radios].concat());
            let stores = owners.map(|owner| by(&database, owner));
            let mut model = Model::default();
            for change in &changes {
                apply(change, &stores, owners, &devices, &mut model).await;
                model.hear(drain(&database.store).await);
                check(&database.store, &model).await;
            }
        });
        Ok(())
    });
    played.unwrap();
}
