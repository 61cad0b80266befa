//! The offline path of a real server, with a receiver of webhooks beside it.

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use imcluster_tests::client::{DEADLINE, text_to};
use imcluster_tests::server::{Folder, Server, binary};
use imcluster_tests::stage::{Person, Stage, direct};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Long enough for a read to be stored, which takes up to half a second.
const DELAY_MS: &str = "1500";

/// A receiver that keeps the bodies it takes and answers with a status.
#[derive(Clone)]
struct Receiver {
    taken: Arc<Mutex<Vec<Value>>>,
    status: Arc<AtomicU16>,
    url: String,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/push", listener.local_addr().expect("an address"));
        let receiver = Self { taken: Arc::default(), status: Arc::new(AtomicU16::new(200)), url };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(socket));
            }
        });
        receiver
    }

    /// One connection: requests one after the other, until the peer is gone.
    async fn serve(self, socket: TcpStream) -> std::io::Result<()> {
        let mut socket = BufReader::new(socket);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if socket.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                match line.trim_end().split_once(": ") {
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                        length = value.parse().expect("a length");
                    }
                    None if line.trim_end().is_empty() => break,
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            socket.read_exact(&mut body).await?;
            self.taken.lock().push(serde_json::from_slice(&body).expect("a webhook is JSON"));
            let answer = format!("HTTP/1.1 {} x\r\ncontent-length: 0\r\n\r\n", self.status.load(Ordering::Relaxed));
            socket.write_all(answer.as_bytes()).await?;
        }
    }

    /// Waits for a webhook to a user, and returns all there were to that user so far.
    async fn told(&self, person: &Person) -> Vec<Value> {
        let until = Instant::now() + DEADLINE;
        loop {
            let told = self.to(person);
            if !told.is_empty() {
                return told;
            }
            assert!(Instant::now() < until, "no webhook to {} among {:?}", person.id, self.taken.lock());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn to(&self, person: &Person) -> Vec<Value> {
        self.taken.lock().iter().filter(|body| body["user"] == person.id).cloned().collect()
    }
}

fn stage(receiver: &Receiver, more: &[&str]) -> Stage {
    let flags = ["--push-webhook-url", &receiver.url, "--push-webhook-secret", SECRET, "--push-delay-ms", DELAY_MS];
    Stage::on(Arc::new(Server::start(&Folder::fresh(), &[&flags, more].concat())))
}

#[tokio::test]
async fn only_who_was_not_reached_is_told_and_three_quick_messages_are_one_push() {
    let receiver = Receiver::start().await;
    let stage = stage(&receiver, &[]);
    let [alice, offline, on_phone, reading, quiet, last] = stage.friends().await;
    let sending = alice.connect("web").await;
    for person in [&offline, &reading, &quiet, &last] {
        stage.sign_in(&person.id, "mobile", "phone").await;
    }
    let phone = on_phone.connect("mobile").await;
    let window = reading.connect("web").await;
    // A first message makes the conversation, so that there is one to keep quiet.
    let silent = direct(&alice, &quiet);
    let seq = sending.say(&silent, "first").await;
    quiet.http.patch(&format!("/v1/conversations/{silent}"), json!({"do_not_disturb": true})).await;

    sending.say(&silent, "psst").await;
    let to_phone = sending.say(&direct(&alice, &on_phone), "seen on the phone").await;
    phone.message(&direct(&alice, &on_phone), to_phone).await;
    let read = sending.say(&direct(&alice, &reading), "read in the window").await;
    window.message(&direct(&alice, &reading), read).await;
    window.expect(json!({"type": "read", "conversation": direct(&alice, &reading), "seq": read}), "ok").await;
    let talk = direct(&alice, &offline);
    for text in ["one", "two", "three"] {
        sending.say(&talk, text).await;
    }
    let told = receiver.told(&offline).await;
    assert_eq!(told.iter().map(|body| body["count"].as_u64().expect("a count")).sum::<u64>(), 3, "{told:?}");
    let newest = told.last().expect("one");
    assert_eq!((&newest["conversation"], &newest["seq"]), (&json!(talk), &json!(3)));
    assert_eq!((&newest["preview"], &newest["device"]), (&json!("three"), &json!("phone")));
    assert_eq!((&newest["badge"], &newest["title"]), (&json!(3), &json!(format!("N {}", alice.id))));

    // What is due later is told later: once this has come, the others have been looked at.
    sending.say(&direct(&alice, &last), "the last").await;
    receiver.told(&last).await;
    for (person, why) in [(&on_phone, "is on a phone"), (&reading, "has read"), (&quiet, "wants to be left in peace")] {
        assert_eq!(receiver.to(person), Vec::<Value>::new(), "{} {why} (seq {seq})", person.id);
    }
}

#[tokio::test]
async fn what_failed_for_good_is_listed_and_replayed_from_the_command_line() {
    let receiver = Receiver::start().await;
    receiver.status.store(503, Ordering::Relaxed);
    let stage = stage(&receiver, &["--push-attempts", "2", "--push-retry-ms", "10"]);
    let [alice, bob] = stage.friends().await;
    alice.http.post("/v1/messages", text_to(&direct(&alice, &bob), "hello")).await;
    let database = format!("sqlite://{}", stage.server.folder().data().join("im.sqlite").display());
    let push = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        let output = command.arg("push").args(arguments).args(["--database-url", &database]).output();
        said(output.expect("im-server runs"))
    };
    let until = Instant::now() + DEADLINE;
    let dead = loop {
        let dead = push(&["dead"]);
        match dead.lines().nth(1) {
            Some(line) => break line.to_owned(),
            None => assert!(Instant::now() < until, "no dead letter: {dead}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let fields: Vec<&str> = dead.split('\t').collect();
    assert_eq!((fields[2], fields[3], fields[8]), ("2", bob.id.as_str(), "status 503"), "{dead}");
    assert_eq!(receiver.to(&bob).len(), 2, "it was tried twice");

    receiver.status.store(204, Ordering::Relaxed);
    receiver.taken.lock().clear();
    assert_eq!(push(&["replay", "--id", fields[0]]), "1 to be tried again\n");
    assert_eq!(receiver.told(&bob).await[0]["id"], fields[0]);
    assert_eq!(push(&["dead"]).lines().count(), 1);
    assert_eq!(push(&["replay", "--all"]), "0 to be tried again\n");
}

fn said(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn a_receiver_without_a_secret_is_refused_by_name() {
    let folder = Folder::fresh();
    let data = folder.data();
    let output = Command::new(binary())
        .args(["dev", "--push-webhook-url", "http://127.0.0.1:1/", "--data"])
        .arg(&data)
        .output()
        .expect("im-server runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("push-webhook-secret"), "{error}");
    assert!(!data.exists(), "nothing is made before the settings fit");
}
