//! A Kafka of a test's own, which may end, and which makes topics by itself.

mod long {
    use std::net::SocketAddr;

    use imcluster_crds::ImCluster;
    use imcluster_crds::conditions::ConditionType;
    use imcluster_tests::cluster::network::MACHINE;
    use imcluster_tests::stack::{Entrance, Kafka, Place};
    use serde_json::json;

    use super::super::super::begin;
    use super::super::super::spec::{event, patch, pods, said, until_said};

    #[tokio::test]
    #[ignore = "needs Kubernetes: make test-cluster"]
    async fn a_kafka_that_is_down_leaves_gateways_alone_and_one_that_makes_topics_is_warned_about() {
        let (_world, tenant, _operator) = begin("outage").await;
        let place = Place::temporary().unwrap();
        let bootstrap = SocketAddr::from((MACHINE, place.port("bootstrap").unwrap()));
        let entrance = Entrance { listen: bootstrap, advertise: bootstrap };
        let kafka = Kafka::start_making_topics(&place, &[entrance]).await.unwrap();
        let own = json!({ "spec": { "kafka": { "bootstrapServers": bootstrap.to_string() } } });
        tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &own)).await.unwrap();
        tenant.until_condition("chat", ConditionType::Ready, "True").await;
        let (kind, text) = event(&tenant, "TopicCreationByBrokers").await;
        assert!(kind == "Warning" && text.contains("auto.create.topics.enable=false"), "{text}");
        let running = pods(&tenant).await;

        kafka.stop().await;
        patch(&tenant, "chat", &json!({ "spec": { "gateways": { "replicas": 3 } } })).await;
        let message = until_said(&tenant, "chat", ConditionType::TopicsReady, "False/KafkaUnavailable").await;
        assert!(message.contains("Gateways that run go on"), "{message}");
        let cluster = tenant.until_condition("chat", ConditionType::Ready, "False").await;
        assert_eq!(said(&cluster, ConditionType::Ready), ("False/TopicsNotReady".to_owned(), message));
        assert_eq!(said(&cluster, ConditionType::Stalled).0, "", "it passes by itself");
        assert_eq!(event(&tenant, "KafkaUnavailable").await.0, "Warning");
        assert_eq!(pods(&tenant).await, running, "nobody is started without a topic, or stopped");
        // What does not need Kafka goes on.
        patch(&tenant, "chat", &json!({ "spec": { "ingress": { "host": "chat.example" } } })).await;
        let made = |it: Option<&k8s_openapi::api::networking::v1::Ingress>| it.is_some();
        tenant.until("chat-gateway", "the Ingress is made", made).await;
        patch(&tenant, "chat", &json!({ "spec": { "gateways": { "replicas": 1 } } })).await;
        tenant.until::<k8s_openapi::api::core::v1::Pod>("chat-gateway-1", "its pod is gone", |it| it.is_none()).await;

        patch(&tenant, "chat", &json!({ "spec": { "gateways": { "replicas": 2 } } })).await;
        kafka.start().await.unwrap();
        let ready = tenant.until_condition("chat", ConditionType::Ready, "True").await;
        assert_eq!(ready.status.unwrap().ready_replicas, Some(2));
        assert_eq!(pods(&tenant).await.get("chat-gateway-0"), running.get("chat-gateway-0"));
    }
}
