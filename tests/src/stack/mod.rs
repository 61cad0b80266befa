//! The real stack on one machine, without containers: Redis, PostgreSQL, Kafka, nginx and `im-server serve`, each a
//! process of its own that a test may stop, kill, pause and start again.
//!
//! Everything listens on 127.0.0.1, on ports of its own, and keeps its data in the folder it is given. A process ends with
//! the one that started it, however that ends.

mod cluster;
mod daemon;
mod kafka;
mod nginx;
mod place;
mod postgres;
mod redis;
mod server;

pub(crate) use daemon::{Recipe, find, run};
pub(crate) use place::cache;

pub use cluster::{Cluster, DATABASE, Links, Options};
pub use daemon::Daemon;
pub use kafka::{Entrance, Guarded, Kafka};
pub use nginx::{Nginx, Upstream};
pub use place::Place;
pub use postgres::{Durability, Postgres};
pub use redis::{Redis, RedisCluster};
pub use server::{Common, ImServer, program};
