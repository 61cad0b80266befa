//! Calls to Kafka are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::metrics;
use crate::topics::admin::{AdminError, Created, Each, KafkaAdmin, Settings, Shape};
use crate::topics::worker::Connect;

/// Connects as `connect` does, and counts what is called.
pub fn counted(connect: Connect) -> Connect {
    Arc::new(move |settings| Ok(Arc::new(Counted(connect(settings)?))))
}

struct Counted(Arc<dyn KafkaAdmin>);

fn count<T>(call: &'static str, result: Result<T, AdminError>) -> Result<T, AdminError> {
    metrics::called_kafka(call, result.as_ref().err().map_or("ok", word));
    result
}

const fn word(error: &AdminError) -> &'static str {
    match error {
        AdminError::Login => "login",
        AdminError::Tls => "tls",
        AdminError::Denied => "denied",
        AdminError::Unavailable => "unavailable",
        AdminError::Failed(_) => "failed",
        AdminError::Settings(_) => "settings",
        AdminError::Replication => "replication",
        AdminError::Name => "name",
        AdminError::Policy(_) => "policy",
        AdminError::Unsupported(_) => "unsupported",
        AdminError::NoTopic => "no_topic",
    }
}

#[async_trait]
impl KafkaAdmin for Counted {
    async fn topics(&self) -> Result<BTreeMap<String, Shape>, AdminError> {
        count("topics", self.0.topics().await)
    }

    async fn settings(
        &self,
        topics: &BTreeSet<String>,
        names: &BTreeSet<String>,
    ) -> Result<Each<Settings>, AdminError> {
        count("settings", self.0.settings(topics, names).await)
    }

    async fn create(
        &self,
        topics: &BTreeSet<String>,
        replication: u16,
        config: &BTreeMap<String, String>,
    ) -> Result<Each<Created>, AdminError> {
        count("create", self.0.create(topics, replication, config).await)
    }

    async fn set(&self, changes: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Each<()>, AdminError> {
        count("set", self.0.set(changes).await)
    }

    async fn delete(&self, topics: &BTreeSet<String>) -> Result<Each<()>, AdminError> {
        count("delete", self.0.delete(topics).await)
    }

    async fn auto_create(&self) -> Result<bool, AdminError> {
        count("auto_create", self.0.auto_create().await)
    }
}
