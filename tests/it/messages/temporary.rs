//! Temporary groups live as long as the session they were made in.

use roger::client::Login;
use roger::model::{GroupId, TopicId};
use roger::proto::v1;
use roger::proto::v1::talk_cloud_client::TalkCloudClient;
use roger::proto::v1::web_service_client::WebServiceClient;
use tonic::transport::Channel;

use super::radio::Radio;
use super::stage::{Stage, hello};
use crate::support::fleet::FleetOptions;
use crate::support::{PATIENCE, eventually};

/// The installation of the dispatcher's page.
const PAGE: u64 = 0xf000_0000_0000_0009;

struct Desk {
    stage: Stage,
    login: Login,
    web: WebServiceClient<Channel>,
    groups: TalkCloudClient<Channel>,
}

impl Desk {
    /// The dispatcher's desk, where sessions end soon when nothing is heard of them.
    async fn open() -> Self {
        let overrides = vec![("edge.heartbeat_interval_ms", "1000".to_owned())];
        let stage = Stage::with(FleetOptions { overrides, ..FleetOptions::default() }).await;
        let login = stage.login("capcom", PAGE).await;
        let web = WebServiceClient::connect(stage.fleet.directory()).await.unwrap();
        let groups = TalkCloudClient::connect(stage.fleet.directory()).await.unwrap();
        Self { stage, login, web, groups }
    }

    async fn page(&self, edge: usize) -> Radio {
        let mut page = Radio::open(&self.stage.fleet.edge(edge), hello(&self.login, PAGE)).await.unwrap();
        page.beat().await;
        page
    }

    /// Makes the temporary group of a page.
    async fn make(&mut self, page: &Radio) -> u64 {
        let request = v1::WebCreateGroupRequest {
            token: self.login.token.clone(),
            kind: v1::GroupKind::Temporary.into(),
            session_id: page.heard.welcome.session_id,
            installation_id: PAGE,
            ..Default::default()
        };
        self.web.web_create_group(request).await.unwrap().into_inner().group_id
    }

    async fn is_there(&mut self, group: u64) -> bool {
        let request = v1::GetGroupListRequest { token: self.login.token.clone(), ..Default::default() };
        let groups = self.groups.get_group_list(request).await.unwrap().into_inner().groups;
        groups.iter().any(|found| found.group_id == group)
    }

    async fn ends(&mut self, group: u64, why: &str) {
        let desk = tokio::sync::Mutex::new(self);
        eventually(why, async || (!desk.lock().await.is_there(group).await).then_some(())).await;
    }
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_temporary_group_ends_on_refresh_goodbye_logout_and_expiry() {
        let mut desk = Desk::open().await;
        // The page is loaded again, at another edge: the same installation with a new session.
        let first = desk.page(0).await;
        let group = desk.make(&first).await;
        let mut second = desk.page(1).await;
        let begun = std::time::Instant::now();
        while desk.is_there(group).await {
            assert!(begun.elapsed() < PATIENCE, "the group of the page before the refresh stays");
            second.beat().await;
        }
        second.beat().await;
        let left = |heard: &crate::messages::radio::Heard| {
            let left = heard.entries.iter().filter_map(|entry| match &entry.notice {
                Some(v1::entry::Notice::Left(left)) if left.group_id == group => Some(left.why()),
                _ => None,
            });
            left.into_iter().next()
        };
        assert_eq!(second.until("it is told", left).await, v1::LeftWhy::Dissolved);
        drop(first);

        // It says goodbye.
        let group = desk.make(&second).await;
        second.send(v1::ClientFrame { goodbye: true, ..Default::default() }).await;
        desk.ends(group, "the group of a page that said goodbye").await;

        // It is heard of no more.
        let silent = desk.page(0).await;
        let group = desk.make(&silent).await;
        drop(silent);
        desk.ends(group, "the group of a page that went away").await;

        // A logout ends it before it answers.
        let page = desk.page(0).await;
        let group = desk.make(&page).await;
        assert!(desk.is_there(group).await);
        desk.groups.logout(v1::LogoutRequest { token: desk.login.token.clone(), ..Default::default() }).await.unwrap();
        desk.login = desk.stage.login("capcom", PAGE + 1).await;
        assert!(!desk.is_there(group).await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_temporary_group_outlives_a_redis_that_lost_everything_while_its_session_lives() {
        let mut desk = Desk::open().await;
        let other = "[[account]]\nname = \"houston\"\nkind = \"dispatcher\"\ntenant = \"apollo\"\npassword = \"houston\"\n";
        desk.stage.fleet.apply(other);
        let mut page = desk.page(0).await;
        let group = desk.make(&page).await;
        page.follows(TopicId::group(GroupId(group))).await;
        desk.stage.fleet.redis.flushall();
        // Somebody else's, of a session that nobody has, tells when one that is gone has ended.
        let token = desk.stage.login("houston", PAGE).await.token;
        let kind = v1::GroupKind::Temporary.into();
        let request = v1::WebCreateGroupRequest { token: token.clone(), kind, session_id: 1, installation_id: PAGE, ..Default::default() };
        desk.web.web_create_group(request).await.unwrap();
        let mut alone = desk.groups.clone();
        let begun = std::time::Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "the group of nobody's session stays");
            page.beat().await;
            let request = v1::GetGroupListRequest { token: token.clone(), ..Default::default() };
            if alone.get_group_list(request).await.unwrap().into_inner().groups.is_empty() {
                break;
            }
        }
        assert!(desk.is_there(group).await);
        page.send(v1::ClientFrame { goodbye: true, ..Default::default() }).await;
        desk.ends(group, "the group of a page that said goodbye").await;
    }
}
