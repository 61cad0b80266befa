//! A Kafka in memory for tests: one that does what Kafka does to topics, and one behind the admin interface with faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Wish;
use super::admin::{AdminError, Created, Each, KafkaAdmin, Setting, Settings, Shape};
use super::plan::{Found, Sight, to_describe};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) partitions: usize,
    pub(super) replication: u16,
    pub(super) config: BTreeMap<String, String>,
}

impl Topic {
    /// Kafka keeps what it understood, not what was written.
    pub(super) fn set(&mut self, settings: &BTreeMap<String, String>) {
        let understood = |value: &String| match value.parse::<i64>() {
            Ok(number) => number.to_string(),
            Err(_) => value.to_lowercase(),
        };
        self.config.extend(settings.iter().map(|(name, value)| (name.clone(), understood(value))));
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) brokers: u16,
    /// Topics that Kafka has, and does not show.
    pub(super) hidden: BTreeSet<String>,
    /// Topics of which nothing may be changed.
    pub(super) closed: BTreeSet<String>,
}

impl Model {
    pub(super) fn see(&self, wish: &Wish) -> Sight {
        let described: BTreeSet<_> = to_describe(wish, |topic| self.topics.contains_key(topic)).collect();
        let keys = wish.config.keys().cloned().collect();
        let found = |name: &String| {
            let settings = described.contains(name).then(|| Ok(self.settings(name, &keys)));
            self.shapes().get(name).map(|&shape| Found { shape, settings })
        };
        wish.watch.iter().map(|name| (name.clone(), found(name))).collect()
    }

    fn shapes(&self) -> BTreeMap<String, Shape> {
        let shape = |topic: &Topic| Shape { partitions: topic.partitions, replication: topic.replication };
        let shown = self.topics.iter().filter(|(name, _)| !self.hidden.contains(*name));
        shown.map(|(name, topic)| (name.clone(), shape(topic))).collect()
    }

    /// Brokers keep everything for a week.
    fn settings(&self, topic: &str, names: &BTreeSet<String>) -> Settings {
        let config = &self.topics[topic].config;
        let setting = |name: &String| match config.get(name) {
            Some(value) => Setting { value: value.clone(), own: true },
            None => Setting { value: "604800000".to_owned(), own: false },
        };
        names.iter().map(|name| (name.clone(), setting(name))).collect()
    }

    pub(super) fn create(
        &mut self,
        topics: &BTreeSet<String>,
        replication: u16,
        config: &BTreeMap<String, String>,
    ) -> Each<Created> {
        let mut create = |name: &String| {
            if self.topics.contains_key(name) {
                return Ok(Created::Existed);
            }
            if self.closed.contains(name) {
                return Err(AdminError::Denied);
            }
            if replication > self.brokers {
                return Err(AdminError::Replication);
            }
            let mut topic = Topic { partitions: 1, replication, config: BTreeMap::new() };
            topic.set(config);
            self.topics.insert(name.clone(), topic);
            Ok(Created::New)
        };
        topics.iter().map(|name| (name.clone(), create(name))).collect()
    }

    pub(super) fn set(&mut self, changes: &BTreeMap<String, BTreeMap<String, String>>) -> Each<()> {
        let mut set = |name: &String, settings| match self.topics.get_mut(name) {
            _ if self.closed.contains(name) => Err(AdminError::Denied),
            None => Err(AdminError::NoTopic),
            Some(topic) => {
                topic.set(settings);
                Ok(())
            }
        };
        changes.iter().map(|(name, settings)| (name.clone(), set(name, settings))).collect()
    }

    pub(super) fn delete(&mut self, topics: &BTreeSet<String>) -> Each<()> {
        let mut delete = |name: &String| {
            if self.closed.contains(name) {
                return Err(AdminError::Denied);
            }
            self.topics.remove(name);
            Ok(())
        };
        topics.iter().map(|name| (name.clone(), delete(name))).collect()
    }
}

/// How it answers.
#[derive(Clone, Debug)]
pub(super) enum Mood {
    Well,
    Refusing(AdminError),
    /// After so long, or never.
    Slow(Duration),
    Silent,
    /// Writes land, and their answers are lost.
    Deaf,
}

/// A Kafka that can be asked, and that remembers what it was asked and when.
pub(super) struct ModelKafka {
    pub(super) model: Mutex<Model>,
    pub(super) mood: Mutex<Mood>,
    pub(super) calls: Mutex<Vec<(&'static str, Instant)>>,
}

impl ModelKafka {
    pub(super) fn new() -> Self {
        let model = Model { brokers: 3, ..Model::default() };
        Self { model: Mutex::new(model), mood: Mutex::new(Mood::Well), calls: Mutex::default() }
    }

    pub(super) fn count(&self, call: &str) -> usize {
        self.calls.lock().iter().filter(|(name, _)| *name == call).count()
    }

    async fn asked(&self, call: &'static str) -> Result<(), AdminError> {
        self.calls.lock().push((call, Instant::now()));
        let mood = self.mood.lock().clone();
        match mood {
            Mood::Well | Mood::Deaf => Ok(()),
            Mood::Refusing(error) => Err(error),
            Mood::Slow(by) => {
                tokio::time::sleep(by).await;
                Ok(())
            }
            Mood::Silent => std::future::pending().await,
        }
    }

    fn written<T>(&self, each: Each<T>) -> Result<Each<T>, AdminError> {
        let deaf = matches!(*self.mood.lock(), Mood::Deaf);
        if deaf { Err(AdminError::Unavailable) } else { Ok(each) }
    }
}

#[async_trait]
impl KafkaAdmin for ModelKafka {
    async fn topics(&self) -> Result<BTreeMap<String, Shape>, AdminError> {
        self.asked("topics").await?;
        Ok(self.model.lock().shapes())
    }

    async fn settings(
        &self,
        topics: &BTreeSet<String>,
        names: &BTreeSet<String>,
    ) -> Result<Each<Settings>, AdminError> {
        self.asked("settings").await?;
        let model = self.model.lock();
        Ok(topics.iter().map(|name| (name.clone(), Ok(model.settings(name, names)))).collect())
    }

    async fn create(
        &self,
        topics: &BTreeSet<String>,
        replication: u16,
        config: &BTreeMap<String, String>,
    ) -> Result<Each<Created>, AdminError> {
        self.asked("create").await?;
        let each = self.model.lock().create(topics, replication, config);
        self.written(each)
    }

    async fn set(&self, changes: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Each<()>, AdminError> {
        self.asked("set").await?;
        let each = self.model.lock().set(changes);
        self.written(each)
    }

    async fn delete(&self, topics: &BTreeSet<String>) -> Result<Each<()>, AdminError> {
        self.asked("delete").await?;
        let each = self.model.lock().delete(topics);
        self.written(each)
    }

    async fn auto_create(&self) -> Result<bool, AdminError> {
        self.asked("auto_create").await?;
        Ok(false)
    }
}
