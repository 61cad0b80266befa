//! A real Kubernetes of one node on this machine, without Docker: etcd, the API server, controller manager and scheduler;
//! containerd, runc, kubelet, kube-proxy and `CoreDNS`; and kwok, which plays as many further nodes and pods as a test likes.
//!
//! Everything runs in name spaces of its own (processes, mounts, network), whose first process is a *keeper*. When the
//! keeper ends, however it ends, the kernel ends every process in there, containers included, and takes the mounts,
//! interfaces, routes and iptables rules away. One network link leads to the machine, see [`network`].

mod cgroups;
mod client;
mod components;
mod image;
mod keeper;
mod kubectl;
mod kubernetes;
mod namespace;
pub mod network;
mod pki;
mod played;
mod programs;
mod sysctls;

pub use client::client;
pub(crate) use client::config;
pub use image::Image;
pub use keeper::keep;
pub use kubectl::Kubectl;
pub use kubernetes::{Found, Kubernetes};
pub use namespace::Namespace;
pub use played::{onto_played_nodes, played_nodes};
