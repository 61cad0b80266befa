//! The same definition and the same cases on a real API server: the one that `KUBECONFIG` names, by kubectl (`KUBECTL`).

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use imcluster_crds::manifest;
use serde_json::{Value, json};

use crate::admission::{merged, smallest};
use crate::rules::{Case, cases};

/// What kubectl prints, or what it complains of. A warning is a complaint.
fn kubectl(arguments: &[&str], input: &str) -> Result<String, String> {
    let program = std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    let mut child = Command::new(&program)
        .args(["--warnings-as-errors", "--request-timeout=10s"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// A namespace with the definition at hand; it goes with the value.
struct Namespace(String);

impl Namespace {
    fn new(what: &str) -> Self {
        kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &manifest()).unwrap();
        kubectl(&["wait", "--for=condition=Established", "crd/imclusters.imcluster.dev", "--timeout=10s"], "").unwrap();
        let name = format!("imcluster-{what}-{}", std::process::id());
        kubectl(&["create", "namespace", &name], "").unwrap();
        Self(name)
    }

    fn run(&self, arguments: &[&str], object: &Value) -> Result<String, String> {
        kubectl(&[&["-n", &self.0], arguments].concat(), &object.to_string())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = kubectl(&["delete", "namespace", &self.0, "--wait=false"], "");
    }
}

#[test]
#[ignore = "needs a cluster: set KUBECONFIG"]
fn an_api_server_accepts_and_rejects_what_the_rules_say() {
    let namespace = Namespace::new("rules");
    let mut writes = Vec::new();
    for Case { rule, accepts, rejects } in cases() {
        writes.extend(accepts.into_iter().map(|write| (rule, true, write)));
        writes.extend(rejects.into_iter().map(|write| (rule, false, write)));
    }
    let next = AtomicUsize::new(0);
    let one_after_the_other = || {
        while let Some((rule, accepted, write)) = writes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let place = json!({ "metadata": { "namespace": namespace.0 } });
            let object = |patch: &Value| merged(&merged(&smallest(), &place), patch);
            let answer = match &write.before {
                None => namespace.run(&["create", "--dry-run=server", "-f", "-"], &object(&write.now)),
                Some(before) => {
                    // Each its own, so that they do not meet.
                    let name = json!({ "metadata": { "name": format!("chat-{write:p}").replace("0x", "") } });
                    namespace.run(&["create", "-f", "-"], &merged(&object(before), &name)).unwrap();
                    namespace.run(&["replace", "--dry-run=server", "-f", "-"], &merged(&object(&write.now), &name))
                }
            };
            match answer {
                Ok(_) => assert!(accepted, "{rule}: {} after {:?} is accepted", write.now, write.before),
                // Kubernetes itself refuses some names before any rule is asked.
                Err(error) => {
                    assert!(!accepted, "{rule}: {} after {:?}: {error}", write.now, write.before);
                    assert!(error.contains(rule) || error.contains("RFC 1123"), "{rule}: {}: {error}", write.now);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(one_after_the_other);
        }
    });
}

#[test]
#[ignore = "needs a cluster: set KUBECONFIG"]
fn kubectl_shows_scales_and_explains_a_resource() {
    let namespace = Namespace::new("shown");
    let place = json!({ "metadata": { "namespace": namespace.0 } });
    namespace.run(&["create", "-f", "-"], &merged(&smallest(), &place)).unwrap();
    let ask = |arguments: &[&str]| namespace.run(arguments, &Value::Null).unwrap();
    let table = ask(&["get", "imc", "-o", "wide"]);
    let head: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "DESIRED", "READY", "CONNECTIONS", "STATUS", "AGE", "IMAGE", "TOPICS"], "{table}");
    assert!(table.lines().nth(1).unwrap().contains("Pending"), "{table}");
    let condition = ask(&["get", "imc/chat", "-o", "jsonpath={.status.conditions[*]['type','status','reason']}"]);
    assert_eq!(condition, "Ready Unknown Pending");
    ask(&["scale", "imc/chat", "--replicas=7"]);
    assert_eq!(ask(&["get", "imc/chat", "-o", "jsonpath={.spec.gateways.replicas}"]), "7");
    // A null is not there: it neither hides a default nor is kept.
    ask(&["patch", "imc/chat", "--type=json", "-p", r#"[{"op":"replace","path":"/spec/gateways","value":null}]"#]);
    assert_eq!(ask(&["get", "imc/chat", "-o", "jsonpath={.spec.gateways.replicas}"]), "3");
    let explained = ask(&["explain", "imc.spec.gateways.drain.deadlineSeconds"]);
    assert!(explained.contains("Seconds until every client has been sent away."), "{explained}");
}

#[test]
#[ignore = "needs a cluster: set KUBECONFIG"]
fn two_appliers_share_lists_and_maps() {
    let namespace = Namespace::new("shared");
    let place = json!({ "metadata": { "namespace": namespace.0 } });
    let whole = merged(&smallest(), &place);
    namespace.run(&["create", "-f", "-"], &whole).unwrap();
    let apply = |manager: &str, more: &[&str], patch: Value| {
        let manager = format!("--field-manager={manager}");
        let object = json!({ "apiVersion": whole["apiVersion"], "kind": "ImCluster", "metadata": { "name": "chat" } });
        namespace
            .run(&[&["apply", "--server-side", &manager, "-f", "-"], more].concat(), &merged(&object, &patch))
            .unwrap();
    };
    let condition = |kind: &str| {
        let time = "2026-11-21T12:00:00Z";
        json!({ "type": kind, "status": "True", "reason": "Valid", "message": "", "lastTransitionTime": time })
    };
    for (manager, proxy, id) in [("a", "10.0.0.0/8", 0), ("b", "fd00::/8", 1)] {
        let config = json!({ "trustedProxies": [proxy], "tcpProxyProtocol": null });
        let mut spec = whole["spec"].clone();
        spec["config"] = config;
        spec["extraConfig"] = json!({ format!("of-{manager}"): "1" });
        apply(manager, &["--force-conflicts"], json!({ "spec": spec }));
        let server = json!({ "id": id, "phase": "Serving" });
        let status = json!({ "conditions": [condition(&format!("Of{manager}"))], "servers": [server] });
        apply(manager, &["--subresource=status"], json!({ "status": status }));
    }
    let read =
        |path: &str| namespace.run(&["get", "imc/chat", "-o", &format!("jsonpath={{{path}}}")], &Value::Null).unwrap();
    assert_eq!(read(".spec.config.trustedProxies"), r#"["10.0.0.0/8","fd00::/8"]"#);
    assert_eq!(read(".spec.extraConfig"), r#"{"of-a":"1","of-b":"1"}"#);
    assert_eq!(read(".status.servers[*].id"), "0 1");
    // The one that the definition fills in stays until somebody knows better.
    assert_eq!(read(".status.conditions[*].type"), "Ready Ofa Ofb");
}
