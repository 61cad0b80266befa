//! Faults under load: people write to each other over three servers all the time while something breaks. In the end nothing
//! acknowledged is lost, doubled or out of order, and everybody has it.

mod long;
mod quick;

use std::path::Path;
use std::time::{Duration, Instant};

use imcluster_tests::load::{Load, Plan, report};
use imcluster_tests::stack::Cluster;

/// Acks before a fault: everybody is at work, on every server.
const WARM: usize = 200;
/// Acks after it: the fault is behind all of them.
const MORE: usize = 200;

/// Lets something break under load and checks what everybody has in the end. `fault` returns when all is well again, as
/// far as the one who broke it can tell; from then on it is the servers' time to recover, which is printed.
async fn under_load(name: &str, cluster: &Cluster, fault: impl AsyncFnOnce(&Cluster)) {
    let mut load = Load::start(&cluster.stage(), Plan::default()).await;
    load.until_acked(WARM).await;
    for server in cluster.servers() {
        assert!(load.on_server(server.id) > 0, "nobody is on {}: nothing would be seen there", server.name());
    }
    let begun = Instant::now();
    fault(cluster).await;
    let healed = Instant::now();
    let took = load.recovered(healed).await;
    let before = load.acked();
    load.until_acked(before + MORE).await;
    let messages = load.settle().await;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.jsonl"));
    load.check(&cluster.stage(), &file).await;
    let lasted = healed - begun;
    report(&format!("{name}: lasted {lasted:.1?}, recovered {took:.1?} after it; {messages} messages, no violation"));
}

/// How long a fault lasts: the fault itself, not a wait for something.
async fn lasts(time: Duration) {
    tokio::time::sleep(time).await;
}
