//! Groups and friends over gRPC, with a Redis that says who is there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use roger::broker;
use roger::model::{InstallationId, Reason, SessionId, UserId, UserKind};
use roger::proto::status::Refused;
use roger::proto::v1;
use roger::proto::v1::friend_service_client::FriendServiceClient;
use roger::proto::v1::group_service_client::GroupServiceClient;
use roger::proto::v1::web_service_client::WebServiceClient;
use roger::session::Presence;
use sqlx::{Connection as _, Executor as _};
use tonic::transport::Channel;

use super::{CREW, Client, Ground, Running, SETTLES, by_password, log_in, refused};
use crate::support::redis::Redis;

/// A directory with the crew, whose radios are those of the dispatcher.
struct Crew {
    redis: Redis,
    ground: Ground,
    running: Running,
    talk: Client,
    web: WebServiceClient<Channel>,
    groups: GroupServiceClient<Channel>,
    friends: FriendServiceClient<Channel>,
    neil: v1::LoginResponse,
    buzz: v1::LoginResponse,
    capcom: v1::LoginResponse,
    alexei: v1::LoginResponse,
}

impl Crew {
    async fn start() -> Self {
        let redis = Redis::start();
        let ground = Ground::new(&redis.url());
        ground.apply(CREW).await.unwrap();
        let below =
            "UPDATE account SET parent = (SELECT id FROM (SELECT id FROM account WHERE name = 'capcom') c) WHERE name IN ('neil', 'buzz')";
        sql(&ground, below).await;
        let running = ground.start(&[]).await;
        let mut talk = running.client().await;
        let url = || running.url.clone();
        let web = WebServiceClient::connect(url()).await.unwrap();
        let groups = GroupServiceClient::connect(url()).await.unwrap();
        let friends = FriendServiceClient::connect(url()).await.unwrap();
        let neil = log_in(&mut talk, by_password("neil", "eagle")).await;
        let buzz = log_in(&mut talk, by_password("buzz", "lunar")).await;
        let capcom = log_in(&mut talk, by_password("capcom", "go")).await;
        let alexei = log_in(&mut talk, by_password("alexei", "mir")).await;
        Self { redis, ground, running, talk, web, groups, friends, neil, buzz, capcom, alexei }
    }

    /// A session of somebody, as an edge opens it.
    async fn on_air(&self, user: u64) {
        let settings = broker::Settings {
            url: self.redis.url(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(5),
            replication: roger::broker::Replication::none(),
        };
        let redis = broker::Redis::new(settings).unwrap();
        let presence = Presence::new(UserId(user), InstallationId(7), SessionId(user), "edge", "edge", 1);
        presence.open(&redis, self.ground.shards.into(), UserKind::Device, u64::MAX / 4_096).await.unwrap();
    }

    async fn info(&mut self, token: &str, group_id: u64) -> v1::Group {
        let request = v1::GetGroupInfoRequest { token: token.to_owned(), group_id };
        self.groups.get_group_info(request).await.unwrap().into_inner().group.unwrap()
    }
}

async fn sql(ground: &Ground, statement: &str) {
    let mut connection = sqlx::SqliteConnection::connect(&ground.sql()).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.unwrap();
}

fn of_kind(token: &str, kind: v1::GroupKind, name: &str) -> v1::WebCreateGroupRequest {
    v1::WebCreateGroupRequest { token: token.to_owned(), kind: kind.into(), name: name.to_owned(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_makes_changes_and_ends_groups() {
    let mut crew = Crew::start().await;
    let token = crew.capcom.token.clone();
    let alone = crew.web.web_create_group(of_kind(&token, v1::GroupKind::Normal, "alone")).await.unwrap().into_inner();
    assert_eq!(alone.version, 1);
    let shown = crew.info(&token, alone.group_id).await;
    assert_eq!((shown.owner_id, shown.members.len(), shown.members[0].role()), (crew.capcom.user_id, 1, v1::MemberRole::Owner));

    let group_id = alone.group_id;
    let radios = vec![crew.neil.user_id, crew.buzz.user_id];
    let update = v1::UpdateGroupRequest { token: token.clone(), group_id, add_ids: radios.clone(), ..Default::default() };
    let updated = crew.web.update_group(update).await.unwrap().into_inner();
    assert_eq!((updated.joined, updated.left, updated.version), (2, 0, 3));
    let role =
        v1::UpdateGroupManagerRequest { token: token.clone(), group_id, user_ids: radios.clone(), role: v1::MemberRole::Manager.into() };
    crew.web.update_group_manager(role.clone()).await.unwrap();
    crew.on_air(crew.neil.user_id).await;
    let shown = crew.info(&token, group_id).await;
    let members: Vec<_> = shown.members.iter().map(|member| (member.user_id, member.role(), member.presence())).collect();
    let (manager, owner) = (v1::MemberRole::Manager, v1::MemberRole::Owner);
    let (offline, online) = (v1::PresenceState::Offline, v1::PresenceState::Online);
    let expected = [(radios[0], manager, online), (radios[1], manager, offline), (crew.capcom.user_id, owner, offline)];
    assert_eq!((members, shown.online, shown.in_room), (expected.to_vec(), 1, 0));
    let info = v1::UpdateGroupInfoRequest { token: crew.neil.token.clone(), group_id, name: "together".to_owned() };
    let begun = Instant::now();
    assert_eq!(crew.web.update_group_info(info.clone()).await.unwrap().into_inner().version, 4);
    let settled = crew.ground.store().await.outbox(0, 1).await.unwrap().is_empty();
    assert!(settled || begun.elapsed() > SETTLES, "the shards have heard when the call answers");

    // Refusals by name.
    let missing = |field| Refused::new(Reason::FieldMissing).field(field);
    let invalid = |field| Refused::new(Reason::FieldInvalid).field(field);
    let temporary = of_kind(&token, v1::GroupKind::Temporary, "");
    assert_eq!(refused(crew.web.web_create_group(temporary.clone()).await), missing("session_id"));
    let temporary = v1::WebCreateGroupRequest { session_id: 5, ..temporary };
    assert_eq!(refused(crew.web.web_create_group(temporary).await), missing("installation_id"));
    assert_eq!(refused(crew.web.web_create_group(of_kind(&token, v1::GroupKind::Unspecified, "x")).await), missing("kind"));
    assert_eq!(refused(crew.web.web_create_group(of_kind(&token, v1::GroupKind::Call, "x")).await), invalid("kind"));
    assert_eq!(refused(crew.web.web_create_group(of_kind(&token, v1::GroupKind::Normal, "")).await), missing("name"));
    assert_eq!(refused(crew.web.web_create_group(of_kind(&token, v1::GroupKind::Normal, &"x".repeat(101))).await), invalid("name"));
    assert_eq!(refused(crew.web.web_create_group(of_kind("", v1::GroupKind::Normal, "x")).await), missing("token"));
    let many = v1::WebCreateGroupRequest { device_ids: vec![1; 5_001], ..of_kind(&token, v1::GroupKind::Normal, "x") };
    assert_eq!(refused(crew.web.web_create_group(many).await), Refused::new(Reason::TooMany).field("device_ids"));
    let taken = of_kind(&token, v1::GroupKind::Normal, "together");
    assert_eq!(refused(crew.web.web_create_group(taken).await), Refused::new(Reason::NameTaken).field("name"));
    let unknown = v1::UpdateGroupManagerRequest { role: 9, ..role.clone() };
    assert_eq!(refused(crew.web.update_group_manager(unknown).await), invalid("role"));
    let nobody = v1::UpdateGroupManagerRequest { user_ids: vec![], ..role.clone() };
    assert_eq!(refused(crew.web.update_group_manager(nobody).await), missing("user_ids"));
    // A manager takes in and out, and no more; others nothing.
    let delete = |token: &str| v1::DeleteGroupRequest { token: token.to_owned(), group_id };
    for somebody in [&crew.neil.token.clone(), &crew.alexei.token.clone()] {
        assert_eq!(refused(crew.web.delete_group(delete(somebody)).await), Reason::NotPermitted.into());
    }
    let stranger = v1::UpdateGroupInfoRequest { token: crew.alexei.token.clone(), ..info };
    assert_eq!(refused(crew.web.update_group_info(stranger).await), Reason::NotPermitted.into());
    crew.web.delete_group(delete(&token)).await.unwrap();
    assert_eq!(refused(crew.web.delete_group(delete(&token)).await), Reason::NotPermitted.into());
    crew.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_call_each_other_and_are_friends() {
    let mut crew = Crew::start().await;
    let (neil, buzz) = (crew.neil.clone(), crew.buzz.clone());
    let request = v1::CreateGroupRequest { token: neil.token.clone(), name: String::new(), user_ids: vec![crew.capcom.user_id] };
    let group_id = crew.groups.create_group(request).await.unwrap().into_inner().group_id;
    let shown = crew.info(&neil.token, group_id).await;
    assert_eq!((shown.name, shown.kind, shown.owner_id), (format!("call {group_id}"), v1::GroupKind::Call.into(), neil.user_id));

    let join = v1::JoinGroupRequest { token: buzz.token.clone(), group_id };
    assert_eq!(refused(crew.groups.join_group(join.clone()).await), Reason::NotPermitted.into());
    let ask = |from: &v1::LoginResponse, to: &v1::LoginResponse| v1::AddFriendRequest { token: from.token.clone(), user_id: to.user_id };
    assert!(!crew.friends.add_friend(ask(&neil, &buzz)).await.unwrap().into_inner().friends);
    crew.on_air(neil.user_id).await;
    let list = v1::GetFriendListRequest { token: buzz.token.clone(), ..Default::default() };
    let asks = crew.friends.get_friend_list(list.clone()).await.unwrap().into_inner().friends.remove(0);
    assert_eq!((asks.state(), asks.presence()), (v1::FriendState::Asks, v1::PresenceState::Unspecified));
    assert!(crew.friends.add_friend(ask(&buzz, &neil)).await.unwrap().into_inner().friends);
    let friend = crew.friends.get_friend_list(list).await.unwrap().into_inner().friends.remove(0);
    assert_eq!((friend.user_id, friend.state(), friend.presence()), (neil.user_id, v1::FriendState::Friends, v1::PresenceState::Online));
    crew.groups.join_group(join).await.unwrap();

    let exit = |who: &v1::LoginResponse| v1::ExitGrpRequest { token: who.token.clone(), group_id };
    assert_eq!(refused(crew.groups.exit_grp(exit(&neil)).await), Reason::InUse.into());
    crew.groups.exit_grp(exit(&buzz)).await.unwrap();
    let invite = v1::InviteUserIntoGroupRequest { token: neil.token.clone(), group_id, user_ids: vec![buzz.user_id] };
    assert_eq!(crew.groups.invite_user_into_group(invite).await.unwrap().into_inner().joined, 1);
    let text = "CALL".to_owned();
    let found = crew.groups.search_group(v1::SearchGroupRequest { token: buzz.token.clone(), text }).await.unwrap().into_inner().groups;
    assert_eq!(found.iter().map(|found| (found.group_id, found.member)).collect::<Vec<_>>(), [(group_id, true)]);
    let remove = v1::RemoveGrpUserRequest { token: neil.token.clone(), group_id, user_id: buzz.user_id };
    crew.groups.remove_grp_user(remove).await.unwrap();
    crew.groups.remove_grp(v1::RemoveGrpRequest { token: neil.token.clone(), group_id }).await.unwrap();
    let gone = crew.groups.get_group_info(v1::GetGroupInfoRequest { token: neil.token.clone(), group_id }).await;
    assert_eq!(refused(gone), Reason::NotPermitted.into());

    let key = |text: &str| v1::SearchUserByKeyRequest { token: neil.token.clone(), text: text.to_owned() };
    assert_eq!(refused(crew.friends.search_user_by_key(key("b")).await), Refused::new(Reason::FieldInvalid).field("text"));
    let found = crew.friends.search_user_by_key(key("bu")).await.unwrap().into_inner().users;
    assert_eq!(found.iter().map(|user| (user.user_id, user.state())).collect::<Vec<_>>(), [(buzz.user_id, v1::FriendState::Friends)]);
    let end = v1::DelFriendRequest { token: buzz.token.clone(), user_id: neil.user_id };
    crew.friends.del_friend(end).await.unwrap();
    assert_eq!(refused(crew.friends.add_friend(ask(&neil, &crew.alexei)).await), Reason::NotPermitted.into());
    crew.running.stop().await;
}

mod long {
    use super::*;

    /// Neil's groups, each with 199 of 400 others.
    const GROUPS: u64 = 500;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_of_many_groups_asks_for_each_member_once() {
        let mut crew = Crew::start().await;
        let neil = crew.neil.user_id;
        let numbers = |last: u64| format!("WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})");
        let people = format!(
            "INSERT INTO account (id, name, nickname, kind, tenant, password, version, created_ms, disabled) \
             {} SELECT 1000 + i, 'many ' || i, 'many', 1, 1, '', 1, 0, 0 FROM n",
            numbers(399)
        );
        sql(&crew.ground, &people).await;
        let groups = numbers(GROUPS - 1);
        sql(&crew.ground, &format!("INSERT INTO grp (id, tenant, name, version) {groups} SELECT 1000 + i, 1, 'group ' || i, 200 FROM n"))
            .await;
        let members = format!(
            "INSERT INTO grp_member (grp, account, version, present) \
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {}), \
             m (j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM m WHERE j < 198) \
             SELECT 1000 + i, 1000 + (i + j * 2) % 400, 1, 1 FROM n, m",
            GROUPS - 1
        );
        sql(&crew.ground, &members).await;
        let own = format!("INSERT INTO grp_member (grp, account, version, present) SELECT id, {neil}, 200, 1 FROM grp WHERE id >= 1000");
        sql(&crew.ground, &own).await;
        crew.on_air(1_001).await;
        crew.on_air(1_002).await;

        crew.redis.cli(&["CONFIG", "RESETSTAT"]);
        let (mut seen, mut asked, mut pages, mut after_group_id) = (0, 0, 0, 0);
        let begun = std::time::Instant::now();
        loop {
            let request = v1::GetGroupListRequest { token: crew.neil.token.clone(), after_group_id, limit: 0 };
            let page = crew.talk.get_group_list(request).await.unwrap().into_inner();
            let users: BTreeSet<u64> = page.groups.iter().flat_map(|group| &group.members).map(|member| member.user_id).collect();
            for group in page.groups.iter().filter(|group| group.group_id >= 1_000) {
                let online = group.members.iter().filter(|member| [1_001, 1_002].contains(&member.user_id));
                let online: Vec<v1::PresenceState> = online.map(v1::Member::presence).collect();
                assert!(online.iter().all(|state| *state == v1::PresenceState::Online), "{online:?}");
                assert_eq!((group.members.len(), group.online as usize), (200, online.len()));
            }
            (seen, asked, pages) = (seen + page.groups.len() as u64, asked + users.len(), pages + 1);
            after_group_id = page.groups.last().unwrap().group_id;
            if !page.more {
                break;
            }
        }
        println!("{seen} groups in {pages} pages: {:?}", begun.elapsed());
        assert_eq!(seen, GROUPS + 1);
        let stats = crew.redis.cli(&["INFO", "commandstats"]);
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hlen:calls=")).unwrap();
        let calls: usize = calls.split(',').next().unwrap().parse().unwrap();
        assert_eq!(calls, asked, "of {} memberships on {pages} pages", seen * 200);
        crew.running.stop().await;
    }
}
