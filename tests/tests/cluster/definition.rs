//! The definition of `ImCluster`, at a real API server.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use futures_util::{StreamExt, stream};
use imcluster_tests::cluster::{Kubectl, Namespace, client};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::cases::{Case, Write, cases, merged, smallest};
use crate::eventually::eventually;

/// Installs it, once, and returns what the API server remarks.
pub(crate) fn define() -> &'static str {
    static WARNED: LazyLock<String> = LazyLock::new(|| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/imclusters.yaml");
        let definition = fs::read_to_string(file).unwrap();
        let kubectl = Kubectl::from_environment().unwrap();
        let warned = kubectl.apply_text(&definition).unwrap();
        kubectl.run(&["wait", "--for=condition=Established", NAME, "--timeout=60s"]).unwrap();
        warned
    });
    &WARNED
}

const NAME: &str = "customresourcedefinition/imclusters.imcluster.dev";

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn the_definition_is_accepted_without_a_warning() {
    assert_eq!(define(), "");
    // NonStructuralSchema would be one that is true, and its rules would not be looked at.
    let conditions = Kubectl::from_environment().unwrap().get(&[NAME]).unwrap()["status"]["conditions"].take();
    let structural = conditions.as_array().unwrap().iter().all(|it| it["type"] != "NonStructuralSchema");
    assert!(structural, "{conditions:#}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn every_rule_accepts_and_rejects_what_it_should() {
    /// Writes at a time.
    const SIDE_BY_SIDE: usize = 8;
    define();
    let namespace = Namespace::new("rules");
    let kind = ApiResource::erase::<imcluster_crds::ImCluster>(&());
    let resources: Api<DynamicObject> = Api::namespaced_with(client().await.unwrap(), namespace.name(), &kind);
    let mut writes = Vec::new();
    for Case { rule, accepts, rejects } in cases() {
        writes.extend(accepts.into_iter().map(|write| (rule, true, write)));
        writes.extend(rejects.into_iter().map(|write| (rule, false, write)));
    }
    let tried = stream::iter(writes.into_iter().enumerate()).map(|(number, (rule, accepted, write))| {
        let resources = &resources;
        async move {
            let outcome = attempt(resources, number, &write).await;
            let Write { before, now } = write;
            match outcome {
                Ok(_) => assert!(accepted, "{rule}: {now} after {before:?} is accepted"),
                Err(kube::Error::Api(refusal)) => {
                    assert!(!accepted, "{rule}: {now} after {before:?}: {}", refusal.message);
                    // Kubernetes itself refuses some names before any rule is asked.
                    let by_the_rule = refusal.message.contains(rule) || refusal.message.contains("RFC 1123");
                    assert!(by_the_rule, "{rule}: {now}: {}", refusal.message);
                }
                Err(error) => panic!("{rule}: {now}: {error}"),
            }
        }
    });
    let tried = tried.buffer_unordered(SIDE_BY_SIDE).count().await;
    assert!(tried > 100, "{tried} writes");
}

/// Makes a write that is not kept; what was there before it is.
async fn attempt(resources: &Api<DynamicObject>, number: usize, write: &Write) -> kube::Result<DynamicObject> {
    let (kept, not_kept) = (PostParams::default(), PostParams { dry_run: true, ..PostParams::default() });
    let object = |changes: &[&Value]| -> DynamicObject {
        let here = json!({ "metadata": { "namespace": null } });
        let whole = changes.iter().fold(merged(&smallest(), &here), |whole, change| merged(&whole, change));
        serde_json::from_value(whole).unwrap()
    };
    let Some(before) = &write.before else { return resources.create(&not_kept, &object(&[&write.now])).await };
    // Each its own, so that they do not meet.
    let name = format!("chat-{number}");
    let named = json!({ "metadata": { "name": name } });
    let made = resources.create(&kept, &object(&[before, &named])).await?;
    let version = json!({ "metadata": { "resourceVersion": made.metadata.resource_version } });
    resources.replace(&name, &not_kept, &object(&[&write.now, &named, &version])).await
}

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn kubectl_shows_scales_and_explains_a_resource() {
    define();
    let namespace = Namespace::new("shown");
    namespace.apply(&[smallest()]);
    let table = namespace.run(&["get", "imc", "-o", "wide"]);
    let head: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "DESIRED", "READY", "CONNECTIONS", "STATUS", "AGE", "IMAGE", "TOPICS"], "{table}");
    assert!(table.lines().nth(1).unwrap().contains("Pending"), "{table}");
    let condition =
        namespace.run(&["get", "imc/chat", "-o", "jsonpath={.status.conditions[*]['type','status','reason']}"]);
    assert_eq!(condition, "Ready Unknown Pending");
    namespace.run(&["scale", "imc/chat", "--replicas=7"]);
    let replicas = || namespace.get(&["imc/chat"])["spec"]["gateways"]["replicas"].clone();
    assert_eq!(replicas(), 7);
    // A null is not there: it neither hides a default nor is kept.
    let nothing = r#"[{"op":"replace","path":"/spec/gateways","value":null}]"#;
    namespace.run(&["patch", "imc/chat", "--type=json", "-p", nothing]);
    assert_eq!(replicas(), 3);
    // Descriptions reach the API server seconds after the definition.
    let explained = eventually(|| namespace.try_run(&["explain", "imc.spec.gateways.drain.deadlineSeconds"]));
    assert!(explained.contains("Seconds until every client has been sent away."), "{explained}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn two_appliers_share_lists_and_maps() {
    define();
    let namespace = Namespace::new("shared");
    namespace.apply(&[smallest()]);
    let kind = ApiResource::erase::<imcluster_crds::ImCluster>(&());
    let resources: Api<DynamicObject> = Api::namespaced_with(client().await.unwrap(), namespace.name(), &kind);
    for (manager, proxy, id) in [("a", "10.0.0.0/8", 0), ("b", "fd00::/8", 1)] {
        let object = |content: Value| {
            let base =
                json!({ "apiVersion": "imcluster.dev/v1alpha1", "kind": "ImCluster", "metadata": { "name": "chat" } });
            Patch::Apply(merged(&base, &content))
        };
        let applied = PatchParams::apply(manager).force();
        let mut spec = smallest()["spec"].clone();
        spec["config"] = json!({ "trustedProxies": [proxy] });
        spec["extraConfig"] = json!({ format!("of-{manager}"): "1" });
        resources.patch("chat", &applied, &object(json!({ "spec": spec }))).await.unwrap();
        let condition = json!({
            "type": format!("Of{manager}"), "status": "True", "reason": "Valid", "message": "",
            "lastTransitionTime": "2026-11-21T12:00:00Z",
        });
        let status = json!({ "conditions": [condition], "servers": [{ "id": id, "phase": "Serving" }] });
        resources.patch_status("chat", &applied, &object(json!({ "status": status }))).await.unwrap();
    }
    let whole = resources.get("chat").await.unwrap().data;
    assert_eq!(whole["spec"]["config"]["trustedProxies"], json!(["10.0.0.0/8", "fd00::/8"]));
    assert_eq!(whole["spec"]["extraConfig"], json!({ "of-a": "1", "of-b": "1" }));
    let all = |list: &str, field: &str| -> Vec<Value> {
        whole["status"][list].as_array().unwrap().iter().map(|it| it[field].clone()).collect()
    };
    assert_eq!(all("servers", "id"), [0, 1]);
    // The one that the definition fills in stays until somebody knows better.
    assert_eq!(all("conditions", "type"), ["Ready", "Ofa", "Ofb"]);
}
