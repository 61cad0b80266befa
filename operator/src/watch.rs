//! What is kept of the cluster in memory: caches that follow watches.
//!
//! Of what the operator makes metadata alone is kept, and of Secrets: whether something changed shows there. Gateway pods and
//! `StatefulSet`s are kept whole, since their status counts.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use imcluster_crds::ImCluster;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{Predicate, predicates};
use kube::{Api, Client, Resource};
use tokio_util::task::TaskTracker;

use crate::cluster::apply::{Live, resource};
use crate::cluster::build::Kind;
use crate::cluster::names;

/// A stream of what changed; the caches have it already.
pub type Changes<K> = BoxStream<'static, Result<K, watcher::Error>>;

/// The caches of a namespace, or of all.
#[derive(Clone)]
pub struct Watched {
    /// `ImCluster`s, not parsed: one that cannot be must not hide the others.
    pub clusters: Store<DynamicObject>,
    /// The `StatefulSet`s of gateways.
    pub sets: Store<StatefulSet>,
    /// Gateway pods.
    pub pods: Store<Pod>,
    /// All Secrets, without their content.
    pub secrets: Store<PartialObjectMeta<Secret>>,
    owned: Arc<HashMap<Kind, Store<Live>>>,
    filling: Filling,
}

/// Which caches were not filled yet. A store of kube wakes only the last of those who wait for it, and the controller
/// waits for it too.
#[derive(Clone, Default)]
struct Filling(TaskTracker);

impl Filling {
    /// What changed, once it is in the cache.
    fn cache<K, S>(
        &self,
        events: S,
        writer: Writer<K>,
    ) -> impl Stream<Item = Result<K, watcher::Error>> + Send + use<K, S>
    where
        K: Resource<DynamicType: Eq + Hash + Clone + Send> + Clone + Send + Sync + 'static,
        S: Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    {
        let mut unfilled = Some(self.0.token());
        events
            .default_backoff()
            .reflect(writer)
            .inspect(move |event| {
                if let Ok(Event::InitDone) = event {
                    drop(unfilled.take());
                }
            })
            .touched_objects()
    }
}

/// What wakes a reconcile.
pub struct Triggers {
    /// `ImCluster`s whose spec, annotations, finalizers or deletion changed: not those whose status did, which we write.
    pub clusters: Changes<DynamicObject>,
    /// See [`Watched::sets`].
    pub sets: Changes<StatefulSet>,
    /// See [`Watched::pods`].
    pub pods: Changes<Pod>,
    /// See [`Watched::secrets`].
    pub secrets: Changes<PartialObjectMeta<Secret>>,
    /// What the operator made.
    pub owned: Vec<(ApiResource, Changes<Live>)>,
}

/// The resource that the operator is about.
pub fn im_clusters() -> ApiResource {
    ApiResource::erase::<ImCluster>(&())
}

/// Caches for a namespace, or all of them with `None`; they fill while the triggers are polled.
pub fn watch(client: &Client, namespace: Option<&str>) -> (Watched, Triggers) {
    let all = watcher::Config::default();
    let ours = watcher::Config::default().labels(&names::managed());
    let filling = Filling::default();

    let (clusters, writer) = store(im_clusters());
    let api: Api<DynamicObject> = api_with(client, namespace, &im_clusters());
    let spec =
        predicates::generation.combine(predicates::annotations).combine(predicates::finalizers).combine(deletion);
    let cluster_changes = filling
        .cache(watcher(api, all.clone()), writer)
        .predicate_filter(spec, kube::runtime::PredicateConfig::default())
        .boxed();

    let (sets, writer) = reflector::store();
    let events = watcher(api_of::<StatefulSet>(client, namespace), ours.clone());
    let set_changes = filling.cache(events.modify(|set| set.metadata.managed_fields = None), writer).boxed();

    let (pods, writer) = reflector::store();
    let pod_changes =
        filling.cache(watcher(api_of::<Pod>(client, namespace), ours.clone()).modify(slim), writer).boxed();

    let (secrets, writer) = reflector::store();
    let events = watcher(api_of::<PartialObjectMeta<Secret>>(client, namespace), all);
    let secret_changes = filling.cache(events.modify(|secret| secret.metadata.managed_fields = None), writer).boxed();

    let mut stores = HashMap::new();
    let mut owned = Vec::new();
    for kind in Kind::ALL {
        let resource = resource(kind);
        let (reader, writer) = store(resource.clone());
        let events = watcher(api_with::<Live>(client, namespace, &resource), ours.clone());
        let changes = filling.cache(events.modify(|object| object.metadata.managed_fields = None), writer).boxed();
        stores.insert(kind, reader);
        owned.push((resource, changes));
    }

    let watched = Watched { clusters, sets, pods, secrets, owned: Arc::new(stores), filling };
    let triggers =
        Triggers { clusters: cluster_changes, sets: set_changes, pods: pod_changes, secrets: secret_changes, owned };
    (watched, triggers)
}

impl Watched {
    /// Waits until every cache has been filled once, while the triggers are polled.
    pub async fn filled(&self) {
        self.filling.0.close();
        self.filling.0.wait().await;
    }

    /// An object that has our labels.
    pub fn owned(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Live>> {
        self.owned[&kind].get(&ObjectRef::new_with(name, resource(kind)).within(namespace))
    }

    /// The objects of a kind that an `ImCluster` controls, by its UID.
    pub fn owned_by(&self, kind: Kind, uid: &str) -> Vec<Arc<Live>> {
        self.owned[&kind].state_filter(|object| crate::cluster::apply::is_owned(&object.metadata, uid))
    }
}

fn store<K>(resource: ApiResource) -> (Store<K>, Writer<K>)
where
    K: Resource<DynamicType = ApiResource> + Clone + 'static,
{
    let writer = Writer::new(resource);
    (writer.as_reader(), writer)
}

fn api_of<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn api_with<K>(client: &Client, namespace: Option<&str>, resource: &ApiResource) -> Api<K>
where
    K: Resource<DynamicType = ApiResource, Scope = kube::core::DynamicResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// Deletion adds a time, and moves the generation of custom resources only sometimes.
#[expect(clippy::unnecessary_wraps, reason = "the form of a predicate")]
fn deletion<K: Resource>(object: &K) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    object.meta().deletion_timestamp.is_some().hash(&mut hasher);
    Some(hasher.finish())
}

/// Drops what decisions do not need: there may be thousands of pods.
fn slim(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.annotations = None;
    pod.spec = None;
}
