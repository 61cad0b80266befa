//! The operator on a real Kubernetes, with a real Kafka and played gateways.

mod basics;
mod conflict;
mod crash;
mod delete;
mod drain;
mod faults;
mod many;
mod pair;
mod person;
mod real;
mod roll;
mod scale;
mod scene;
mod spec;
mod topics;

use imcluster_crds::{ImCluster, ServerPhase};
use imcluster_tests::operator::{Operator, Tenant, World};
use kube::api::{Patch, PatchParams};
use serde_json::Value;

/// A namespace with an operator.
async fn begin(test: &str) -> (&'static World, Tenant, Operator) {
    let world = World::shared().await;
    let tenant = world.tenant(test).await;
    let operator = Operator::start(world, &tenant).unwrap();
    (world, tenant, operator)
}

async fn change(tenant: &Tenant, change: &Value) {
    let api = tenant.api::<ImCluster>();
    api.patch("chat", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

async fn until_gone(tenant: &Tenant) {
    tenant.until::<ImCluster>("chat", "it is gone", |it| it.is_none()).await;
}

fn ids(cluster: &ImCluster) -> Vec<(u16, ServerPhase)> {
    let servers = cluster.status.iter().flat_map(|status| &status.servers);
    servers.map(|entry| (entry.id.0, entry.phase)).collect()
}
