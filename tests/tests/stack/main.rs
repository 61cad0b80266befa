//! Tests beside real components: `make test-stack`.

mod components;
mod kafka_bus;
mod faults;
