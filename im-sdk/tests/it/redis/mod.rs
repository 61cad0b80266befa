//! The registry on real Redises keeps the contract, and what it promises on top. What a test stops, empties or breaks is
//! its own: see [`instance`].

mod instance;
mod lost;
mod reach;
mod trips;

use im_sdk::registry::redis::{RedisConfig, RedisRegistry};
use im_sdk::registry::{Registry, Topic};

use crate::given::{conversation, route, user};

/// A registry of its own in the Redis that the tests share.
async fn single() -> RedisRegistry {
    connect(&url("IM_TEST_REDIS_URL")).await
}

/// A registry of its own in the Redis Cluster that the tests share.
async fn cluster() -> RedisRegistry {
    let urls = url("IM_TEST_REDIS_CLUSTER_URLS");
    let hosts: Vec<_> = urls.split(',').map(|url| url.trim().trim_start_matches("redis://")).collect();
    connect(&format!("redis+cluster://{}", hosts.join(","))).await
}

fn url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} says where Redis is"))
}

async fn connect(url: &str) -> RedisRegistry {
    RedisRegistry::connect(&config(url)).await.unwrap_or_else(|error| panic!("{error}"))
}

/// With a prefix that no other test has.
fn config(url: &str) -> RedisConfig {
    url.parse::<RedisConfig>().unwrap().with_prefix(&format!("test:{:x}:", rand::random::<u64>())).unwrap()
}

/// Writes the routes of users, all on one server.
async fn connected(registry: &dyn Registry, count: u64) -> Vec<im_protocol::UserId> {
    let held: Vec<_> = (0..count).map(|n| (user(&format!("user{n}")), route(n, 0, 1))).collect();
    registry.register_again(&held).await.unwrap();
    held.into_iter().map(|(user, _)| user).collect()
}

fn group() -> Topic {
    Topic::Conversation(conversation("g:1"))
}

mod on_one {
    use super::single;
    use crate::contract::{reads_contract, registry_contract};
    use im_sdk::reads::redis::RedisReadPositions;

    registry_contract!(async || single().await, ignored = "needs Redis: make test-stack");
    reads_contract!(async || RedisReadPositions::beside(&single().await), ignored = "needs Redis: make test-stack");
}

mod on_a_cluster {
    use super::cluster;
    use crate::contract::{reads_contract, registry_contract};
    use im_sdk::reads::redis::RedisReadPositions;

    registry_contract!(async || cluster().await, ignored = "needs Redis: make test-stack");
    reads_contract!(async || RedisReadPositions::beside(&cluster().await), ignored = "needs Redis: make test-stack");
}
