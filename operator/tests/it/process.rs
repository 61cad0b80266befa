//! The program as it is started and stopped.

use std::fs;
use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::api::Api;

/// How long anything may take here.
const SOON: Duration = Duration::from_secs(30);

fn operator(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imcluster-operator"));
    command.args(arguments).env_clear().kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn output(arguments: &[&str]) -> Output {
    tokio::time::timeout(SOON, operator(arguments).output()).await.unwrap().unwrap()
}

/// A running operator.
struct Operator {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    http: SocketAddr,
    _home: tempfile::TempDir,
}

impl Operator {
    async fn start(api: &Api, name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let kubeconfig = home.path().join("config");
        fs::write(&kubeconfig, api.kubeconfig()).unwrap();
        let mut command = operator(&["run", "--listen", "127.0.0.1:0", "--identity", name]);
        let mut child = command.env("KUBECONFIG", &kubeconfig).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = said(&mut log, "probes and metrics on ").await;
        let http = line.rsplit(' ').next().unwrap().parse().unwrap();
        Self { child, log, http, _home: home }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        // Fails only where a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let answer = reqwest::get(format!("http://{}{path}", self.http)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Waits until it is ready.
    async fn ready(&self) {
        let ready = async {
            while self.get("/readyz").await != (200, "ok".to_owned()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, ready).await.expect("it gets ready");
    }

    /// Waits for a line of the log.
    async fn said(&mut self, what: &str) -> String {
        said(&mut self.log, what).await
    }

    /// Asks it to end, and gives its exit code.
    async fn stopped(mut self) -> Option<i32> {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").arg(id).status().await.unwrap().success());
        self.ended().await
    }

    async fn ended(&mut self) -> Option<i32> {
        tokio::time::timeout(SOON, self.child.wait()).await.unwrap().unwrap().code()
    }
}

async fn said(log: &mut Lines<BufReader<ChildStderr>>, what: &str) -> String {
    let mut before = Vec::new();
    let found = tokio::time::timeout(SOON, async {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains(what) {
                return Some(line);
            }
            before.push(line);
        }
        None
    });
    found.await.ok().flatten().unwrap_or_else(|| panic!("it did not say {what:?}: {before:#?}"))
}

#[tokio::test]
async fn it_prints_the_definition() {
    let output = output(&["crd"]).await;
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), imcluster_crds::manifest());
}

#[tokio::test]
async fn without_an_api_server_it_says_how_to_name_one() {
    let output = output(&["run", "--listen", "127.0.0.1:0"]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("find the API server: run in a pod, or set KUBECONFIG"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn it_waits_for_the_definition_and_says_what_to_apply() {
    let api = Api::start().await;
    let mut operator = Operator::start(&api, "waits").await;
    operator.said("`imcluster-operator crd | kubectl apply --server-side -f -`").await;
    assert_eq!(operator.get("/livez").await, (200, "ok".to_owned()));
    let expected = "waits for the CustomResourceDefinition of ImCluster\n";
    assert_eq!(operator.get("/readyz").await, (503, expected.to_owned()));
    assert_eq!(operator.stopped().await, Some(0), "it can be stopped there");
    assert_eq!(api.lease("own/imcluster-operator"), None);
}

#[tokio::test]
async fn one_leads_the_other_is_ready_and_follows_when_the_first_is_stopped() {
    let api = Api::start().await;
    api.define();
    let mut first = Operator::start(&api, "first").await;
    first.said("leads, as first_").await;
    let mut second = Operator::start(&api, "second").await;
    second.said("stands by: first_").await;
    second.ready().await;
    let (_, metrics) = first.get("/metrics").await;
    assert!(metrics.contains("imcluster_operator_leader 1\n"), "{metrics}");
    let counted = "imcluster_operator_api_requests_total{verb=\"create\",resource=\"leases\",code=\"200\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
    assert_eq!(first.stopped().await, Some(0));
    second.said("leads, as second_").await;
    assert_eq!(second.stopped().await, Some(0));
    assert_eq!(api.holder("own/imcluster-operator"), "", "given back");
}

/// A spec that refers to Secrets, of which there are none.
fn spec(changes: &Value) -> Value {
    let mut spec = json!({
        "kafka": { "bootstrapServers": "kafka:9092", "topics": {} },
        "redis": { "urlSecretRef": { "name": "redis" } },
        "database": { "urlSecretRef": { "name": "database" } },
        "auth": { "jwt": { "keysSecretRef": { "name": "keys" }, "signingKey": "2026-11" } },
    });
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

#[tokio::test]
async fn what_was_stored_under_another_definition_is_refused_by_name_and_holds_up_no_other() {
    let api = Api::start().await;
    api.define();
    let expected = [
        ("unreadable", json!({ "gateways": { "replicas": "three" } }), "InvalidSpec", "spec.gateways.replicas: "),
        ("without", json!({ "kafka": { "topics": {} } }), "InvalidSpec", "bootstrapServers"),
        (
            "many",
            json!({ "gateways": { "replicas": 501 } }),
            "InvalidSpec",
            "spec.gateways.replicas: value is greater than the maximum",
        ),
        ("2chat", json!({}), "InvalidSpec", "metadata.name: metadata.name must be at most 40 characters"),
        ("both", json!({ "auth": {} }), "InvalidSpec", "exactly one of jwt and jwksUrl"),
        ("fine", json!({}), "ReferenceNotFound", "there is no Secret redis"),
    ];
    for (name, changes, ..) in &expected {
        api.keep(name, &spec(changes));
    }
    let operator = Operator::start(&api, "patient").await;
    for (name, _, reason, message) in &expected {
        let accepted = async {
            loop {
                match api.condition(name, "Accepted") {
                    Some(condition) => return condition,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let accepted = tokio::time::timeout(SOON, accepted).await.unwrap_or_else(|_| panic!("{name} is not answered"));
        assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!(reason)), "{name}: {accepted}");
        assert!(accepted["message"].as_str().unwrap().contains(message), "{name}: {accepted}");
        assert_eq!(api.condition(name, "Ready").unwrap()["reason"], "NotAccepted");
        assert_eq!(api.condition(name, "Stalled").unwrap()["reason"], *reason);
    }
    assert_eq!(operator.stopped().await, Some(0));
}

#[tokio::test]
async fn a_leader_that_meets_another_one_ends_with_an_error() {
    let api = Api::start().await;
    api.define();
    let mut operator = Operator::start(&api, "robbed").await;
    operator.said("leads, as robbed_").await;
    let mut lease = api.lease("own/imcluster-operator").unwrap();
    lease["spec"]["holderIdentity"] = "robber".into();
    api.put("own/imcluster-operator", lease);
    operator.said("lost the leadership: robber has the lease").await;
    assert_eq!(operator.ended().await, Some(1));
    assert_eq!(api.holder("own/imcluster-operator"), "robber");
}

#[tokio::test]
async fn what_others_keep_in_the_lease_stays() {
    let api = Api::start().await;
    api.define();
    let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "imcluster-operator", "namespace": "own", "labels": { "theirs": "yes" } } });
    api.put("own/imcluster-operator", lease);
    let mut operator = Operator::start(&api, "polite").await;
    operator.said("leads, as polite_").await;
    assert_eq!(api.lease("own/imcluster-operator").unwrap()["metadata"]["labels"]["theirs"], "yes");
}

#[tokio::test]
async fn who_may_not_have_leases_is_told_which_right_is_missing() {
    let api = Api::start().await;
    api.define();
    api.refuse();
    let mut operator = Operator::start(&api, "denied").await;
    operator.said("a Role must give the operator get, create and update of leases.coordination.k8s.io").await;
}
