//! What the spec refers to: nothing is made before it is there, what changes rolls the gateways once, and what vanishes does not.

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::ConditionType;
use imcluster_tests::operator::{Operator, Tenant};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use super::super::begin;
use super::{done_since, event, look, objects, pods, said, set, until_said};

const SIGNING: &str = "another-signing-key-of-the-tests-that-is-long";

/// All that can be referred to, of a Kafka that nobody needs.
fn all_references() -> Value {
    json!({ "spec": {
        "gateways": { "replicas": 0 },
        "kafka": {
            "bootstrapServers": "127.0.0.1:1",
            "tls": { "caSecretRef": { "name": "ca" }, "certificateSecretRef": { "name": "ours" } },
            "sasl": { "secretRef": { "name": "login" } },
        },
    } })
}

fn certificate() -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(vec!["kafka".to_owned()]).unwrap();
    (certified.cert.pem(), certified.signing_key.serialize_pem())
}

async fn kafka_secrets(tenant: &Tenant) {
    let (certificate, key) = certificate();
    tenant.secret("ca", &[("ca.crt", &certificate)]).await.unwrap();
    tenant.secret("ours", &[("tls.crt", &certificate), ("tls.key", &key)]).await.unwrap();
    tenant.secret("login", &[("username", "im"), ("password", "tiger")]).await.unwrap();
}

async fn generation(tenant: &Tenant) -> i64 {
    set(tenant, "chat").await.metadata.generation.unwrap()
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn nothing_is_made_until_every_reference_resolves_and_the_first_that_does_not_is_named() {
    let (_world, tenant, operator) = begin("references").await;
    let names = ["redis", "database", "keys", "ca", "ours", "login"];
    for name in &names[..3] {
        tenant.api::<Secret>().delete(name, &DeleteParams::default()).await.unwrap();
    }
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &all_references())).await.unwrap();
    let (certificate, key) = certificate();
    let database = "postgres://im:password@10.0.0.1:5432/im";
    for (name, content) in [
        ("redis", vec![("url", "redis://10.0.0.1:6379/0")]),
        ("database", vec![("url", database)]),
        ("keys", vec![("2026-11", SIGNING)]),
        ("ca", vec![("ca.crt", certificate.as_str())]),
        ("ours", vec![("tls.crt", &certificate), ("tls.key", &key)]),
        ("login", vec![("username", "im"), ("password", "tiger")]),
    ] {
        let named = |it: Option<&ImCluster>| {
            it.is_some_and(|it| {
                let (what, message) = said(it, ConditionType::Accepted);
                what == "False/ReferenceNotFound" && message.contains(&format!("Secret {name} "))
            })
        };
        tenant.until("chat", &format!("{name} is named"), named).await;
        assert_eq!(done_since(&operator, &tenant, 0), [""; 0]);
        tenant.secret(name, &content).await.unwrap();
    }
    until_said(&tenant, "chat", ConditionType::Accepted, "True/Valid").await;
    assert_eq!(objects(&tenant, "chat").await.len(), 8);
    assert_eq!(event(&tenant, "ReferenceNotFound").await.0, "Warning");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn each_key_that_is_rotated_changes_the_template_once_and_those_of_tokens_do_not() {
    let (_world, tenant, _operator) = begin("rotation").await;
    kafka_secrets(&tenant).await;
    let url = ("url", "redis://10.0.0.1:6379/0");
    tenant.secret("redis", &[url]).await.unwrap();
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &all_references())).await.unwrap();
    until_said(&tenant, "chat", ConditionType::Accepted, "True/Valid").await;
    let first = generation(&tenant).await;

    // Gateways read these again by themselves; the last two are not referred to.
    tenant.secret("keys", &[("2026-11", SIGNING), ("2026-12", SIGNING)]).await.unwrap();
    tenant.secret("redis", &[url, ("note", "nothing")]).await.unwrap();
    tenant.secret("not-named", &[url]).await.unwrap();
    look(&tenant, "chat").await;

    let ((ca, _), (certificate, key)) = (certificate(), certificate());
    let database = "postgres://im:other@10.0.0.1:5432/im";
    let rotations = [
        ("redis", vec![("url", "redis://10.0.0.7:6379/0")]),
        ("database", vec![("url", database)]),
        ("ca", vec![("ca.crt", ca.as_str())]),
        ("ours", vec![("tls.crt", &certificate), ("tls.key", &key)]),
        ("login", vec![("username", "other"), ("password", "tiger")]),
        ("login", vec![("username", "other"), ("password", "lion")]),
    ];
    for (number, (name, content)) in (1..).zip(&rotations) {
        tenant.secret(name, content).await.unwrap();
        let changed = |it: Option<&StatefulSet>| it.is_some_and(|it| it.metadata.generation > Some(first + number - 1));
        tenant.until("chat-gateway", &format!("{name} has changed the template"), changed).await;
        look(&tenant, "chat").await;
        assert_eq!(generation(&tenant).await, first + number, "{name} has changed it once");
    }
    let (kind, text) = event(&tenant, "RollStarted").await;
    assert!(kind == "Normal" && text.contains("Secrets"), "{text}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_rotation_rolls_the_gateways_once() {
    let (_world, tenant, _operator) = begin("rollsonce").await;
    let one = json!({ "spec": { "gateways": { "replicas": 1 } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &one)).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let before = pods(&tenant).await;
    tenant.secret("redis", &[("url", "redis://10.0.0.7:6379/0")]).await.unwrap();
    let replaced = |it: Option<&Pod>| it.is_some_and(|it| it.metadata.uid.as_ref() != before.get("chat-gateway-0"));
    tenant.until::<Pod>("chat-gateway-0", "the pod is another", replaced).await;
    until_said(&tenant, "chat", ConditionType::GatewaysReady, "True/GatewaysInPlace").await;
    let after = pods(&tenant).await;
    look(&tenant, "chat").await;
    assert_eq!(pods(&tenant).await, after);
    let revisions = tenant.api::<ControllerRevision>().list(&ListParams::default()).await.unwrap();
    assert_eq!(revisions.items.len(), 2, "one template before, and one after");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_secret_that_vanishes_is_named_and_rolls_nothing_not_even_a_new_operator() {
    let (world, tenant, operator) = begin("vanished").await;
    let one = json!({ "spec": { "gateways": { "replicas": 1 } } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &one)).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let (running, template) = (pods(&tenant).await, generation(&tenant).await);
    let content = tenant.api::<Secret>().get("redis").await.unwrap().data.unwrap().remove("url").unwrap();
    let content = String::from_utf8(content.0).unwrap();

    tenant.api::<Secret>().delete("redis", &DeleteParams::default()).await.unwrap();
    let message = until_said(&tenant, "chat", ConditionType::Accepted, "False/ReferenceNotFound").await;
    assert!(message.contains("spec.redis.urlSecretRef") && message.contains("Secret redis"), "{message}");
    until_said(&tenant, "chat", ConditionType::Ready, "False/NotAccepted").await;
    until_said(&tenant, "chat", ConditionType::GatewaysReady, "True/GatewaysInPlace").await;
    operator.stop().await.unwrap();
    let _operator = Operator::start(world, &tenant).unwrap();
    look(&tenant, "chat").await;
    until_said(&tenant, "chat", ConditionType::Accepted, "False/ReferenceNotFound").await;
    assert_eq!((pods(&tenant).await, generation(&tenant).await), (running.clone(), template));

    tenant.secret("redis", &[("url", &content)]).await.unwrap();
    until_said(&tenant, "chat", ConditionType::Ready, "True/Serving").await;
    look(&tenant, "chat").await;
    assert_eq!((pods(&tenant).await, generation(&tenant).await), (running, template), "it is what it was");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn what_stands_in_a_secret_and_cannot_be_used_is_told_without_repeating_it() {
    let (_world, tenant, _operator) = begin("unusable").await;
    tenant.secret("redis", &[("url", "not-to-be-told")]).await.unwrap();
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    let message = until_said(&tenant, "chat", ConditionType::Accepted, "False/InvalidReference").await;
    assert!(message.contains("spec.redis.urlSecretRef") && !message.contains("not-to-be-told"), "{message}");
    assert!(objects(&tenant, "chat").await.is_empty());
}
