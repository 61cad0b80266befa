//! The gateway of the tests in the place of im-server: a container on the real node.

use imcluster_tests::cluster::{Image, Kubernetes, Namespace};
use imcluster_tests::gateway::{Handle, IMAGE};
use imcluster_tests::http::client;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::eventually::eventually;

const TOKEN: &str = "the-management-token-of-the-tests";

/// One as an operator would make it: settings from the environment, a file, and the pod's number.
fn gateway() -> [Value; 3] {
    let labels = json!({ "app": "chat" });
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": 9090 }, "periodSeconds": 1 });
    let container = json!({
        "name": "im-server",
        "image": IMAGE,
        "args": ["serve"],
        "env": [
            { "name": "IM_CONFIG", "value": "/etc/im/config.toml" },
            { "name": "IM_MANAGEMENT_TOKEN_FILE", "value": "/run/secrets/im/token" },
            {
                "name": "IM_SERVER_ID",
                "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']" } },
            },
        ],
        "readinessProbe": probe("/readyz"),
        "livenessProbe": probe("/livez"),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [
            { "name": "config", "mountPath": "/etc/im" }, { "name": "secrets", "mountPath": "/run/secrets/im" },
        ],
    });
    let pod = json!({
        "terminationGracePeriodSeconds": 60,
        "automountServiceAccountToken": false,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container],
        "volumes": [
            { "name": "config", "configMap": { "name": "chat" } }, { "name": "secrets", "secret": { "secretName": "chat" } },
        ],
    });
    let config =
        "kafka-topic-prefix = \"im.chat.\"\ndrain-deadline-seconds = 30\ndrain-connections-per-second = 1000\n";
    [
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "chat" }, "data": { "config.toml": config },
        }),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "chat" }, "stringData": { "token": TOKEN } }),
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "chat" },
            "spec": {
                "serviceName": "chat",
                "replicas": 1,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        }),
    ]
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_gateway_of_the_tests_stands_in_for_im_server_in_a_container() {
    let image = Image::of_program(IMAGE, env!("CARGO_BIN_EXE_im-test-gateway").as_ref()).unwrap();
    Kubernetes::here().unwrap().import(&image).unwrap();
    let namespace = Namespace::new("stand-in");
    namespace.apply(&gateway());
    namespace.run(&["rollout", "status", "statefulset/chat", "--timeout=60s"]);

    let pod: Pod = serde_json::from_value(namespace.get(&["pod", "chat-0"])).unwrap();
    let handle = Handle::of(&pod).unwrap();
    handle.hold(500).await.unwrap();
    let url = |path: &str| format!("http://{}{path}", handle.address());
    let unknown = client().get(url("/status")).bearer_auth("another").send().await.unwrap();
    assert_eq!(unknown.status(), 401);
    let status: Value = client().get(url("/status")).bearer_auth(TOKEN).send().await.unwrap().json().await.unwrap();
    let expected = json!({
        "server": 0, "epoch": 1, "phase": "serving", "connections": 500, "topic": "im.chat.0", "topic_lag": 0, "drain": null,
    });
    assert_eq!(status, expected);

    let order = json!({ "deadline_seconds": 300, "connections_per_second": 1 });
    let answer = client().post(url("/drain")).bearer_auth(TOKEN).json(&order).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let is_ready = |wanted: &str| {
        let conditions = namespace.get(&["pod", "chat-0"])["status"]["conditions"].take();
        let ready = conditions.as_array().unwrap().iter().find(|it| it["type"] == "Ready").unwrap()["status"].clone();
        if ready == wanted { Ok(()) } else { Err(ready) }
    };
    eventually(|| is_ready("False"));
    let answer = client().delete(url("/drain")).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    eventually(|| is_ready("True"));

    // It sends everyone away at its own rate before it ends, well within the grace period.
    namespace.run(&["delete", "pod", "chat-0", "--timeout=20s"]);
}
