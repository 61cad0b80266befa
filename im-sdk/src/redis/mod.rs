//! The way to Redis, shared by all that is kept there: one connection, its time-outs, and how keys are laid out.

mod bucket;
mod client;
mod config;
mod error;
mod gate;
mod open;
mod script;

pub use config::{RedisConfig, RedisUrlError};
pub use error::ConnectError;

pub(crate) use bucket::{Bucket, Buckets, fnv1a};
pub(crate) use client::{Batch, RedisClient, value};
pub(crate) use script::Script;
