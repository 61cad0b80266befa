//! The real node.

use imcluster_tests::cluster::{Kubectl, Namespace};
use serde_json::{Value, json};

use crate::eventually::eventually;

/// Longest wait for pods.
const PATIENCE: &str = "--timeout=60s";

/// A web server that says hello, in as many pods, each behind its own name and all behind one service.
pub(crate) fn greeters(replicas: u32) -> [Value; 3] {
    let image = std::env::var("IM_TEST_IMAGE").unwrap_or_else(|_| "docker.io/library/busybox:1.36".to_owned());
    let container = json!({
        "name": "greeter",
        "image": image,
        "command": ["/bin/busybox", "httpd", "-f", "-v", "-p", "8080", "-h", "/www"],
        "ports": [{ "containerPort": 8080 }],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "readinessProbe": { "httpGet": { "path": "/hello", "port": 8080 }, "periodSeconds": 1 },
        "volumeMounts": [{ "name": "www", "mountPath": "/www" }],
    });
    let pod = json!({
        // The one in there has no reason to end by itself, and nobody is served by it any more.
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": false,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container],
        "volumes": [{ "name": "www", "configMap": { "name": "www" } }],
    });
    let labels = json!({ "app": "greeter" });
    [
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "www" }, "data": { "hello": "hello\n" },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "greeter" },
            "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": 8080 }] },
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "greeter" },
            "spec": {
                "serviceName": "greeter",
                "replicas": replicas,
                "podManagementPolicy": "Parallel",
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        }),
    ]
}

/// Applies them and waits until they are ready.
pub(crate) fn greeters_in(namespace: &Namespace, replicas: u32) {
    namespace.apply(&greeters(replicas));
    namespace.run(&["rollout", "status", "statefulset/greeter", PATIENCE]);
}

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn a_node_is_ready() {
    let nodes = Kubectl::from_environment().unwrap().get(&["nodes"]).unwrap();
    let is_ready = |node: &Value| {
        let conditions = node["status"]["conditions"].as_array().unwrap();
        conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
    };
    assert!(nodes["items"].as_array().unwrap().iter().any(is_ready), "{nodes:#}");
}

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn restricted_pods_answer_by_the_name_of_their_service_and_give_logs() {
    let namespace = Namespace::new("pods");
    greeters_in(&namespace, 2);
    // From a pod, by the name of the service, to one of the two.
    let url = format!("http://greeter.{}.svc/hello", namespace.name());
    let wget = ["exec", "greeter-0", "--", "/bin/busybox", "wget", "-q", "-O", "-", &url];
    assert_eq!(eventually(|| namespace.try_run(&wget)), "hello\n");
    for pod in ["greeter-0", "greeter-1"] {
        // Its readiness was asked for.
        let logs = namespace.run(&["logs", pod]);
        assert!(logs.contains("response:200"), "{pod}: {logs}");
    }
}

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn a_pod_that_may_be_root_is_refused() {
    let namespace = Namespace::new("refused");
    let [_, _, mut stateful_set] = greeters(1);
    let pod = stateful_set["spec"]["template"]["spec"].take();
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "root" }, "spec": pod });
    pod["spec"]["securityContext"] = Value::Null;
    let error = namespace.try_apply(&pod).unwrap_err().to_string();
    assert!(error.contains("violates PodSecurity") && error.contains("runAsNonRoot"), "{error}");
}
