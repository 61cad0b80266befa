//! Where a test plays: a server, an address of its own, and the people it needs.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use jsonwebtoken::{EncodingKey, Header};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::client::{Client, DEADLINE, fresh};
use crate::http::Http;
use crate::server::{Folder, SERVICE_TOKEN, Server};
use crate::socket::{self, Dial};

/// A server, and an address of the loopback network from which this test alone calls, so that limits per address count
/// for each test apart.
#[derive(Clone)]
pub struct Stage {
    /// The server.
    pub server: Arc<Server>,
    /// Where this test comes from.
    pub from: IpAddr,
    /// The API without a token.
    pub http: Http,
}

/// A person with an account and a session of the terminal class `bot` for HTTP.
#[derive(Clone)]
pub struct Person {
    /// The user id.
    pub id: String,
    /// The API as this person.
    pub http: Http,
    stage: Stage,
}

/// A session as `POST /v1/sessions` gives it.
pub struct Session {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
}

impl Stage {
    /// On the server that the tests of this binary share: it runs as long as one of them holds it.
    pub fn shared() -> Self {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock();
        let server = shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Server::start(&Folder::fresh(), &[]));
            *shared = Arc::downgrade(&server);
            server
        });
        Self::on(server)
    }

    /// On a server of its own.
    pub fn own(flags: &[&str]) -> Self {
        Self::on(Arc::new(Server::start(&Folder::fresh(), flags)))
    }

    /// On a server.
    pub fn on(server: Arc<Server>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let [_, a, b, c] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let from = IpAddr::V4(Ipv4Addr::new(127, a + 1, b, c));
        let http = Http::new(server.http, from);
        Self { server, from, http }
    }

    /// The API as a backend with the service token.
    pub fn backend(&self) -> Http {
        self.http.with_token(SERVICE_TOKEN)
    }

    /// The same place and people with another server in it.
    #[must_use]
    pub fn with_server(&self, server: Arc<Server>) -> Self {
        Self { http: Http::new(server.http, self.from), server, from: self.from }
    }

    /// The management port, without a token.
    pub fn management(&self) -> Http {
        Http::new(self.server.management, self.from)
    }

    /// A fresh account.
    pub async fn person(&self) -> Person {
        let id = self.account().await;
        let session = self.sign_in(&id, "bot", "http").await;
        Person { http: self.http.with_token(&session.access), id, stage: self.clone() }
    }

    /// Fresh accounts.
    pub async fn people<const N: usize>(&self) -> [Person; N] {
        let mut people = Vec::with_capacity(N);
        for _ in 0..N {
            people.push(self.person().await);
        }
        people.try_into().unwrap_or_else(|_| unreachable!("N were made"))
    }

    /// Fresh accounts of which the first is a friend of all others.
    pub async fn friends<const N: usize>(&self) -> [Person; N] {
        let people = self.people::<N>().await;
        for friend in &people[1..] {
            people[0].befriend(friend).await;
        }
        people
    }

    /// A fresh account without a session; its password is its id. Returns the id.
    pub async fn account(&self) -> String {
        let id = fresh("u");
        let reply = self
            .http
            .call("POST", "/v1/accounts", &json!({"user": id, "password": id, "name": format!("N {id}")}))
            .await;
        assert_eq!(reply.expect(201, "an account"), json!({"user": id, "name": format!("N {id}")}));
        id
    }

    /// A session of an account made here.
    pub async fn sign_in(&self, user: &str, terminal: &str, device: &str) -> Session {
        let credentials = json!({"user": user, "password": user, "terminal": terminal, "device": device});
        Session::of(&self.http.post("/v1/sessions", credentials).await)
    }

    /// A WebSocket that has not said hello.
    pub async fn websocket(&self) -> Client {
        Client::open(self.server.clone(), socket::websocket(self.server.http, self.dial()).await)
    }

    /// A TCP connection that has not said hello.
    pub async fn tcp(&self) -> Client {
        Client::open(self.server.clone(), socket::tcp(self.server.tcp, self.dial()).await)
    }

    /// How this test's sockets are opened.
    pub fn dial(&self) -> Dial {
        Dial { from: self.from, receive_buffer: None }
    }

    /// An access token of our own making, signed with the server's secret.
    pub fn forged_token(&self, claims: &Value) -> String {
        let secret = std::fs::read(self.server.folder().data().join("signing-secret")).expect("the server's secret");
        jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(&secret)).expect("a token")
    }
}

impl Session {
    /// From the answer's body.
    pub fn of(body: &Value) -> Self {
        let token = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}")).to_owned();
        Self { access: token("access_token"), refresh: token("refresh_token") }
    }
}

impl Person {
    /// The access token for HTTP.
    pub fn token(&self) -> &str {
        self.http.token.as_deref().expect("a person has a token")
    }

    /// The same person, with the same token, on another stage.
    #[must_use]
    pub fn on(&self, stage: &Stage) -> Self {
        Self { id: self.id.clone(), http: stage.http.with_token(self.token()), stage: stage.clone() }
    }

    /// Becomes friends.
    pub async fn befriend(&self, other: &Self) {
        let body = json!({"user": other.id, "message": "hello"});
        let request = self.http.post("/v1/friend-requests", body).await;
        let id = request["id"].as_str().expect("a request has an id");
        other.http.post(&format!("/v1/friend-requests/{id}/accept"), Value::Null).await;
    }

    /// Connects by WebSocket from a fresh device.
    pub async fn connect(&self, terminal: &str) -> Client {
        self.connect_device(terminal, &fresh("d")).await
    }

    /// Connects by WebSocket from a device.
    pub async fn connect_device(&self, terminal: &str, device: &str) -> Client {
        let session = self.stage.sign_in(&self.id, terminal, device).await;
        self.connect_with(json!({"token": session.access, "terminal": terminal, "device": device})).await
    }

    /// Connects by WebSocket with a hello of one's own.
    pub async fn connect_with(&self, hello: Value) -> Client {
        let mut client = self.stage.websocket().await;
        client.hello(hello).await;
        assert_eq!(client.welcome["user"], self.id);
        client
    }

    /// Connects by TCP from a fresh device.
    pub async fn connect_tcp(&self, terminal: &str) -> Client {
        let device = fresh("d");
        let session = self.stage.sign_in(&self.id, terminal, &device).await;
        let mut client = self.stage.tcp().await;
        client.hello(json!({"token": session.access, "terminal": terminal, "device": device})).await;
        client
    }

    /// Connects to one of the two gateway server ids: the server hands them out in turn.
    pub async fn connect_on(&self, server: u64, terminal: &str) -> Client {
        let device = fresh("d");
        let session = self.stage.sign_in(&self.id, terminal, &device).await;
        let tries = async {
            loop {
                let hello = json!({"token": session.access, "terminal": terminal, "device": device});
                let client = self.connect_with(hello).await;
                if client.server() == server {
                    return client;
                }
                client.leave().await;
            }
        };
        tokio::time::timeout(DEADLINE, tries).await.expect("each server id comes in its turn")
    }

    /// Makes a group of oneself and others; returns its id and its conversation.
    pub async fn group(&self, others: &[&Self], name: &str) -> (String, String) {
        let members: Vec<_> = others.iter().map(|person| &person.id).collect();
        let reply = self.http.call("POST", "/v1/groups", &json!({"name": name, "members": members})).await;
        let group = reply.expect(201, "a group");
        let text = |field: &str| group[field].as_str().unwrap_or_else(|| panic!("no {field} in {group}")).to_owned();
        (text("group"), text("conversation"))
    }
}

/// The direct conversation of two people.
pub fn direct(one: &Person, other: &Person) -> String {
    let mut ids = [one.id.as_str(), other.id.as_str()];
    ids.sort_unstable();
    format!("d:{}:{}", ids[0], ids[1])
}

/// The item of a conversation in a person's list, over HTTP.
pub async fn listed(person: &Person, conversation: &str) -> Value {
    person.http.get(&format!("/v1/conversations/{conversation}")).await
}
