//! A namespace of a test's own, and what a test does in it.

use std::fmt::{Debug, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use imcluster_crds::ImCluster;
use imcluster_crds::conditions::ConditionType;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::watcher::watch_object;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::world::World;
use crate::cluster::network::MACHINE;
use crate::cluster::{Namespace, onto_played_nodes};
use crate::gateway::Handle;

/// Longest wait for something that is to come about.
const PATIENCE: Duration = Duration::from_mins(1);
/// Who applies what a test applies.
const MANAGER: &str = "test";

/// A namespace under the restricted Pod Security Standard with the Secrets that an `ImCluster` refers to; gone, with
/// everything in it, when dropped.
pub struct Tenant {
    namespace: Namespace,
    client: Client,
    world: &'static World,
}

impl Tenant {
    pub(super) async fn new(world: &'static World, test: &str) -> Result<Self> {
        let test = test.to_owned();
        let namespace = tokio::task::spawn_blocking(move || Namespace::new(&test)).await?;
        let tenant = Self { namespace, client: world.client(), world };
        for (name, key, value) in [
            // Played gateways never call them.
            ("redis", "url", format!("redis://{MACHINE}:6379/0")),
            ("database", "url", format!("postgres://im:password@{MACHINE}:5432/im")),
            ("keys", "2026-11", "a-signing-key-of-the-tests-that-is-long".to_owned()),
        ] {
            tenant.secret(name, &[(key, &value)]).await?;
        }
        Ok(tenant)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// kubectl in it, as a person has it.
    pub fn kubectl(&self) -> &Namespace {
        &self.namespace
    }

    /// A client that may do everything.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The objects of a kind in it.
    pub fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.name())
    }

    /// Makes a Secret, or gives it other content.
    pub async fn secret(&self, name: &str, content: &[(&str, &str)]) -> Result<()> {
        let content: serde_json::Map<_, _> =
            content.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": content,
        });
        self.api::<Secret>().patch(name, &applied(), &Patch::Apply(secret)).await?;
        Ok(())
    }

    /// The manifest of an `ImCluster` whose two gateways are on played nodes, changed by a merge patch (RFC 7386).
    pub fn im_cluster(&self, name: &str, changes: &Value) -> Value {
        let mut manifest = json!({
            "apiVersion": "imcluster.dev/v1alpha1",
            "kind": "ImCluster",
            "metadata": { "name": name, "namespace": self.name() },
            "spec": {
                "image": crate::gateway::IMAGE,
                "gateways": { "replicas": 2, "podTemplate": { "spec": onto_played_nodes() } },
                "kafka": {
                    "bootstrapServers": self.world.bootstrap().to_string(),
                    "topics": { "replicationFactor": 1 },
                },
                "redis": { "urlSecretRef": { "name": "redis" } },
                "database": { "urlSecretRef": { "name": "database" } },
                "auth": { "jwt": { "keysSecretRef": { "name": "keys" }, "signingKey": "2026-11" } },
            },
        });
        json_patch::merge(&mut manifest, changes);
        manifest
    }

    /// Applies an object as a person would, server-side.
    pub async fn apply<K>(&self, manifest: &Value) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
    {
        let name = manifest["metadata"]["name"].as_str().context("it has no name")?;
        Ok(self.api::<K>().patch(name, &applied(), &Patch::Apply(manifest)).await?)
    }

    /// Waits until something holds for an object, which is `None` while it is not there. Panics with all that is known, if
    /// it takes longer than a minute. `what` is the end of "waited until".
    pub async fn until<K>(&self, name: &str, what: &str, holds: impl FnMut(Option<&K>) -> bool) -> Option<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        self.until_within(PATIENCE, name, what, holds).await
    }

    /// The same with another limit.
    pub async fn until_within<K>(
        &self,
        patience: Duration,
        name: &str,
        what: &str,
        mut holds: impl FnMut(Option<&K>) -> bool,
    ) -> Option<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let reached = async {
            loop {
                let mut states = std::pin::pin!(watch_object(self.api::<K>(), name));
                // An error is tried again: the API server may be away for a moment, or know the kind in a moment.
                while let Ok(Some(state)) = states.try_next().await {
                    if holds(state.as_ref()) {
                        return state;
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        if let Ok(state) = tokio::time::timeout(patience, reached).await {
            return state;
        }
        panic!("waited {patience:?} in vain until {what}\n{}", self.report().await)
    }

    /// Waits until a condition of an `ImCluster` has this status, and is about its newest spec.
    pub async fn until_condition(&self, name: &str, condition: ConditionType, status: &str) -> ImCluster {
        let what = format!("{name} has {} = {status}", condition.as_str());
        let holds = |it: Option<&ImCluster>| {
            let Some(it) = it else { return false };
            let conditions = it.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            conditions.iter().any(|known| {
                known.type_ == condition.as_str()
                    && known.status == status
                    && known.observed_generation == it.meta().generation
            })
        };
        self.until(name, &what, holds).await.expect("it is there")
    }

    /// The pods, by their names: pods of one `StatefulSet` in the order of their numbers.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let mut pods = self.api::<Pod>().list(&ListParams::default()).await?.items;
        let by_number = |pod: &Pod| {
            let name = pod.name_any();
            let number = name.rsplit_once('-').and_then(|(_, number)| number.parse::<u32>().ok());
            (number, name)
        };
        pods.sort_by_key(by_number);
        Ok(pods)
    }

    /// The gateway in a pod.
    pub async fn gateway(&self, pod: &str) -> Result<Handle> {
        Handle::of(&self.api::<Pod>().get(pod).await?)
    }

    /// The topics of an `ImCluster` with the default prefix: what their names have after it.
    pub async fn topics(&self, name: &str) -> Result<Vec<String>> {
        let prefix = format!("{}.{name}.", self.name());
        let topics = self.world.kafka.topics(&prefix).await?;
        Ok(topics.iter().map(|topic| topic[prefix.len()..].to_owned()).collect())
    }

    /// All that may tell why a test failed.
    pub async fn report(&self) -> String {
        let mut report = format!("---- namespace {}\n", self.name());
        if let Err(error) = self.describe(&mut report).await {
            // Writing to a string cannot fail.
            let _ = writeln!(report, "the rest cannot be told: {error:#}");
        }
        report + &self.world.said_about(self.name())
    }

    /// Lets go what a finalizer holds: whoever was to take it away may be gone, and the namespace would stay.
    fn release(&self) -> Result<()> {
        let held = self.namespace.try_run(&["get", "imclusters,pods", "--output=json"])?;
        let held: Value = serde_json::from_str(&held)?;
        for it in held["items"].as_array().into_iter().flatten() {
            let (kind, metadata) = (it["kind"].as_str().unwrap_or_default(), &it["metadata"]);
            if metadata.get("finalizers").is_some() {
                let name = metadata["name"].as_str().unwrap_or_default();
                let nothing = r#"--patch={"metadata":{"finalizers":null}}"#;
                self.namespace.try_run(&["patch", kind, name, "--type=merge", nothing])?;
            }
        }
        Ok(())
    }

    async fn describe(&self, report: &mut String) -> Result<()> {
        for it in self.api::<ImCluster>().list(&ListParams::default()).await? {
            let status = serde_json::to_string_pretty(&it.status)?;
            writeln!(report, "ImCluster {} of generation {:?}: {status}", it.name_any(), it.meta().generation)?;
        }
        for pod in self.pods().await? {
            let status = pod.status.clone().unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let ready = conditions.iter().find(|it| it.type_ == "Ready").map(|it| it.status.as_str());
            let (phase, address) = (status.phase.unwrap_or_default(), status.pod_ip.unwrap_or_default());
            let going = if pod.meta().deletion_timestamp.is_some() { ", terminating" } else { "" };
            writeln!(report, "pod {} {address}: {phase}, ready {ready:?}{going}", pod.name_any())?;
        }
        for event in self.api::<Event>().list(&ListParams::default()).await? {
            let regarding = event.regarding.unwrap_or_default();
            let (kind, name) = (regarding.kind.unwrap_or_default(), regarding.name.unwrap_or_default());
            let [reason, note] = [event.reason, event.note].map(Option::unwrap_or_default);
            writeln!(report, "event of {kind} {name}: {reason}: {note}")?;
        }
        Ok(())
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        // Nobody waits for it, and a test that failed says why by itself.
        let _ = self.release();
    }
}

/// Between two attempts to look.
const LOOK: Duration = Duration::from_millis(100);

fn applied() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}
