//! The stack itself: what is killed, paused and started again must behave as such, or a fault would be none.

use std::net::SocketAddr;
use std::time::Duration;

use imcluster_tests::http::client;
use imcluster_tests::stack::{Durability, Kafka, Nginx, Place, Postgres, Redis, RedisCluster, Upstream};
use sqlx::{Executor, Row};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Long enough to notice that nobody answers.
const NOTHING: Duration = Duration::from_millis(300);

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn a_killed_redis_has_forgotten_and_a_paused_one_has_not() {
    let place = Place::temporary().unwrap();
    let redis = Redis::start(&place).await.unwrap();
    let _: () = redis.command(&["SET", "key", "1"]).await.unwrap();
    redis.pause();
    assert!(tokio::time::timeout(NOTHING, redis.command::<String>(&["GET", "key"])).await.is_err());
    redis.resume();
    assert_eq!(redis.command::<String>(&["GET", "key"]).await.unwrap(), "1");

    let (port, pid) = (redis.port(), redis.pid());
    redis.kill();
    assert_eq!(redis.pid(), None);
    assert!(redis.command::<String>(&["GET", "key"]).await.is_err());
    redis.start().await.unwrap();
    assert_ne!(redis.pid(), pid);
    assert_eq!(redis.port(), port);
    assert_eq!(redis.command::<Option<String>>(&["GET", "key"]).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn a_redis_cluster_is_whole_again_after_a_node_was_killed() {
    let place = Place::temporary().unwrap();
    let cluster = RedisCluster::start(&place).await.unwrap();
    let info: String = cluster.nodes[2].command(&["CLUSTER", "INFO"]).await.unwrap();
    assert!(info.contains("cluster_slots_assigned:16384"), "{info}");
    cluster.nodes[1].kill();
    cluster.nodes[1].start().await.unwrap();
    cluster.until_whole().await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: make test-stack"]
async fn postgres_keeps_what_was_committed_over_a_kill_an_immediate_stop_and_a_new_start() {
    let place = Place::temporary().unwrap();
    let postgres = Postgres::start(&place, Durability::Process).await.unwrap();
    postgres.database("kept").await.unwrap();
    postgres.database("kept").await.unwrap();
    let mut connection = postgres.connect("kept").await.unwrap();
    connection.execute("create table rows (n int); insert into rows values (1)").await.unwrap();
    let count = async || -> i64 {
        let mut connection = postgres.connect("kept").await.unwrap();
        connection.fetch_one("select count(*) from rows").await.unwrap().get(0)
    };

    assert_eq!(postgres.cut("kept").await.unwrap(), 1);
    assert!(connection.execute("select 1").await.is_err(), "the connection was cut");
    postgres.kill();
    postgres.start().await.unwrap();
    assert_eq!(count().await, 1);
    assert!(postgres.stop_immediately().await);
    postgres.start().await.unwrap();
    assert_eq!(count().await, 1);
    assert!(postgres.stop().await, "it ends by itself when it is asked");

    let port = postgres.port();
    drop(postgres);
    let again = Postgres::start(&place, Durability::Process).await.unwrap();
    assert_eq!(again.port(), port);
    again.connect("kept").await.unwrap();
}

#[tokio::test]
#[ignore = "needs Kafka: make test-stack"]
async fn kafka_comes_back_after_a_kill_and_after_it_was_emptied() {
    let place = Place::temporary().unwrap();
    let kafka = Kafka::start(&place).await.unwrap();
    assert!(kafka.empty().await.is_err(), "it runs");
    kafka.kill();
    assert!(TcpStream::connect(("127.0.0.1", kafka.port())).await.is_err());
    kafka.start().await.unwrap();
    kafka.kill();
    kafka.empty().await.unwrap();
    kafka.start().await.unwrap();
    TcpStream::connect(("127.0.0.1", kafka.port())).await.unwrap();
}

/// A server that answers every request, and every line on its TCP port, with its name.
struct Fake {
    upstream: Upstream,
    tasks: [JoinHandle<()>; 2],
}

impl Fake {
    async fn start(name: &'static str) -> Self {
        let (http, http_task) = serve(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())).await;
        let (tcp, tcp_task) = serve(name.to_owned()).await;
        Self { upstream: Upstream { http, tcp }, tasks: [http_task, tcp_task] }
    }

    async fn kill(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

async fn serve(answer: String) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = [0; 4096];
            // Whoever only knocks gets nothing.
            if stream.read(&mut question).await.is_ok_and(|length| length > 0) {
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    (address, task)
}

#[tokio::test]
#[ignore = "needs nginx: make test-stack"]
async fn the_entrance_goes_around_a_server_that_is_gone() {
    let (one, two) = (Fake::start("one").await, Fake::start("two").await);
    let place = Place::temporary().unwrap();
    let port = |purpose: &str| SocketAddr::from(([127, 0, 0, 1], place.port(purpose).unwrap()));
    let nginx = Nginx::start(&place, port("http"), port("tcp"), &[one.upstream, two.upstream]).await.unwrap();
    let over_http = async || {
        let answer = client().post(format!("http://{}/", nginx.http)).body("?").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    };
    let over_tcp = async || {
        let mut stream = TcpStream::connect(nginx.tcp).await.unwrap();
        stream.write_all(b"?").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let mut names = [over_http().await, over_http().await, over_http().await, over_http().await];
    names.sort();
    assert_eq!((&*names[0], &*names[3]), ("one", "two"), "both are used");

    one.kill().await;
    for _ in 0..8 {
        assert_eq!((over_http().await, over_tcp().await), ("two".to_owned(), "two".to_owned()));
    }
    assert!(nginx.stop().await);
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn a_component_that_cannot_start_says_why() {
    let place = Place::temporary().unwrap();
    let redis = Redis::start(&place).await.unwrap();
    let error = Redis::start(&place).await.map(drop).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains(&format!("port {}", redis.port())) && said.contains("taken"), "{said}");
}
