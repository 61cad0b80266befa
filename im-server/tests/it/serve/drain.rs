//! Emptying one of two servers, in one process, on one database, registry and bus.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_protocol::{DeviceId, ServerId, Terminal, UserId};
use im_sdk::bus::MemoryBus;
use im_sdk::reads::MemoryReadPositions;
use im_sdk::registry::MemoryRegistry;
use im_server::api::{Management, Phase};
use im_server::chat::{Registrar, Secret, Settings};
use im_server::gateway::{Admission, Bounds};
use im_server::keyring::Keyring;
use im_server::server::{Assembly, Server, serve_management};
use im_server::store::sqlite::SqliteStore;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Device, JWT_SECRET, MANAGEMENT_TOKEN, PATIENCE, answer, client};
use crate::wait::{done_within, until_within};

/// Long enough to see what happens in it, on a busy machine too.
const NOTICE: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(2);

struct One {
    server: Server,
    management: SocketAddr,
    tcp: SocketAddr,
    http: SocketAddr,
}

struct Two {
    first: One,
    _second: One,
    _folder: TempDir,
}

async fn server(id: u16, folder: &Path, registry: &Arc<MemoryRegistry>, bus: &Arc<MemoryBus>) -> One {
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let management = Management::new(ServerId(id), Some(Secret::new(MANAGEMENT_TOKEN)), metrics);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let address = serve_management(management.clone(), any).await.unwrap();
    let mut server = Server::start(Assembly {
        store: Arc::new(SqliteStore::open(&folder.join("im.sqlite")).await.unwrap()),
        committers: 1,
        registry: registry.clone(),
        positions: Arc::new(MemoryReadPositions::default()),
        bus: bus.clone(),
        servers: vec![ServerId(id)],
        address: address.to_string(),
        lease: LEASE,
        settings: Settings { connections_per_device: 100, ..Settings::default() },
        keyring: Keyring::fixed(Secret::new(JWT_SECRET)),
        service_token: None,
        admission: Admission::default(),
        bounds: Bounds::DEFAULT,
        push: None,
        drain_notice: NOTICE,
        management,
    })
    .await
    .unwrap();
    let (http, tcp) = server.listen(any, any).await.unwrap();
    One { server, management: address, tcp, http }
}

impl Two {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (registry, bus) = (Arc::new(MemoryRegistry::new()), Arc::new(MemoryBus::new(1_024)));
        let first = server(0, folder.path(), &registry, &bus).await;
        let second = server(1, folder.path(), &registry, &bus).await;
        let known = async || !first.server.drain().is_alone();
        until_within(PATIENCE, "the first server learns of the second with its next renewal", known).await;
        Self { first, _second: second, _folder: folder }
    }

    async fn token(&self) -> String {
        let (chat, alice) = (self.first.server.chat(), UserId::parse("alice").unwrap());
        chat.register(Registrar::Service, alice.clone(), Some("a password".to_owned()), "Alice").await.unwrap();
        let device = DeviceId::parse("d1").unwrap();
        let signed_in = chat.sign_in(&alice, "a password".to_owned(), Terminal::Mobile, device).await.unwrap();
        signed_in.access_token
    }

    async fn manage(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("http://{}{path}", self.first.management);
        let request = client().request(method, url).bearer_auth(MANAGEMENT_TOKEN);
        answer(if let Some(body) = body { request.json(&body) } else { request }).await
    }

    async fn order(&self, deadline_seconds: u32, connections_per_second: u32) -> (u16, Value) {
        let order = json!({"deadline_seconds": deadline_seconds, "connections_per_second": connections_per_second});
        self.manage(reqwest::Method::POST, "/drain", Some(order)).await
    }

    async fn until(&self, phase: &str) -> Value {
        let look = async || {
            let (_, status) = self.manage(reqwest::Method::GET, "/status", None).await;
            if status["phase"] == phase { Ok(status) } else { Err(status) }
        };
        done_within(PATIENCE, look).await
    }

    async fn upgrade(&self) -> reqwest::Response {
        let request = client().get(format!("http://{}/v1/connect", self.first.http));
        let headers = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    }
}

#[tokio::test]
async fn a_drained_server_warns_then_shuts_then_sends_everyone_away_at_the_rate() {
    let two = Two::start().await;
    let token = two.token().await;
    let mut devices = Vec::new();
    for _ in 0..20 {
        devices.push(Device::welcomed(two.first.tcp, &token, "d1").await);
    }

    let began = Instant::now();
    let (status, told) = two.order(60, 10).await;
    assert_eq!((status, &told["phase"], &told["drain"]["remaining"]), (202, &json!("draining"), &json!(20)));
    assert_eq!(two.manage(reqwest::Method::GET, "/readyz", None).await.0, 503, "not ready from the first moment on");
    // A balancer that has not noticed yet still brings people.
    devices.push(Device::welcomed(two.first.tcp, &token, "d1").await);
    assert_eq!(two.upgrade().await.status(), 101);
    let (_, again) = two.order(60, 10).await;
    assert_eq!(again["drain"]["deadline"], told["drain"]["deadline"], "told again, it goes on");

    let mut away = Vec::new();
    for device in &mut devices {
        let goaway = device.next("goaway").await;
        assert_eq!(goaway["reason"], "draining");
        away.push(goaway["reconnect_after_ms"].as_u64().unwrap());
        assert_eq!(device.next("error").await["code"], "going_away");
    }
    assert!(began.elapsed() > NOTICE + Duration::from_secs(1), "21 at 10 per second, after the notice");
    assert!(away.iter().all(|ms| (200..=3_000).contains(ms)) && away.iter().any(|ms| *ms != away[0]), "{away:?}");

    let status = two.until("drained").await;
    assert_eq!((&status["connections"], &status["drain"]["remaining"]), (&json!(0), &json!(0)));
    let refused = two.upgrade().await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let mut late = Device::connect(two.first.tcp).await;
    assert_eq!(late.next("goaway").await["reason"], "draining");

    // The order was a mistake.
    let (status, told) = two.manage(reqwest::Method::DELETE, "/drain", None).await;
    assert_eq!((status, &told["phase"], &told["drain"]), (200, &json!("serving"), &Value::Null));
    assert_eq!(two.manage(reqwest::Method::GET, "/readyz", None).await.0, 200);
    Device::welcomed(two.first.tcp, &token, "d1").await;
}

#[tokio::test]
async fn whoever_is_left_at_the_deadline_goes_at_once() {
    let two = Two::start().await;
    let token = two.token().await;
    let mut devices = Vec::new();
    for _ in 0..20 {
        devices.push(Device::welcomed(two.first.tcp, &token, "d1").await);
    }
    two.order(600, 1).await;
    let began = Instant::now();
    two.order(0, 1).await;
    for device in &mut devices {
        device.next("goaway").await;
    }
    two.until("drained").await;
    assert!(began.elapsed() < Duration::from_secs(10), "20 at 1 per second would take longer");
}

#[tokio::test]
async fn the_end_of_the_process_goes_on_with_the_drain_that_runs_and_cannot_be_taken_back() {
    use im_server::gateway::Order;
    let two = Two::start().await;
    let (_, told) = two.order(60, 10).await;
    let drain = two.first.server.drain();
    let ending = tokio::spawn(async move { drain.to_the_end(Order { deadline: Duration::ZERO, per_second: 1 }).await });
    let seen = async || {
        let undone = two.manage(reqwest::Method::DELETE, "/drain", None).await.1["phase"] == "serving";
        if undone {
            two.order(60, 10).await;
        }
        !undone
    };
    until_within(Duration::from_secs(10), "the order to end is seen", seen).await;
    let (_, status) = two.manage(reqwest::Method::GET, "/status", None).await;
    assert!(status["drain"]["deadline"].as_i64() >= told["drain"]["deadline"].as_i64(), "{status}");
    ending.await.unwrap();
    assert_eq!(two.until("drained").await["drain"]["remaining"], 0);
}

#[test]
fn a_phase_is_told_by_its_name() {
    let names = [Phase::Starting, Phase::Serving, Phase::Draining, Phase::Drained, Phase::Fenced]
        .map(|phase| serde_json::to_value(phase).unwrap());
    assert_eq!(names, ["starting", "serving", "draining", "drained", "fenced"].map(Value::from));
}
