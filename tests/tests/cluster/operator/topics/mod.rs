//! The topics of server ids, in a real Kafka.

mod origin;
mod outage;
mod policy;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imcluster_crds::{ImCluster, TopicOrigin};
use imcluster_operator::topics::KafkaSettings;
use imcluster_operator::topics::admin::{KafkaAdmin, connect};
use imcluster_tests::operator::{Tenant, World};

/// A way to look into the Kafka of all tests, and to change what is there.
fn admin(world: &World) -> Arc<dyn KafkaAdmin> {
    connect(&KafkaSettings { brokers: vec![world.bootstrap().to_string()], tls: None, sasl: None }).unwrap()
}

/// Makes a topic with settings, as somebody else would.
async fn make(world: &World, topic: &str, config: &[(&str, &str)]) {
    let made = admin(world).create(&BTreeSet::from([topic.to_owned()]), 1, &settings(config)).await.unwrap();
    assert!(made[topic].is_ok(), "{made:?}");
}

fn settings(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The value of a setting that is the topic's own.
async fn own_setting(world: &World, topic: &str, name: &str) -> Option<String> {
    let (topics, names) = (BTreeSet::from([topic.to_owned()]), BTreeSet::from([name.to_owned()]));
    let told = admin(world).settings(&topics, &names).await.unwrap().remove(topic).unwrap().unwrap();
    told.get(name).filter(|setting| setting.own).map(|setting| setting.value.clone())
}

/// The topic of a server id, by the default prefix.
fn topic(tenant: &Tenant, id: u16) -> String {
    format!("{}.chat.{id}", tenant.name())
}

/// Whose the topics of the server ids are, in their order.
fn origins(cluster: &ImCluster) -> Vec<Option<TopicOrigin>> {
    let servers = cluster.status.iter().flat_map(|status| &status.servers);
    servers.map(|entry| entry.topic.as_ref().map(|topic| topic.origin)).collect()
}

/// Removes a status, as one that was lost.
async fn lose_status(tenant: &Tenant) {
    tenant.kubectl().run(&["patch", "imc/chat", "--subresource=status", "--type=json", "-p", LOST]);
}

const LOST: &str = r#"[{"op":"remove","path":"/status"}]"#;
