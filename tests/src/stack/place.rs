//! Where a component keeps its files, and which ports it listens on.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tempfile::TempDir;

/// Below the range from which the kernel takes the ports of outgoing connections (32768 up): nobody else gets the port of a
/// component that is down for a while.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Where `scripts/need` keeps what it brings, for every checkout of this user.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|it| !it.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let cache =
        cache.context("neither XDG_CACHE_HOME nor HOME is set: no place to look for what scripts/need brought")?;
    Ok(cache.join("imcluster"))
}

/// A folder. A temporary one is removed with its last owner.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    // Held, not read: the folder goes with its last owner.
    temporary: Option<Arc<TempDir>>,
}

impl Place {
    /// A fresh folder.
    pub fn temporary() -> Result<Self> {
        let folder = TempDir::with_prefix("im-stack-").context("no temporary folder can be made")?;
        Ok(Self { path: folder.path().to_owned(), temporary: Some(Arc::new(folder)) })
    }

    /// A folder that stays; made if it is not there.
    pub fn at(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("{} cannot be made", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("{} cannot be reached", path.display()))?;
        Ok(Self { path, temporary: None })
    }

    /// A folder in it; made if it is not there.
    pub fn room(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self { path, temporary: self.temporary.clone() })
    }

    /// Its path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, content).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }

    /// Writes a file in it that nobody else may read.
    pub fn write_secret(&self, name: &str, content: &str) -> Result<()> {
        let path = self.path.join(name);
        let written = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content.as_bytes()));
        written.with_context(|| format!("{} cannot be written", path.display()))
    }

    /// The port for a purpose: the same as the last time in this folder, or else a free one.
    pub fn port(&self, purpose: &str) -> Result<u16> {
        let path = self.path.join(format!("{purpose}.port"));
        let Ok(text) = fs::read_to_string(&path) else {
            let port = free_port()?;
            self.write(&format!("{purpose}.port"), &port.to_string())?;
            return Ok(port);
        };
        let port = text.trim().parse().with_context(|| format!("{} holds no port number", path.display()))?;
        if !reserve(port)? || !is_free(port) {
            bail!(
                "port {port} on 127.0.0.1 is taken: stop what listens there, or remove {} to get another port",
                path.display()
            );
        }
        Ok(port)
    }
}

/// A free port that nobody else was given.
fn free_port() -> Result<u16> {
    loop {
        let port = rand::random_range(PORTS);
        if !reserved().lock().contains_key(&port) && reserve(port)? && is_free(port) {
            return Ok(port);
        }
    }
}

/// What this process was given, each with a lock that it holds until it ends: between the choice of a port and the start of what
/// listens there, another process could choose the same.
fn reserved() -> &'static Mutex<HashMap<u16, File>> {
    static RESERVED: LazyLock<Mutex<HashMap<u16, File>>> = LazyLock::new(Mutex::default);
    &RESERVED
}

/// Whether the port is this process's to give.
fn reserve(port: u16) -> Result<bool> {
    let mut reserved = reserved().lock();
    if reserved.contains_key(&port) {
        return Ok(true);
    }
    let path = cache()?.join("ports").join(port.to_string());
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
        .and_then(|()| File::create(&path))
        .map(|file| file.try_lock().is_ok() && reserved.insert(port, file).is_none())
        .with_context(|| format!("{} cannot be written", path.display()))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_stays_the_same_for_its_folder_and_purpose() {
        let place = Place::temporary().unwrap();
        let port = place.port("http").unwrap();
        assert_eq!(place.port("http").unwrap(), port);
        assert_ne!(place.port("tcp").unwrap(), port);
    }

    #[test]
    fn a_port_that_another_process_was_given_is_not_given_again() {
        let place = Place::temporary().unwrap();
        let port = place.port("http").unwrap();
        let lock = File::open(cache().unwrap().join("ports").join(port.to_string())).unwrap();
        assert!(lock.try_lock().is_err());
    }

    #[test]
    fn a_port_that_was_taken_meanwhile_is_named() {
        let place = Place::temporary().unwrap();
        let port = place.port("http").unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let error = place.port("http").unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("http.port"), "{error}");
    }
}
