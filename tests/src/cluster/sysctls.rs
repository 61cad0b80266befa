//! What the kubelet changes in the kernel, for the whole machine, and how it was before.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const CHANGED: [&str; 6] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// Writes down how it is now.
pub(super) fn remember(file: &Path) -> Result<()> {
    let mut values = String::new();
    for name in CHANGED {
        // One that this kernel has not cannot be changed either.
        if let Ok(value) = fs::read_to_string(Path::new("/proc/sys").join(name)) {
            // Writing to a string cannot fail.
            let _ = writeln!(values, "{name}={}", value.trim());
        }
    }
    fs::write(file, values).with_context(|| format!("{} cannot be written", file.display()))
}

/// Makes it as it was, if that was written down.
pub(super) fn restore(file: &Path) -> Result<()> {
    let Ok(values) = fs::read_to_string(file) else { return Ok(()) };
    for (name, value) in values.lines().filter_map(|line| line.split_once('=')) {
        let path = Path::new("/proc/sys").join(name);
        fs::write(&path, value).with_context(|| format!("{} cannot be set back to {value}", path.display()))?;
    }
    Ok(())
}
