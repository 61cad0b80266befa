//! Several servers on components of their own behind one entrance, for tests of faults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use futures_util::future::try_join_all;
use sqlx::postgres::PgConnection;

use super::kafka::{Entrance, Kafka};
use super::nginx::{Nginx, Upstream};
use super::place::Place;
use super::postgres::{Durability, Postgres};
use super::redis::Redis;
use super::server::{Common, ImServer};
use crate::proxy::Proxy;
use crate::server::{MANAGEMENT_TOKEN, SERVICE_TOKEN, Server, binary};
use crate::stage::Stage;

/// The database of the servers.
pub const DATABASE: &str = "imcluster";
/// What all servers of a test's cluster are told. Everybody comes from one address, the entrance's, and writes as fast as
/// it goes.
const SETTINGS: [(&str, &str); 6] = [
    ("IM_OPEN_REGISTRATION", "true"),
    ("IM_PASSWORD_CHARS", "1"),
    ("IM_SIGN_INS_PER_MINUTE", "0"),
    ("IM_HANDSHAKES_PER_MINUTE", "0"),
    ("IM_MESSAGES_PER_SECOND", "0"),
    ("IM_LOG", "info"),
];

/// What is to be started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many servers.
    pub servers: u16,
    /// Whether each server reaches each component over a link of its own, see [`Cluster::links`].
    pub links: bool,
    /// A folder for the files of the database; else they lie with the rest.
    pub database_in: Option<PathBuf>,
    /// Further settings of the servers, by their environment variables.
    pub settings: Vec<(&'static str, String)>,
}

/// The links of one server, each to be cut, stalled, delayed or throttled while it is in use.
#[derive(Debug)]
pub struct Links {
    /// To Redis.
    pub redis: Proxy,
    /// To PostgreSQL.
    pub postgres: Proxy,
    /// To Kafka.
    pub kafka: Proxy,
}

/// A running cluster; ends with this value.
pub struct Cluster {
    /// The entrance.
    pub nginx: Nginx,
    servers: Vec<ImServer>,
    /// What each was told.
    told: Vec<Common>,
    links: Vec<Links>,
    /// The bus.
    pub kafka: Kafka,
    /// The truth.
    pub postgres: Postgres,
    /// The cache.
    pub redis: Redis,
    /// The folder of it all.
    pub place: Place,
}

impl Cluster {
    /// Starts so many servers and what they need, and waits until all are ready.
    pub async fn start(servers: u16) -> Self {
        Self::start_with(Options { servers, ..Options::default() }).await
    }

    /// Starts one whose servers reach their components over [`Links`].
    pub async fn start_linked(servers: u16) -> Self {
        Self::start_with(Options { servers, links: true, ..Options::default() }).await
    }

    /// Starts what is asked for.
    pub async fn start_with(options: Options) -> Self {
        Self::try_start(options).await.unwrap_or_else(|error| panic!("no cluster: {error:#}"))
    }

    async fn try_start(options: Options) -> Result<Self> {
        let place = Place::temporary()?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut entrances = Vec::new();
        let mut to_kafka = Vec::new();
        if options.links {
            for server in 0..options.servers {
                let listen = local(place.port(&format!("kafka-entrance-{server}"))?);
                let link = Proxy::to(listen).await?;
                entrances.push(Entrance { listen, advertise: link.address() });
                to_kafka.push(link);
            }
        }
        let (redis, postgres, kafka) = tokio::try_join!(
            Redis::start(&place),
            Postgres::start(&place, Durability::Process),
            Kafka::start_with(&place, &entrances)
        )?;
        match &options.database_in {
            Some(folder) => postgres.database_in(DATABASE, folder).await?,
            None => postgres.database(DATABASE).await?,
        }
        let mut links = Vec::new();
        for kafka in to_kafka {
            let (redis, postgres) = (Proxy::to(local(redis.port())).await?, Proxy::to(local(postgres.port())).await?);
            links.push(Links { redis, postgres, kafka });
        }
        let mut settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        settings.extend(options.settings.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let common = Common {
            program: binary().to_owned(),
            database: postgres.url(DATABASE),
            redis: redis.url(),
            kafka: kafka.brokers(),
            jwt_secret: "the-signing-secret-of-the-tests-is-long".to_owned(),
            management_token: MANAGEMENT_TOKEN.to_owned(),
            service_token: SERVICE_TOKEN.to_owned(),
            settings,
        };
        let told = (0..options.servers).map(|id| {
            let mut common = common.clone();
            if let Some(links) = links.get(usize::from(id)) {
                common.redis = redis.url_by(links.redis.address());
                common.database = postgres.url_by(links.postgres.address(), DATABASE);
                common.kafka = links.kafka.address().to_string();
            }
            common
        });
        let told: Vec<Common> = told.collect();
        let servers = (0..).zip(&told).map(|(id, common)| ImServer::prepare(&place, id, common));
        let servers = servers.collect::<Result<Vec<_>>>()?;
        try_join_all(servers.iter().map(|server| server.start())).await?;
        let upstreams: Vec<Upstream> = servers.iter().map(ImServer::upstream).collect();
        let (http, tcp) = (local(place.port("entrance")?), local(place.port("entrance-tcp")?));
        let nginx = Nginx::start(&place, http, tcp, &upstreams).await?;
        Ok(Self { nginx, servers, told, links, kafka, postgres, redis, place })
    }

    /// A server.
    pub fn server(&self, id: u16) -> &ImServer {
        &self.servers[usize::from(id)]
    }

    /// Another process with the id of a server, and addresses of its own that the entrance does not know; not started.
    pub fn twin(&self, id: u16) -> ImServer {
        let name = format!("server-{id}-twin");
        let prepared = ImServer::prepare_as(&self.place, name, id, &self.told[usize::from(id)]);
        prepared.unwrap_or_else(|error| panic!("no twin: {error:#}"))
    }

    /// All servers.
    pub fn servers(&self) -> &[ImServer] {
        &self.servers
    }

    /// The links of a server of a [`Cluster::start_linked`].
    pub fn links(&self, server: u16) -> &Links {
        &self.links[usize::from(server)]
    }

    /// A stage behind the entrance.
    pub fn stage(&self) -> Stage {
        // The entrance has no management port: nobody asks a stage here for it.
        Stage::on(Arc::new(Server::elsewhere(self.nginx.http, self.nginx.tcp, self.nginx.http)))
    }

    /// A stage on one server, past the entrance.
    pub fn stage_on(&self, server: u16) -> Stage {
        let ImServer { http, tcp, management, .. } = self.server(server);
        Stage::on(Arc::new(Server::elsewhere(*http, *tcp, *management)))
    }

    /// A connection to the servers' database.
    pub async fn sql(&self) -> PgConnection {
        self.postgres.connect(DATABASE).await.expect("PostgreSQL runs")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The logs go with the folder, and are what explains a failure.
        if std::thread::panicking() {
            for server in &self.servers {
                eprintln!("---- the end of {}'s log:\n{}", server.name(), server.tail());
            }
        }
    }
}
