//! The control groups of the node's pods: version 1, with a tree for each controller, or version 2, with one for all.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const MOUNTED: &str = "/sys/fs/cgroup";
/// As `cgroupRoot` of the kubelet's configuration.
const OURS: &str = "imcluster";
/// A group can be removed when its last process is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the group that all pods are in, in every tree.
pub(super) fn make() -> Result<()> {
    for group in groups()? {
        fs::create_dir_all(&group).with_context(|| format!("the control group {} cannot be made", group.display()))?;
    }
    Ok(())
}

/// Removes it with everything in it.
pub(super) fn remove() -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for group in groups()? {
        while let Err(error) = remove_tree(&group) {
            if error.kind() != ErrorKind::ResourceBusy || Instant::now() >= deadline {
                return Err(error).with_context(|| format!("the control group {} cannot be removed", group.display()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn groups() -> Result<Vec<PathBuf>> {
    let mounted = Path::new(MOUNTED);
    if mounted.join("cgroup.controllers").exists() {
        return Ok(vec![mounted.join(OURS)]);
    }
    let trees = fs::read_dir(mounted).with_context(|| format!("{MOUNTED} cannot be read: no control groups here?"))?;
    let trees: Vec<PathBuf> = trees.map(|tree| Ok(tree?.path())).collect::<Result<_>>()?;
    // A tree of two controllers has a second name, which is a link.
    let trees = trees.into_iter().filter(|tree| !tree.is_symlink() && tree.join("cgroup.procs").exists());
    Ok(trees.map(|tree| tree.join(OURS)).collect())
}

/// Only folders can be removed there; the files in them are the kernel's.
fn remove_tree(group: &Path) -> std::io::Result<()> {
    let inner = match fs::read_dir(group) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        inner => inner?,
    };
    for entry in inner {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
