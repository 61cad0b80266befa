//! All that there is of an `ImCluster`, as text by which two runs are compared. What differs by chance has a name in it instead:
//! the namespace, UIDs, hashes, the token. A name stands for the same value as long as a run lasts, so that a pod that was
//! replaced for no reason, or another token, is another text.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use imcluster_crds::ImCluster;
use imcluster_operator::cluster::apply::resource;
use imcluster_operator::cluster::build::Kind;
use imcluster_operator::cluster::names::{APPLIED_HASH, CONFIG_HASH, SECRETS_HASH, managed};
use imcluster_tests::operator::Tenant;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::core::DynamicObject;
use serde_json::{Value, json};

/// The label of a pod that names the revision of its template.
const REVISION: &str = "controller-revision-hash";

/// What the values are called that differ by chance.
#[derive(Clone, Default)]
pub(crate) struct Names {
    known: BTreeMap<String, String>,
    counts: BTreeMap<String, usize>,
}

impl Names {
    fn name(&mut self, value: &Value, what: &str) {
        let Some(value) = value.as_str().filter(|value| !self.known.contains_key(*value)) else { return };
        let count = self.counts.entry(what.to_owned()).or_default();
        *count += 1;
        self.known.insert(value.to_owned(), format!("<{what}, no. {count}>"));
    }

    fn put_into(&self, text: &str) -> String {
        self.known.iter().fold(text.to_owned(), |text, (value, name)| text.replace(value, name))
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct State(String);

impl State {
    /// Nothing is left.
    pub(crate) fn nothing() -> Self {
        Self("topics []\n".to_owned())
    }

    /// What there is of the `ImCluster` chat now. With `passing`, without what is on its way out: ids that are retired, and
    /// topics above `gateways`, which may be gone or not.
    pub(crate) async fn of(tenant: &Tenant, names: &mut Names, passing: Option<u16>) -> Result<Self> {
        let mut objects = Vec::new();
        for cluster in tenant.api::<ImCluster>().list(&ListParams::default()).await? {
            objects.push(("ImCluster", serde_json::to_value(cluster)?));
        }
        let ours = ListParams::default().labels(&managed());
        for (kind, name) in Kind::ALL.map(|kind| (kind, resource(kind))) {
            let api: Api<DynamicObject> = Api::namespaced_with(tenant.client().clone(), tenant.name(), &name);
            for object in api.list(&ours).await? {
                objects.push((told(kind), serde_json::to_value(object)?));
            }
        }
        for pod in tenant.api::<Pod>().list(&ours).await? {
            objects.push(("Pod", serde_json::to_value(pod)?));
        }
        for (kind, object) in &objects {
            name_what_differs(kind, object, names);
        }
        let mut text = String::new();
        for (kind, mut object) in objects {
            tidy(kind, &mut object, passing.is_some());
            let object = names.put_into(&serde_json::to_string_pretty(&object)?);
            writeln!(text, "{kind} {object}")?;
        }
        let mut topics = tenant.topics("chat").await?;
        topics.retain(|id| passing.is_none_or(|gateways| id.parse().is_ok_and(|id: u16| id < gateways)));
        writeln!(text, "topics {topics:?}")?;
        Ok(Self(text.replace(tenant.name(), "<namespace>")))
    }

    /// The lines that two do not have in common.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let only = |sign: &str, a: &str, b: &str| {
            let mut there: BTreeMap<&str, usize> = BTreeMap::new();
            b.lines().for_each(|line| *there.entry(line).or_default() += 1);
            let missing = a.lines().filter(|line| {
                let count = there.entry(line).or_default();
                let missing = *count == 0;
                *count = count.saturating_sub(1);
                missing
            });
            missing.map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
        };
        [only("-", &self.0, &other.0), only("+", &other.0, &self.0)].concat().join("\n")
    }
}

fn told(kind: Kind) -> &'static str {
    match kind {
        Kind::ServiceAccount => "ServiceAccount",
        Kind::ConfigMap => "ConfigMap",
        Kind::Secret => "Secret",
        Kind::Service => "Service",
        Kind::NetworkPolicy => "NetworkPolicy",
        Kind::Ingress => "Ingress",
        Kind::PodDisruptionBudget => "PodDisruptionBudget",
        Kind::StatefulSet => "StatefulSet",
    }
}

fn name_what_differs(kind: &str, object: &Value, names: &mut Names) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    names.name(&object["metadata"]["uid"], &format!("UID of {kind} {name}"));
    names.name(&object["metadata"]["labels"][REVISION], "revision");
    names.name(&object["data"]["token"], "token");
    for hash in [CONFIG_HASH, SECRETS_HASH] {
        names.name(&object["metadata"]["annotations"][hash], hash);
    }
    names.name(&object["metadata"]["annotations"][APPLIED_HASH], &format!("{APPLIED_HASH} of {kind} {name}"));
}

/// Takes away what the operator has nothing to do with, and what time brings.
fn tidy(kind: &str, object: &mut Value, passing: bool) {
    for field in ["resourceVersion", "creationTimestamp", "managedFields"] {
        remove(&mut object["metadata"], field);
    }
    match kind {
        "ImCluster" => tidy_status(&mut object["status"], passing),
        "Pod" => {
            let ready = object["status"]["conditions"].as_array().into_iter().flatten();
            let ready = ready.into_iter().find(|condition| condition["type"] == "Ready").map(|it| it["status"].clone());
            object["status"] = json!({ "ready": ready });
            // What follows from the template, which is known by its revision.
            remove(object, "spec");
        }
        _ => {
            remove(object, "status");
            remove(&mut object["metadata"], "generation");
            for field in ["clusterIP", "clusterIPs"].into_iter().filter(|_| kind == "Service") {
                remove(&mut object["spec"], field);
            }
        }
    }
}

fn tidy_status(status: &mut Value, passing: bool) {
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        remove(condition, "lastTransitionTime");
    }
    // How many clients there were when it was last told.
    remove(status, "connections");
    if let Some(servers) = status["servers"].as_array_mut() {
        servers.retain(|server| !(passing && server["phase"] == "Retired"));
    }
}

fn remove(object: &mut Value, field: &str) {
    object.as_object_mut().and_then(|object| object.remove(field));
}
