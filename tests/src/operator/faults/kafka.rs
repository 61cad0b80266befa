//! Before Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use imcluster_operator::topics::admin::{self, AdminError, Created, Each, KafkaAdmin, Settings, Shape};
use imcluster_operator::topics::worker::Connect;

use super::Life;
use crate::operator::writes::Write;

impl Life {
    /// What makes connections to Kafka, with the faults before it.
    pub(in crate::operator) fn kafka(self: &Arc<Self>) -> Connect {
        let life = self.clone();
        Arc::new(move |settings| Ok(Arc::new(Kafka { life: life.clone(), real: admin::connect(settings)? })))
    }
}

struct Kafka {
    life: Arc<Life>,
    real: Arc<dyn KafkaAdmin>,
}

impl Kafka {
    async fn write<T>(
        &self,
        verb: &'static str,
        landing: impl Future<Output = Result<T, AdminError>>,
    ) -> Result<T, AdminError> {
        self.life.lives().await;
        let write = Write::of_topics(verb, &self.life.namespace);
        let refused = |status| Err(AdminError::Failed(format!("the test refuses it with {status}")));
        self.life.write(write, landing).await.unwrap_or_else(refused)
    }
}

#[async_trait]
impl KafkaAdmin for Kafka {
    async fn topics(&self) -> Result<BTreeMap<String, Shape>, AdminError> {
        self.life.lives().await;
        self.real.topics().await
    }

    async fn settings(
        &self,
        topics: &BTreeSet<String>,
        names: &BTreeSet<String>,
    ) -> Result<Each<Settings>, AdminError> {
        self.life.lives().await;
        self.real.settings(topics, names).await
    }

    async fn create(
        &self,
        topics: &BTreeSet<String>,
        replication: u16,
        config: &BTreeMap<String, String>,
    ) -> Result<Each<Created>, AdminError> {
        self.write("create", self.real.create(topics, replication, config)).await
    }

    async fn set(&self, changes: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Each<()>, AdminError> {
        self.write("alter", self.real.set(changes)).await
    }

    async fn delete(&self, topics: &BTreeSet<String>) -> Result<Each<()>, AdminError> {
        if let Some(guard) = &self.life.guard {
            self.life.note(guard.topics(topics).await);
        }
        self.write("delete", self.real.delete(topics)).await
    }

    async fn auto_create(&self) -> Result<bool, AdminError> {
        self.life.lives().await;
        self.real.auto_create().await
    }
}
