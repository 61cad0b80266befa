//! All that became of the `ImCluster`s, `StatefulSet`s and pods of a namespace, in the order in which it did, for tests of what
//! comes before what.

mod course;
mod rules;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use imcluster_crds::ImCluster;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use course::Course;
pub use rules::Breach;

use super::tenant::Tenant;

/// Longest wait for what the API server has told others already.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before another try to watch.
const AGAIN: Duration = Duration::from_millis(100);

/// What a test may want to know the order of.
#[derive(Clone, Debug)]
pub enum Object {
    /// The resource.
    Cluster(Box<ImCluster>),
    /// Its gateways.
    Set(Box<StatefulSet>),
    /// One of them.
    Pod(Box<Pod>),
}

/// An object as it was from a version on.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The version. There is one count for the objects of all kinds, since they are in one store.
    pub version: u64,
    /// When this process heard of it.
    pub heard: Instant,
    /// The object.
    pub object: Object,
    /// It was deleted; `object` is what it was last.
    pub gone: bool,
}

/// Writes down what happens in a namespace, until it is dropped.
pub struct Timeline {
    tenant: Lists,
    seen: watch::Sender<Vec<Moment>>,
    _watching: JoinSet<()>,
}

/// Where the objects are.
struct Lists {
    clusters: Api<ImCluster>,
    sets: Api<StatefulSet>,
    pods: Api<Pod>,
}

impl Timeline {
    /// From now on, which is to be before there is anything.
    pub async fn of(tenant: &Tenant) -> Result<Self> {
        let lists = Lists { clusters: tenant.api(), sets: tenant.api(), pods: tenant.api() };
        let seen = watch::Sender::new(Vec::new());
        let mut watching = JoinSet::new();
        watching.spawn(follow(lists.clusters.clone(), since(&lists.clusters).await?, seen.clone(), Object::Cluster));
        watching.spawn(follow(lists.sets.clone(), since(&lists.sets).await?, seen.clone(), Object::Set));
        watching.spawn(follow(lists.pods.clone(), since(&lists.pods).await?, seen.clone(), Object::Pod));
        Ok(Self { tenant: lists, seen, _watching: watching })
    }

    /// Everything so far.
    pub async fn so_far(&self) -> Result<Course> {
        let mut now = versions(&self.tenant.clusters).await?;
        now.extend(versions(&self.tenant.sets).await?);
        now.extend(versions(&self.tenant.pods).await?);
        let mut seen = self.seen.subscribe();
        let complete = seen.wait_for(|seen| {
            let heard = |uid: &str, version: u64| seen.iter().any(|it| it.version >= version && it.object.uid() == uid);
            now.iter().all(|(uid, version)| heard(uid, *version))
        });
        let complete = tokio::time::timeout(PATIENCE, complete).await.context("the watches lag behind")??;
        Ok(Course::of(complete.clone()))
    }
}

impl Object {
    fn uid(&self) -> &str {
        let metadata = match self {
            Self::Cluster(it) => &it.metadata,
            Self::Set(it) => &it.metadata,
            Self::Pod(it) => &it.metadata,
        };
        metadata.uid.as_deref().unwrap_or_default()
    }
}

/// A kind that is watched.
trait Kind: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug {}
impl<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug> Kind for K {}

/// The version of a list.
async fn since<K: Kind>(api: &Api<K>) -> Result<String> {
    let list = api.list(&ListParams::default()).await?;
    list.metadata.resource_version.context("a list without a version")
}

/// The versions of what is there, by UID.
async fn versions<K: Kind>(api: &Api<K>) -> Result<BTreeMap<String, u64>> {
    let list = api.list(&ListParams::default()).await?;
    list.items.iter().map(|it| Ok((it.uid().context("no UID")?, version(it).context("no version")?))).collect()
}

fn version(object: &impl ResourceExt) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

async fn follow<K: Kind>(
    api: Api<K>,
    mut from: String,
    seen: watch::Sender<Vec<Moment>>,
    object: fn(Box<K>) -> Object,
) {
    loop {
        if let Ok(events) = api.watch(&WatchParams::default(), &from).await {
            let mut events = pin!(events);
            while let Some(Ok(event)) = events.next().await {
                let (it, gone) = match event {
                    WatchEvent::Added(it) | WatchEvent::Modified(it) => (it, false),
                    WatchEvent::Deleted(it) => (it, true),
                    WatchEvent::Bookmark(_) => continue,
                    WatchEvent::Error(_) => break,
                };
                let Some(version) = version(&it) else { continue };
                from = version.to_string();
                let moment = Moment { version, heard: Instant::now(), object: object(Box::new(it)), gone };
                seen.send_modify(|seen| seen.push(moment));
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
