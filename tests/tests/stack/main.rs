//! Tests beside real components: `make test-stack`.

mod components;
mod faults;
mod kafka_bus;
mod servers;
mod tool;
