//! How gateways are reached: Services, Ingress, `NetworkPolicy`.

use imcluster_crds::{Ingress, Service};
use serde_json::{Value, json};

use super::object::Owner;
use crate::cluster::names::{self, HTTP_PORT, MANAGEMENT_PORT, OPERATOR, TCP_PORT, selector};

fn service_port(name: &str, port: u16) -> Value {
    json!({ "name": name, "port": port, "protocol": "TCP", "targetPort": name })
}

/// Names for the pods, ready or not: one that drains is still there.
pub(super) fn headless_service(owner: &Owner<'_>) -> Value {
    owner.object(&json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": names::pods(owner.name) },
        "spec": {
            "clusterIP": "None",
            "ports": [service_port("management", MANAGEMENT_PORT)],
            "publishNotReadyAddresses": true,
            "selector": selector(owner.name),
        },
    }))
}

/// What clients reach.
pub(super) fn client_service(owner: &Owner<'_>, service: &Service) -> Value {
    let mut made = owner.object(&json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": names::gateway(owner.name) },
        "spec": {
            "ports": [service_port("http", HTTP_PORT), service_port("tcp", TCP_PORT)],
            "selector": selector(owner.name),
            "type": service.type_,
        },
    }));
    if !service.annotations.is_empty() {
        made["metadata"]["annotations"] = json!(service.annotations);
    }
    if let Some(class) = &service.load_balancer_class {
        made["spec"]["loadBalancerClass"] = json!(class);
    }
    if let Some(policy) = service.external_traffic_policy {
        made["spec"]["externalTrafficPolicy"] = json!(policy);
    }
    made
}

/// HTTP and WebSocket from outside.
pub(super) fn ingress(owner: &Owner<'_>, ingress: &Ingress) -> Value {
    let service = json!({ "name": names::gateway(owner.name), "port": { "name": "http" } });
    let path = json!({ "backend": { "service": service }, "path": "/", "pathType": "Prefix" });
    let mut rule = json!({ "http": { "paths": [path] } });
    let mut made = owner.object(&json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": names::gateway(owner.name) },
        "spec": {},
    }));
    if !ingress.annotations.is_empty() {
        made["metadata"]["annotations"] = json!(ingress.annotations);
    }
    if let Some(class) = &ingress.class_name {
        made["spec"]["ingressClassName"] = json!(class);
    }
    if let Some(host) = &ingress.host {
        rule["host"] = json!(host);
    }
    if let (Some(host), Some(secret)) = (&ingress.host, &ingress.tls_secret_name) {
        made["spec"]["tls"] = json!([{ "hosts": [host], "secretName": secret }]);
    }
    made["spec"]["rules"] = json!([rule]);
    made
}

/// Everybody may reach the ports of clients; the operator, and whom the spec names, the management port. Gateways do not talk
/// to each other. What goes out is not ruled.
pub(super) fn network_policy(
    owner: &Owner<'_>,
    policy: &imcluster_crds::NetworkPolicy,
    operator_namespace: &str,
) -> Value {
    let port = |name: &str| json!({ "port": name, "protocol": "TCP" });
    let operator = json!({
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": operator_namespace } },
        "podSelector": { "matchLabels": { "app.kubernetes.io/name": OPERATOR } },
    });
    let mut may_manage = vec![operator];
    may_manage.extend(policy.metrics_from.iter().map(|peer| json!(peer)));
    owner.object(&json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": names::gateway(owner.name) },
        "spec": {
            "ingress": [
                { "ports": [port("http"), port("tcp")] },
                { "from": may_manage, "ports": [port("management")] },
            ],
            "podSelector": { "matchLabels": selector(owner.name) },
            "policyTypes": ["Ingress"],
        },
    }))
}
