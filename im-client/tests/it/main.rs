//! Tests of the client's public pieces.

mod convergence;
mod model;
mod stores;
