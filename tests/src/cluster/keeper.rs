//! Inside the name spaces: arranges the node's file system and network, starts everything, and keeps it running.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;

use super::components::{Components, NODE_NAME};
use super::image::Image;
use super::kubectl::Kubectl;
use super::pki::{Authority, authority_of};
use super::programs::Programs;
use super::{cgroups, network};
use crate::http::client_trusting;
use crate::stack::{Daemon, Place, run};

/// Where the cluster's own folder is inside.
pub(super) const HOME: &str = "/run/imcluster";
/// Between two looks at whether everything still runs.
const LOOK: Duration = Duration::from_secs(1);

const CONFIGS: [(&str, &str); 5] = [
    ("containerd.toml", include_str!("../../cluster/config/containerd.toml")),
    ("cni/bridge.conflist", include_str!("../../cluster/config/bridge.conflist")),
    ("kubelet.yaml", include_str!("../../cluster/config/kubelet.yaml")),
    ("Corefile", include_str!("../../cluster/config/Corefile")),
    ("kube-proxy.yaml", include_str!("../../cluster/config/kube-proxy.yaml")),
];

/// Runs until it is killed; `lock` is held as long. To be called in name spaces of its own: it mounts over the system's
/// folders.
pub async fn keep(state: &Path, lock: &Path) -> Result<()> {
    let lock = File::create(lock).with_context(|| format!("{} cannot be written", lock.display()))?;
    // Whoever looks whether it is held holds it for that moment.
    lock.lock().context("the keeper's lock cannot be taken")?;
    let programs = Programs::find()?;
    mount(state)?;
    network::arrange_node()?;
    cgroups::make()?;
    let home = Place::at(Path::new(HOME))?;
    configure(&home, &programs)?;
    let components = start(&home, &programs).await?;
    home.write("ready", "")?;
    eprintln!("the cluster is ready");
    loop {
        tokio::time::sleep(LOOK).await;
        for daemon in components.all() {
            let Some(status) = daemon.exit_status() else { continue };
            eprintln!("{} has ended ({status}), and is started again", daemon.name());
            daemon.spawn()?;
        }
    }
}

/// The system's folders for changing data are fresh ones here, so that all programs find them at the usual places and leave
/// nothing in the machine's.
fn mount(state: &Path) -> Result<()> {
    let mount = |arguments: &[&str]| run(Command::new("mount").args(arguments), None);
    let bind = |from: &Path, onto: &str| {
        for folder in [from, Path::new(onto)] {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        run(Command::new("mount").arg("--bind").arg(from).arg(onto), None)
    };
    // Pods' mounts have to reach the containers that run already.
    mount(&["--make-rshared", "/"])?;
    for folder in ["/run", "/var/lib"] {
        if state.starts_with(folder) {
            bail!("{} is below {folder}, which the node has one of its own of: set XDG_CACHE_HOME", state.display());
        }
        mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", folder])?;
    }
    bind(state, HOME)?;
    bind(&state.join("containerd"), "/var/lib/containerd")?;
    bind(&state.join("kubelet"), "/var/lib/kubelet")?;
    bind(&state.join("logs"), "/var/log")
}

fn configure(home: &Place, programs: &Programs) -> Result<()> {
    home.room("cni")?;
    for (name, content) in CONFIGS {
        home.write(name, content)?;
    }
    // Names beyond the cluster are nobody's here.
    home.write("resolv.conf", "")?;
    std::os::unix::fs::symlink(&programs.cni, home.path().join("cni-plugins")).context("the CNI plugins")?;
    let authority = Authority::establish(&home.room("pki")?)?;
    let node = format!("system:node:{NODE_NAME}");
    for (file, user, group) in [
        ("kubeconfig", "admin", Some("system:masters")),
        ("kube-controller-manager.kubeconfig", "system:kube-controller-manager", None),
        ("kube-scheduler.kubeconfig", "system:kube-scheduler", None),
        ("kube-proxy.kubeconfig", "system:kube-proxy", None),
        ("kubelet.kubeconfig", node.as_str(), Some("system:nodes")),
    ] {
        authority.kubeconfig(home, file, user, group)?;
    }
    Ok(())
}

async fn start(home: &Place, programs: &Programs) -> Result<Components> {
    let api = client_trusting(&authority_of(&home.path().join("pki"))?)?;
    let components = Components::prepare(&home.room("logs")?, programs, api);
    tokio::try_join!(components.etcd.start(), components.containerd.start())?;
    let pause = Image::of_program("imcluster.dev/pause:1", &programs.catatonit)?.with_arguments(&["-P"]);
    pause.import(&programs.ctr, &socket(home.path()))?;
    components.apiserver.start().await?;
    try_join_all(components.clients.iter().map(Daemon::start)).await?;
    let kubectl = Kubectl::new(&home.path().join("kubeconfig"))?;
    for (condition, object) in [
        ("create", format!("node/{NODE_NAME}")),
        ("condition=Ready", format!("node/{NODE_NAME}")),
        ("create", "serviceaccount/default".to_owned()),
    ] {
        kubectl.run(&["wait", &format!("--for={condition}"), &object, "--timeout=60s"])?;
    }
    Ok(components)
}

/// Where containerd listens, in the cluster's folder.
pub(super) fn socket(state: &Path) -> PathBuf {
    state.join("containerd.sock")
}
