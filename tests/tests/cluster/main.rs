//! Tests on a real Kubernetes: `make test-cluster`.

mod definition;
mod eventually;
mod life;
mod machine;
mod namespace;
mod played;
mod pods;
