//! `im-server serve` as a process of its own, on SQLite.

mod drain;
mod keys;
mod logs;
mod provided;
mod traces;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const JWT_SECRET: &str = "jwt-secret-5b1d8c2f9a7e4463d0c6b2";
pub(super) const MANAGEMENT_TOKEN: &str = "management-token-71c3";
pub(super) const SERVICE_TOKEN: &str = "service-token-90fe";

/// A running server; killed when dropped.
pub(super) struct Serve {
    process: Child,
    log: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
    pub(super) http: SocketAddr,
    pub(super) tcp: SocketAddr,
    pub(super) management: SocketAddr,
    _folder: TempDir,
}

impl Serve {
    /// Starts one with further settings, and waits until it serves.
    pub(super) fn start(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("im.sqlite").display());
        let mut process = Command::new(env!("CARGO_BIN_EXE_im-server"))
            .arg("serve")
            .env_clear()
            .envs([
                ("IM_SERVER_ID", "7"),
                ("IM_LISTEN", "127.0.0.1:0"),
                ("IM_TCP_LISTEN", "127.0.0.1:0"),
                ("IM_MANAGEMENT_LISTEN", "127.0.0.1:0"),
                ("IM_DATABASE_URL", &url),
                ("IM_JWT_SECRET", JWT_SECRET),
                ("IM_MANAGEMENT_TOKEN", MANAGEMENT_TOKEN),
                ("IM_SERVICE_TOKEN", SERVICE_TOKEN),
                ("IM_OPEN_REGISTRATION", "true"),
                ("IM_FRIENDS_ONLY", "false"),
                ("IM_LOG_FORMAT", "json"),
            ])
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let log = log.clone();
            move || {
                for line in lines.map_while(Result::ok) {
                    let entry = serde_json::from_str(&line).unwrap_or(Value::String(line));
                    log.lock().push(entry);
                }
            }
        });
        let address = |message: &str, field: &str| -> SocketAddr {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let said =
                    log.lock().iter().find(|entry| entry["message"] == message).map(|entry| entry[field].clone());
                if let Some(address) = said.as_ref().and_then(Value::as_str) {
                    return address.parse().unwrap();
                }
                assert!(Instant::now() < deadline, "no {message:?} in {:#?}", log.lock());
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let management = address("the management port is open", "address");
        let (http, tcp) = (address("serving", "http"), address("serving", "tcp"));
        Self { process, log, reader: Some(reader), http, tcp, management, _folder: folder }
    }

    /// Asks it to end as Kubernetes does, waits for the end, and returns what it logged.
    pub(super) fn stop(mut self) -> (ExitStatus, Vec<Value>) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let status = self.process.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        let log = std::mem::take(&mut *self.log.lock());
        (status, log)
    }

    /// Makes an account and signs in: the tokens.
    pub(super) async fn person(&self, user: &str) -> Value {
        let password = format!("password-of-{user}");
        let account = json!({"user": user, "password": password, "name": user});
        let made = self.post("/v1/accounts", None, &account).await;
        assert_eq!(made.0, 201, "{}", made.1);
        let session = json!({"user": user, "password": password, "terminal": "mobile", "device": "d1"});
        let (status, tokens) = self.post("/v1/sessions", None, &session).await;
        assert_eq!(status, 200, "{tokens}");
        tokens
    }

    pub(super) async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
        let request = client().post(format!("http://{}{path}", self.http)).json(body);
        answer(if let Some(token) = token { request.bearer_auth(token) } else { request }).await
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // An error is one that has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn client() -> reqwest::Client {
    // The first one that is installed stays; whichever it is, it is this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(PATIENCE).build().unwrap()
}

pub(super) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
}

/// A client on the TCP framing.
pub(super) struct Device(TcpStream);

impl Device {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Connects and says hello.
    pub(super) async fn welcomed(address: SocketAddr, token: &str, device: &str) -> Self {
        let mut it = Self::connect(address).await;
        it.say(&json!({"type": "hello", "token": token, "terminal": "mobile", "device": device})).await;
        let welcome = it.frame().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        it
    }

    pub(super) async fn say(&mut self, frame: &Value) {
        let text = frame.to_string();
        self.0.write_u32(u32::try_from(text.len()).unwrap()).await.unwrap();
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next frame; null at the end.
    pub(super) async fn frame(&mut self) -> Value {
        let read = async {
            let Ok(length) = self.0.read_u32().await else { return Value::Null };
            let mut text = vec![0; length as usize];
            self.0.read_exact(&mut text).await.unwrap();
            serde_json::from_slice(&text).unwrap()
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a frame in time")
    }

    /// The next frame of a type.
    pub(super) async fn next(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.frame().await;
            assert_ne!(frame, Value::Null, "the connection ended without {kind}");
            if frame["type"] == kind {
                return frame;
            }
        }
    }
}

#[tokio::test]
async fn a_single_server_that_is_asked_to_end_sends_everyone_away_at_once() {
    let serve = Serve::start(&[]);
    let tokens = serve.person("alice").await;
    let mut alice = Device::welcomed(serve.tcp, tokens["access_token"].as_str().unwrap(), "d1").await;
    let status = client().get(format!("http://{}/status", serve.management)).bearer_auth(MANAGEMENT_TOKEN);
    let (_, status) = answer(status).await;
    assert_eq!(
        (&status["server"], &status["phase"], &status["connections"]),
        (&json!(7), &json!("serving"), &json!(1))
    );
    let metrics =
        client().get(format!("http://{}/metrics", serve.management)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nim_connections 1\n") && metrics.contains("# HELP im_ready "), "{metrics}");

    let began = Instant::now();
    let (ended, goaway) = tokio::join!(tokio::task::spawn_blocking(move || serve.stop()), alice.next("goaway"));
    assert!(ended.unwrap().0.success());
    assert_eq!(goaway["reason"], "draining");
    assert!(began.elapsed() < Duration::from_secs(20), "there is nowhere to go, so nothing to wait for");
}
