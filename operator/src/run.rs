//! The work of the operator: caches, and reconciles for what they show.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, select_all};
use imcluster_crds::names::LABELS;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::build::Release;
use crate::cluster::{self, Context, LastLook, Memories, Parts, ReconcileError, Shared};
use crate::config::Namespaces;
use crate::drain::gateways::Gateways;
use crate::running::Running;
use crate::telemetry::metrics;
use crate::topics::worker::KafkaTopics;
use crate::wake::Wake;
use crate::watch::{self as caches, Triggers, Watched, im_clusters};

/// Reconciles at once, per namespace that is watched.
const AT_ONCE: u16 = 16;

/// Several changes of what belongs to one `ImCluster`, as pods that start, are looked at together.
const TOGETHER: Duration = Duration::from_millis(100);

/// Works until it is asked to end. What is being written then is written to its end.
pub async fn run(running: Running) -> anyhow::Result<()> {
    let Running { client, own_namespace, namespaces, release, writing, leading, events, kafka, readiness, shutdown } =
        running;
    let scopes: Vec<Option<String>> = match namespaces {
        Namespaces::All => vec![None],
        Namespaces::Listed(names) => names.into_iter().map(Some).collect(),
    };
    let (watched, triggers): (Vec<Watched>, Vec<Triggers>) =
        scopes.iter().map(|namespace| caches::watch(&client, namespace.as_deref())).unzip();
    let everywhere: Arc<[Store<DynamicObject>]> = watched.iter().map(|watched| watched.clusters.clone()).collect();
    let memories = Arc::new(Memories::default());
    let wake = Wake::default();
    let last_look =
        Arc::new(LastLook { client: client.clone(), memories: memories.clone(), everywhere: everywhere.clone() });
    let topics = Arc::new(KafkaTopics::new(kafka, writing.clone(), last_look, wake.clone()));
    let gateways = Gateways::new(writing.clone(), wake.clone())?;
    let shared = Arc::new(Shared::new(Parts {
        client,
        writing,
        topics: topics.clone(),
        gateways,
        release: Release { image: release },
        operator_namespace: own_namespace,
        events,
        memories,
    }));

    let mut tasks = JoinSet::new();
    let mut wakes = Vec::new();
    for (watched, triggers) in watched.iter().zip(triggers) {
        let context = Context { shared: shared.clone(), watched: watched.clone(), everywhere: everywhere.clone() };
        let woken = Wake::default();
        wakes.push((watched.clusters.clone(), woken.clone()));
        tasks.spawn(control(Arc::new(context), triggers, woken, leading.clone(), shutdown.clone()));
    }
    let dispatcher = tokio::spawn(dispatch(wake, wakes));
    let filled = async {
        for watched in &watched {
            watched.filled().await;
        }
        readiness.reached();
        std::future::pending::<anyhow::Result<()>>().await
    };
    let ended = async {
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    };
    let result = tokio::select! {
        result = filled => result,
        result = ended => result,
    };
    dispatcher.abort();
    topics.close().await;
    result
}

/// Hands a cluster that was woken by its UID to the controller of its namespace.
async fn dispatch(wake: Wake, to: Vec<(Store<DynamicObject>, Wake)>) {
    loop {
        let uid = wake.next().await;
        for (clusters, woken) in &to {
            if find(clusters, &uid).is_some() {
                woken.wake(&uid);
            }
        }
    }
}

/// Reconciles what a namespace shows, until it is asked to end.
async fn control(
    context: Arc<Context>,
    triggers: Triggers,
    woken: Wake,
    leading: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    let clusters = context.watched.clusters.clone();
    let failures = Arc::new(Failures::default());
    let config = Config::default().concurrency(AT_ONCE).debounce(TOGETHER);
    let mut controller = Controller::for_stream_with(triggers.clusters, clusters.clone(), im_clusters())
        .with_config(config)
        .owns_stream(triggers.sets)
        .watches_stream(triggers.pods, |pod: Pod| of_labels(&pod))
        .watches_stream(triggers.secrets, {
            let clusters = clusters.clone();
            move |secret: PartialObjectMeta<Secret>| referring(&clusters, &secret)
        })
        .reconcile_on(by_uid(woken, clusters.clone()))
        // Who begins to lead looks at everything.
        .reconcile_all_on(changes(leading))
        .graceful_shutdown_on(shutdown.cancelled_owned());
    for (resource, changes) in triggers.owned {
        controller = controller.owns_stream_with(changes, resource);
    }
    let reconcile = {
        let failures = failures.clone();
        move |object: Arc<DynamicObject>, context: Arc<Context>| {
            let failures = failures.clone();
            async move {
                let begun = tokio::time::Instant::now();
                let uid = object.uid().unwrap_or_default();
                let result = Box::pin(cluster::reconcile(object, context)).await;
                metrics::reconciled(begun.elapsed(), result.as_ref().err().map(ReconcileError::reason));
                if result.is_ok() {
                    failures.forget(&uid);
                }
                result
            }
        }
    };
    let retry = move |object: Arc<DynamicObject>, error: &ReconcileError, _: Arc<Context>| {
        let times = failures.count(&object.uid().unwrap_or_default());
        tracing::warn!(
            namespace = object.namespace(), name = object.name_any(), reason = error.reason(), %error, "not reconciled"
        );
        Action::requeue(cluster::again(error, times))
    };
    controller.run(reconcile, retry, context).for_each(|_| std::future::ready(())).await;
}

/// How often in a row the reconciles of each cluster have failed.
#[derive(Default)]
struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// One more; gives those before.
    fn count(&self, uid: &str) -> u32 {
        let mut all = self.0.lock();
        let count = all.entry(uid.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count - 1
    }

    fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

fn find(clusters: &Store<DynamicObject>, uid: &str) -> Option<ObjectRef<DynamicObject>> {
    let found = clusters.find(|object| object.metadata.uid.as_deref() == Some(uid))?;
    Some(ObjectRef::from_obj_with(&found, im_clusters()))
}

fn by_uid(woken: Wake, clusters: Store<DynamicObject>) -> BoxStream<'static, ObjectRef<DynamicObject>> {
    woken.stream().filter_map(move |uid| std::future::ready(find(&clusters, &uid))).boxed()
}

/// A pod belongs to the `StatefulSet`, and says by its labels to which cluster.
fn of_labels(pod: &Pod) -> Option<ObjectRef<DynamicObject>> {
    let name = pod.labels().get(LABELS[1])?;
    Some(ObjectRef::new_with(name, im_clusters()).within(&pod.namespace()?))
}

/// The clusters that refer to a Secret.
fn referring(clusters: &Store<DynamicObject>, secret: &PartialObjectMeta<Secret>) -> Vec<ObjectRef<DynamicObject>> {
    let name = secret.name_any();
    let refers = |object: &DynamicObject| {
        object.namespace() == secret.namespace()
            && cluster::parse(object).is_ok_and(|cluster| cluster::validate::referenced(&cluster).contains(&name))
    };
    let found = clusters.state_filter(refers);
    found.iter().map(|object| ObjectRef::from_obj_with(&**object, im_clusters())).collect()
}

/// Each change of a value.
fn changes(leading: watch::Receiver<bool>) -> BoxStream<'static, ()> {
    let each = futures_util::stream::unfold(leading, |mut leading| async move {
        leading.changed().await.ok()?;
        Some(((), leading))
    });
    // Without an end: a stream that ends would be taken for news.
    select_all([each.boxed(), futures_util::stream::pending().boxed()]).boxed()
}
