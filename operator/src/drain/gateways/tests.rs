//! The service against gateways that are played by small HTTP servers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use imcluster_crds::TopicPolicy;
use serde_json::{Value, json};

use super::super::scene::{Scene, pod};
use super::*;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway's management port.
struct Played {
    address: SocketAddr,
    seen: Arc<Seen>,
}

struct Seen {
    /// Method, path and body of every request with the right token.
    requests: Mutex<VecDeque<(Method, String, Value)>>,
    news: tokio::sync::Notify,
    answer: Mutex<(StatusCode, Value)>,
    hangs: AtomicBool,
}

async fn played(
    Shared(seen): Shared<Arc<Seen>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> impl IntoResponse {
    if headers.get("authorization").is_none_or(|given| given != "Bearer secret") {
        return (StatusCode::UNAUTHORIZED, String::new());
    }
    let body = serde_json::from_str(&body).unwrap_or(Value::Null);
    seen.requests.lock().push_back((method, uri.path().to_owned(), body));
    seen.news.notify_one();
    if seen.hangs.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    let (status, answer) = seen.answer.lock().clone();
    (status, answer.to_string())
}

impl Played {
    async fn start(phase: &str, connections: u32) -> Self {
        let seen = Arc::new(Seen {
            requests: Mutex::default(),
            news: tokio::sync::Notify::new(),
            answer: Mutex::new((StatusCode::OK, status(phase, connections))),
            hangs: AtomicBool::new(false),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new().fallback(played).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, seen }
    }

    fn answers(&self, phase: &str, connections: u32) {
        *self.seen.answer.lock() = (StatusCode::OK, status(phase, connections));
    }

    fn fails(&self) {
        *self.seen.answer.lock() = (StatusCode::SERVICE_UNAVAILABLE, json!({"code": "unavailable"}));
    }

    /// The next request that comes, or came and was not taken.
    async fn request(&self) -> (Method, String, Value) {
        let next = async {
            loop {
                if let Some(request) = self.seen.requests.lock().pop_front() {
                    return request;
                }
                self.seen.news.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a request comes")
    }

    fn is_quiet(&self) -> bool {
        self.seen.requests.lock().is_empty()
    }
}

/// As im-server writes it.
fn status(phase: &str, connections: u32) -> Value {
    json!({
        "server": 1, "epoch": 3, "phase": phase, "connections": connections, "topic": "im.1", "topic_lag": 0,
        "drain": null,
    })
}

/// Whether this process may write.
struct Leading(AtomicBool);

#[async_trait::async_trait]
impl Writing for Leading {
    fn left(&self) -> Option<Duration> {
        self.0.load(Ordering::Relaxed).then_some(Duration::from_secs(10))
    }
}

struct World {
    gateways: Gateways,
    leading: Arc<Leading>,
    wake: Wake,
}

const LIMITS: Drain = Drain { deadline_seconds: 300, connections_per_second: 200 };

impl World {
    fn new() -> Self {
        let (leading, wake) = (Arc::new(Leading(AtomicBool::new(true))), Wake::default());
        let gateways = Gateways::new(leading.clone(), wake.clone()).expect("an HTTP client");
        Self { gateways, leading, wake }
    }

    fn ask(&self, wants: &[(&str, &Played, Want)]) -> Answers {
        let of = |(uid, played, want): &(&str, &Played, Want)| {
            ((*uid).to_owned(), Gateway { address: played.address, want: *want })
        };
        let gateways = wants.iter().map(of).collect();
        self.gateways.ask("cluster", Ask { token: Token::new("secret"), gateways, connections: None })
    }

    /// Asks the same again with every wake, until the answers are so.
    async fn until(&self, wants: &[(&str, &Played, Want)], so: impl Fn(&Answers) -> bool) -> Answers {
        let waiting = async {
            loop {
                let answers = self.ask(wants);
                if so(&answers) {
                    return answers;
                }
                assert_eq!(self.wake.next().await, "cluster");
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the answers become so")
    }
}

fn says(pod: &str, report: DrainReport) -> impl Fn(&Answers) -> bool {
    move |answers| answers.reports.get(pod) == Some(&report)
}

#[tokio::test]
async fn a_gateway_is_told_the_whole_deadline_and_the_rate_and_its_report_wakes_the_reconcile() {
    let (world, played) = (World::new(), Played::start("draining", 7).await);
    let wants = [("a", &played, Want::Drain(LIMITS))];
    assert_eq!(world.ask(&wants).reports, BTreeMap::new());
    world.until(&wants, says("a", DrainReport::Draining)).await;
    let order = json!({"deadline_seconds": 300, "connections_per_second": 200});
    assert_eq!(played.request().await, (Method::POST, "/drain".to_owned(), order));
}

#[tokio::test]
async fn an_order_is_repeated_until_another_is_given() {
    let (world, played) = (World::new(), Played::start("draining", 7).await);
    let wants = [("a", &played, Want::Drain(LIMITS))];
    world.ask(&wants);
    let first = played.request().await;
    let began = Instant::now();
    world.ask(&wants);
    assert_eq!(played.request().await, first, "it is said again");
    assert!(began.elapsed() > Duration::from_secs(4), "and not because the same was asked again");
    played.answers("serving", 7);
    let wants = [("a", &played, Want::Undrain)];
    world.until(&wants, says("a", DrainReport::Serving)).await;
    assert_eq!(played.request().await, (Method::DELETE, "/drain".to_owned(), Value::Null));
}

#[tokio::test]
async fn what_a_gateway_said_before_its_drain_was_undone_does_not_hold_if_the_answer_is_lost() {
    let (world, played) = (World::new(), Played::start("drained", 0).await);
    let drains = [("a", &played, Want::Drain(LIMITS))];
    world.until(&drains, says("a", DrainReport::Drained)).await;
    played.request().await;
    played.seen.hangs.store(true, Ordering::Relaxed);
    let undone = [("a", &played, Want::Undrain)];
    world.ask(&undone);
    played.request().await;
    assert_eq!(world.ask(&undone).reports, BTreeMap::new());
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_or_refuses_says_nothing_and_holds_up_nobody() {
    let world = World::new();
    let (hanging, failing) = (Played::start("draining", 5).await, Played::start("draining", 5).await);
    let (starting, fine) = (Played::start("starting", 0).await, Played::start("drained", 0).await);
    hanging.seen.hangs.store(true, Ordering::Relaxed);
    failing.fails();
    let drain = Want::Drain(LIMITS);
    let wants = [
        ("hanging", &hanging, drain),
        ("failing", &failing, drain),
        ("starting", &starting, drain),
        ("fine", &fine, drain),
    ];
    world.until(&wants, says("fine", DrainReport::Drained)).await;
    let all_were_tried = world.until(&wants, |answers| answers.connections.is_some()).await;
    assert_eq!(all_were_tried.reports.keys().collect::<Vec<_>>(), ["fine"]);
}

#[tokio::test]
async fn orders_are_not_given_by_one_who_does_not_lead_and_questions_are_asked() {
    let (world, drained, watched) =
        (World::new(), Played::start("serving", 3).await, Played::start("serving", 4).await);
    world.leading.0.store(false, Ordering::Relaxed);
    let wants = [("drained", &drained, Want::Drain(LIMITS)), ("watched", &watched, Want::Watch)];
    world.until(&wants, |answers| answers.connections == Some(4)).await;
    assert_eq!(watched.request().await.0, Method::GET);
    assert!(drained.is_quiet());
}

#[tokio::test]
async fn connections_are_told_when_everybody_was_asked() {
    let (world, one, other) = (World::new(), Played::start("serving", 3).await, Played::start("serving", 4).await);
    let wants = [("one", &one, Want::Watch), ("other", &other, Want::Watch)];
    let answers = world.until(&wants, |answers| answers.connections.is_some()).await;
    assert_eq!(answers.connections, Some(7));
    assert_eq!(world.ask(&[]).connections, Some(7), "half a minute has not passed");
    assert_eq!(world.gateways.ask("another", ask_nobody()).connections, Some(0));
}

fn ask_nobody() -> Ask {
    Ask { token: Token::new("secret"), gateways: BTreeMap::new(), connections: Some(9) }
}

#[tokio::test]
async fn a_gateway_that_nobody_asks_for_any_more_is_left_alone() {
    let (world, played) = (World::new(), Played::start("serving", 3).await);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for forget in [false, true] {
        world.until(&[("a", &played, Want::Watch)], says("a", DrainReport::Serving)).await;
        if forget {
            world.gateways.forget("cluster");
        } else {
            assert_eq!(world.ask(&[]).reports, BTreeMap::new());
        }
        let ended = async {
            while tasks() > before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("its task ends");
    }
}

#[test]
fn gateways_are_spoken_to_by_what_a_step_says() {
    let scene = Scene::of(4).pod(0, pod("a")).pod(1, pod("b")).pod(2, pod("c")).pod(3, pod("d")).pod(4, pod("e"));
    let scene = scene.change_pod(3, |pod| pod.cannot_run = true).change_pod(4, |pod| pod.ip = None);
    let scene = scene.change_pod(2, |pod| pod.ip = Some("fd00::7".to_owned())).policy(TopicPolicy::Retain);
    let step = Step { drain: [ServerId(1)].into(), undrain: [ServerId(2)].into(), ..Step::default() };
    let gateways = gateways(&scene.pods, &step, LIMITS, 9_090);
    let asked: Vec<_> = gateways.iter().map(|(uid, g)| (uid.as_str(), g.address.to_string(), g.want)).collect();
    let address = |text: &str| text.to_owned();
    assert_eq!(
        asked,
        [
            ("a", address("10.0.0.1:9090"), Want::Watch),
            ("b", address("10.0.0.1:9090"), Want::Drain(LIMITS)),
            ("c", address("[fd00::7]:9090"), Want::Undrain),
        ]
    );
}

#[test]
fn a_token_is_not_shown() {
    assert_eq!(format!("{:?}", ask_nobody().token), "Token");
}
