//! Two operators for one namespace: one works, by the lease, and the other goes on where it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, ServerPhase};
use imcluster_tests::operator::{Fate, Faults, Operator, Side, Tenant, World, Written};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::timeout;

use super::ids;

/// Longest wait for a change of the leader: a lease lasts 15 s.
const CHANGE: Duration = Duration::from_mins(1);

/// One that leads, and one that stands by.
async fn pair(test: &str, leader: &Arc<Faults>) -> (Tenant, Operator, Operator, Arc<Faults>) {
    let world = World::shared().await;
    let tenant = world.tenant(test).await;
    let mut first = Operator::seek(world, &tenant, leader, "first").unwrap();
    timeout(CHANGE, first.leads()).await.expect("it leads soon").unwrap();
    let faults = Arc::<Faults>::default();
    let second = Operator::seek(world, &tenant, &faults, "second").unwrap();
    (tenant, first, second, faults)
}

fn sent(faults: &Faults) -> Vec<Written> {
    faults.writes().all()
}

/// When the last write of somebody was over, or began if it never was.
fn last(writes: &[Written]) -> Instant {
    writes.iter().map(|written| written.ended.unwrap_or(written.began)).max().expect("it has written")
}

fn first(writes: &[Written]) -> Instant {
    writes.iter().map(|written| written.began).min().expect("it has written")
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn when_the_leader_dies_in_the_middle_the_other_one_takes_over_and_finishes() {
    let dies = Faults::of_writes(|write, _| {
        if (write.verb, write.resource.as_str()) == ("apply", "services") {
            Fate::Dies(Side::After)
        } else {
            Fate::Lands
        }
    });
    let (tenant, leader, _other, others) = pair("killed", &dies).await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    timeout(CHANGE, leader.died()).await.expect("it dies at its first Service");
    assert!(sent(&others).is_empty(), "the other one only watches");
    drop(leader);
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(ids(&cluster), [(0, ServerPhase::Serving), (1, ServerPhase::Serving)]);
    assert!(last(&sent(&dies)) < first(&sent(&others)));
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_leader_that_is_cut_off_from_the_lease_stops_writing_before_the_other_one_begins() {
    let leaders = Arc::<Faults>::default();
    let (tenant, mut leader, mut other, others) = pair("cut", &leaders).await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;

    // Somebody disturbs what they make, all the time, so that there is always something to write.
    let maps = tenant.api::<ConfigMap>();
    let disturbing = async {
        loop {
            let other = json!({ "data": { "im-server.toml": "" } });
            // It may be written at the same moment.
            let _ = maps.patch("chat-gateway", &PatchParams::default(), &Patch::Merge(&other)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    leader.cut_off_from_the_lease();
    let cut = Instant::now();
    let ended = async {
        let lost = timeout(CHANGE, leader.ended()).await.expect("it ends by itself").unwrap_err();
        assert!(lost.to_string().contains("lost the leadership"), "{lost}");
        timeout(CHANGE, other.leads()).await.expect("the other one leads").unwrap();
        while sent(&others).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        ended = timeout(CHANGE, ended) => ended.expect("the other one writes"),
        () = disturbing => unreachable!("it goes on for ever"),
    }
    let writes = sent(&leaders);
    let on = writes.iter().filter(|written| written.began > cut).count();
    assert!(on > 10, "it could write while the lease was its own, and wrote {on} times");
    assert!(last(&writes) < first(&sent(&others)), "never both");
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_leader_that_is_asked_to_go_makes_room_at_once() {
    let leaders = Arc::<Faults>::default();
    let (tenant, leader, mut other, others) = pair("leaves", &leaders).await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    tenant
        .until("chat", "its topics are made", |it: Option<&ImCluster>| it.is_some_and(|it| !ids(it).is_empty()))
        .await;
    leader.stop().await.unwrap();
    let left = Instant::now();
    timeout(CHANGE, other.leads()).await.expect("the other one leads").unwrap();
    // A lease that was not given back lasts 15 s.
    assert!(left.elapsed() < Duration::from_secs(10), "{:?}", left.elapsed());
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert!(last(&sent(&leaders)) < first(&sent(&others)));
}
