//! Nodes that kwok plays: pods on them turn Running and Ready at once, with an address and without a process.

use serde_json::{Value, json};

/// What the spec of a pod says that is to be on a played node.
pub fn onto_played_nodes() -> Value {
    json!({
        "nodeSelector": { "imcluster.dev/played": "true" },
        "tolerations": [{ "key": "imcluster.dev/played", "operator": "Exists" }],
    })
}

/// The manifests of that many nodes, `played-0` and so on.
///
/// The pods of node n have addresses in 10.245.n.0/24. Whoever listens on 0.0.0.0 of the machine answers for all of them, and
/// tells them apart by the address it was called by. Pods come here that tolerate the taint `imcluster.dev/played`.
pub fn played_nodes(count: u8) -> Value {
    let nodes = (0..count).map(|index| {
        let range = format!("10.245.{index}.0/24");
        let room = json!({ "cpu": "64", "memory": "256Gi", "pods": "250" });
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": format!("played-{index}"),
                "labels": { "imcluster.dev/played": "true", "kubernetes.io/hostname": format!("played-{index}") },
                "annotations": { "kwok.x-k8s.io/node": "fake" },
            },
            "spec": {
                "podCIDR": range,
                "podCIDRs": [range],
                "taints": [{ "key": "imcluster.dev/played", "value": "true", "effect": "NoSchedule" }],
            },
            "status": { "allocatable": room, "capacity": room },
        })
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": nodes.collect::<Vec<_>>() })
}
