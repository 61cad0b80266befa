//! Sends pipelines to Redis, one per bucket, all at once: that is one round trip.

use std::sync::Arc;
use std::time::Instant;

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::SingleNodeRoutingInfo;
use ::redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::bucket::{Bucket, Buckets};
use super::config::{Kind, RedisConfig};
use super::error::{ConnectError, is_away, unavailable};
use super::gate::Gate;
use super::open::{ANSWER, Opener, open_cluster, timed_out};
use super::script::Script;
use crate::registry::RegistryError;

/// Commands for one bucket, in order.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    bucket: Bucket,
    pipeline: Pipeline,
    /// The script that they run, if any.
    script: Option<&'static Script>,
}

impl Batch {
    pub(crate) fn new(bucket: Bucket) -> Self {
        Self { bucket, pipeline: Pipeline::new(), script: None }
    }

    pub(crate) fn running(bucket: Bucket, script: &'static Script) -> Self {
        Self { script: Some(script), ..Self::new(bucket) }
    }

    pub(crate) fn add(&mut self, command: Cmd) {
        self.pipeline.add_command(command);
    }
}

/// A connection to Redis that looks after itself.
pub(crate) struct RedisClient {
    backend: Backend,
    buckets: Buckets,
    /// One per bucket: a cluster may be down in part.
    gates: Vec<Gate>,
}

enum Backend {
    Node { opener: Opener, current: Mutex<Option<Arc<MultiplexedConnection>>> },
    Cluster(ClusterConnection),
}

impl RedisClient {
    pub(crate) async fn connect(config: &RedisConfig) -> Result<Self, ConnectError> {
        // The connections ask for the process's TLS provider. An error means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (backend, buckets) = match &config.kind {
            Kind::Cluster => (Backend::Cluster(open_cluster(config).await?), Buckets::spread(&config.prefix)),
            Kind::Single => (node(config, Opener::single(config)?).await?, Buckets::one(&config.prefix)),
            Kind::Sentinel(master) => {
                (node(config, Opener::sentinel(config, master)?).await?, Buckets::one(&config.prefix))
            }
        };
        let gates = buckets.all().map(|_| Gate::default()).collect();
        Ok(Self { backend, buckets, gates })
    }

    pub(crate) fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// Sends batches, at most one per bucket, and returns the answers to their commands. Fails as a whole; nothing says
    /// then what was done.
    pub(crate) async fn run(
        &self,
        operation: &'static str,
        batches: &[Batch],
    ) -> Result<Vec<Vec<Value>>, RegistryError> {
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let result = self.round_trip(operation, batches).await;
        metrics::histogram!("im_registry_seconds", "operation" => operation).record(started.elapsed().as_secs_f64());
        if result.is_err() {
            metrics::counter!("im_registry_errors_total").increment(1);
        }
        result
    }

    async fn round_trip(&self, operation: &'static str, batches: &[Batch]) -> Result<Vec<Vec<Value>>, RegistryError> {
        let now = Instant::now();
        let passes = batches.iter().map(|batch| self.gates[batch.bucket.0].enter(now)).collect::<Option<Vec<_>>>();
        let Some(passes) = passes else {
            return Err(RegistryError::Unavailable("Redis: not asked, as it did not answer a moment ago".to_owned()));
        };
        metrics::counter!("im_registry_round_trips_total", "operation" => operation).increment(1);
        let sent = batches.iter().zip(passes).map(async |(batch, pass)| {
            let answers = self.answers(batch, pass.trying).await;
            pass.tell(answers.as_ref().err().is_none_or(|error| !is_away(error)), Instant::now());
            answers.map_err(|error| unavailable(&error))
        });
        join_all(sent).await.into_iter().collect()
    }

    async fn answers(&self, batch: &Batch, may_open: bool) -> RedisResult<Vec<Value>> {
        let answers = self.send(batch.bucket, &batch.pipeline, may_open).await;
        match (answers, batch.script) {
            (Err(error), Some(script)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.send(batch.bucket, &script.load(), may_open).await?;
                self.send(batch.bucket, &batch.pipeline, may_open).await
            }
            (answers, _) => answers,
        }
    }

    /// Sends one pipeline. An error that Redis gives to one of the commands is the error of all.
    async fn send(&self, bucket: Bucket, pipeline: &Pipeline, may_open: bool) -> RedisResult<Vec<Value>> {
        match &self.backend {
            Backend::Cluster(connection) => {
                let mut connection = connection.clone();
                let route = SingleNodeRoutingInfo::SpecificNode(self.buckets.route(bucket));
                whole(connection.route_pipeline(pipeline.clone(), 0, pipeline.len(), route).await)
            }
            Backend::Node { opener, current } => {
                let connection = connection(opener, current, may_open).await?;
                let mut clone = MultiplexedConnection::clone(&connection);
                // Around the crate's own time-out, which begins when the command leaves the queue.
                let answers = timeout(ANSWER, clone.send_packed_commands(pipeline, 0, pipeline.len())).await;
                let answers = whole(answers.unwrap_or_else(|_| Err(timed_out())));
                if answers.as_ref().err().is_some_and(is_away) {
                    current.lock().take_if(|current| Arc::ptr_eq(current, &connection));
                }
                answers
            }
        }
    }
}

async fn node(config: &RedisConfig, opener: Opener) -> Result<Backend, ConnectError> {
    let failed = |error: &RedisError| config.error(error);
    let mut connection = opener.open().await.map_err(|error| failed(&error))?;
    // A node of a cluster takes some keys only, so it would seem to work for a while.
    let info: String =
        ::redis::cmd("INFO").arg("cluster").query_async(&mut connection).await.map_err(|error| failed(&error))?;
    if info.contains("cluster_enabled:1") {
        return Err(ConnectError::IsACluster { address: config.address() });
    }
    Ok(Backend::Node { opener, current: Mutex::new(Some(Arc::new(connection))) })
}

/// The connection there is. While there is none, only a call that tries may open one.
async fn connection(
    opener: &Opener,
    current: &Mutex<Option<Arc<MultiplexedConnection>>>,
    may_open: bool,
) -> RedisResult<Arc<MultiplexedConnection>> {
    if let Some(connection) = current.lock().clone() {
        return Ok(connection);
    }
    if !may_open {
        return Err(std::io::Error::new(std::io::ErrorKind::NotConnected, "the connection was lost").into());
    }
    let opened = Arc::new(opener.open().await?);
    *current.lock() = Some(opened.clone());
    Ok(opened)
}

/// All answers, or the first error among them.
fn whole(answers: RedisResult<Vec<Value>>) -> RedisResult<Vec<Value>> {
    answers?.into_iter().map(Value::extract_error).collect()
}

/// Reads an answer as what it must be.
pub(crate) fn value<T: FromRedisValue>(value: Value) -> Result<T, RegistryError> {
    ::redis::from_redis_value(value)
        .map_err(|error| RegistryError::Unavailable(format!("Redis gave an answer that cannot be read: {error}")))
}
