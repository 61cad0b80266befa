//! All clients of one server come back at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use imcluster_tests::client::{Client, fresh};
use imcluster_tests::history::{Record, Recorder, View};
use imcluster_tests::load::{Load, Plan, report};
use imcluster_tests::proxy::Proxy;
use imcluster_tests::server::Server;
use imcluster_tests::stack::ImServer;
use imcluster_tests::stage::Stage;
use imcluster_tests::watcher::Watcher;
use serde_json::{Value, json};

use super::{cluster, counted_by, crowd, history, status, told, until};

/// The server they are all on.
const SERVER: u16 = 0;
/// A device has up to five connections: windows.
const WINDOWS: usize = 5;
/// Handshakes under way at once: what one listener queues.
const AT_ONCE: usize = 100;
/// What a reconnect may cost, and what the goodbye before it: round trips to the registry, and statements. A tenth more
/// is for what the server does by itself meanwhile.
const COST: f64 = 2.1;

/// One window of a person.
struct Window {
    user: String,
    name: String,
    hello: Value,
    /// The last message it has shown.
    shown: u64,
}

impl Window {
    /// Connects, and tries again as long as the server says that it is of use.
    async fn open(&self, stage: &Stage) -> Client {
        loop {
            let client = stage.tcp().await;
            let answer = client.ask(self.hello.clone()).await;
            if answer["type"] == "welcome" {
                return client;
            }
            assert_eq!(answer["retryable"], true, "{answer}");
        }
    }

    /// Writes down what came, in order, up to what is missing.
    fn show(&mut self, recorder: &Recorder, messages: &[Value]) {
        for message in messages {
            let view = View::of(&self.name, &self.user, message);
            if view.seq == self.shown + 1 {
                self.shown = view.seq;
                recorder.add(Record::Seen(view));
            }
        }
    }

    /// Shows what was pushed, and pulls what is missing up to `head`.
    async fn catch_up(&mut self, recorder: &Recorder, client: &Client, conversation: &str, head: u64) {
        self.show(recorder, &client.messages(conversation));
        while self.shown < head {
            let frame = json!({"type": "sync", "conversation": conversation, "after": self.shown, "limit": 200});
            let answer = client.expect(frame, "messages").await;
            let before = self.shown;
            self.show(recorder, answer["messages"].as_array().expect("messages"));
            assert!(self.shown > before, "{}: nothing after {before}: {answer}", self.name);
        }
    }
}

/// What a server has counted, by labels.
struct Counts {
    registry: BTreeMap<String, f64>,
    sql: BTreeMap<String, f64>,
}

impl Counts {
    async fn of(server: &ImServer) -> Self {
        Self {
            registry: counted_by(server, "im_registry_round_trips_total").await,
            sql: counted_by(server, "im_sql_statements_total").await,
        }
    }

    /// Each of so many connections costs no more than it may.
    fn since(&self, before: &Self, what: &str, connections: usize) {
        for (counted, now, before) in
            [("registry round trips", &self.registry, &before.registry), ("SQL statements", &self.sql, &before.sql)]
        {
            #[allow(clippy::cast_precision_loss, reason = "a small number")]
            let each = |(label, count): (&String, &f64)| {
                (label.clone(), (count - before.get(label).copied().unwrap_or(0.0)) / connections as f64)
            };
            let risen: BTreeMap<String, f64> = now.iter().map(each).filter(|(_, each)| *each >= 0.01).collect();
            let all: f64 = risen.values().sum();
            report(&format!("per {what} {all:.2} {counted}: {risen:.2?}"));
            assert!(all <= COST, "{all} {counted} per {what}");
        }
    }
}

/// So many connections of one server are reset at once, and come back.
async fn come_back(connections: usize, name: &str) {
    let cluster = cluster().await;
    let mut load = Load::start(&cluster.stage_on(1), Plan::default()).await;
    let recorder = load.recorder.clone();
    let server = cluster.server(SERVER);
    let link = Proxy::to(server.tcp).await.expect("a link");
    let stage = Stage::on(Arc::new(Server::elsewhere(server.http, link.address(), server.management)));

    let first = stage.person().await;
    let users = crowd(&mut cluster.sql().await, &first.id, connections / WINDOWS).await;
    let body = json!({"name": name, "members": users});
    let group = first.http.post("/v1/groups", body).await;
    let conversation = group["conversation"].as_str().expect("a conversation").to_owned();
    for user in users.iter().chain([&first.id]) {
        let (conversation, user) = (conversation.clone(), user.clone());
        recorder.add(Record::Stint { conversation, user, joined: 1, left: None });
    }
    let mut windows: Vec<Window> = Vec::new();
    let (stage, password) = (&stage, &first.id);
    let sessions = stream::iter(&users).map(|user| async move {
        // Accounts that were copied have the password of the first.
        let body = json!({"user": user, "password": password, "terminal": "web", "device": fresh("d")});
        let session = stage.http.post("/v1/sessions", body.clone()).await;
        json!({"type": "hello", "token": session["access_token"], "terminal": "web", "device": body["device"], "user": user})
    });
    for session in sessions.buffer_unordered(8).collect::<Vec<_>>().await {
        let user = session["user"].as_str().expect("a user").to_owned();
        for window in 0..WINDOWS {
            let name = format!("{user} {window}");
            // Of what was before it, it asks for nothing.
            windows.push(Window { shown: 1, user: user.clone(), name, hello: session.clone() });
        }
    }
    let open_all = async || -> Vec<Client> {
        stream::iter(&windows).map(|window| window.open(stage)).buffered(AT_ONCE).collect().await
    };
    let before = open_all().await;
    let writer = Watcher::connect(&recorder, &first.id, cluster.server(2).http).await;
    let seq = writer.say(&conversation, "before").await.expect("the owner may speak");
    join_all(before.iter().map(|client| client.message(&conversation, seq))).await;

    let counted = Counts::of(server).await;
    let reset = Instant::now();
    link.reset();
    until("the server has noticed", async || status(server).await["connections"] == 0).await;
    let gone = Counts::of(server).await;
    let missed = writer.say(&conversation, "while they are away").await.expect("the owner may speak");
    let after = open_all().await;
    told(&format!("{} connections of one server reset at once", after.len()), reset);
    let back = Counts::of(server).await;
    gone.since(&counted, "goodbye", after.len());
    back.since(&gone, "reconnect", after.len());

    let last = writer.say(&conversation, "after").await.expect("the owner may speak");
    join_all(after.iter().map(|client| client.message(&conversation, last))).await;
    assert!(missed < last);
    let both = windows.iter_mut().zip(before.iter().zip(&after));
    join_all(both.map(|(window, (before, after))| {
        window.show(&recorder, &before.messages(&conversation));
        window.catch_up(&recorder, after, &conversation, last)
    }))
    .await;
    load.settle().await;
    load.check(&cluster.stage_on(1), &history(name)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn a_thousand_connections_reset_at_once_come_back_and_miss_nothing() {
    come_back(1_000, "thousand-reconnects").await;
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes minutes: make test-stack-full"]
    async fn twenty_five_hundred_connections_reset_at_once_come_back_and_miss_nothing() {
        come_back(2_500, "many-reconnects").await;
    }
}
