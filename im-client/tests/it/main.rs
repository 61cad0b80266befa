//! Tests of the client's public pieces.

mod convergence;
mod life;
mod model;
mod peer;
mod stores;
