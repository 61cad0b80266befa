//! What the process counts and times, as Prometheus reads it: every metric with what it says.

use std::time::Duration;

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper ends of the buckets of what is timed, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Upper ends of the buckets of what is counted per batch.
const SIZES: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0];
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
    metric("im_ready", Gauge, Unit::Count, &[], "1 while the server takes connections"),
    metric("im_connections", Gauge, Unit::Count, &[], "Connections that have said hello"),
    metric("im_connections_sent_away_total", Counter, Unit::Count, &[], "Connections told by a drain to go elsewhere"),
    metric("im_queue_bytes", Gauge, Unit::Bytes, &[], "Bytes that wait for slow readers, looked at every 5 s"),
    metric("im_sends_total", Counter, Unit::Count, &[], "Messages that clients and backends asked to send"),
    metric(
        "im_answers_total",
        Counter,
        Unit::Count,
        &["result"],
        "What they were answered: committed (acked), duplicate (acked again), refused, or failed (to be tried again)",
    ),
    metric("im_messages_committed_total", Counter, Unit::Count, &[], "Messages stored"),
    metric(
        "im_deliveries_total",
        Counter,
        Unit::Count,
        &[],
        "Frames handed to connections: one per connection and push",
    ),
    metric(
        "im_pushes_dropped_total",
        Counter,
        Unit::Count,
        &[],
        "Pushes that a slow reader did not get; its client pulls them, on a resync",
    ),
    metric(
        "im_resyncs_total",
        Counter,
        Unit::Count,
        &["reason"],
        "Hints to pull: slow, to one that missed pushes; gap, to everyone after records were missing in the topic",
    ),
    metric(
        "im_sql_batch_messages",
        Histogram,
        Unit::Count,
        &[],
        "Messages per commit: many under load is the group commit at work",
    ),
    metric("im_sql_batch_seconds", Histogram, Unit::Seconds, &[], "Time of a commit"),
    metric(
        "im_sql_batch_retries_total",
        Counter,
        Unit::Count,
        &[],
        "Commits tried again after a lost connection or a conflict",
    ),
    metric(
        "im_sql_conflicts_total",
        Counter,
        Unit::Count,
        &[],
        "Transactions that PostgreSQL gave up for a deadlock or a conflict",
    ),
    metric("im_sql_statements_total", Counter, Unit::Count, &["operation"], "Statements to PostgreSQL"),
    metric(
        "im_relay_lag_seconds",
        Gauge,
        Unit::Seconds,
        &[],
        "Age of the oldest commit of this server that is not on the bus yet; alert above 10",
    ),
    metric(
        "im_relay_statements_total",
        Counter,
        Unit::Count,
        &["statement"],
        "Statements of the relay: far fewer than messages",
    ),
    metric(
        "im_relay_turned_away_total",
        Counter,
        Unit::Count,
        &[],
        "Commits whose publication was left to the sweep, because memory for it was full",
    ),
    metric("im_outbox_swept_total", Counter, Unit::Count, &[], "Outbox rows that the sweep published"),
    metric("im_outbox_taken_over_total", Counter, Unit::Count, &[], "Of those, the rows of servers that are gone"),
    metric(
        "im_records_published_total",
        Counter,
        Unit::Count,
        &[],
        "Records to server ids: about one per message and server with a recipient",
    ),
    metric(
        "im_bus_records_total",
        Counter,
        Unit::Count,
        &["direction"],
        "Records that Kafka acked (published) and that came (read)",
    ),
    metric(
        "im_bus_errors_total",
        Counter,
        Unit::Count,
        &["reason"],
        "Records and reads that failed, by reason: no_topic, too_large, refused, unavailable",
    ),
    metric("im_bus_publish_seconds", Histogram, Unit::Seconds, &[], "Time until Kafka has acked a batch of records"),
    metric(
        "im_topic_lag",
        Gauge,
        Unit::Count,
        &["server"],
        "Records in this server's topic that it has not read; alert while it grows",
    ),
    metric("im_topic_gaps_total", Counter, Unit::Count, &[], "Breaks in the topic: every connection is told to pull"),
    metric("im_poisoned_records_total", Counter, Unit::Count, &[], "Records that could not be read and were skipped"),
    metric(
        "im_records_of_older_epochs_total",
        Counter,
        Unit::Count,
        &[],
        "Records meant for an earlier process of this id, and dropped",
    ),
    metric(
        "im_registry_round_trips_total",
        Counter,
        Unit::Count,
        &["operation"],
        "Round trips to Redis; `routes` is one for a whole batch of messages",
    ),
    metric("im_registry_seconds", Histogram, Unit::Seconds, &["operation"], "Time of a round trip to Redis"),
    metric(
        "im_registry_errors_total",
        Counter,
        Unit::Count,
        &[],
        "Calls to Redis without an answer: records go to every live server then",
    ),
    metric(
        "im_stale_route_hits_total",
        Counter,
        Unit::Count,
        &[],
        "Routes of dead servers met while routing, and deleted",
    ),
    metric(
        "im_announcements_total",
        Counter,
        Unit::Count,
        &[],
        "Times all routes and interests were written again, because the registry had lost them",
    ),
    metric(
        "im_lease_age_seconds",
        Gauge,
        Unit::Seconds,
        &["server"],
        "Time since the lease of the server id was renewed; above 10 the server counts as dead",
    ),
    metric("im_epoch_changes_total", Counter, Unit::Count, &[], "Times a server id was seen taken anew"),
    metric("im_push_pending", Gauge, Unit::Count, &[], "Push jobs that wait for their turn or their next attempt"),
    metric(
        "im_push_dead_letters",
        Gauge,
        Unit::Count,
        &[],
        "Push jobs that failed for good; `im-server push` lists and replays them",
    ),
    metric("im_push_jobs_total", Counter, Unit::Count, &["result"], "Attempts at push jobs by what became of them"),
    metric("im_push_skipped_total", Counter, Unit::Count, &["reason"], "People who were not pushed, and why"),
    metric("im_push_seconds", Histogram, Unit::Seconds, &[], "Time of an attempt"),
    metric(
        "im_tokens_refused_total",
        Counter,
        Unit::Count,
        &["reason"],
        "Access tokens that were not good, and why: expired, early, invalid, unknown_key, claim, audience, issuer, subject, \
         provider_away",
    ),
    metric(
        "im_token_keys_stale",
        Gauge,
        Unit::Count,
        &[],
        "1 while the folder of keys or the identity provider gives none that can be used, and the last good ones count; alert \
         on it",
    ),
    metric("im_http_requests_total", Counter, Unit::Count, &["method", "path", "status"], "HTTP calls"),
    metric("im_http_request_seconds", Histogram, Unit::Seconds, &["method", "path"], "Time of an HTTP call"),
];

/// Starts to count, for the whole process. Fails when something counts already.
pub fn install_metrics() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_messages".to_owned()), &SIZES)?
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
pub async fn keep_metrics(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}
