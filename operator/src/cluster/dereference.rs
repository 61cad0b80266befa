//! Reads what a spec refers to. Content is read when the metadata shows that it changed, and only of what is referred to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;

use super::validate::Secrets;
use crate::watch::Watched;

/// The content of a Secret.
type Data = BTreeMap<String, Vec<u8>>;

/// Secrets that were read, by namespace and name, each with the resource version that it was read at.
pub(super) struct SecretReader {
    client: Client,
    read: Mutex<HashMap<(String, String), (String, Data)>>,
}

impl SecretReader {
    /// Has read nothing yet.
    pub(super) fn new(client: Client) -> Self {
        Self { client, read: Mutex::default() }
    }

    /// The content of Secrets of a namespace; `None` for those that are not there.
    pub(super) async fn read(
        &self,
        watched: &Watched,
        namespace: &str,
        names: &BTreeSet<String>,
    ) -> Result<Secrets, kube::Error> {
        let mut found = Secrets::new();
        for name in names {
            found.insert(name.clone(), self.one(watched, namespace, name).await?);
        }
        Ok(found)
    }

    /// The content of one.
    pub(super) async fn one(
        &self,
        watched: &Watched,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Data>, kube::Error> {
        let key = (namespace.to_owned(), name.to_owned());
        // One that has just been made shows up in the caches, and that wakes whoever waits for it.
        let Some(live) = watched.secrets.get(&ObjectRef::new(name).within(namespace)) else {
            self.read.lock().remove(&key);
            return Ok(None);
        };
        let version = live.resource_version().unwrap_or_default();
        if let Some((read_at, data)) = self.read.lock().get(&key)
            && *read_at == version
        {
            return Ok(Some(data.clone()));
        }
        self.fresh(namespace, name).await
    }

    /// The content of one as the API server has it now.
    pub(super) async fn fresh(&self, namespace: &str, name: &str) -> Result<Option<Data>, kube::Error> {
        let secret = Api::<Secret>::namespaced(self.client.clone(), namespace).get_opt(name).await?;
        Ok(secret.map(|secret| {
            let version = secret.resource_version().unwrap_or_default();
            let data: Data = secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect();
            self.read.lock().insert((namespace.to_owned(), name.to_owned()), (version, data.clone()));
            data
        }))
    }
}
