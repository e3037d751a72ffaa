//! Who is there: whoever has a session, until they say goodbye or are not heard.

use std::time::{Duration, Instant};

use roger::model::UserId;
use roger::proto::v1::{self, PresenceState};
use roger::session;

use super::radio::Radio;
use super::stage::{Stage, hello};
use crate::support::PATIENCE;
use crate::support::fleet::FleetOptions;
use crate::worker::handle;

/// The shards of a fleet that says nothing else.
const SHARDS: u32 = 16;
/// How long one looks before the next heartbeat is due.
const LOOK: Duration = Duration::from_millis(200);

/// Waits for a word of somebody's presence with a radio that goes on beating.
async fn sees_and_beats(radio: &mut Radio, user: u64, group: u64, state: PresenceState) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "user {user} is not told to be {state:?}: {:?}", radio.heard);
        radio.send(v1::ClientFrame { beat: Some(v1::Beat::default()), ..v1::ClientFrame::default() }).await;
        if tokio::time::timeout(LOOK, radio.sees(user, group, state)).await.is_ok() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_logged_in_is_not_there() {
    let stage = Stage::start().await;
    let redis = handle(&stage.fleet.redis);
    let sessions = async |user: UserId| {
        let wanted = session::Wanted { user: Some(user), limit: 10, ..session::Wanted::default() };
        session::list(&redis, SHARDS, &wanted).await.unwrap().sessions.len()
    };
    let mut capcom = stage.radio(0, "capcom").await;
    let login = stage.login("neil", 1).await;
    assert_eq!(sessions(login.user).await, 0);
    let neil = Radio::open(&stage.fleet.edge(1), hello(&login, 1)).await.unwrap();
    // The first that is told is the session: the login before was not.
    capcom.sees(login.user.0, stage.group.id(), PresenceState::Online).await;
    assert_eq!(sessions(login.user).await, 1);
    neil.send(v1::ClientFrame { goodbye: true, ..v1::ClientFrame::default() }).await;
    capcom.sees(login.user.0, stage.group.id(), PresenceState::Offline).await;
    assert_eq!((sessions(login.user).await, capcom.heard.presences.len()), (0, 2));
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn who_is_not_heard_is_told_to_be_gone_at_a_living_edge_and_at_a_dead_one() {
        let overrides = vec![("edge.heartbeat_interval_ms", "1000".to_owned())];
        let mut stage = Stage::with(FleetOptions { overrides, ..FleetOptions::default() }).await;
        let group = stage.group.id();
        let (first, second) = (stage.login("neil", 1).await, stage.login("buzz", 1).await);
        let mut capcom = stage.radio(0, "capcom").await;
        let _silent = Radio::open(&stage.fleet.edge(0), hello(&first, 1)).await.unwrap();
        sees_and_beats(&mut capcom, first.user.0, group, PresenceState::Online).await;
        let _cut_off = Radio::open(&stage.fleet.edge(1), hello(&second, 1)).await.unwrap();
        sees_and_beats(&mut capcom, second.user.0, group, PresenceState::Online).await;
        stage.fleet.kill9("edge-1");
        for user in [first.user.0, second.user.0] {
            sees_and_beats(&mut capcom, user, group, PresenceState::Offline).await;
            let told: Vec<_> = capcom.heard.presences.iter().filter(|told| told.user_id == user).map(v1::Presence::state).collect();
            assert_eq!(told, [PresenceState::Online, PresenceState::Offline]);
        }
        assert!(capcom.heard.close.is_none(), "whoever beats stays: {:?}", capcom.heard.close);
    }
}
