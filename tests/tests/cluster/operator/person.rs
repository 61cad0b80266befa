//! What a person sees and does with `kubectl`.

use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, TopicOrigin};
use imcluster_tests::gateway::IMAGE;
use imcluster_tests::operator::Tenant;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::task::block_in_place;

use super::spec::{event, pods, said, set, until_said};
use super::{begin, until_gone};

/// What kubectl says. It waits, and the operator works meanwhile.
fn kubectl(tenant: &Tenant, arguments: &[&str]) -> String {
    block_in_place(|| tenant.kubectl().run(arguments))
}

/// The columns of the only line of a table, by its head.
fn columns(table: &str) -> Vec<(String, String)> {
    let mut lines = table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let (head, line) = (lines.next().unwrap(), lines.next().unwrap());
    assert_eq!(head.len(), line.len(), "{table}");
    head.into_iter().zip(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn get_shows_how_many_should_be_and_are_ready_with_image_and_topics_if_asked() {
    let (_world, tenant, _operator) = begin("columns").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let counted = |it: Option<&ImCluster>| it.and_then(|it| it.status.as_ref()?.connections).is_some();
    tenant.until("chat", "connections are counted", counted).await;
    let table = columns(&kubectl(&tenant, &["get", "imc"]));
    let (age, rest) = table.split_last().unwrap();
    let expected = [("NAME", "chat"), ("DESIRED", "2"), ("READY", "2"), ("CONNECTIONS", "0"), ("STATUS", "Serving")];
    assert_eq!(rest, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(age.0, "AGE");
    let wide = columns(&kubectl(&tenant, &["get", "imc", "-o", "wide"]));
    let more = [("IMAGE".to_owned(), IMAGE.to_owned()), ("TOPICS".to_owned(), format!("{}.chat.", tenant.name()))];
    assert_eq!(wide[6..], more);
    assert!(kubectl(&tenant, &["get", "imclusters,sts,pods", "-o", "name"]).lines().count() >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn wait_returns_when_clients_are_served_and_again_after_a_change() {
    let (_world, tenant, _operator) = begin("wait").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    let said = kubectl(&tenant, &["wait", "--for=condition=Ready", "imc/chat", "--timeout=60s"]);
    assert_eq!(said.trim(), "imcluster.imcluster.dev/chat condition met");
    let ready = tenant.api::<ImCluster>().get("chat").await.unwrap().status.unwrap().ready_replicas;
    assert_eq!((pods(&tenant).await.len(), ready), (2, Some(2)));
    kubectl(&tenant, &["scale", "imc/chat", "--replicas=3"]);
    kubectl(&tenant, &["wait", "--for=jsonpath={.status.readyReplicas}=3", "imc/chat", "--timeout=60s"]);
    kubectl(&tenant, &["wait", "--for=condition=Ready", "imc/chat", "--timeout=60s"]);
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1", "2"]);
    let path = "jsonpath={.status.selector}";
    let selector = kubectl(&tenant, &["get", "imc/chat", "-o", path]);
    assert_eq!(kubectl(&tenant, &["get", "pods", "-l", &selector, "-o", "name"]).lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn whoever_watches_sees_it_come_into_service() {
    let (_world, tenant, _operator) = begin("watch").await;
    let mut watch = tenant.kubectl().watch(&["get", "imc", "-w"]).unwrap();
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    let lines = block_in_place(|| watch.until(|line| line.contains("Serving"))).unwrap();
    let statuses: Vec<_> = lines.iter().filter_map(|line| line.split_whitespace().rev().nth(1)).collect();
    assert!(statuses.contains(&"GatewaysNotReady") || statuses.contains(&"TopicsNotReady"), "{lines:?}");
    assert!(lines[0].starts_with("NAME") && lines.len() > 2, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn explain_says_what_a_field_is_with_its_values() {
    let (_world, tenant, _operator) = begin("explain").await;
    for (field, words) in [
        ("imc", ["An installation of ImCluster", "spec"]),
        ("imc.spec.gateways", ["replicas", "maxConnections"]),
        ("imc.spec.kafka.topics.policy", ["The operator makes topics, and deletes those that it made.", "Unmanaged"]),
        ("imc.spec.config", ["trustedProxies", "Settings of im-server."]),
        ("imc.status.servers.topic.origin", ["Adopted", "It is never deleted."]),
    ] {
        let explained = kubectl(&tenant, &["explain", field]);
        assert!(words.iter().all(|word| explained.contains(word)), "{field}: {explained}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn describe_tells_what_has_happened_and_what_is_wrong() {
    let (_world, tenant, _operator) = begin("describe").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    kubectl(&tenant, &["scale", "imc/chat", "--replicas=3"]);
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    kubectl(&tenant, &["scale", "imc/chat", "--replicas=2"]);
    event(&tenant, "DrainFinished").await;
    kubectl(&tenant, &["delete", "secret/redis"]);
    event(&tenant, "ReferenceNotFound").await;
    until_said(&tenant, "chat", ConditionType::GatewaysReady, "True/GatewaysInPlace").await;
    let described = kubectl(&tenant, &["describe", "imc/chat"]);
    let events = described.split_once("Events:").unwrap().1;
    for (kind, reason, text) in [
        ("Normal", "TopicsCreated", format!("Made {0}.chat.0, {0}.chat.1", tenant.name())),
        ("Normal", "GatewaysScaled", "From 2 to 3 gateways".to_owned()),
        ("Normal", "DrainStarted", "Moving clients off gateway 2".to_owned()),
        ("Normal", "DrainFinished", "Nobody is left on gateway 2".to_owned()),
        ("Normal", "GatewaysScaled", "From 3 to 2 gateways".to_owned()),
        ("Warning", "ReferenceNotFound", "there is no Secret redis in this namespace: create it".to_owned()),
    ] {
        let told = events.lines().any(|line| line.contains(kind) && line.contains(reason) && line.contains(&text));
        assert!(told, "{kind} {reason} {text}:\n{events}");
    }
    assert!(described.contains("Reason:") && described.contains("GatewaysInPlace"), "{described}");
    assert!(!described.contains("redis://"), "no secret is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn tools_that_follow_kstatus_see_when_it_is_under_way_and_when_it_waits_for_somebody() {
    let (_world, tenant, _operator) = begin("kstatus").await;
    kubectl(&tenant, &["delete", "secret/redis"]);
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    until_said(&tenant, "chat", ConditionType::Stalled, "True/ReferenceNotFound").await;
    let stalled = tenant.api::<ImCluster>().get("chat").await.unwrap();
    assert_eq!(said(&stalled, ConditionType::Reconciling).0, "");
    tenant.secret("redis", &[("url", "redis://10.0.0.1:6379/0")]).await.unwrap();
    let under_way = |it: Option<&ImCluster>| {
        it.is_some_and(|it| {
            said(it, ConditionType::Reconciling).0.starts_with("True/") && said(it, ConditionType::Stalled).0.is_empty()
        })
    };
    tenant.until("chat", "it is under way", under_way).await;
    let ready = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(said(&ready, ConditionType::Reconciling).0, "");
    assert_eq!(said(&ready, ConditionType::Stalled).0, "");
    assert_eq!(ready.status.as_ref().unwrap().observed_generation, ready.metadata.generation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_manifest_that_is_edited_and_applied_again_takes_effect_and_leaves_a_scale_alone() {
    let (_world, tenant, _operator) = begin("apply").await;
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    let path = file.path().to_str().unwrap();
    // As beside an autoscaler: it does not say how many.
    let mut manifest = tenant.im_cluster("chat", &json!({ "spec": { "gateways": { "replicas": null } } }));
    let write = |manifest: &serde_json::Value| std::fs::write(file.path(), manifest.to_string()).unwrap();
    write(&manifest);
    assert!(kubectl(&tenant, &["apply", "-f", path]).contains("created"));
    kubectl(&tenant, &["scale", "imc/chat", "--replicas=1"]);
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert!(kubectl(&tenant, &["apply", "-f", path]).contains("unchanged"));
    manifest["spec"]["ingress"] = json!({ "host": "chat.example" });
    write(&manifest);
    assert!(kubectl(&tenant, &["apply", "-f", path]).contains("configured"));
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(
        kubectl(&tenant, &["get", "ingress/chat-gateway", "-o", "jsonpath={.spec.rules[0].host}"]),
        "chat.example"
    );
    let desired = kubectl(&tenant, &["get", "imc/chat", "-o", "jsonpath={.spec.gateways.replicas}"]);
    assert_eq!((desired.as_str(), pods(&tenant).await.len()), ("1", 1));
    manifest["spec"].as_object_mut().unwrap().remove("ingress");
    write(&manifest);
    kubectl(&tenant, &["apply", "-f", path]);
    kubectl(&tenant, &["wait", "--for=delete", "ingress/chat-gateway", "--timeout=60s"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn what_is_orphaned_goes_on_and_the_next_one_of_the_name_takes_it_over() {
    let (_world, tenant, _operator) = begin("orphan").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let (running, before) = (pods(&tenant).await, set(&tenant, "chat").await);
    kubectl(&tenant, &["delete", "imc/chat", "--cascade=orphan", "--timeout=60s"]);
    until_gone(&tenant).await;
    let orphan = set(&tenant, "chat").await;
    assert!(orphan.owner_references().is_empty() && orphan.metadata.deletion_timestamp.is_none());
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1"]);
    assert_eq!(pods(&tenant).await, running);

    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(pods(&tenant).await, running, "nobody was restarted");
    let after = set(&tenant, "chat").await;
    assert_eq!((after.uid(), after.metadata.generation), (before.uid(), before.metadata.generation));
    assert_eq!(after.owner_references()[0].uid, cluster.uid().unwrap());
    let adopted = |cluster: &ImCluster| {
        let servers = &cluster.status.as_ref().unwrap().servers;
        servers.iter().all(|entry| entry.topic.as_ref().is_some_and(|topic| topic.origin == TopicOrigin::Adopted))
    };
    assert!(adopted(&cluster));
    tenant.api::<ImCluster>().delete("chat", &DeleteParams::default()).await.unwrap();
    until_gone(&tenant).await;
    tenant.until::<Pod>("chat-gateway-0", "the pods are gone", |it| it.is_none()).await;
    assert_eq!(tenant.topics("chat").await.unwrap(), ["0", "1"]);
}

mod long {
    use std::time::Duration;

    use imcluster_crds::ImCluster;
    use imcluster_crds::conditions::ConditionType;
    use serde_json::json;

    use super::super::begin;
    use super::super::spec::{look, written};

    /// Gateways are asked every 30 s, about, and nothing is told more often.
    const ASKED: Duration = Duration::from_secs(150);

    #[tokio::test]
    #[ignore = "needs Kubernetes: make test-cluster"]
    async fn connections_are_told_when_they_moved_by_more_than_a_twentieth() {
        let (_world, tenant, operator) = begin("connections").await;
        let one = json!({ "spec": { "gateways": { "replicas": 1 } } });
        tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &one)).await.unwrap();
        tenant.until_condition("chat", ConditionType::Ready, "True").await;
        let gateway = tenant.gateway("chat-gateway-0").await.unwrap();
        gateway.hold(1_000).await.unwrap();
        let told = |number: i64| {
            move |it: Option<&ImCluster>| it.and_then(|it| it.status.as_ref()?.connections) == Some(number)
        };
        tenant.until_within(ASKED, "chat", "1,000 are told", told(1_000)).await;
        let looks = gateway.hold(1_050).await.unwrap().seen.looks;
        let before = written(&operator, &tenant);
        // Until it has been asked twice more.
        while gateway.report().await.unwrap().seen.looks < looks + 2 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(written(&operator, &tenant), before, "a twentieth is not more than a twentieth");
        gateway.hold(2_000).await.unwrap();
        tenant.until_within(ASKED, "chat", "2,000 are told", told(2_000)).await;
        look(&tenant, "chat").await;
        assert_eq!(written(&operator, &tenant), before + 2, "one write for the number, and one for the last look");
    }
}
