//! A fleet with a crew, and radios to talk with.

use roger::client::{Directory, Login};
use roger::model::{GroupId, InstallationId, TopicId};
use roger::proto::v1;

use super::radio::Radio;
use crate::support::fleet::{Fleet, FleetOptions};

/// A group of four with a dispatcher, somebody who is in no group, and somebody of another company with a group of their own.
const CREW: &str = r#"
[[tenant]]
name = "apollo"
[[tenant]]
name = "soyuz"
[[account]]
name = "neil"
kind = "device"
tenant = "apollo"
password = "neil"
[[account]]
name = "buzz"
kind = "device"
tenant = "apollo"
password = "buzz"
[[account]]
name = "mike"
kind = "device"
tenant = "apollo"
password = "mike"
[[account]]
name = "capcom"
kind = "dispatcher"
tenant = "apollo"
password = "capcom"
[[account]]
name = "guest"
kind = "device"
tenant = "apollo"
password = "guest"
[[account]]
name = "alexei"
kind = "device"
tenant = "soyuz"
password = "alexei"
[[group]]
name = "loop"
tenant = "apollo"
members = ["neil", "buzz", "mike", "capcom"]
[[group]]
name = "mir"
tenant = "soyuz"
members = ["alexei"]
"#;

/// A fleet with a crew.
pub struct Stage {
    pub fleet: Fleet,
    /// The group of everybody of apollo but the guest.
    pub group: TopicId,
}

impl Stage {
    /// Two edges and one of each other.
    pub async fn start() -> Self {
        Self::with(FleetOptions::default()).await
    }

    pub async fn with(options: FleetOptions) -> Self {
        // A Redis that stands still beside other tests is waited for; a test of that says so itself.
        let patient = ["redis.connect_timeout_ms", "redis.response_timeout_ms"].map(|key| (key, "10000".to_owned()));
        let overrides = patient.into_iter().chain(options.overrides).collect();
        let fleet = Fleet::start(FleetOptions { overrides, ..options });
        fleet.apply(CREW);
        let group = group_of(&fleet, "capcom").await;
        Self { fleet, group }
    }

    /// The only group of somebody.
    pub async fn group_of(&self, name: &str) -> TopicId {
        group_of(&self.fleet, name).await
    }

    /// A login of one of somebody's installations.
    pub async fn login(&self, name: &str, installation: u64) -> Login {
        login(&self.fleet, name, installation).await
    }

    /// A session of the first installation of somebody at an edge, once it follows the group.
    pub async fn radio(&self, edge: usize, name: &str) -> Radio {
        let login = self.login(name, 1).await;
        let mut radio = Radio::open(&self.fleet.edge(edge), hello(&login, 1)).await.unwrap();
        radio.follows(self.group).await;
        radio
    }
}

async fn login(fleet: &Fleet, name: &str, installation: u64) -> Login {
    Directory::new(&fleet.directory()).unwrap().login(name, name, InstallationId(installation)).await.unwrap()
}

async fn group_of(fleet: &Fleet, name: &str) -> TopicId {
    let token = login(fleet, name, 1).await.token;
    let groups = Directory::new(&fleet.directory()).unwrap().groups(&token).await.unwrap();
    assert_eq!(groups.len(), 1, "{groups:?}");
    TopicId::group(GroupId(groups[0].group_id))
}

/// A hello without marks.
pub fn hello(login: &Login, installation: u64) -> v1::Hello {
    v1::Hello { token: login.token.clone(), installation_id: installation, ..v1::Hello::default() }
}

/// A hello that says how far its installation is in one topic.
pub fn hello_at(login: &Login, installation: u64, topic: TopicId, place: v1::Place) -> v1::Hello {
    let marks = vec![v1::Mark { topic: Some(topic.into()), place: Some(place) }];
    v1::Hello { marks, ..hello(login, installation) }
}
