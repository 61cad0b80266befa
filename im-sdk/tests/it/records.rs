//! A message takes exactly one record for each server with a member on it, whatever else there is.

use std::collections::BTreeSet;
use std::sync::Arc;

use im_protocol::record::{Audience, Payload};
use im_protocol::{Epoch, ServerId};
use im_sdk::bus::{Bus, MemoryBus};
use im_sdk::registry::{MemoryRegistry, Registry, Topic};
use im_sdk::router::{Recipients, Routed, Router};
use proptest::prelude::*;

use crate::given::{conversation, frame, gone, route, user};
use im_sdk::bus::Delivery;
use im_sdk::registry::Server;

const SERVERS: u16 = 6;

/// A connection somewhere: whose, on which server, and whether it is left from before that server's restart.
#[derive(Clone, Debug)]
struct Held {
    user: usize,
    server: u16,
    stale: bool,
}

fn held() -> impl Strategy<Value = Held> {
    let stale = prop::bool::weighted(0.2);
    (0_usize..20, 0..SERVERS, stale).prop_map(|(user, server, stale)| Held { user, server, stale })
}

/// Publishes to users 0…9 by name and to the group of the same by interest; which servers got a record of each, and of
/// whom.
async fn targets(held: &[Held], dead: &BTreeSet<u16>) -> (Vec<(u16, BTreeSet<String>)>, Vec<u16>) {
    let (registry, bus) = (Arc::new(MemoryRegistry::new()), Arc::new(MemoryBus::new(64)));
    let marker = registry.marker().await.unwrap();
    let mut subscriptions = Vec::new();
    for id in 0..SERVERS {
        let server = Server { epoch: Epoch(2), live: true, serving: true, announced: Some(marker) };
        let server = if dead.contains(&id) { gone(2) } else { server };
        registry.set_server(ServerId(id), server).await.unwrap();
        subscriptions.push(bus.subscribe(ServerId(id)).await.unwrap());
    }
    let group = conversation("g:1");
    for (n, Held { user: of, server, stale }) in (0..).zip(held) {
        let epoch = if *stale { 1 } else { 2 };
        registry.register(&user(&format!("user{of}")), route(n, *server, epoch)).await.unwrap();
        if *of < 10 {
            let topic = Topic::Conversation(group.clone());
            registry.set_interest(&[topic], ServerId(*server), Epoch(epoch), true).await.unwrap();
        }
    }
    let router = Router::new(registry, bus, ServerId(0));
    router.refresh().await.unwrap();
    let users: Vec<_> = (0..10).map(|n| user(&format!("user{n}"))).collect();
    let members =
        Recipients::Members { conversation: group, seq: 1, members_version: 1, also: Vec::new(), everyone: false };
    let routed = |to| Routed { to, frame: frame(), about: None, key: None, trace: None };
    let by_name = Recipients::Users { users: users.into(), except: None };
    let published = router.publish(vec![routed(by_name), routed(members)]).await;
    let (mut named, mut interested) = (Vec::new(), Vec::new());
    for (id, mut subscription) in (0..SERVERS).zip(subscriptions) {
        let mut got = Vec::new();
        // Nothing waits where nothing came.
        while let std::task::Poll::Ready(true) = futures_util::poll!(subscription.next(&mut got, 64)) {}
        for delivery in got {
            let Delivery::Record(record) = delivery else { panic!("no gap") };
            let Payload::Push(push) = &record.payload else { panic!("a push") };
            match &push.audience {
                Audience::Users { users, .. } => named.push((id, users.iter().map(ToString::to_string).collect())),
                _ => interested.push(id),
            }
        }
    }
    assert_eq!(published.iter().map(|published| published.records).sum::<usize>(), named.len() + interested.len());
    (named, interested)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_message_takes_one_record_for_each_server_with_a_member_on_it(
        held in prop::collection::vec(held(), 0..40),
        dead in prop::collection::btree_set(0..SERVERS, 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (named, interested) = runtime.block_on(targets(&held, &dead));
        let there = held.iter().filter(|held| !held.stale && !dead.contains(&held.server) && held.user < 10);
        let mut expected = std::collections::BTreeMap::<u16, BTreeSet<String>>::new();
        for held in there {
            expected.entry(held.server).or_default().insert(format!("user{}", held.user));
        }
        prop_assert_eq!(&interested, &expected.keys().copied().collect::<Vec<_>>());
        prop_assert_eq!(named, expected.into_iter().collect::<Vec<_>>());
    }
}
