//! A Redis that cannot be reached: told clearly at the start, fast afterwards, and found again soon.

use std::process::Command;
use std::time::{Duration, Instant};

use im_protocol::{ConnectionId, Epoch, ServerId};
use im_sdk::reads::redis::RedisReadPositions;
use im_sdk::reads::{Read, ReadPositions};
use im_sdk::registry::redis::{ConnectError, RedisConfig, RedisRegistry};
use im_sdk::registry::{Registry, Topic};

use super::instance::{Instance, PATIENCE, cluster_of_three, free_port};
use super::{config, connect, connected};
use crate::given::{announced, conversation, users};
use crate::wait::{done_within, until_within};

async fn refused(url: &str) -> ConnectError {
    match RedisRegistry::connect(&config(url)).await {
        Ok(_) => panic!("{url} is fine"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let port = free_port();
    for scheme in ["redis", "redis+cluster"] {
        let error = refused(&format!("{scheme}://u:hidden@127.0.0.1:{port}")).await;
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
        assert!(!format!("{error} {error:?}").contains("hidden"));
    }
    let error = refused(&format!("redis+sentinel://127.0.0.1:{port}/chat")).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn a_wrong_password_is_said_so() {
    let redis = Instance::start(&["--requirepass right"]).await;
    for user in ["", ":wrong-one@", "nobody:right@"] {
        let error = refused(&format!("redis://{user}127.0.0.1:{}", redis.port)).await;
        assert!(matches!(error, ConnectError::Denied { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("wrong-one"));
    }
    connect(&format!("redis://:right@127.0.0.1:{}/3", redis.port)).await;
}

/// As the page for operators says it.
const RIGHTS: &str = "~im:* -@all +@hash +@set +@sortedset +@string +@keyspace +@scripting +@connection +info";

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn a_user_with_the_documented_rights_can_do_everything_and_one_without_is_told_at_the_start() {
    let redis = Instance::start(&[]).await;
    let set_user = |name: &str, rights: &str| {
        let rights = rights.split_whitespace();
        let words: Vec<_> = ["ACL", "SETUSER", name, "on", ">pw"].into_iter().chain(rights).collect();
        redis.command::<()>(&words).unwrap();
    };
    set_user("server", RIGHTS);
    set_user("poor", &RIGHTS.replace("+info", ""));
    let config = |name: &str| -> RedisConfig { format!("redis://{name}:pw@127.0.0.1:{}", redis.port).parse().unwrap() };
    let registry = RedisRegistry::connect(&config("server")).await.unwrap_or_else(|error| panic!("{error}"));
    let users = connected(&registry, 1).await;
    let topics = [Topic::Presence(users[0].clone())];
    registry.set_interest(&topics, ServerId(0), Epoch(1), true).await.unwrap();
    registry.set_server(ServerId(0), announced(1)).await.unwrap();
    registry.delete_stale(&[(users[0].clone(), ConnectionId(5))]).await.unwrap();
    registry.unregister(&users[0], ConnectionId(0)).await.unwrap();
    registry.users_of(ServerId(0), Epoch(1), 0).await.unwrap();
    connected(&registry, 1).await;
    registry.forget_users_of(ServerId(0), Epoch(1)).await.unwrap();
    let reads = RedisReadPositions::beside(&registry);
    let read = Read { conversation: conversation("g:1"), user: users[0].clone(), seq: 1 };
    reads.advance(&[read]).await.unwrap();
    reads.recent(&users[0]).await.unwrap();
    reads.fill(&conversation("g:1"), 1, &[(users[0].clone(), 1)]).await.unwrap();
    reads.count(&conversation("g:1"), 1, 1, &users[0]).await.unwrap();
    let Err(error) = RedisRegistry::connect(&config("poor")).await else { panic!("INFO is needed") };
    assert!(error.to_string().contains("info"), "{error}");
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn the_wrong_kind_of_redis_is_said_so() {
    let redis = Instance::start(&[]).await;
    let error = refused(&format!("redis+cluster://127.0.0.1:{}", redis.port)).await;
    assert!(matches!(error, ConnectError::NotACluster { .. }), "{error:?}");
    let node = Instance::start(&["--cluster-enabled yes"]).await;
    let error = refused(&node.url()).await;
    assert!(matches!(error, ConnectError::IsACluster { .. }), "{error:?}");
    let sentinel = Instance::sentinel_of(&redis).await;
    let error = refused(&format!("redis+sentinel://127.0.0.1:{}/other", sentinel.port)).await;
    assert!(matches!(error, ConnectError::NoMaster { .. }), "{error:?}");
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn a_self_signed_authority_is_trusted_when_its_file_is_given_and_only_then() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let openssl = |arguments: &str| {
        let arguments = arguments.replace("DIR", &folder.path().display().to_string());
        let done = Command::new("openssl").args(arguments.split_whitespace()).output().expect("openssl is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::write(path("san"), "subjectAltName=IP:127.0.0.1,DNS:localhost").unwrap();
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout DIR/ca.key -out DIR/ca.pem");
    openssl("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout DIR/key.pem -out DIR/request");
    openssl("x509 -req -in DIR/request -CA DIR/ca.pem -CAkey DIR/ca.key -days 2 -extfile DIR/san -out DIR/cert.pem");
    let port = free_port();
    let _redis = Instance::start(&[
        &format!("--tls-port {port}"),
        &format!("--tls-cert-file {}", path("cert.pem")),
        &format!("--tls-key-file {}", path("key.pem")),
        &format!("--tls-ca-cert-file {}", path("ca.pem")),
        "--tls-auth-clients no",
    ])
    .await;
    let url = format!("rediss://127.0.0.1:{port}");
    let error = refused(&url).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }) && error.to_string().contains("ertificate"), "{error}");
    let trusting = config(&url).with_ca_file(path("ca.pem")).unwrap();
    let registry = RedisRegistry::connect(&trusting).await.unwrap_or_else(|error| panic!("{error}"));
    connected(&registry, 1).await;
    for file in ["missing", "san"] {
        let config = config(&url).with_ca_file(path(file)).unwrap();
        let Err(error) = RedisRegistry::connect(&config).await else { panic!("{file} is no CA file") };
        assert!(matches!(error, ConnectError::CaFile { .. }), "{error:?}");
    }
}

/// Looks up until it works; how long that took.
async fn recovery(registry: &RedisRegistry) -> Duration {
    let start = Instant::now();
    done_within(PATIENCE, async || registry.routes(&users(&["alice"])).await).await;
    start.elapsed()
}

/// Looks up until it fails, then says how long many more calls take.
async fn many_failures(registry: &RedisRegistry) -> Duration {
    let alice = users(&["alice"]);
    until_within(PATIENCE, "it answers no more", async || registry.routes(&alice).await.is_err()).await;
    let start = Instant::now();
    for _ in 0..1_000 {
        registry.routes(&alice).await.unwrap_err();
        assert!(start.elapsed() < PATIENCE, "calls pile up");
    }
    start.elapsed()
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn while_redis_is_down_calls_fail_at_once_and_work_again_soon_after() {
    let mut redis = Instance::start(&[]).await;
    let registry = connect(&redis.url()).await;
    redis.kill();
    assert!(many_failures(&registry).await < Duration::from_secs(1));
    redis.restart().await;
    let recovery = recovery(&registry).await;
    assert!(recovery < Duration::from_secs(1), "{recovery:?}");
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn while_redis_hangs_most_calls_fail_at_once_and_work_again_soon_after() {
    let redis = Instance::start(&[]).await;
    let registry = connect(&redis.url()).await;
    redis.signal("-STOP");
    let failing = many_failures(&registry).await;
    redis.signal("-CONT");
    // One call in a quarter of a second tries, and waits for the time-out.
    assert!(failing < Duration::from_secs(4), "{failing:?}");
    let recovery = recovery(&registry).await;
    assert!(recovery < Duration::from_secs(2), "{recovery:?}");
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn a_node_of_a_cluster_that_is_down_keeps_only_those_who_stand_there() {
    let mut nodes = cluster_of_three().await;
    let registry = connect(&format!("redis+cluster://127.0.0.1:{}", nodes[0].port)).await;
    let users = connected(&registry, 60).await;
    nodes[2].command::<()>(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).unwrap();
    for node in &nodes[..2] {
        node.command::<()>(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).unwrap();
    }
    nodes[2].kill();
    let mut failed = 0;
    for user in users.iter().chain(&users) {
        failed += usize::from(registry.routes(std::slice::from_ref(user)).await.is_err());
    }
    assert!((10..=70).contains(&failed), "{failed} of 120 failed");
    nodes[2].restart().await;
    done_within(PATIENCE, async || registry.routes(&users).await).await;
}
