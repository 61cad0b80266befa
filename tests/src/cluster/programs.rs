//! The programs that a cluster is made of.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::stack::{cache, find};

/// As in `scripts/lib.sh`.
const KUBERNETES: &str = "1.34.4";
const KWOK: &str = "0.8.0";
const COREDNS: &str = "1.12.4";

/// Where they are.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    /// The folder of the Kubernetes components, `kubectl` among them.
    pub(super) kubernetes: PathBuf,
    /// kwok itself.
    pub(super) kwok: PathBuf,
    /// How kwok's nodes and pods behave: one file each.
    pub(super) stages: Vec<PathBuf>,
    /// Resolves the names of services.
    pub(super) coredns: PathBuf,
    /// The folder of the CNI plugins.
    pub(super) cni: PathBuf,
    pub(super) containerd: PathBuf,
    pub(super) ctr: PathBuf,
    /// The first process of name spaces and of pods: it reaps what nobody waits for.
    pub(super) catatonit: PathBuf,
}

impl Programs {
    /// Finds them; the error names all that are missing.
    pub(super) fn find() -> Result<Self> {
        let mut missing = Vec::new();
        let mut wanted = |name: &str, candidates: &[PathBuf]| {
            find(candidates).unwrap_or_else(|| {
                missing.push(name.to_owned());
                PathBuf::new()
            })
        };
        let kubernetes = folder("kubernetes", KUBERNETES)?.join("bin");
        let kwok = folder("kwok", KWOK)?;
        wanted(&format!("Kubernetes {KUBERNETES}"), &[kubernetes.join("kubectl")]);
        let kwok_program = wanted(&format!("kwok {KWOK}"), &[kwok.join("bin/kwok")]);
        let coredns = wanted(&format!("CoreDNS {COREDNS}"), &[folder("coredns", COREDNS)?.join("bin/coredns")]);
        let mut bridge = wanted("the CNI plugins", &["/usr/lib/cni/bridge".into(), "/opt/cni/bin/bridge".into()]);
        bridge.pop();
        for name in ["runc", "containerd-shim-runc-v2", "iptables", "conntrack", "ip", "unshare", "setsid", "mount"] {
            wanted(name, &[name.into()]);
        }
        let [containerd, ctr, catatonit] = ["containerd", "ctr", "catatonit"].map(|name| wanted(name, &[name.into()]));
        if !missing.is_empty() {
            bail!("missing: {}; run scripts/need cluster", missing.join(", "));
        }
        let mut stages: Vec<PathBuf> =
            kwok.join("stages").read_dir()?.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
        stages.sort();
        Ok(Self { kubernetes, kwok: kwok_program, stages, coredns, cni: bridge, containerd, ctr, catatonit })
    }
}

/// The `kubectl` of the cluster's own release, or else the user's.
pub(super) fn kubectl() -> Result<PathBuf> {
    let own = folder("kubernetes", KUBERNETES)?.join("bin/kubectl");
    match find(&[own, "kubectl".into()]) {
        Some(program) => Ok(program),
        None => bail!("kubectl is missing: run scripts/need cluster"),
    }
}

fn folder(name: &str, version: &str) -> Result<PathBuf> {
    Ok(cache()?.join(format!("{name}-{version}")))
}
