//! The registry on real Redises keeps the contract, and what it promises on top. Instances that a test stops, empties
//! or breaks are its own: see [`instance`].

mod faults;
mod instance;
mod reach;

use im_sdk::registry::Registry;
use im_sdk::registry::redis::{RedisConfig, RedisRegistry};

pub(crate) const NEEDS: &str = "needs Redis: make test-stack";

/// A registry of its own in the Redis that the tests share.
pub(crate) async fn single() -> RedisRegistry {
    connect(&url("IM_TEST_REDIS_URL")).await
}

/// A registry of its own in the Redis Cluster that the tests share.
pub(crate) async fn cluster() -> RedisRegistry {
    let urls = url("IM_TEST_REDIS_CLUSTER_URLS");
    let hosts: Vec<_> = urls.split(',').map(|url| url.trim().trim_start_matches("redis://")).collect();
    connect(&format!("redis+cluster://{}", hosts.join(","))).await
}

fn url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run `make test-stack`"))
}

async fn connect(url: &str) -> RedisRegistry {
    RedisRegistry::connect(&config(url)).await.unwrap_or_else(|error| panic!("{error}"))
}

/// With a prefix that no other test has.
pub(crate) fn config(url: &str) -> RedisConfig {
    url.parse::<RedisConfig>().unwrap().with_prefix(&format!("test:{:x}:", rand::random::<u64>())).unwrap()
}

mod on_one {
    use super::single;
    use crate::contract::registry_contract;

    registry_contract!(#[ignore = "needs Redis: make test-stack"] async || single().await);
}

mod on_a_cluster {
    use super::cluster;
    use crate::contract::registry_contract;

    registry_contract!(#[ignore = "needs Redis: make test-stack"] async || cluster().await);
}
