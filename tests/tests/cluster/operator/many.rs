//! Many at once, and what they cost: figures for docs/performance.md, "The operator".

use std::time::Duration;

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::ConditionType;
use imcluster_tests::operator::{Standalone, Tenant, Used, World};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

use super::scene::{observed, verdict};

/// Longest wait for a hundred of anything, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// An operator in a process of its own, in a namespace of its own.
async fn begin(test: &str) -> (Tenant, Standalone) {
    let tenant = World::shared().await.tenant(test).await;
    let operator = Standalone::start(&tenant).await.unwrap_or_else(|error| panic!("no operator: {error:#}"));
    (tenant, operator)
}

/// Waits until something holds.
async fn until(tenant: &Tenant, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !holds().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "waited {PATIENCE:?} in vain until {what}\n{}", tenant.report().await);
}

/// Waits until so many `ImCluster`s are Ready and nothing is under way.
async fn until_ready(tenant: &Tenant, count: usize) {
    let is_ready = |it: &ImCluster| {
        observed(it)
            && verdict(it, ConditionType::Ready).is_some_and(|(status, _)| status == "True")
            && verdict(it, ConditionType::Reconciling).is_none()
            && it.status.as_ref().is_some_and(|status| status.connections.is_some())
    };
    until(tenant, "all are Ready", async || {
        let all = tenant.api::<ImCluster>().list(&ListParams::default()).await.unwrap();
        all.items.iter().filter(|it| is_ready(it)).count() == count
    })
    .await;
}

/// What was used between two looks.
fn between(before: Used, after: Used) -> Used {
    Used {
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        resident_bytes: after.resident_bytes,
        reconciles: after.reconciles - before.reconciles,
        reads: after.reads - before.reads,
        writes: after.writes - before.writes,
    }
}

/// A line of figures, of so many `ImCluster`s.
fn tell(what: &str, took: Duration, used: Used, count: f64) {
    let Used { cpu_seconds, resident_bytes, reconciles, reads, writes } = used;
    let each = 1.0 / count;
    println!(
        "{what}: {:.1} s; of each ImCluster {:.1} reconciles, {:.1} reads, {:.1} writes, {:.2} ms of CPU; resident {:.1} MiB",
        took.as_secs_f64(),
        reconciles * each,
        reads * each,
        writes * each,
        1_000.0 * cpu_seconds * each,
        f64::from(u32::try_from(resident_bytes >> 10).unwrap_or(u32::MAX)) / 1024.0,
    );
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "needs Kubernetes: make test-cluster-full"]
    async fn a_hundred_imclusters_at_once_become_ready_cost_nothing_at_rest_and_leave_nothing_behind() {
        const COUNT: u16 = 100;
        let each = f64::from(COUNT);
        let (tenant, operator) = begin("hundred").await;
        let names: Vec<_> = (0..COUNT).map(|number| format!("chat-{number}")).collect();
        let idle = operator.used().await.unwrap();
        tell("without any", Duration::ZERO, idle, each);

        let begun = Instant::now();
        for name in &names {
            tenant.apply::<ImCluster>(&tenant.im_cluster(name, &json!({}))).await.unwrap();
        }
        until_ready(&tenant, names.len()).await;
        let ready = operator.used().await.unwrap();
        tell("from apply to Ready", begun.elapsed(), between(idle, ready), each);

        // Something that is looked at, and is nothing.
        let api = tenant.api::<ImCluster>();
        let note = Patch::Merge(json!({ "metadata": { "annotations": { "example.com/note": "one" } } }));
        let begun = Instant::now();
        for name in &names {
            api.patch(name, &PatchParams::default(), &note).await.unwrap();
        }
        until(&tenant, "all were looked at", async || {
            operator.used().await.unwrap().reconciles >= ready.reconciles + each
        })
        .await;
        let looked = operator.used().await.unwrap();
        let rest = between(ready, looked);
        tell("a reconcile that finds nothing to do", begun.elapsed(), rest, each);
        assert!(rest.writes.abs() < 0.5, "{rest:?}");
        assert!(rest.reads <= each, "{rest:?}");

        let gateway = tenant.gateway("chat-0-gateway-0").await.unwrap();
        let looks = gateway.report().await.unwrap().seen.looks;
        let begun = Instant::now();
        until(&tenant, "gateways were asked twice", async || gateway.report().await.unwrap().seen.looks >= looks + 2)
            .await;
        let rested = operator.used().await.unwrap();
        tell("left alone", begun.elapsed(), between(looked, rested), each);

        let begun = Instant::now();
        api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        until(&tenant, "none is left", async || api.list(&ListParams::default()).await.unwrap().items.is_empty()).await;
        tell("from delete to gone", begun.elapsed(), between(rested, operator.used().await.unwrap()), each);
        until(&tenant, "nothing of them is left", async || {
            let kinds = "all,serviceaccounts,configmaps,secrets,poddisruptionbudgets,networkpolicies,ingresses";
            let labels = "--selector=app.kubernetes.io/managed-by=imcluster-operator";
            tenant.kubectl().run(&["get", kinds, labels, "--output=name"]).is_empty()
        })
        .await;
        let topics = World::shared().await.kafka.topics(&format!("{}.", tenant.name())).await.unwrap();
        assert!(topics.is_empty(), "{topics:?}");
    }

    #[tokio::test]
    #[ignore = "needs Kubernetes: make test-cluster-full"]
    async fn a_hundred_ids_of_one_imcluster_have_their_topics_within_seconds() {
        const IDS: u16 = 100;
        let (tenant, operator) = begin("hundred-ids").await;
        let before = operator.used().await.unwrap();
        let begun = Instant::now();
        let hundred = json!({ "spec": { "gateways": { "replicas": IDS } } });
        tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &hundred)).await.unwrap();
        until(&tenant, "all topics are there", async || tenant.topics("chat").await.unwrap().len() == usize::from(IDS))
            .await;
        let topics = begun.elapsed();
        tell("from apply to 100 topics", topics, between(before, operator.used().await.unwrap()), 1.0);
        until_ready(&tenant, 1).await;
        tell("from apply to 100 gateways", begun.elapsed(), between(before, operator.used().await.unwrap()), 1.0);
        assert!(topics < Duration::from_mins(1), "{topics:?}");
    }
}
