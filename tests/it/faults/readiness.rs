//! Edges that are of no use for a while, and say so.

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::options;
use crate::support::eventually;
use crate::support::fleet::{Fleet, FleetOptions};

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_without_redis_says_that_it_does_not_serve_until_it_does() {
    let fleet = Fleet::start(FleetOptions { edges: 1, ..options() });
    let client = HealthClient::new(Endpoint::from_shared(fleet.edge(0)).unwrap().connect().await.unwrap());
    let says = |expected: ServingStatus| {
        let client = client.clone();
        async move {
            for service in ["", "roger.v1.TalkCloud"] {
                let (client, service) = (client.clone(), service.to_owned());
                eventually(&format!("{service:?} is {expected:?}"), || {
                    let (mut client, request) = (client.clone(), HealthCheckRequest { service: service.clone() });
                    async move { (client.check(request).await.ok()?.into_inner().status() == expected).then_some(()) }
                })
                .await;
            }
        }
    };
    says(ServingStatus::Serving).await;
    fleet.redis.stop();
    says(ServingStatus::NotServing).await;
    fleet.redis.cont();
    says(ServingStatus::Serving).await;
}
