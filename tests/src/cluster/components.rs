//! How each component is started, and known to answer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Client;
use rustix::process::Signal;
use tokio::net::{TcpStream, UnixStream};

use super::keeper::HOME;
use super::network::{NODE, SERVICES};
use super::pki::server;
use super::programs::Programs;
use crate::stack::{Daemon, Place, Recipe};

/// The API server takes 3 s on an idle machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// The only real node.
pub(super) const NODE_NAME: &str = "node";

/// How to know that a component answers.
#[derive(Clone)]
enum Ready {
    /// Something listens on this port of the loopback.
    Port(u16),
    /// Something listens on this socket.
    Socket(PathBuf),
    /// The API server says so to a client that trusts it.
    Api(Client),
}

/// All of them; none is started yet.
pub(super) struct Components {
    pub(super) etcd: Daemon,
    pub(super) containerd: Daemon,
    pub(super) apiserver: Daemon,
    /// What needs the API server only.
    pub(super) clients: Vec<Daemon>,
}

impl Components {
    pub(super) fn prepare(logs: &Place, programs: &Programs, api: Client) -> Self {
        let home = Path::new(HOME);
        let component = |name: &str, ready: Ready, arguments: &[String]| {
            daemon(logs, name, programs.kubernetes.join(name), ready, arguments.to_vec())
        };
        let kubeconfig = |name: &str| format!("--kubeconfig={HOME}/{name}.kubeconfig");
        let etcd = component(
            "etcd",
            Ready::Port(2379),
            &flags(&[
                "--name=etcd",
                &format!("--data-dir={HOME}/etcd"),
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--initial-advertise-peer-urls=http://127.0.0.1:2380",
                "--initial-cluster=etcd=http://127.0.0.1:2380",
                // The cluster begins empty at each start.
                "--unsafe-no-fsync",
                "--log-level=warn",
            ]),
        );
        let apiserver = component(
            "kube-apiserver",
            Ready::Api(api),
            &flags(&[
                "--etcd-servers=http://127.0.0.1:2379",
                &format!("--bind-address={NODE}"),
                &format!("--advertise-address={NODE}"),
                "--secure-port=6443",
                &format!("--service-cluster-ip-range={SERVICES}"),
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true",
                &format!("--client-ca-file={HOME}/pki/ca.crt"),
                &format!("--tls-cert-file={HOME}/pki/apiserver.crt"),
                &format!("--tls-private-key-file={HOME}/pki/apiserver.key"),
                &format!("--kubelet-client-certificate={HOME}/pki/kubelet-client.crt"),
                &format!("--kubelet-client-key={HOME}/pki/kubelet-client.key"),
                "--kubelet-preferred-address-types=InternalIP",
                "--service-account-issuer=https://kubernetes.default.svc",
                &format!("--service-account-key-file={HOME}/pki/service-accounts.pub"),
                &format!("--service-account-signing-key-file={HOME}/pki/service-accounts.key"),
            ]),
        );
        let controller_manager = component(
            "kube-controller-manager",
            Ready::Port(10257),
            &flags(&[
                &kubeconfig("kube-controller-manager"),
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
                "--use-service-account-credentials=true",
                &format!("--root-ca-file={HOME}/pki/ca.crt"),
                &format!("--service-account-private-key-file={HOME}/pki/service-accounts.key"),
            ]),
        );
        let scheduler = component(
            "kube-scheduler",
            Ready::Port(10259),
            &flags(&[&kubeconfig("kube-scheduler"), "--bind-address=127.0.0.1", "--leader-elect=false"]),
        );
        let kubelet = component(
            "kubelet",
            Ready::Port(10248),
            &flags(&[
                &kubeconfig("kubelet"),
                &format!("--config={HOME}/kubelet.yaml"),
                &format!("--hostname-override={NODE_NAME}"),
                &format!("--node-ip={NODE}"),
            ]),
        );
        let proxy = component("kube-proxy", Ready::Port(10256), &flags(&[&format!("--config={HOME}/kube-proxy.yaml")]));
        let mut kwok_flags = flags(&[
            &format!("--kubeconfig={HOME}/kubeconfig"),
            "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            // As a kubelet does it. Without a sign of life a node is given up after 50 s, and its pods with it.
            "--node-lease-duration-seconds=40",
            &format!("--node-ip={NODE}"),
            "--server-address=127.0.0.1:10247",
        ]);
        kwok_flags.extend(programs.stages.iter().map(|stage| format!("--config={}", stage.display())));
        let kwok = daemon(logs, "kwok", programs.kwok.clone(), Ready::Port(10247), kwok_flags);
        let dns_flags = flags(&[&format!("-conf={HOME}/Corefile")]);
        let dns = daemon(logs, "coredns", programs.coredns.clone(), Ready::Port(53), dns_flags);
        let containerd_flags = flags(&[&format!("--config={HOME}/containerd.toml")]);
        let socket = Ready::Socket(home.join("containerd.sock"));
        let containerd = daemon(logs, "containerd", programs.containerd.clone(), socket, containerd_flags);
        Self { etcd, containerd, apiserver, clients: vec![controller_manager, scheduler, kubelet, proxy, dns, kwok] }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Daemon> {
        [&self.etcd, &self.containerd, &self.apiserver].into_iter().chain(&self.clients)
    }
}

fn flags(flags: &[&str]) -> Vec<String> {
    flags.iter().map(ToString::to_string).collect()
}

fn daemon(logs: &Place, name: &str, program: PathBuf, ready: Ready, arguments: Vec<String>) -> Daemon {
    let recipe = Recipe {
        name: name.to_owned(),
        command: Box::new(move || {
            let mut command = Command::new(&program);
            command.args(&arguments);
            command
        }),
        user: None,
        ready: Box::new(move |_| answers(ready.clone())),
        patience: PATIENCE,
        end: Signal::TERM,
    };
    Daemon::new(logs, recipe)
}

fn answers(ready: Ready) -> BoxFuture<'static, bool> {
    async move {
        match ready {
            Ready::Port(port) => TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
            Ready::Socket(path) => UnixStream::connect(path).await.is_ok(),
            Ready::Api(client) => is_ready(&client).await.is_ok(),
        }
    }
    .boxed()
}

/// Asks the API server whether it is ready.
pub(super) async fn is_ready(api: &Client) -> Result<()> {
    const ANSWER: Duration = Duration::from_secs(5);
    api.get(format!("{}/readyz", server())).timeout(ANSWER).send().await?.error_for_status()?;
    Ok(())
}
