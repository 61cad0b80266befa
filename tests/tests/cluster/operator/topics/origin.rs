//! Whose a topic is: what the operator made it deletes, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, TopicOrigin};
use imcluster_operator::config::Namespaces;
use imcluster_operator::events::Events;
use imcluster_operator::http::Readiness;
use imcluster_operator::leader::Writing;
use imcluster_operator::running::Running;
use imcluster_operator::topics::admin::{AdminError, Created, Each, KafkaAdmin, Settings, Shape, connect};
use imcluster_tests::operator::{Operator, RELEASE, World};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::super::spec::{event, patch, pods};
use super::super::{begin, until_gone};
use super::{lose_status, make, origins, topic};

use TopicOrigin::{Adopted, Created as Made, Creating};

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_topic_that_was_there_is_adopted_and_survives_the_delete() {
    let (world, tenant, _operator) = begin("adopted").await;
    make(world, &topic(&tenant, 1), &[]).await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(origins(&cluster), [Some(Made), Some(Adopted)]);
    let (kind, text) = event(&tenant, "TopicsAdopted").await;
    assert!(kind == "Normal" && text.ends_with(&topic(&tenant, 1)), "{text}");
    assert!(event(&tenant, "TopicsCreated").await.1.ends_with(&topic(&tenant, 0)));
    tenant.api::<ImCluster>().delete("chat", &DeleteParams::default()).await.unwrap();
    until_gone(&tenant).await;
    assert_eq!(tenant.topics("chat").await.unwrap(), ["1"]);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_topic_whose_making_was_recorded_is_the_operators_even_if_the_answer_was_lost() {
    let world = World::shared().await;
    let tenant = world.tenant("intended").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    // An operator has written what it was about to do, has done the half, and is gone.
    let entry = |id: u16| json!({ "id": id, "phase": "Provisioning", "topic": { "name": topic(&tenant, id), "origin": "Creating" } });
    let recorded = Patch::Merge(json!({ "status": { "servers": [entry(0), entry(1)] } }));
    tenant.api::<ImCluster>().patch_status("chat", &PatchParams::default(), &recorded).await.unwrap();
    make(world, &topic(&tenant, 0), &[]).await;
    let _operator = Operator::start(world, &tenant).unwrap();
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(origins(&cluster), [Some(Made), Some(Made)]);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn a_lost_status_means_that_all_topics_are_adopted_and_gateways_go_on() {
    let (_world, tenant, _operator) = begin("lost").await;
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    let before = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let running = pods(&tenant).await;
    lose_status(&tenant).await;
    patch(&tenant, "chat", &json!({ "spec": { "updatePolicy": "WithOperator" } })).await;
    let cluster = tenant.until_condition("chat", ConditionType::Ready, "True").await;
    assert_eq!(origins(&cluster), [Some(Adopted), Some(Adopted)]);
    assert_eq!(pods(&tenant).await, running);
    let ([before, after], names) = ([before, cluster].map(|it| it.status.unwrap()), ["0", "1"]);
    assert_eq!((after.topic_prefix, after.selector, after.image), (before.topic_prefix, before.selector, before.image));
    tenant.api::<ImCluster>().delete("chat", &DeleteParams::default()).await.unwrap();
    until_gone(&tenant).await;
    assert_eq!(tenant.topics("chat").await.unwrap(), names);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn what_is_made_was_recorded_before() {
    let world = World::shared().await;
    let tenant = world.tenant("intent").await;
    let client = world.client();
    let seen = Arc::<Mutex<Asked>>::default();
    let clusters = Api::<ImCluster>::namespaced(client.clone(), tenant.name());
    let kafka = {
        let seen = seen.clone();
        move |settings: &_| {
            Ok(Arc::new(Watched { clusters: clusters.clone(), kafka: connect(settings)?, seen: seen.clone() })
                as Arc<_>)
        }
    };
    let (writing, (_leads, leading)) = (Arc::new(Alone) as Arc<dyn Writing>, watch::channel(true));
    let _operator = AbortOnDropHandle::new(tokio::spawn(imcluster_operator::run(Running {
        events: Events::start(client.clone(), writing.clone(), "test".to_owned()),
        client,
        own_namespace: tenant.name().to_owned(),
        namespaces: Namespaces::Listed(BTreeSet::from([tenant.name().to_owned()])),
        release: RELEASE.to_owned(),
        writing,
        leading,
        kafka: Arc::new(kafka),
        readiness: Readiness::waiting("the caches"),
        shutdown: CancellationToken::new(),
    })));
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &json!({}))).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;
    let seen = seen.lock().clone();
    assert_eq!(seen, [(topic(&tenant, 0), Some(Creating)), (topic(&tenant, 1), Some(Creating))]);
}

/// The right to write of an operator that has no other beside it.
struct Alone;

impl Writing for Alone {
    fn left(&self) -> Option<Duration> {
        Some(Duration::from_mins(1))
    }
}

/// Topics that were to be made, with what was recorded of each.
type Asked = Vec<(String, Option<TopicOrigin>)>;

/// A Kafka that looks what is recorded of each topic when it is asked to make it.
struct Watched {
    clusters: Api<ImCluster>,
    kafka: Arc<dyn KafkaAdmin>,
    seen: Arc<Mutex<Asked>>,
}

#[async_trait::async_trait]
impl KafkaAdmin for Watched {
    async fn create(
        &self,
        topics: &BTreeSet<String>,
        replication: u16,
        config: &BTreeMap<String, String>,
    ) -> Result<Each<Created>, AdminError> {
        let servers = self.clusters.get("chat").await.unwrap().status.unwrap_or_default().servers;
        let recorded: BTreeMap<_, _> =
            servers.into_iter().filter_map(|entry| entry.topic).map(|topic| (topic.name, topic.origin)).collect();
        let asked = topics.iter().map(|topic| (topic.clone(), recorded.get(topic).copied()));
        self.seen.lock().extend(asked);
        self.kafka.create(topics, replication, config).await
    }

    async fn topics(&self) -> Result<BTreeMap<String, Shape>, AdminError> {
        self.kafka.topics().await
    }

    async fn settings(
        &self,
        topics: &BTreeSet<String>,
        names: &BTreeSet<String>,
    ) -> Result<Each<Settings>, AdminError> {
        self.kafka.settings(topics, names).await
    }

    async fn set(&self, changes: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Each<()>, AdminError> {
        self.kafka.set(changes).await
    }

    async fn delete(&self, topics: &BTreeSet<String>) -> Result<Each<()>, AdminError> {
        self.kafka.delete(topics).await
    }

    async fn auto_create(&self) -> Result<bool, AdminError> {
        self.kafka.auto_create().await
    }
}
