//! `im-stack up`: the whole of it, to try things out.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::future::{join_all, try_join_all};
use imcluster_tests::attend::Wishes;
use imcluster_tests::http::client;
use imcluster_tests::stack::{
    Common, Daemon, Durability, ImServer, Kafka, Nginx, Place, Postgres, Redis, Upstream, program,
};
use rand::distr::{Alphanumeric, SampleString};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

/// Between two looks at whether everything still runs.
const LOOK: Duration = Duration::from_millis(200);
/// A server that ends at its start is not started more often than this.
const RESTART: Duration = Duration::from_secs(1);
/// Longest wait for an answer of the entrance.
const ANSWER: Duration = Duration::from_secs(10);
/// The accounts that are made; the password is the name.
const PEOPLE: [&str; 2] = ["alice", "bob"];

/// Whoever listens on the printed addresses can be reached from this machine only.
#[derive(Args)]
pub(crate) struct Up {
    /// How many im-servers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    servers: u16,
    /// Where everything is kept for the next start
    #[arg(long, default_value = "im-stack-data", value_name = "DIR")]
    data: PathBuf,
    /// Address of the entrance for HTTP and WebSocket
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Address of the entrance for TCP
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "IP:PORT")]
    tcp_listen: SocketAddr,
    /// Start a server again that has ended
    #[arg(long)]
    restart: bool,
    /// No limits per user and per address, for load tests
    #[arg(long)]
    no_limits: bool,
}

/// Everything that runs, in the order in which it was started.
struct Stack {
    redis: Redis,
    postgres: Postgres,
    kafka: Kafka,
    servers: Vec<ImServer>,
    nginx: Nginx,
}

impl Up {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let mut stop = Wishes::new()?;
        let place = Place::at(&self.data)?;
        // Two stacks on one folder would destroy each other's data. Held until the end.
        let lock = File::create(place.path().join("lock")).context("the data folder cannot be written")?;
        if lock.try_lock().is_err() {
            bail!("another im-stack runs on {}: stop it, or name another folder with --data", self.data.display());
        }
        for (address, flag) in [(self.listen, "--listen"), (self.tcp_listen, "--tcp-listen")] {
            if let Err(error) = std::net::TcpListener::bind(address) {
                bail!(
                    "nothing can listen on {address} ({error}): stop what does, or choose another address with {flag}"
                );
            }
        }
        let stack = tokio::select! {
            stack = self.start(&place) => stack?,
            _ = stop.next() => return Ok(ExitCode::SUCCESS),
        };
        stack.greet(&place);
        self.watch(&stack, &mut stop).await;
        eprintln!("im-stack: stopping; again Ctrl-C to kill");
        tokio::select! {
            () = stack.stop() => {}
            // Dropped is killed.
            _ = stop.next() => {}
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn start(&self, place: &Place) -> Result<Stack> {
        let begun = Instant::now();
        let program = program()?;
        eprintln!("im-stack: starting Redis, PostgreSQL and Kafka");
        let (redis, postgres, kafka) = tokio::try_join!(
            Redis::start_keeping(place),
            Postgres::start(place, Durability::Disk),
            Kafka::start(place)
        )?;
        postgres.database("imcluster").await?;
        let mut settings = vec![
            ("IM_OPEN_REGISTRATION", "true"),
            // alice's is "alice".
            ("IM_PASSWORD_CHARS", "1"),
            ("IM_TRUSTED_PROXIES", "127.0.0.1"),
        ];
        // Ten times the default, as in `dev`: everybody comes from one machine here.
        let (sign_ins, handshakes) = if self.no_limits { ("0", "0") } else { ("600", "6000") };
        settings.extend([("IM_SIGN_INS_PER_MINUTE", sign_ins), ("IM_HANDSHAKES_PER_MINUTE", handshakes)]);
        if self.no_limits {
            settings.push(("IM_MESSAGES_PER_SECOND", "0"));
        }
        let common = Common {
            program,
            database: postgres.url("imcluster"),
            redis: redis.url(),
            kafka: kafka.brokers(),
            jwt_secret: secret(place, "jwt-secret")?,
            management_token: secret(place, "management-token")?,
            service_token: secret(place, "service-token")?,
            settings: settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        };
        eprintln!("im-stack: starting {} im-servers", self.servers);
        let servers = (0..self.servers).map(|id| ImServer::prepare(place, id, &common)).collect::<Result<Vec<_>>>()?;
        try_join_all(servers.iter().map(|server| server.start())).await?;
        let upstreams: Vec<Upstream> = servers.iter().map(ImServer::upstream).collect();
        let nginx = Nginx::start(place, self.listen, self.tcp_listen, &upstreams).await?;
        accounts(self.listen).await?;
        eprintln!("im-stack: ready after {:.1} s", begun.elapsed().as_secs_f32());
        Ok(Stack { redis, postgres, kafka, servers, nginx })
    }

    /// Says what ends, until it is time to stop.
    async fn watch(&self, stack: &Stack, stop: &mut Wishes) {
        let everything = stack.everything();
        let mut reported = vec![false; everything.len()];
        let mut started = vec![Instant::now(); everything.len()];
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.next() => return,
                _ = look.tick() => {}
            }
            for (index, daemon) in everything.iter().enumerate() {
                let Some(status) = daemon.exit_status() else { continue };
                let name = daemon.name();
                if !reported[index] {
                    reported[index] = true;
                    println!("{name} has ended ({status}); its log is {}", daemon.log().display());
                }
                let is_server = stack.servers.iter().any(|server| server.name() == name);
                if self.restart && is_server && started[index].elapsed() >= RESTART {
                    (reported[index], started[index]) = (false, Instant::now());
                    match daemon.spawn() {
                        Ok(()) => println!("{name} is started again, pid {}", daemon.pid().unwrap_or_default()),
                        Err(error) => println!("{name} cannot be started again: {error:#}"),
                    }
                }
            }
        }
    }
}

impl Stack {
    /// Tells where everything is.
    fn greet(&self, place: &Place) {
        println!("chat       http://{}   (alice/alice and bob/bob)", self.nginx.http);
        println!("WebSocket  ws://{}/v1/connect", self.nginx.http);
        println!("TCP        {}", self.nginx.tcp);
        for server in &self.servers {
            println!(
                "{}   http://{}  tcp {}  management http://{}  pid {}",
                server.name(),
                server.http,
                server.tcp,
                server.management,
                server.pid().unwrap_or_default()
            );
        }
        println!("PostgreSQL {}", self.postgres.url("imcluster"));
        println!("Redis      {}", self.redis.url());
        println!("Kafka      {}", self.kafka.brokers());
        println!("data, logs and tokens are in {}", place.path().display());
        println!("kill -9 a server's pid to see the others take over; Ctrl-C stops everything");
    }

    fn everything(&self) -> Vec<&Daemon> {
        let first: [&Daemon; 4] = [&self.redis, &self.postgres, &self.kafka, &self.nginx];
        first.into_iter().chain(self.servers.iter().map(|server| &**server)).collect()
    }

    /// Each after those that need it.
    async fn stop(&self) {
        join_all(self.servers.iter().map(|server| server.stop())).await;
        tokio::join!(self.nginx.stop(), self.kafka.stop(), self.postgres.stop(), self.redis.stop());
    }
}

/// A secret of this data folder: made once, then the same for ever, so that sessions outlive a restart.
fn secret(place: &Place, name: &str) -> Result<String> {
    let path = place.path().join(name);
    if let Ok(secret) = fs::read_to_string(&path) {
        return Ok(secret);
    }
    let secret = Alphanumeric.sample_string(&mut rand::rng(), 48);
    place.write_secret(name, &secret)?;
    Ok(secret)
}

/// Makes the accounts, unless they are there, and makes them friends.
async fn accounts(entrance: SocketAddr) -> Result<()> {
    let mut made = 0;
    for user in PEOPLE {
        let body = json!({"user": user, "password": user, "name": user});
        let (status, answer) = post(entrance, "/v1/accounts", None, &body).await?;
        match status {
            201 => made += 1,
            409 => {}
            _ => bail!("the account {user} cannot be made: {status} {answer}"),
        }
    }
    // Whoever has removed a friend since does not want it back at the next start.
    if made < PEOPLE.len() {
        return Ok(());
    }
    let mut tokens = Vec::new();
    for user in PEOPLE {
        let body = json!({"user": user, "password": user, "terminal": "bot", "device": "im-stack"});
        let (_, session) = post(entrance, "/v1/sessions", None, &body).await?;
        tokens.push(session["access_token"].as_str().with_context(|| format!("no session: {session}"))?.to_owned());
    }
    let body = json!({"user": PEOPLE[1], "message": "hello"});
    let (_, request) = post(entrance, "/v1/friend-requests", Some(&tokens[0]), &body).await?;
    let id = request["id"].as_str().with_context(|| format!("no friend request: {request}"))?;
    let path = format!("/v1/friend-requests/{id}/accept");
    let (status, answer) = post(entrance, &path, Some(&tokens[1]), &Value::Null).await?;
    if status >= 300 {
        bail!("the friend request cannot be accepted: {status} {answer}");
    }
    Ok(())
}

async fn post(entrance: SocketAddr, path: &str, token: Option<&str>, body: &Value) -> Result<(u16, Value)> {
    let mut request = client().post(format!("http://{entrance}{path}")).timeout(ANSWER);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if !body.is_null() {
        request = request.json(body);
    }
    let answer = request.send().await.with_context(|| format!("{path} was not answered"))?;
    let status = answer.status().as_u16();
    Ok((status, answer.json().await.unwrap_or_default()))
}
