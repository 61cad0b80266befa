//! The promises of a bus. Each waits for what must come, never for time to pass.

use std::sync::Arc;
use std::time::Duration;

use im_protocol::ServerId;
use im_sdk::bus::{Bus, BusError, Delivery, Outgoing, Subscription};
use tokio::time::timeout;

use crate::given::record;

/// Nothing here takes long; a test that runs into this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn to(server: u16, number: u64) -> Outgoing {
    Outgoing { server: ServerId(server), key: None, record: Arc::new(record(number)) }
}

/// Reads until `count` records have come; their numbers.
pub(crate) async fn read(subscription: &mut dyn Subscription, count: usize) -> Vec<u64> {
    let mut got = Vec::new();
    while got.len() < count {
        assert!(timeout(PATIENCE, subscription.next(&mut got, 100)).await.expect("records come"), "the topic goes on");
    }
    got.into_iter().map(number).collect()
}

fn number(delivery: Delivery) -> u64 {
    match delivery {
        Delivery::Record(record) => record.epoch.0,
        Delivery::Gap => panic!("nothing was lost here"),
    }
}

async fn publish(bus: &dyn Bus, records: Vec<Outgoing>) {
    for result in timeout(PATIENCE, bus.publish(records)).await.expect("there is room") {
        result.unwrap();
    }
}

pub(crate) async fn records_arrive_in_order(bus: &dyn Bus) {
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    publish(bus, (0..5).map(|n| to(0, n)).collect()).await;
    publish(bus, vec![to(0, 5)]).await;
    assert_eq!(read(&mut *subscription, 6).await, [0, 1, 2, 3, 4, 5]);
}

pub(crate) async fn a_record_goes_to_its_server_only(bus: &dyn Bus) {
    let mut zero = bus.subscribe(ServerId(0)).await.unwrap();
    let mut one = bus.subscribe(ServerId(1)).await.unwrap();
    publish(bus, vec![to(0, 10), to(1, 11), to(0, 12), to(1, 13)]).await;
    assert_eq!(read(&mut *zero, 2).await, [10, 12]);
    assert_eq!(read(&mut *one, 2).await, [11, 13]);
}

pub(crate) async fn a_subscriber_begins_at_the_end(bus: &dyn Bus) {
    drop(bus.subscribe(ServerId(0)).await.unwrap());
    publish(bus, vec![to(0, 1)]).await;
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    publish(bus, vec![to(0, 2)]).await;
    assert_eq!(read(&mut *subscription, 1).await, [2]);
}

pub(crate) async fn a_later_subscriber_takes_over(bus: &dyn Bus) {
    let mut earlier = bus.subscribe(ServerId(0)).await.unwrap();
    let mut later = bus.subscribe(ServerId(0)).await.unwrap();
    publish(bus, vec![to(0, 1)]).await;
    assert_eq!(read(&mut *later, 1).await, [1]);
    let mut got = Vec::new();
    assert!(!timeout(PATIENCE, earlier.next(&mut got, 100)).await.expect("it ends"));
    assert!(got.is_empty());
}

pub(crate) async fn a_record_to_a_server_without_a_topic_fails_alone(bus: &dyn Bus) {
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    let results = bus.publish(vec![to(0, 1), to(9, 2), to(0, 3)]).await;
    assert!(matches!(results.as_slice(), [Ok(()), Err(BusError::NoTopic(ServerId(9))), Ok(())]), "{results:?}");
    assert_eq!(read(&mut *subscription, 2).await, [1, 3]);
}

pub(crate) async fn results_come_in_the_order_of_the_records(bus: &dyn Bus) {
    let _subscription = bus.subscribe(ServerId(5)).await.unwrap();
    let results = bus.publish(vec![to(9, 0), to(5, 1), to(8, 2), to(5, 3)]).await;
    let failed: Vec<_> = results.iter().map(Result::is_err).collect();
    assert_eq!(failed, [true, false, true, false]);
    assert!(bus.publish(Vec::new()).await.is_empty());
}

pub(crate) async fn no_more_than_asked_for_comes_at_once(bus: &dyn Bus) {
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    publish(bus, (0..4).map(|n| to(0, n)).collect()).await;
    let mut got = Vec::new();
    assert!(timeout(PATIENCE, subscription.next(&mut got, 3)).await.unwrap());
    assert!((1..=3).contains(&got.len()), "{}", got.len());
    let rest = read(&mut *subscription, 4 - got.len()).await;
    assert_eq!(got.into_iter().map(number).chain(rest).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

pub(crate) async fn a_cancelled_wait_loses_nothing(bus: &dyn Bus) {
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    let mut got = Vec::new();
    {
        let mut wait = Box::pin(subscription.next(&mut got, 100));
        assert!(futures_util::poll!(wait.as_mut()).is_pending());
    }
    publish(bus, vec![to(0, 1)]).await;
    assert_eq!(read(&mut *subscription, 1).await, [1]);
}

pub(crate) async fn a_record_arrives_as_it_was_sent(bus: &dyn Bus) {
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    publish(bus, vec![to(0, 7)]).await;
    let mut got = Vec::new();
    assert!(timeout(PATIENCE, subscription.next(&mut got, 1)).await.unwrap());
    let Some(Delivery::Record(got)) = got.pop() else { panic!("a record comes") };
    assert_eq!(*got, record(7));
}
