//! Companies with desks and radios, made as their people make them: over the directory's calls.

use roger::client::{Directory, Login};
use roger::clock::Clock;
use roger::directory::{AccountSpec, Passwords, Registry};
use roger::model::{InstallationId, UserKind};
use roger::proto::v1;
use roger::proto::v1::alert_service_client::AlertServiceClient;
use roger::proto::v1::friend_service_client::FriendServiceClient;
use roger::proto::v1::group_service_client::GroupServiceClient;
use roger::proto::v1::location_service_client::LocationServiceClient;
use roger::proto::v1::web_service_client::WebServiceClient;
use roger::store::Store;
use tonic::transport::Channel;

/// Of everybody but radios.
const PASSWORD: &str = "a long password";

/// The services of a directory.
#[derive(Clone)]
pub struct Desk {
    pub web: WebServiceClient<Channel>,
    pub groups: GroupServiceClient<Channel>,
    pub friends: FriendServiceClient<Channel>,
    pub locations: LocationServiceClient<Channel>,
    pub alerts: AlertServiceClient<Channel>,
    directory: Directory,
}

/// An account and a token of it.
#[derive(Clone, Debug)]
pub struct Somebody {
    pub id: u64,
    /// The login name; of a radio its IMEI.
    pub name: String,
    pub password: String,
    pub login: Login,
}

impl Somebody {
    pub fn token(&self) -> String {
        self.login.token.clone()
    }
}

/// The operator of a deployment, made in its store.
pub async fn root(store: &Store) {
    let registry = Registry::new(store.clone(), Passwords::new(1).unwrap(), Clock::system());
    let (name, tenant) = ("root".to_owned(), "root".to_owned());
    let spec = AccountSpec { nickname: name.clone(), name, kind: UserKind::Root, tenant, password: Some(PASSWORD.to_owned()) };
    registry.add_account(&spec).await.unwrap();
}

impl Desk {
    /// At the directory of that address.
    pub async fn at(directory: &str) -> Self {
        let url = || directory.to_owned();
        Self {
            web: WebServiceClient::connect(url()).await.unwrap(),
            groups: GroupServiceClient::connect(url()).await.unwrap(),
            friends: FriendServiceClient::connect(url()).await.unwrap(),
            locations: LocationServiceClient::connect(url()).await.unwrap(),
            alerts: AlertServiceClient::connect(url()).await.unwrap(),
            directory: Directory::new(directory).unwrap(),
        }
    }

    pub async fn log_in(&self, name: &str, password: &str, installation: u64) -> Login {
        self.directory.login(name, password, InstallationId(installation)).await.unwrap()
    }

    /// The operator, whom [`root`] made.
    pub async fn root(&self) -> Somebody {
        self.somebody(0, "root", PASSWORD).await
    }

    async fn somebody(&self, id: u64, name: &str, password: &str) -> Somebody {
        let login = self.log_in(name, password, 7).await;
        assert!(id == 0 || login.user.0 == id);
        Somebody { id: login.user.0, name: name.to_owned(), password: password.to_owned(), login }
    }

    /// An account right below another one.
    pub async fn account(&mut self, above: &Somebody, kind: v1::UserKind, name: &str) -> Somebody {
        let (token, name, kind, password) = (above.token(), name.to_owned(), kind.into(), PASSWORD.to_owned());
        let request = v1::CreateAccountRequest { token, name: name.clone(), kind, password, ..Default::default() };
        let made = self.web.create_account(request).await.unwrap().into_inner();
        self.somebody(made.account_id, &name, PASSWORD).await
    }

    /// Radios of a desk, which a company imports.
    pub async fn radios(&mut self, company: &Somebody, desk: &Somebody, imeis: &[&str]) -> Vec<Somebody> {
        let device = |imei: &&str| v1::ImportedDevice { imei: (*imei).to_owned(), ..Default::default() };
        let devices = imeis.iter().map(device).collect();
        let request = v1::ImportDeviceByRootRequest { token: company.token(), receiver_id: desk.id, devices };
        let answers = self.web.import_device_by_root(request).await.unwrap().into_inner().answers;
        let mut radios = Vec::new();
        for answer in answers {
            assert_eq!(answer.outcome(), v1::ImportOutcome::Imported, "{answer:?}");
            radios.push(self.somebody(answer.device_id, &answer.imei, &answer.enrolment_code).await);
        }
        radios
    }

    /// A group of a desk, itself in it.
    pub async fn group(&mut self, desk: &Somebody, name: &str, members: &[&Somebody]) -> u64 {
        let device_ids = members.iter().map(|member| member.id).collect();
        let kind = v1::GroupKind::Normal.into();
        let request = v1::WebCreateGroupRequest { token: desk.token(), kind, name: name.to_owned(), device_ids, ..Default::default() };
        self.web.web_create_group(request).await.unwrap().into_inner().group_id
    }
}
