//! What the process counts and times, as Prometheus reads it: every metric with what it says.

use std::time::Duration;

use metrics::{Unit, counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper ends of the buckets of what is timed, in seconds.
const SECONDS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// How often samples are put into their buckets: until then each takes memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It comes and goes.
    Gauge,
    /// Many values, by size.
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

/// A metric and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Of what.
    pub unit: Unit,
    /// What tells its values apart.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, help }
}

/// Every metric there is.
pub const METRICS: &[Metric] = &[
    metric("imcluster_operator_ready", Gauge, Unit::Count, &[], "1 once everything it watches was read"),
    metric(
        "imcluster_operator_leader",
        Gauge,
        Unit::Count,
        &[],
        "1 for the operator that works, 0 for one that stands by",
    ),
    metric("imcluster_operator_reconciles_total", Counter, Unit::Count, &["result"], "Reconciles: ok, or error"),
    metric("imcluster_operator_reconcile_seconds", Histogram, Unit::Seconds, &[], "Time of a reconcile"),
    metric(
        "imcluster_operator_errors_total",
        Counter,
        Unit::Count,
        &["reason"],
        "Reconciles that failed, by the reason in a word",
    ),
    metric(
        "imcluster_operator_api_requests_total",
        Counter,
        Unit::Count,
        &["verb", "resource", "code"],
        "Requests to the API server, by what they were answered: an HTTP status, timeout, or error. The writes are those with \
         the verbs create, update, patch, delete",
    ),
    metric(
        "imcluster_operator_api_request_seconds",
        Histogram,
        Unit::Seconds,
        &["verb", "resource"],
        "Time until the API server answered; of a watch, until it began",
    ),
    metric(
        "imcluster_operator_kafka_calls_total",
        Counter,
        Unit::Count,
        &["call", "result"],
        "Calls to Kafka, by what came of them: ok, or what was wrong, in a word. What Kafka says of single topics is not in here",
    ),
    metric(
        "imcluster_operator_topic_troubles_total",
        Counter,
        Unit::Count,
        &["reason"],
        "What was found wrong when topics were looked at, by the reason that the condition TopicsReady has then",
    ),
    metric(
        "imcluster_operator_finalizers_given_up_total",
        Counter,
        Unit::Count,
        &[],
        "ImClusters let go with their namespace although Kafka had not deleted their topics",
    ),
    metric("imcluster_operator_events_total", Counter, Unit::Count, &["reason"], "Events told about ImClusters"),
    metric(
        "imcluster_operator_event_failures_total",
        Counter,
        Unit::Count,
        &[],
        "Events that could not be written; what they tell of happened all the same",
    ),
];

/// Starts to count, for the whole process. Fails when something counts already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    for Metric { name, kind, unit, help, .. } in METRICS {
        match kind {
            Counter => metrics::describe_counter!(*name, *unit, *help),
            Gauge => metrics::describe_gauge!(*name, *unit, *help),
            Histogram => metrics::describe_histogram!(*name, *unit, *help),
        }
    }
    Ok(handle)
}

/// Keeps what was timed from filling the memory when nobody reads it. Runs until it is dropped.
pub async fn keep(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// Whether everything that is watched was read.
pub fn ready(ready: bool) {
    gauge!("imcluster_operator_ready").set(f64::from(u8::from(ready)));
}

/// Whether this process leads.
pub fn leads(leads: bool) {
    gauge!("imcluster_operator_leader").set(f64::from(u8::from(leads)));
}

/// A reconcile ended; `failure` is the reason in a word, if it failed.
pub fn reconciled(took: Duration, failure: Option<&'static str>) {
    let result = if failure.is_some() { "error" } else { "ok" };
    counter!("imcluster_operator_reconciles_total", "result" => result).increment(1);
    histogram!("imcluster_operator_reconcile_seconds").record(took);
    if let Some(reason) = failure {
        counter!("imcluster_operator_errors_total", "reason" => reason).increment(1);
    }
}

/// A request to the API server was answered with an HTTP status, or ended without an answer.
pub fn requested(verb: &'static str, resource: &str, code: String, took: Duration) {
    let resource = resource.to_owned();
    counter!("imcluster_operator_api_requests_total", "verb" => verb, "resource" => resource.clone(), "code" => code)
        .increment(1);
    histogram!("imcluster_operator_api_request_seconds", "verb" => verb, "resource" => resource).record(took);
}

/// An `ImCluster` goes, and its topics stay.
pub fn gave_up_finalizer() {
    counter!("imcluster_operator_finalizers_given_up_total").increment(1);
}

/// A call to Kafka ended: which, and what came of it in a word.
pub fn called_kafka(call: &'static str, result: &'static str) {
    counter!("imcluster_operator_kafka_calls_total", "call" => call, "result" => result).increment(1);
}

/// An event was told.
pub fn told(reason: &'static str) {
    counter!("imcluster_operator_events_total", "reason" => reason).increment(1);
}

/// An event could not be written.
pub fn not_told() {
    counter!("imcluster_operator_event_failures_total").increment(1);
}
