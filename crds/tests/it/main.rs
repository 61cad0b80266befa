//! What the definition says, and that it holds.

#![allow(clippy::needless_pass_by_value, reason = "`json!({ … })` is handed over where it is written")]

mod admission;
mod bounds;
mod cases;
mod definition;
mod examples;
mod published;
mod reference;
mod resolved;
mod rules;
mod settings;
