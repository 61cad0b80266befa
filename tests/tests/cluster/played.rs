//! Nodes and pods that kwok plays.

use std::collections::HashSet;

use imcluster_tests::cluster::{Kubectl, Namespace, onto_played_nodes, played_nodes};
use serde_json::{Value, json};

/// That many pods on played nodes; returns their addresses, when they are ready.
pub(crate) fn played_pods_in(namespace: &Namespace, replicas: usize) -> Vec<String> {
    Kubectl::from_environment().unwrap().apply(&played_nodes(1)).unwrap();
    let labels = json!({ "app": "played" });
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "played" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                    "containers": [{
                        "name": "nothing",
                        "image": "nothing.invalid/nothing:1",
                        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                    }],
                },
            },
        },
    });
    json_patch::merge(&mut deployment["spec"]["template"]["spec"], &onto_played_nodes());
    namespace.apply(&[deployment]);
    namespace.run(&["rollout", "status", "deployment/played", "--timeout=60s"]);
    let pods = namespace.get(&["pods", "--selector", "app=played"]);
    let addresses = pods["items"].as_array().unwrap().iter().map(|pod: &Value| &pod["status"]["podIP"]);
    addresses.map(|address| address.as_str().expect("an address").to_owned()).collect()
}

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn a_hundred_played_pods_become_ready_each_with_an_address_of_its_own() {
    let addresses = played_pods_in(&Namespace::new("played"), 100);
    assert!(addresses.iter().all(|address| address.starts_with("10.245.")), "{addresses:?}");
    assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), 100, "{addresses:?}");
}
