//! What the servers count, from their management ports: round trips, records and statements, so that they can be set
//! against messages.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context;

/// What is told when the servers count it: the name for people, and the metric.
const TOLD: [(&str, &str); 4] = [
    ("registry round trips", "im_registry_round_trips_total"),
    ("bus records", "im_records_published_total"),
    ("SQL statements", "im_sql_statements_total"),
    ("SQL batches", "im_sql_batch_seconds_count"),
];

/// Counters by the name for people, summed over servers and labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counters(BTreeMap<&'static str, f64>);

impl Counters {
    /// Reads them now.
    pub(crate) async fn read(management: &[SocketAddr]) -> anyhow::Result<Self> {
        let mut sums = Self::default();
        for address in management {
            let answer = reqwest::get(format!("http://{address}/metrics"))
                .await
                .and_then(reqwest::Response::error_for_status)
                .with_context(|| format!("no metrics from {address}: is it a management port?"))?;
            sums.add(&answer.text().await?);
        }
        Ok(sums)
    }

    fn add(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let metric = series.split('{').next().unwrap_or(series);
            let told = TOLD.iter().find(|(_, told)| *told == metric);
            if let (Some((name, _)), Ok(value)) = (told, value.parse::<f64>()) {
                *self.0.entry(name).or_default() += value;
            }
        }
    }

    /// How much each has risen since `before`, per `count` of something.
    pub(crate) fn since(&self, before: &Self, count: f64) -> BTreeMap<&'static str, f64> {
        let risen = |name: &'static str| self.0[name] - before.0.get(name).copied().unwrap_or(0.0);
        self.0.keys().map(|name| (*name, risen(name) / count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_metric_are_summed_and_others_left_alone() {
        let mut counters = Counters::default();
        counters.add("# TYPE im_sql_statements_total counter\nim_sql_statements_total{path=\"commit\"} 2\nother 9\n");
        let before = counters.clone();
        counters.add("im_sql_statements_total{path=\"relay\"} 3\n");
        assert_eq!(counters.since(&Counters::default(), 1.0), BTreeMap::from([("SQL statements", 5.0)]));
        assert_eq!(counters.since(&before, 2.0), BTreeMap::from([("SQL statements", 1.5)]));
    }
}
