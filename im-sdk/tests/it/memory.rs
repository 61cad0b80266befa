//! The in-process registry and bus keep the contracts, and what they promise on top.

use std::sync::Arc;

use futures_util::poll;
use im_protocol::ServerId;
use im_sdk::bus::{Bus, MemoryBus};
use im_sdk::reads::MemoryReadPositions;
use im_sdk::registry::MemoryRegistry;

use crate::contract::bus::{read, to};
use crate::contract::{bus_contract, reads_contract, registry_contract};

registry_contract!(async || MemoryRegistry::new());
reads_contract!(async || MemoryReadPositions::default());
bus_contract!(async || MemoryBus::new(1024));

#[tokio::test]
async fn publishing_waits_while_a_topic_is_full() {
    let bus = MemoryBus::new(2);
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    let mut publishing = Box::pin(bus.publish((0..3).map(|n| to(0, n)).collect()));
    assert!(poll!(publishing.as_mut()).is_pending(), "the third record has no room");
    assert_eq!(read(&mut *subscription, 2).await, [0, 1]);
    assert!(publishing.await.iter().all(Result::is_ok));
    assert_eq!(read(&mut *subscription, 1).await, [2]);
}

#[tokio::test]
async fn a_server_that_does_not_read_holds_up_no_other() {
    let bus = MemoryBus::new(1);
    let _stalled = bus.subscribe(ServerId(0)).await.unwrap();
    let mut reading = bus.subscribe(ServerId(1)).await.unwrap();
    let mut publishing = Box::pin(bus.publish(vec![to(0, 1), to(0, 2), to(1, 3)]));
    assert!(poll!(publishing.as_mut()).is_pending());
    assert_eq!(read(&mut *reading, 1).await, [3]);
}

#[tokio::test]
async fn what_waits_for_a_stalled_subscriber_goes_to_the_one_that_takes_over() {
    let bus = Arc::new(MemoryBus::new(1));
    let _stalled = bus.subscribe(ServerId(0)).await.unwrap();
    let mut publishing = Box::pin(bus.publish(vec![to(0, 1), to(0, 2)]));
    assert!(poll!(publishing.as_mut()).is_pending());
    let mut next = bus.subscribe(ServerId(0)).await.unwrap();
    assert!(publishing.await.iter().all(Result::is_ok));
    assert_eq!(read(&mut *next, 1).await, [2]);
}

#[tokio::test]
async fn a_subscriber_whose_place_was_taken_gets_nothing_more() {
    let bus = MemoryBus::new(1);
    let mut earlier = bus.subscribe(ServerId(0)).await.unwrap();
    bus.publish(vec![to(0, 1)]).await;
    let _later = bus.subscribe(ServerId(0)).await.unwrap();
    let mut got = Vec::new();
    assert!(!earlier.next(&mut got, 1).await);
    assert!(got.is_empty());
}

#[tokio::test]
async fn a_subscription_ends_with_its_bus() {
    let bus = MemoryBus::new(1);
    let mut subscription = bus.subscribe(ServerId(0)).await.unwrap();
    drop(bus);
    assert!(!subscription.next(&mut Vec::new(), 1).await);
}
