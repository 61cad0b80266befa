//! The operator as its users meet it. What needs real components is ignored unless asked for.

mod api;
mod documented;
mod manifests;
mod process;
mod topics_on_kafka;
