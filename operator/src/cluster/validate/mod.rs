//! Refuses what cannot work, with a message for the person who wrote it.
//!
//! Nothing depends on the API server having checked a resource: it may have been stored under an older definition. What
//! passes here is [`Valid`], of which objects can be built without another question.

mod definition;
mod pods;
mod references;
mod refusal;

use std::collections::BTreeMap;

use imcluster_crds::ImCluster;

pub use references::{Content, Layout, References, Resolved, referenced};
pub use refusal::Refusal;

/// The content of Secrets by name, as it was read; `None`: there is none of that name.
pub type Secrets = BTreeMap<String, Option<BTreeMap<String, Vec<u8>>>>;

/// An `ImCluster` that objects can be built of.
#[derive(Clone, Debug)]
pub struct Valid {
    cluster: ImCluster,
    references: References,
}

impl Valid {
    /// What was validated.
    pub fn cluster(&self) -> &ImCluster {
        &self.cluster
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    /// What its Secrets say.
    pub fn references(&self) -> &References {
        &self.references
    }
}

/// Checks a resource and what it refers to. `secrets` has what [`referenced`] names.
///
/// A reference that does not resolve is part of the answer and no refusal: what runs goes on without it.
pub fn validate(cluster: &ImCluster, secrets: &Secrets) -> Result<Valid, Refusal> {
    definition::check(cluster)?;
    prefix_stays(cluster)?;
    pods::check(cluster)?;
    Ok(Valid { cluster: cluster.clone(), references: references::resolve(cluster, secrets) })
}

/// Topics of another prefix would be new ones, and what is under way in the old ones lost.
fn prefix_stays(cluster: &ImCluster) -> Result<(), Refusal> {
    match cluster.status.as_ref().and_then(|status| status.topic_prefix.as_deref()) {
        Some(recorded) if recorded != cluster.topic_prefix() => {
            Err(Refusal::PrefixChanged { recorded: recorded.to_owned(), now: cluster.topic_prefix() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
