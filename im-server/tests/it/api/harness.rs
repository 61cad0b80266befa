//! The API over the real store, called without a socket; what the rules publish is recorded.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, header};
use im_protocol::close::CloseReason;
use im_protocol::{ConversationId, ServerFrame, Terminal, TimeMs, UserId};
use im_sdk::reads::MemoryReadPositions;
use im_sdk::registry::MemoryRegistry;
use im_sdk::router::Recipients;
use im_server::api::{AddressLimits, ApiState, router};
use im_server::chat::{Chat, Devices, Parts, Passwords, Publish, Secret, Settings, Tokens};
use im_server::store::Committed;
use im_server::store::sqlite::SqliteStore;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt;

pub(crate) const SERVICE_TOKEN: &str = "the backend's token";
const SECRET: &str = "a signing secret of a test";

/// What was published, in words.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    /// What was published since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Publish for Recorder {
    fn committed(&self, committed: Committed) {
        let said = committed.messages.iter().map(|one| format!("message {}", one.message.content.as_str()));
        self.0.lock().extend(said);
    }

    fn transient(&self, to: Recipients, frame: &ServerFrame, _: Option<ConversationId>) {
        let Recipients::Users { users, .. } = to else { return };
        let frame = serde_json::to_value(frame).unwrap();
        self.0.lock().extend(
            users.iter().map(|user| format!("{user} {}", frame["event"].as_str().or(frame["type"].as_str()).unwrap())),
        );
    }

    fn disconnect(&self, user: UserId, _: Devices, reason: CloseReason) {
        self.0.lock().push(format!("disconnect {user} {reason:?}"));
    }

    fn unheard(&self, user: UserId, _: Terminal, _: TimeMs) {
        self.0.lock().push(format!("unheard {user}"));
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    /// Status and code of a problem.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, &str) {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        assert!(self.body["title"].is_string() && self.body["detail"].is_string(), "{self:?}");
        (self.status, self.body["code"].as_str().expect("a problem has a code"))
    }
}

/// A server without sockets.
pub(crate) struct Api {
    router: Router,
    pub(crate) published: Arc<Recorder>,
    _tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl Api {
    pub(crate) async fn new() -> Self {
        Self::with(Settings { open_registration: true, ..Settings::default() }, AddressLimits::none()).await
    }

    pub(crate) async fn with(settings: Settings, limits: AddressLimits) -> Self {
        Self::with_tokens(settings, limits, Tokens::new(Secret::new(SECRET))).await
    }

    pub(crate) async fn with_tokens(settings: Settings, limits: AddressLimits, tokens: Tokens) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("im.db")).await.unwrap();
        let published = Arc::new(Recorder::default());
        let (chat, background) = Chat::new(Parts {
            store: Arc::new(store),
            registry: Arc::new(MemoryRegistry::new()),
            positions: Arc::new(MemoryReadPositions::default()),
            servers: Arc::new(Arc::default),
            publish: published.clone(),
            settings,
            committers: 1,
            tokens,
            passwords: Passwords::new(),
        });
        let mut tasks = JoinSet::new();
        background.start(&mut tasks);
        let service_token = Some(Secret::new(SERVICE_TOKEN));
        let router = router(ApiState { chat, limits: Arc::new(limits), service_token });
        Self { router, published, _tasks: tasks, _folder: folder }
    }

    pub(crate) async fn raw(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// A call; `body` null for none, a string for text that is sent as it is.
    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: Value) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Value::Null => Body::empty(),
            Value::String(text) => Body::from(text),
            json => Body::from(json.to_string()),
        };
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 4321))));
        self.raw(request).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call(Method::POST, path, token, body).await
    }

    pub(crate) async fn put(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, token, body).await
    }

    pub(crate) async fn patch(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, token, body).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Answer {
        self.call(Method::DELETE, path, token, Value::Null).await
    }

    /// Makes an account and signs in: an access token.
    pub(crate) async fn person(&self, user: &str) -> String {
        let account = json!({"user": user, "password": password(user), "name": format!("N {user}")});
        self.post("/v1/accounts", "", account).await.ok();
        self.sign_in(user, "d1").await["access_token"].as_str().unwrap().to_owned()
    }

    /// Signs in on a device: the tokens.
    pub(crate) async fn sign_in(&self, user: &str, device: &str) -> Value {
        let body = json!({"user": user, "password": password(user), "terminal": "web", "device": device});
        self.post("/v1/sessions", "", body).await.ok()
    }

    /// Makes two people friends.
    pub(crate) async fn befriend(&self, (a, a_token): (&str, &str), (b, b_token): (&str, &str)) {
        let request = self.post("/v1/friend-requests", a_token, json!({"user": b})).await.ok();
        assert_eq!(request["from"], a);
        self.post(&format!("/v1/friend-requests/{}/accept", request["id"].as_str().unwrap()), b_token, Value::Null)
            .await
            .ok();
    }
}

pub(crate) fn password(user: &str) -> String {
    format!("password of {user}")
}

/// One field of each item of a page.
#[track_caller]
pub(crate) fn each<'a>(page: &'a Value, field: &str) -> Vec<&'a str> {
    let items = page["items"].as_array().expect("a page has items");
    items.iter().map(|item| item[field].as_str().unwrap()).collect()
}
