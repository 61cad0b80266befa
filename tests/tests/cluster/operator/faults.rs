//! An API server and a Kafka that refuse, hang, and tell too much, too late or too little: the story of [`super::crash`] ends as
//! without them, and nothing that cannot be undone is done too early.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use imcluster_tests::operator::{Delivery, Fate, Faults, Side};
use parking_lot::Mutex;

use super::crash::scenario;

/// Every write has this fate, and lands when it is tried again.
fn each_write_once(fate: Fate) -> Arc<Faults> {
    let met = Mutex::new(HashSet::new());
    Faults::of_writes(move |write, _| {
        let mut met = met.lock();
        if met.remove(write) {
            Fate::Lands
        } else {
            met.insert(write.clone());
            fate
        }
    })
}

/// Caches that are old, each by another time, so that they never agree.
fn old_caches(resource: &str) -> Delivery {
    Delivery::Late(Duration::from_millis(match resource {
        "pods" => 3_000,
        "statefulsets" => 1_500,
        "imclusters" => 2_000,
        _ => 500,
    }))
}

/// Pods are not heard of before they have long been there, or gone.
fn old_pods(resource: &str) -> Delivery {
    if resource == "pods" { Delivery::Late(Duration::from_secs(8)) } else { Delivery::Once }
}

fn table() -> Vec<(&'static str, Arc<Faults>)> {
    vec![
        ("each write meets a conflict once", each_write_once(Fate::Refused(409))),
        ("each write is of a version that is too old once", each_write_once(Fate::Refused(410))),
        ("the API server has too much to do for each write once", each_write_once(Fate::Refused(429))),
        ("each write fails once", each_write_once(Fate::Refused(500))),
        ("each write hangs once and does not land", each_write_once(Fate::Hangs(Side::Before))),
        ("each write hangs once and has landed", each_write_once(Fate::Hangs(Side::After))),
        ("each event is told twice", Faults::of_watches(|_, _| Delivery::Twice)),
        (
            "every seventh event is lost, and its watch ends",
            Faults::of_watches(|_, number| if number % 7 == 0 { Delivery::Lost } else { Delivery::Once }),
        ),
        ("events are late, each kind by another time", Faults::of_watches(|resource, _| old_caches(resource))),
        ("events of pods are very late", Faults::of_watches(|resource, _| old_pods(resource))),
    ]
}

mod long {
    use super::{scenario, table};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs Kubernetes, and minutes: make test-cluster-full"]
    async fn whatever_goes_wrong_for_a_while_the_end_is_the_same() {
        let stories = table();
        let at_once = stories.len();
        let stories = stories.into_iter().map(|(name, faults)| {
            (name.to_owned(), async move { assert_eq!(scenario::tell(&faults, &[]).await, 0, "nobody dies of {name}") })
        });
        scenario::together(stories, at_once).await;
    }
}
