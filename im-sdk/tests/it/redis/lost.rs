//! Content that is lost changes the marker, and the very next look-up sees it.

use im_protocol::UserId;
use im_sdk::registry::redis::RedisRegistry;
use im_sdk::registry::{Marker, Registry};

use super::instance::{Instance, PATIENCE, cluster_of_three};
use super::{config, connect, connected};
use crate::wait::{done_within, until_within};

async fn read_under(registry: &RedisRegistry, users: &[UserId]) -> Marker {
    registry.routes(users).await.unwrap().marker
}

/// Asks until it answers: it was away on purpose.
async fn read_again(registry: &RedisRegistry, users: &[UserId]) -> Marker {
    done_within(PATIENCE, async || registry.routes(users).await).await.marker
}

async fn has_it_all(replica: &Instance, master: &Instance) {
    let size = |of: &Instance| of.command::<u64>(&["DBSIZE"]).unwrap();
    until_within(PATIENCE, "the replica has it all", async || size(replica) == size(master)).await;
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn an_emptied_redis_is_seen_by_the_next_look_up_of_anything() {
    let redis = Instance::start(&[]).await;
    let registry = connect(&redis.url()).await;
    let users = connected(&registry, 3).await;
    let announced = registry.marker().await.unwrap();
    assert_eq!(read_under(&registry, &users).await, announced);

    redis.command::<()>(&["FLUSHALL"]).unwrap();
    assert_ne!(read_under(&registry, &users).await, announced);
    assert_ne!(registry.interested(&[super::group()]).await.unwrap().marker, announced);

    let next = registry.marker().await.unwrap();
    assert_ne!(next, announced);
    assert_eq!(read_under(&registry, &users).await, next, "until it is emptied again");
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn a_restart_with_an_old_snapshot_is_another_registry() {
    let mut redis = Instance::start(&[]).await;
    let registry = connect(&redis.url()).await;
    let users = connected(&registry, 3).await;
    let announced = registry.marker().await.unwrap();
    redis.command::<String>(&["SAVE"]).unwrap();
    redis.kill();
    redis.restart().await;
    assert_eq!(redis.command::<Vec<String>>(&["KEYS", "*marker"]).unwrap().len(), 1, "the old value came back");
    assert_ne!(read_again(&registry, &users).await, announced);
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn a_promoted_replica_is_another_registry() {
    let master = Instance::start(&[]).await;
    let replica = Instance::start(&[&format!("--replicaof 127.0.0.1 {}", master.port)]).await;
    // The same keys by both, as one name in front of the two would give.
    let config = config(&master.url());
    let registry = RedisRegistry::connect(&config).await.unwrap();
    let users = connected(&registry, 3).await;
    let announced = registry.marker().await.unwrap();
    has_it_all(&replica, &master).await;
    replica.command::<()>(&["REPLICAOF", "NO", "ONE"]).unwrap();
    let prefix = master.command::<Vec<String>>(&["KEYS", "*marker"]).unwrap().remove(0);
    let prefix = prefix.split('{').next().unwrap();
    let promoted: im_sdk::registry::redis::RedisConfig = replica.url().parse().unwrap();
    let promoted = RedisRegistry::connect(&promoted.with_prefix(prefix).unwrap()).await.unwrap();
    assert_eq!(promoted.routes(&users).await.unwrap().of, registry.routes(&users).await.unwrap().of);
    assert_ne!(read_under(&promoted, &users).await, announced);
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn a_cluster_that_lost_one_nodes_content_is_another_registry_for_those_who_stood_there() {
    let nodes = cluster_of_three().await;
    let hosts: Vec<_> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let registry = connect(&format!("redis+cluster://{}", hosts.join(","))).await;
    let users = connected(&registry, 100).await;
    let announced = registry.marker().await.unwrap();
    assert_eq!(read_under(&registry, &users).await, announced);

    nodes[1].command::<()>(&["FLUSHALL"]).unwrap();
    for user in &users {
        let routes = registry.routes(std::slice::from_ref(user)).await.unwrap();
        assert!(!routes.of[0].is_empty() || routes.marker != announced, "{user} would be taken for offline");
    }
    let next = registry.marker().await.unwrap();
    assert_ne!(next, announced);
    let other = connected(&registry, 1).await;
    assert_eq!(read_under(&registry, &other).await, next);
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn a_failover_by_sentinels_is_followed_and_is_another_registry() {
    let mut master = Instance::start(&[]).await;
    let replica = Instance::start(&[&format!("--replicaof 127.0.0.1 {}", master.port)]).await;
    let sentinel = Instance::sentinel_of(&master).await;
    let registry = connect(&format!("redis+sentinel://127.0.0.1:{}/chat", sentinel.port)).await;
    let users = connected(&registry, 3).await;
    let announced = registry.marker().await.unwrap();
    let known = || sentinel.command::<Vec<::redis::Value>>(&["SENTINEL", "REPLICAS", "chat"]).unwrap();
    until_within(PATIENCE, "the Sentinel knows the replica", async || known().len() == 1).await;
    has_it_all(&replica, &master).await;
    master.kill();
    assert_ne!(read_again(&registry, &users).await, announced);
    registry.register(&users[0], crate::given::route(9, 1, 1)).await.unwrap();
    let role: Vec<::redis::Value> = replica.command(&["ROLE"]).unwrap();
    assert_eq!(role[0], ::redis::Value::BulkString(b"master".to_vec()));
}
