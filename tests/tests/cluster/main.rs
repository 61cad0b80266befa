//! Tests on a real Kubernetes: `make test-cluster`.

#[path = "../../../crds/tests/it/cases.rs"]
mod cases;
mod definition;
mod eventually;
mod gateway;
mod life;
mod machine;
mod manifests;
mod operator;
mod played;
mod pods;
mod world;
