//! The figures, for people and for programs.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    /// From microseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |micros: u64| f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0;
        Self {
            p50: at(histogram.value_at_quantile(0.5)),
            p99: at(histogram.value_at_quantile(0.99)),
            p999: at(histogram.value_at_quantile(0.999)),
            max: at(histogram.max()),
        }
    }
}

/// What went wrong with deliveries, counted over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    /// Sends without an ack.
    pub(crate) unacked: u64,
    /// Sends that were refused.
    pub(crate) refused: u64,
    /// Deliveries of acked messages that did not come.
    pub(crate) missing: u64,
    /// Deliveries that came again.
    pub(crate) repeated: u64,
    /// Seqs that were skipped and did not come later.
    pub(crate) skipped: u64,
    /// `resync` frames: the server dropped pushes, because they were not read in time.
    pub(crate) resyncs: u64,
    /// Connections that ended.
    pub(crate) broken: u64,
}

/// The result of `sends` and `fanout`.
#[derive(Debug, Serialize)]
pub(crate) struct Traffic {
    pub(crate) users: u32,
    pub(crate) group_size: u32,
    pub(crate) seconds: f64,
    pub(crate) sends_per_second: f64,
    pub(crate) acked_per_second: f64,
    pub(crate) deliveries_per_second: f64,
    pub(crate) ack_ms: Latency,
    pub(crate) end_to_end_ms: Latency,
    pub(crate) server_cpu_cores: Option<f64>,
    pub(crate) server_cpu_seconds_per_million_deliveries: Option<f64>,
    pub(crate) own_cpu_cores: Option<f64>,
    /// What the servers counted, per message; empty without their management addresses.
    pub(crate) counted_per_message: BTreeMap<&'static str, f64>,
    /// Deliveries after a later one: two servers that commit to one conversation may overtake each other, and the client
    /// puts it in order. One server does not.
    pub(crate) late_per_delivery: f64,
    /// Whether it was one server.
    pub(crate) one_server: bool,
    pub(crate) faults: Faults,
    pub(crate) first_error: Option<String>,
}

impl Traffic {
    /// Whether every message was acked and arrived everywhere once, and of one server in order.
    pub(crate) fn is_clean(&self) -> bool {
        self.faults == Faults::default() && !(self.one_server && self.late_per_delivery > 0.0)
    }

    /// Prints it; true if it is clean.
    pub(crate) fn print(&self, json: bool) -> bool {
        if json {
            println!("{}", serde_json::json!(self));
            return self.is_clean();
        }
        println!("{} users in groups of {}, {:.1} s", self.users, self.group_size, self.seconds);
        println!("  sends/s        {:>12.0}", self.sends_per_second);
        println!("  acked/s        {:>12.0}", self.acked_per_second);
        println!("  deliveries/s   {:>12.0}", self.deliveries_per_second);
        for (name, latency) in [("ack", self.ack_ms), ("end to end", self.end_to_end_ms)] {
            let Latency { p50, p99, p999, max } = latency;
            println!("  {name:<14} p50 {p50:.2} ms  p99 {p99:.2} ms  p99.9 {p999:.2} ms  max {max:.2} ms");
        }
        if let (Some(cores), Some(per_million)) =
            (self.server_cpu_cores, self.server_cpu_seconds_per_million_deliveries)
        {
            println!("  server CPU     {cores:.2} cores, {per_million:.2} s per million deliveries");
        } else {
            println!("  server CPU     unknown: give --server-pid");
        }
        if let Some(cores) = self.own_cpu_cores {
            println!("  im-load CPU    {cores:.2} cores");
        }
        for (name, count) in &self.counted_per_message {
            println!("  {name:<21}{count:>6.3} per message");
        }
        if self.late_per_delivery > 0.0 {
            println!("  out of order         {:>6.3} per delivery", self.late_per_delivery);
        }
        if self.is_clean() {
            println!("  every message was acked and arrived everywhere once");
        } else {
            let Faults { unacked, refused, missing, repeated, skipped, resyncs, broken } = self.faults;
            println!(
                "  FAULTS         {unacked} unacked, {refused} refused, {missing} missing, {repeated} repeated, \
                 {skipped} skipped, {resyncs} resyncs, {broken} connections broken"
            );
        }
        if let Some(error) = &self.first_error {
            println!("  first error    {error}");
        }
        self.is_clean()
    }
}

/// The result of `idle`.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    pub(crate) connections: u32,
    pub(crate) seconds: f64,
    pub(crate) connects_per_second: f64,
    pub(crate) bytes_per_connection: Option<f64>,
    pub(crate) cpu_micros_per_connection_second: Option<f64>,
    pub(crate) broken: u64,
}

impl Idle {
    pub(crate) fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::json!(self));
            return;
        }
        println!("{} idle connections, held for {:.0} s", self.connections, self.seconds);
        println!("  connects/s     {:>12.0}", self.connects_per_second);
        match (self.bytes_per_connection, self.cpu_micros_per_connection_second) {
            (Some(bytes), Some(micros)) => {
                println!("  memory         {:>12.0} bytes per connection ({:.2} KiB)", bytes, bytes / 1024.0);
                println!("  server CPU     {micros:>12.2} µs per connection and second");
            }
            _ => println!("  server         unknown: give --server-pid"),
        }
        if self.broken > 0 {
            println!("  FAULTS         {} connections broken", self.broken);
        }
    }
}

/// The result of `reconnect`.
#[derive(Debug, Serialize)]
pub(crate) struct Comeback {
    pub(crate) connections: u32,
    pub(crate) seconds: f64,
    /// What the servers counted, per reconnect; empty without their management addresses.
    pub(crate) counted_per_connection: BTreeMap<&'static str, f64>,
}

impl Comeback {
    pub(crate) fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::json!(self));
            return;
        }
        let per_second = f64::from(self.connections) / self.seconds;
        println!("{} connections came back in {:.1} s ({per_second:.0}/s)", self.connections, self.seconds);
        for (name, count) in &self.counted_per_connection {
            println!("  {name:<21}{count:>6.3} per reconnect");
        }
    }
}
