//! The start waits until the API server knows what an `ImCluster` is. A process that ended instead would start again ever later.

use std::time::Duration;

use imcluster_crds::ImCluster;
use kube::{Client, Resource};

/// From one look to the next.
const RETRY: Duration = Duration::from_secs(5);

/// How the API server answers.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Known,
    Unknown,
}

/// Returns when the API server has the definition. The log says what to do while it has not.
pub async fn awaited(client: &Client) {
    loop {
        match asked(client).await {
            Ok(Answer::Known) => return,
            Ok(Answer::Unknown) => tracing::warn!(
                "the API server has no CustomResourceDefinition {}.{}: apply crds/imclusters.yaml, or \
                 `imcluster-operator crd | kubectl apply --server-side -f -`; looking again in {} s",
                ImCluster::plural(&()),
                ImCluster::group(&()),
                RETRY.as_secs()
            ),
            Err(error) => tracing::warn!("the API server does not answer: {error}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Anybody may ask for the resources of a version, unlike for definitions.
async fn asked(client: &Client) -> Result<Answer, kube::Error> {
    match client.list_api_group_resources(&ImCluster::api_version(&())).await {
        Ok(list) if list.resources.iter().any(|resource| resource.name == ImCluster::plural(&())) => Ok(Answer::Known),
        Ok(_) => Ok(Answer::Unknown),
        // By the code: what stands beside it is no status, but text.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Answer::Unknown),
        Err(error) => Err(error),
    }
}
