//! The operator: makes of an `ImCluster` resource gateways with stable server ids, and one Kafka topic per id.
//!
//! - [`cluster`] is one reconcile: dereference → validate → build → apply → status.
//! - [`drain`] decides how the number of gateways changes: a pure machine over the status and what gateways report.
//! - [`topics`] keeps the topics: a pure plan, and a task per Kafka that carries it out.
//! - [`leader`] sees to it that one operator writes.
//! - [`events`] tells people what happens, [`telemetry`] the log and the metrics, which [`http`] shows beside the probes.
//!
//! **State is what the API server has.** A transition is written into `status.servers` first; what follows from it (a topic
//! made, a gateway drained, a pod taken away) is done by a later reconcile that reads it there. So an operator that dies at
//! any point leaves nothing half-known behind, and whoever goes on does the same.

pub mod client;
pub mod cluster;
pub mod config;
pub mod definition;
pub mod drain;
pub mod events;
pub mod http;
pub mod leader;
pub mod running;
pub mod telemetry;
pub mod topics;
pub mod wake;
pub mod watch;

mod run;

pub use run::run;
