//! What the operator does beside real components. These tests are ignored unless asked for.

mod topics_on_kafka;
