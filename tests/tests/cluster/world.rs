//! What surrounds an operator in tests.

use imcluster_crds::{ImCluster, ServerPhase};
use imcluster_tests::cluster::onto_played_nodes;
use imcluster_tests::gateway::{Change, DrainOrder, Fault, IMAGE, Phase};
use imcluster_tests::http::client;
use imcluster_tests::operator::{Faults, Tenant, World};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

/// A plain `StatefulSet` of gateways on played nodes, until its pods are ready.
async fn gateways(tenant: &Tenant, replicas: i32) {
    let labels = json!({ "app": "chat" });
    let mut pod = onto_played_nodes();
    pod["containers"] = json!([{
        "name": "im-server",
        "image": IMAGE,
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
    }]);
    pod["securityContext"] = json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "chat" },
        "spec": {
            "serviceName": "chat",
            "replicas": replicas,
            "podManagementPolicy": "Parallel",
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    });
    tenant.apply::<StatefulSet>(&set).await.unwrap();
    let ready = |set: Option<&StatefulSet>| {
        set.and_then(|set| set.status.as_ref()).is_some_and(|status| status.ready_replicas == Some(replicas))
    };
    tenant.until("chat", "the gateways are ready", ready).await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn each_played_pod_has_a_gateway_and_a_drain_of_one_does_not_touch_another() {
    let tenant = World::shared().await.tenant("gateways").await;
    gateways(&tenant, 3).await;
    let pods = tenant.pods().await.unwrap();
    let names: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["chat-0", "chat-1", "chat-2"]);
    let mut handles = Vec::new();
    for (name, connections) in names.iter().zip([100, 200, 300]) {
        let handle = tenant.gateway(name).await.unwrap();
        handle.hold(connections).await.unwrap();
        handles.push(handle);
    }
    let url = format!("http://{}/drain", handles[1].address());
    let order = DrainOrder { deadline_seconds: 300, connections_per_second: 1 };
    let answer = client().post(&url).bearer_auth("any").json(&order).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(client().post(&url).json(&order).send().await.unwrap().status(), 401);

    let mut reports = Vec::new();
    for handle in &handles {
        reports.push(handle.report().await.unwrap());
    }
    let phases: Vec<_> = reports.iter().map(|report| report.status.phase).collect();
    assert_eq!(phases, [Phase::Serving, Phase::Draining, Phase::Serving]);
    let servers: Vec<_> = reports.iter().map(|report| report.status.server).collect();
    assert_eq!(servers, [0, 1, 2]);
    assert_eq!((reports[0].status.connections, reports[2].status.connections), (100, 300));
    assert!(reports[1].status.connections <= 200, "{:?}", reports[1]);
    assert_eq!((reports[1].seen.orders, reports[1].seen.last_order), (1, Some(order)));
    assert_eq!((reports[0].seen.orders, reports[2].seen.orders), (0, 0));
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn the_next_pod_of_a_number_is_a_gateway_of_its_own() {
    let tenant = World::shared().await.tenant("successor").await;
    gateways(&tenant, 1).await;
    let first = tenant.gateway("chat-0").await.unwrap();
    first.change(&Change { connections: Some(7), fault: Some(Fault::Error), ..Change::default() }).await.unwrap();
    let uid = tenant.api::<Pod>().get("chat-0").await.unwrap().uid();
    tenant.api::<Pod>().delete("chat-0", &DeleteParams::default()).await.unwrap();
    let another = |pod: Option<&Pod>| {
        let pod = pod.filter(|pod| pod.uid() != uid);
        pod.and_then(|pod| pod.status.as_ref()).is_some_and(|status| status.pod_ip.is_some())
    };
    tenant.until("chat-0", "another pod is there", another).await;
    let next = tenant.gateway("chat-0").await.unwrap();
    assert_eq!(next.report().await.unwrap().status.connections, 0);
    let live = client().get(format!("http://{}/livez", next.address())).send().await.unwrap();
    assert_eq!(live.status(), 200, "what was wrong with the first is not wrong with the next");
    assert!(first.report().await.is_err(), "nobody answers for a pod that is gone");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_tenants_resource_is_a_right_one_and_its_status_is_waited_for() {
    let tenant = World::shared().await.tenant("right").await;
    let changes = json!({ "spec": { "gateways": { "replicas": 3 } } });
    let made: ImCluster = tenant.apply(&tenant.im_cluster("chat", &changes)).await.unwrap();
    assert_eq!(made.spec.gateways.replicas, 3);
    let server = json!({ "id": 0, "phase": "Serving" });
    let status = json!({
        "apiVersion": "imcluster.dev/v1alpha1", "kind": "ImCluster", "metadata": { "name": "chat" },
        "status": { "servers": [server] },
    });
    let said = async {
        let patch = kube::api::Patch::Merge(&status);
        tenant.api::<ImCluster>().patch_status("chat", &kube::api::PatchParams::default(), &patch).await.unwrap();
    };
    let serving = |it: Option<&ImCluster>| {
        let servers = it.and_then(|it| it.status.as_ref()).map(|status| status.servers.as_slice()).unwrap_or_default();
        servers.iter().any(|server| server.phase == ServerPhase::Serving)
    };
    let (found, ()) = tokio::join!(tenant.until("chat", "somebody serves", serving), said);
    assert_eq!(found.unwrap().uid(), made.uid());
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_wait_in_vain_tells_what_there_is() {
    let tenant = World::shared().await.tenant("vain").await;
    gateways(&tenant, 1).await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("talk", &json!({}))).await.unwrap();
    tenant.gateway("chat-0").await.unwrap();
    let report = tenant.report().await;
    for expected in
        ["ImCluster talk of generation", "\"Pending\"", "pod chat-0 10.245.", "ready Some(\"True\")", "event of"]
    {
        assert!(report.contains(expected), "{expected} is not in\n{report}");
    }
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn topics_are_found_by_their_prefix_on_the_way_that_pods_take() {
    let world = World::shared().await;
    let tenant = world.tenant("topics").await;
    for name in ["chat.0", "chat.1", "chatter.0"] {
        world.kafka.create_topic(&format!("{}.{name}", tenant.name())).await.unwrap();
    }
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1"]);
    world.kafka.delete_topic(&format!("{}.chat.1", tenant.name())).await.unwrap();
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0"]);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_client_that_is_counted_has_its_writes_by_name() {
    let world = World::shared().await;
    let tenant = world.tenant("counted").await;
    let faults = std::sync::Arc::<Faults>::default();
    let counted = faults.client(world.config().clone()).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(counted, tenant.name());
    let map: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "it" } })).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    maps.create(&PostParams { dry_run: true, ..PostParams::default() }, &map).await.unwrap_err();
    maps.get("it").await.unwrap();
    maps.delete("it", &DeleteParams::default()).await.unwrap();
    let named: Vec<_> = faults.writes().in_namespace(tenant.name()).iter().map(ToString::to_string).collect();
    assert_eq!(named, ["create configmaps", "delete configmaps it"]);
}
