//! The management port.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, header};
use im_protocol::{Epoch, ServerId};
use im_server::api::{DrainRequest, DrainStatus, Managed, Management, Phase, Status, management_router};
use im_server::chat::Secret;
use metrics_exporter_prometheus::PrometheusBuilder;
use parking_lot::Mutex;
use serde_json::Value;
use tower::ServiceExt;

const TOKEN: &str = "the operator's token";

/// A server that notes what it is told.
struct Played {
    serving: bool,
    told: Mutex<Vec<Option<DrainRequest>>>,
}

impl Managed for Played {
    fn status(&self) -> Status {
        Status {
            server: ServerId(3),
            epoch: Epoch(7),
            phase: if self.serving { Phase::Serving } else { Phase::Draining },
            waits_for: None,
            connections: 12,
            topic: None,
            topic_lag: None,
            drain: (!self.serving).then_some(DrainStatus { deadline: 1_700_000_000_000, remaining: 12 }),
        }
    }

    fn drain(&self, request: DrainRequest) {
        self.told.lock().push(Some(request));
    }

    fn undo_drain(&self) {
        self.told.lock().push(None);
    }
}

/// Answers `GET path` of a server that serves, or drains.
async fn get(path: &str, token: Option<&str>, serving: bool) -> (u16, Value) {
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let management = Management::new(ServerId(3), Some(Secret::new(TOKEN)), metrics);
    management.started(Arc::new(Played { serving, told: Mutex::default() }));
    ask(management, path, token).await
}
async fn ask(management: Arc<Management>, path: &str, token: Option<&str>) -> (u16, Value) {
    call(management, Method::GET, path, token, "").await
}

async fn call(
    management: Arc<Management>,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let response =
        management_router(management).oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn a_draining_server_lives_and_is_not_ready() {
    for (path, serving, status) in [
        ("/livez", true, 200),
        ("/livez", false, 200),
        ("/readyz", true, 200),
        ("/readyz", false, 503),
        ("/metrics", true, 200),
    ] {
        assert_eq!(get(path, None, serving).await.0, status, "{path} {serving}");
    }
}

#[tokio::test]
async fn the_status_is_for_who_has_the_token() {
    for token in [None, Some("another"), Some("")] {
        let (status, problem) = get("/status", token, true).await;
        assert_eq!((status, &problem["code"]), (401, &"unauthorized".into()));
    }
    let (status, body) = get("/status", Some(TOKEN), false).await;
    assert_eq!(status, 200);
    let expected = r#"{"server":3,"epoch":7,"phase":"draining","connections":12,"topic":null,"topic_lag":null,
        "drain":{"deadline":1700000000000,"remaining":12}}"#;
    assert_eq!(body, serde_json::from_str::<Value>(expected).unwrap());
}

#[tokio::test]
async fn the_api_is_not_on_the_management_port() {
    assert_eq!(get("/v1/users/me", Some(TOKEN), true).await.0, 404);
}

#[tokio::test]
async fn a_server_that_waits_for_its_database_says_so() {
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let management = Management::new(ServerId(3), Some(Secret::new(TOKEN)), metrics);
    management.waits_for(Some("the database".to_owned()));
    assert_eq!(ask(management.clone(), "/livez", None).await.0, 200);
    let (status, body) = ask(management.clone(), "/readyz", None).await;
    assert_eq!((status, &body), (503, &serde_json::json!({"phase": "starting", "waits_for": "the database"})));
    let (_, body) = ask(management, "/status", Some(TOKEN)).await;
    assert_eq!((&body["server"], &body["epoch"], &body["phase"]), (&3.into(), &0.into(), &"starting".into()));
}

#[tokio::test]
async fn a_drain_is_ordered_and_taken_back_by_who_has_the_token() {
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let management = Management::new(ServerId(3), Some(Secret::new(TOKEN)), metrics);
    let order = r#"{"deadline_seconds":60,"connections_per_second":200}"#;
    let starting = call(management.clone(), Method::POST, "/drain", Some(TOKEN), order).await;
    assert_eq!((starting.0, &starting.1["code"]), (503, &"unavailable".into()));

    let server = Arc::new(Played { serving: false, told: Mutex::default() });
    management.started(server.clone());
    for (method, token, body, expected) in [
        (Method::POST, None, order, 401),
        (Method::DELETE, Some("another"), "", 401),
        (Method::POST, Some(TOKEN), "{", 400),
        (Method::POST, Some(TOKEN), r#"{"deadline_seconds":60}"#, 422),
        (Method::POST, Some(TOKEN), r#"{"deadline_seconds":-1,"connections_per_second":200}"#, 422),
        (Method::POST, Some(TOKEN), r#"{"deadline_seconds":60,"connections_per_second":0}"#, 422),
    ] {
        let (status, problem) = call(management.clone(), method, "/drain", token, body).await;
        assert_eq!((status, &problem["status"]), (expected, &expected.into()), "{body}");
    }
    assert_eq!(*server.told.lock(), []);

    let (status, body) = call(management.clone(), Method::POST, "/drain", Some(TOKEN), order).await;
    assert_eq!((status, &body["drain"]["remaining"]), (202, &12.into()));
    let (status, body) = call(management, Method::DELETE, "/drain", Some(TOKEN), "").await;
    assert_eq!((status, &body["server"]), (200, &3.into()));
    let order = DrainRequest { deadline_seconds: 60, connections_per_second: 200 };
    assert_eq!(*server.told.lock(), [Some(order), None]);
}
