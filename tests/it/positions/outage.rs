//! SQL is away for long: where devices are goes on, and traces follow.

mod long {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use roger::broker::keys;
    use roger::clock::Clock;
    use roger::model::{TenantId, UserId};
    use roger::proto::v1;
    use roger::proto::v1::talk_cloud_location_client::TalkCloudLocationClient;

    use crate::alerts::{Scene, report_at};
    use crate::gateway::counted;
    use crate::positions::live::{report, sees, watch};
    use crate::support::fleet::{FleetOptions, SqlServer};
    use crate::support::{PATIENCE, company::Somebody, eventually, ports};
    use crate::worker::handle;

    const SHARDS: u32 = 16;
    const DAY_MS: u64 = 86_400_000;
    /// Far more than gps holds: each is a frame of its own.
    const REPORTS: u64 = 2_200;
    /// The default of `shutdown.grace_ms`.
    const GRACE: Duration = Duration::from_secs(6);
    /// How far behind what is known of a device may be.
    const SOON: Duration = Duration::from_secs(8);

    /// One report a call, and one call behind the other: what the radios of an edge see, their numbers from `numbers`.
    async fn drive(edge: String, radios: Vec<Somebody>, from_ms: u64, numbers: impl Iterator<Item = u64>) {
        let mut client = TalkCloudLocationClient::connect(edge).await.unwrap();
        for number in numbers {
            let radio = &radios[number as usize % radios.len()];
            let fix = v1::Fix { time_ms: from_ms + number * 1_000, latitude: latitude(number), longitude: 13.0, ..v1::Fix::default() };
            let reports = vec![v1::Report { fix: Some(fix), ..v1::Report::default() }];
            let answers = client.report_gps_data(v1::ReportGpsDataRequest { token: radio.token(), reports, ..Default::default() }).await;
            assert_eq!(answers.unwrap().into_inner().answers[0].reason, 0, "report {number}");
        }
    }

    fn latitude(number: u64) -> f64 {
        10.0 + number as f64 / 1_000.0
    }

    /// How many frames gps noted ahead of SQL.
    async fn followed(metrics: &str) -> u64 {
        counted(metrics, "roger_fix_frames_followed_total").await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn positions_follow_while_sql_is_away_and_traces_are_complete_afterwards() {
        let metrics = format!("127.0.0.1:{}", ports::free());
        let overrides = vec![("metrics.gps_listen", format!("{metrics:?}")), ("sql.statement_timeout_ms", "2000".to_owned())];
        let mut scene = Scene::with(FleetOptions { gps: 1, sql: SqlServer::MariaDb, overrides, ..FleetOptions::default() }).await;
        let (radios, redis) = (scene.radios.clone(), handle(&scene.fleet.redis));
        let users: Vec<UserId> = radios.iter().map(|radio| UserId(radio.id)).collect();
        let tenant: TenantId = scene.store.account(users[0]).await.unwrap().unwrap().tenant;
        let mut desk = scene.on(1, &scene.first).await;
        watch(&scene, 1, &desk, true).await.unwrap();
        let from_ms = Clock::system().now_ms() - (REPORTS + 100) * 1_000;
        let (edges, frames) = (scene.fleet.edges(), [keys::fix()]);
        let all_in = async || (redis.lengths(&frames).await.ok()? == [0]).then_some(());

        // While SQL takes what comes, nothing is noted ahead of it.
        drive(edges[0].clone(), radios.clone(), from_ms, 0..90).await;
        for number in [87, 88, 89] {
            sees(&mut desk, &radios[number as usize % 3], latitude(number)).await;
        }
        eventually("SQL has them", all_in).await;
        assert_eq!(followed(&metrics).await, 0);

        scene.fleet.mariadb.as_ref().unwrap().stop();
        let halves = [0, 1].map(|edge| {
            let numbers = (90..REPORTS).filter(move |number| number % 2 == edge);
            tokio::spawn(drive(edges[edge as usize].clone(), radios.clone(), from_ms, numbers))
        });
        for half in halves {
            half.await.unwrap();
        }
        let newest: BTreeMap<UserId, u64> = (REPORTS - 3..REPORTS).map(|number| (users[number as usize % 3], number)).collect();
        let known = async || {
            let live = redis.live_of(&users, SHARDS).await.ok()?;
            let at = |(user, live): (&UserId, &roger::broker::Live)| {
                live.position.is_some_and(|position| {
                    position.fix_ms == from_ms + newest[user] * 1_000 && position.latitude == latitude(newest[user])
                })
            };
            users.iter().zip(&live).all(at).then_some(())
        };
        tokio::time::timeout(SOON, eventually("Redis knows where they are", known)).await.expect("the last-known positions follow soon");
        for user in &users {
            let placed_ms = scene.fleet.redis.cli(&["ZSCORE", &keys::near_at(tenant), &user.to_string()]);
            assert_eq!(placed_ms.trim(), (from_ms + newest[user] * 1_000).to_string(), "where {user} is among others");
        }
        // Who watches sees what comes from now on too.
        report(&scene, &radios[0], report_at(47.0, 13.0)).await;
        tokio::time::timeout(SOON, sees(&mut desk, &radios[0], 47.0)).await.expect("desks see it soon");
        // Not all of it, for what gps holds it noted as it took it; nothing of it is done.
        let waiting = redis.lengths(&frames).await.unwrap()[0];
        assert!(waiting > 1_500, "only {waiting} frames wait: reports shared them");
        assert!(followed(&metrics).await > 1_000);

        // A gps that stops does so in time, and one that starts follows from where the group stands.
        let begun = Instant::now();
        assert!(scene.fleet.terminate("gps-0").success());
        assert!(begun.elapsed() < GRACE + Duration::from_secs(1), "it took {:?}", begun.elapsed());
        scene.fleet.relaunch("gps-0");
        report(&scene, &radios[1], report_at(48.0, 13.0)).await;
        let known = async || {
            let position = redis.live_of(&users, SHARDS).await.ok()?[1].position;
            position.is_some_and(|position| position.latitude == 48.0).then_some(())
        };
        tokio::time::timeout(SOON, eventually("Redis knows where it is", known)).await.expect("another gps follows soon");

        scene.fleet.mariadb.as_ref().unwrap().resume();
        // One that SQL has, and one that waits for it, once more.
        drive(edges[1].clone(), radios.clone(), from_ms, [0, REPORTS - 1].into_iter()).await;
        tokio::time::timeout(PATIENCE * 4, async {
            while all_in().await.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
        })
        .await
        .expect("SQL has everything again");
        let mut sums = [0; 4];
        for user in &users {
            for day in [from_ms / DAY_MS, from_ms / DAY_MS + 1] {
                let Some(fate) = scene.store.fate(*user, day).await.unwrap() else { continue };
                assert!(fate.adds_up(), "{fate:?}");
                sums = [sums[0] + fate.received, sums[1] + fate.stored, sums[2] + fate.duplicate, sums[3] + fate.refused];
            }
        }
        assert_eq!(sums, [REPORTS + 4, REPORTS + 2, 2, 0], "received, stored, duplicate, refused");
        for user in users {
            let rows = scene.store.trace_page(&[user], from_ms, from_ms + REPORTS * 1_000, false, None, 10_000).await.unwrap();
            let times: Vec<u64> = rows.iter().map(|row| row.key.fix_ms).collect();
            let numbers = (0..REPORTS).filter(|number| users_of(&radios, *number) == user);
            assert_eq!(times, numbers.map(|number| from_ms + number * 1_000).collect::<Vec<_>>(), "the trace of {user}");
        }
    }

    fn users_of(radios: &[Somebody], number: u64) -> UserId {
        UserId(radios[number as usize % radios.len()].id)
    }
}
