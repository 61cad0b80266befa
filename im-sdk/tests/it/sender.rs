//! The sender against a scripted server: what goes out, what is tried again, what comes back.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_protocol::{ErrorCode, UserId};
use im_sdk::{Destination, Send, SendError, Sender};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::given::{conversation, user, users};

/// What the server does with one request.
#[derive(Clone, Copy)]
enum Script {
    /// Commits it.
    Ack,
    /// Commits it and hangs up before the answer.
    HangUp,
    /// Answers a problem with this code, and this `Retry-After`.
    Refuse(ErrorCode, Option<u32>),
}

/// An HTTP server that does as it is told, then acks everything.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Server {
    async fn doing(script: impl IntoIterator<Item = Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<(String, Value)>>>::default();
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, script.clone(), log.clone()));
            }
        });
        Self { address, seen }
    }

    fn sender(&self) -> Sender {
        Sender::new(&format!("http://{}", self.address), "secret-token").unwrap()
    }

    fn bodies(&self) -> Vec<Value> {
        self.seen.lock().iter().map(|(_, body)| body.clone()).collect()
    }
}

async fn serve(socket: TcpStream, script: Arc<Mutex<VecDeque<Script>>>, seen: Arc<Mutex<Vec<(String, Value)>>>) {
    let mut socket = BufReader::new(socket);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if socket.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        socket.read_exact(&mut body).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        seen.lock().push((head, body.clone()));
        let step = script.lock().pop_front().unwrap_or(Script::Ack);
        let (status, header, answer) = match step {
            Script::HangUp => return,
            Script::Refuse(code, after) => {
                let header = after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
                let problem = json!({"status": code.status(), "title": "t", "detail": "told", "code": code});
                (code.status(), header, problem)
            }
            Script::Ack => {
                let direct = |to: &Value| format!("d:a:{}", to.as_str().unwrap());
                let conversation =
                    body.get("conversation").map_or_else(|| direct(&body["to"]), |c| c.as_str().unwrap().to_owned());
                let id = &body["client_message_id"];
                let sent = json!({"conversation": conversation, "seq": 42, "client_message_id": id, "time": 1,
                    "duplicate": false});
                (200, String::new(), sent)
            }
        };
        let text = answer.to_string();
        let answer = format!("HTTP/1.1 {status} x\r\n{header}content-length: {}\r\n\r\n{text}", text.len());
        socket.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn hi(to: Destination) -> Send {
    Send::text(to, "hi")
}

#[tokio::test]
async fn one_call_sends_to_a_person_a_group_a_conversation_and_a_list() {
    let server = Server::doing([]).await;
    let sender = server.sender();
    let destinations = [
        Destination::User(user("bob")),
        Destination::Group("01J".parse().unwrap()),
        Destination::Conversation(conversation("r:1")),
        Destination::Users(users(&["alice", "bob"])),
    ];
    let mut conversations = Vec::new();
    for to in destinations {
        for result in sender.send(hi(to)).await {
            conversations.push(result.unwrap().conversation.to_string());
        }
    }
    // Every name comes after "a", so that the scripted server need not sort.
    assert_eq!(conversations, ["d:a:bob", "g:01J", "r:1", "d:a:alice", "d:a:bob"]);
}

#[tokio::test]
async fn a_message_goes_out_with_its_fields_the_token_and_the_sender() {
    let server = Server::doing([]).await;
    let send = hi(Destination::User(user("bob"))).from(user("shop"));
    let id = send.client_message_id.to_string();
    server.sender().send(send).await.pop().unwrap().unwrap();
    let (head, body) = server.seen.lock().pop().unwrap();
    assert!(head.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer secret-token\r\n"), "{head}");
    let expected = json!({"sender": "shop", "to": "bob", "client_message_id": id, "kind": "text",
        "content": {"text": "hi"}});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_repeats_the_id() {
    let server = Server::doing([Script::HangUp, Script::Refuse(ErrorCode::Unavailable, None)]).await;
    let sent = server.sender().send(hi(Destination::User(user("bob")))).await.pop().unwrap().unwrap();
    let bodies = server.bodies();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert_eq!(bodies[0]["client_message_id"], sent.client_message_id.as_str());
}

#[tokio::test]
async fn the_wait_a_server_asks_for_is_kept() {
    let server = Server::doing([Script::Refuse(ErrorCode::RateLimited, Some(1))]).await;
    let start = Instant::now();
    server.sender().send(hi(Destination::User(user("bob")))).await.pop().unwrap().unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.bodies().len(), 2);
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let server = Server::doing([Script::Refuse(ErrorCode::RateLimited, Some(3600))]).await;
    let result = server.sender().send(hi(Destination::User(user("bob")))).await.pop().unwrap();
    let expected = SendError::GaveUp { attempts: 1, last: "rate_limited: told".into() };
    assert_eq!(result, Err(expected));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_code_and_not_tried_again() {
    let server = Server::doing([Script::Refuse(ErrorCode::NotFriends, None)]).await;
    let result = server.sender().send(hi(Destination::User(user("bob")))).await.pop().unwrap();
    assert_eq!(result, Err(SendError::Refused { code: ErrorCode::NotFriends, detail: "told".into() }));
    assert_eq!(server.bodies().len(), 1);
}

#[tokio::test]
async fn a_list_gives_one_result_each_in_its_order_and_one_failure_stops_nobody() {
    let server = Server::doing([Script::Ack, Script::Refuse(ErrorCode::Blocked, None)]).await;
    let people = users(&["a", "b", "c"]);
    let results = server.sender().concurrency(1).send(hi(Destination::Users(people.clone()))).await;
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    let told: Vec<UserId> = server.bodies().iter().map(|body| user(body["to"].as_str().unwrap())).collect();
    assert_eq!(told, people);
    assert!(server.sender().send(hi(Destination::Users(Vec::new()))).await.is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_given_up_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let sender = Sender::new(&format!("http://{address}"), "t").unwrap().deadline(Duration::from_millis(300));
    let result = sender.send(hi(Destination::User(user("bob")))).await.pop().unwrap();
    assert!(matches!(result, Err(SendError::GaveUp { attempts: 2.., .. })), "{result:?}");
}

#[test]
fn the_address_may_have_a_path_and_must_be_http() {
    for address in ["http://a", "https://a/", "https://a/im/"] {
        Sender::new(address, "t").unwrap();
    }
    for address in ["", "a:8080", "ftp://a", "/v1"] {
        assert!(Sender::new(address, "t").is_err(), "{address}");
    }
    assert!(Sender::new("http://a", "two\nlines").is_err());
}

#[test]
fn the_token_is_not_shown() {
    let sender = Sender::new("http://a", "secret-token").unwrap();
    assert!(!format!("{sender:?}").contains("secret-token"));
}

#[test]
fn fresh_messages_have_fresh_ids() {
    let to = || Destination::User(user("bob"));
    assert_ne!(hi(to()).client_message_id, hi(to()).client_message_id);
}
