//! All of it for real: im-server in containers on a real node, made by the operator, on Redis, PostgreSQL and Kafka.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::ConditionType;
use imcluster_tests::client::fresh;
use imcluster_tests::cluster::network::MACHINE;
use imcluster_tests::cluster::{Image, Kubernetes};
use imcluster_tests::history::Recorder;
use imcluster_tests::operator::{Operator, Tenant, World};
use imcluster_tests::proxy::Proxy;
use imcluster_tests::server::Server;
use imcluster_tests::stack::{Durability, Place, Postgres, Redis, program};
use imcluster_tests::stage::{Person, Stage};
use imcluster_tests::watcher::Watcher;
use imcluster_tests::witness::{check, members, read_again};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::net::TcpStream;

use super::until_gone;

const IMAGE: &str = "imcluster.dev/im-server:test";
const DATABASE: &str = "im";
/// Of which some are on each of two pods: each goes to one of them by chance.
const PEOPLE: usize = 12;
/// Longest wait for the way in.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(100);

/// What the gateways need, and where pods find it.
struct Parts {
    redis: Redis,
    postgres: Postgres,
    to_redis: Proxy,
    to_postgres: Proxy,
    place: Place,
}

impl Parts {
    async fn start() -> Self {
        let place = Place::temporary().unwrap();
        let started = tokio::try_join!(Redis::start(&place), Postgres::start(&place, Durability::Process));
        let (redis, postgres) = started.unwrap();
        postgres.database(DATABASE).await.unwrap();
        let [to_redis, to_postgres] = [redis.port(), postgres.port()].map(|port| async move {
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            Proxy::between(SocketAddr::from((MACHINE, 0)), local).await.unwrap()
        });
        let (to_redis, to_postgres) = tokio::join!(to_redis, to_postgres);
        Self { redis, postgres, to_redis, to_postgres, place }
    }

    async fn tell(&self, tenant: &Tenant) {
        let redis = self.redis.url_by(self.to_redis.address());
        let database = self.postgres.url_by(self.to_postgres.address(), DATABASE);
        tenant.secret("redis", &[("url", &redis)]).await.unwrap();
        tenant.secret("database", &[("url", &database)]).await.unwrap();
    }
}

/// The way in: an address of the machine that leads to the Service of the gateways. The node learns of them a little after they
/// are ready.
async fn entrance(tenant: &Tenant, port: u16) -> Proxy {
    let service = tenant.api::<Service>().get("chat-gateway").await.unwrap();
    let address: Ipv4Addr = service.spec.unwrap().cluster_ip.unwrap().parse().unwrap();
    let address = SocketAddr::from((address, port));
    let leads_there = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, leads_there).await.expect("the Service leads to a gateway");
    Proxy::to(address).await.unwrap()
}

/// Says one thing after the other, until it is asked to end. Each is acked before the next is said, however long that takes.
async fn talk(watcher: Arc<Watcher>, conversation: String, enough: Arc<AtomicBool>) {
    while !enough.load(Ordering::Relaxed) {
        watcher.say(&conversation, &fresh("text ")).await.unwrap_or_else(|error| panic!("not acked: {error}"));
    }
}

/// A pod of another UID is there in its place, and everything is ready.
async fn until_replaced(tenant: &Tenant, old: &Pod) {
    let replaced = |it: Option<&Pod>| it.is_some_and(|it| it.uid() != old.uid());
    tenant.until(&old.name_any(), "another pod is in its place", replaced).await;
    let all_ready = |it: Option<&ImCluster>| {
        it.and_then(|it| it.status.as_ref()).is_some_and(|status| status.ready_replicas == Some(2))
    };
    tenant.until("chat", "both pods are ready", all_ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn clients_on_two_pods_talk_while_pods_are_deleted_and_nothing_is_lost() {
    let world = World::shared().await;
    let tenant = world.tenant("real").await;
    let parts = Parts::start().await;
    parts.tell(&tenant).await;
    let image = Image::of_program(IMAGE, &program().unwrap()).unwrap();
    Kubernetes::here().unwrap().import(&image).unwrap();
    let _operator = Operator::start(world, &tenant).unwrap();
    let real = json!({ "spec": {
        "image": IMAGE,
        "gateways": {
            "podTemplate": null,
            "maxConnections": 1000,
            "drain": { "deadlineSeconds": 10, "connectionsPerSecond": 100 },
            "resources": { "requests": { "cpu": "50m", "memory": "64Mi" } },
        },
        "config": { "openRegistration": true },
    } });
    tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &real)).await.unwrap();
    tenant.until_condition("chat", ConditionType::Ready, "True").await;

    let (http, tcp) = tokio::join!(entrance(&tenant, 8080), entrance(&tenant, 8090));
    // Nobody here asks for the management port, which the entrance does not have.
    let stage = Stage::on(Arc::new(Server::elsewhere(http.address(), tcp.address(), http.address())));
    let people: [Person; PEOPLE] = stage.people().await;
    let [founder, others @ ..] = &people;
    let (_, conversation) = founder.group(&others.iter().collect::<Vec<_>>(), "real").await;
    let recorder = Recorder::default();
    members(&recorder, &conversation, &people);
    let mut watchers = Vec::new();
    for person in &people {
        watchers.push(Arc::new(Watcher::connect(&recorder, &person.id, http.address()).await));
    }
    let first = watchers[0].say(&conversation, "hello").await.unwrap();
    for watcher in &watchers {
        watcher.sees(&conversation, first).await;
    }
    let on = |id: u16| watchers.iter().find(|watcher| watcher.server() == Some(id)).expect("somebody is on each pod");
    let (alice, bob) = (on(0).clone(), on(1).clone());

    let enough = Arc::new(AtomicBool::new(false));
    let talking = [&alice, &bob].map(|it| tokio::spawn(talk(it.clone(), conversation.clone(), enough.clone())));
    let pods = tenant.api::<Pod>();
    for (id, grace) in [(0, None), (1, Some(0))] {
        let name = format!("chat-gateway-{id}");
        let old = pods.get(&name).await.unwrap();
        // One is asked to go, and moves its clients; the other is killed.
        pods.delete(&name, &DeleteParams { grace_period_seconds: grace, ..DeleteParams::default() }).await.unwrap();
        until_replaced(&tenant, &old).await;
    }
    enough.store(true, Ordering::Relaxed);
    for task in talking {
        task.await.unwrap();
    }
    let last = alice.say(&conversation, "the end").await.unwrap();
    for watcher in &watchers {
        watcher.sees(&conversation, last).await;
        assert!(watcher.is_well());
    }
    let reader = founder.connect("web").await;
    let all = read_again(&recorder, &reader, "a reader with nothing", founder, &conversation).await;
    assert!(all.len() > 50, "{} messages are hardly a talk", all.len());
    check(&recorder, &parts.place.path().join("history.jsonl"));

    tenant.api::<ImCluster>().delete("chat", &DeleteParams::default()).await.unwrap();
    until_gone(&tenant).await;
    assert!(tenant.topics("chat").await.unwrap().is_empty(), "its topics are deleted");
}
