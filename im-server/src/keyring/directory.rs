//! A folder of keys, as Kubernetes mounts a Secret: each file is a key, its name is the key's id.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::fresh;
use crate::chat::{Keys, KeysError};

/// Between two looks at the folder. They are a handful of small files in memory, and the kubelet needs a minute to bring a
/// change: a watch would gain nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What Kubernetes exchanges, all files at once: a link to the folder that they are really in.
const MOUNTED: &str = "..data";

/// Bytes of a file that are read: enough to tell that it is no key.
const READ: u64 = 64 * 1024;

/// Why a folder of keys cannot be used. The keys themselves are not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// It, or a file in it, cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A file's name cannot be a key's id.
    #[error("the name of {0} is no text: the name of a file is the key's id in the header of tokens")]
    Name(PathBuf),
    /// The files are no good keys.
    #[error("{path}: {error}")]
    Keys {
        /// The folder.
        path: PathBuf,
        /// What is wrong with them.
        error: KeysError,
    },
}

/// A folder of keys, of which one signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    /// The name of the file with the key that signs.
    pub signing: String,
}

impl Directory {
    /// The keys in it now.
    pub fn read_blocking(&self) -> Result<Keys, DirectoryError> {
        let contents = contents(&self.path)?;
        Keys::new(contents, &self.signing).map_err(|error| DirectoryError::Keys { path: self.path.clone(), error })
    }

    /// The keys in it now.
    pub async fn read(&self) -> Result<Keys, DirectoryError> {
        let directory = self.clone();
        let unreadable = |error: tokio::task::JoinError| DirectoryError::Unreadable {
            path: self.path.clone(),
            reason: error.to_string(),
        };
        tokio::task::spawn_blocking(move || directory.read_blocking()).await.map_err(unreadable)?
    }

    /// Tells of changes as long as it runs. What cannot be used leaves the last good keys where they are.
    pub async fn follow(self, keys: watch::Sender<Arc<Keys>>) {
        let mut problem = None;
        fresh(true);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            problem = self.look(&keys, problem).await;
            fresh(problem.is_none());
        }
    }

    /// Looks once, and returns what is wrong. What was wrong before is not said again.
    async fn look(&self, keys: &watch::Sender<Arc<Keys>>, before: Option<DirectoryError>) -> Option<DirectoryError> {
        match self.read().await {
            Ok(read) => {
                if before.is_some() {
                    tracing::info!("the keys of tokens can be used again");
                }
                if read != **keys.borrow() {
                    tracing::info!(keys = ?read.ids().collect::<Vec<_>>(), "the keys of tokens have changed");
                    keys.send_replace(Arc::new(read));
                }
                None
            }
            Err(error) => {
                if before.as_ref() != Some(&error) {
                    tracing::warn!(%error, "the keys of tokens cannot be used: the last good ones stay");
                }
                Some(error)
            }
        }
    }
}

/// Names and contents of the files in a folder, but those whose name begins with a dot.
fn contents(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, DirectoryError> {
    // The folder that the link leads to, found once, so that an exchange in the middle does not give half of each.
    let mounted = folder.join(MOUNTED);
    let folder = match fs::canonicalize(&mounted) {
        Ok(mounted) => mounted,
        Err(error) if error.kind() == io::ErrorKind::NotFound => folder.to_owned(),
        Err(error) => return Err(unreadable(&mounted)(error)),
    };
    let mut contents = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable(&folder))? {
        let path = entry.map_err(unreadable(&folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(DirectoryError::Name(path));
        };
        // Links are followed.
        if name.starts_with('.') || !fs::metadata(&path).map_err(unreadable(&path))?.is_file() {
            continue;
        }
        contents.push((name.to_owned(), read(&path).map_err(unreadable(&path))?));
    }
    Ok(contents)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, READ), &mut content)?;
    Ok(content)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    move |error| DirectoryError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const A: &str = "a-key-that-has-32-characters-aaa";
    const B: &str = "b-key-that-has-32-characters-bbb";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn directory(folder: &Path) -> Directory {
        Directory { path: folder.to_owned(), signing: "a".to_owned() }
    }

    fn ids(folder: &Path) -> Vec<String> {
        directory(folder).read_blocking().ok().unwrap().ids().map(str::to_owned).collect()
    }

    #[test]
    fn every_file_is_a_key_but_those_whose_names_begin_with_a_dot() {
        let folder = folder(&[("a", A), ("b", B), (".hidden", "short")]);
        fs::create_dir(folder.path().join("folder")).unwrap();
        symlink(folder.path().join("b"), folder.path().join("link")).unwrap();
        assert_eq!(ids(folder.path()), ["a", "b", "link"]);
    }

    /// As the kubelet does it: a new folder, and then the link to it is exchanged.
    #[test]
    fn a_mounted_secret_is_read_where_its_link_leads() {
        let mount = tempfile::tempdir().unwrap();
        let at = |name: &str| mount.path().join(name);
        for (folder, name, key) in [("..1", "a", A), ("..2", "a", B), ("..2", "b", B)] {
            fs::create_dir_all(at(folder)).unwrap();
            fs::write(at(folder).join(name), key).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/a", at("a")).unwrap();
        assert_eq!(ids(mount.path()), ["a"]);
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_eq!(ids(mount.path()), ["a", "b"], "before the kubelet has made a link for it");
    }

    #[test]
    fn what_is_wrong_is_told_with_the_path_and_without_the_key() {
        let said = |folder: &Path| directory(folder).read_blocking().err().unwrap().to_string();
        assert!(said(Path::new("/nowhere")).starts_with("/nowhere cannot be read: "));
        let short = folder(&[("a", "hunter2")]);
        let problem = said(short.path());
        assert!(problem.contains("the key a has 7 characters") && !problem.contains("hunter2"), "{problem}");
        let empty = folder(&[]);
        assert!(said(empty.path()).starts_with(&format!("{}: there is no key", empty.path().display())));
        let large = folder(&[("a", &"x".repeat(200_000))]);
        assert!(said(large.path()).contains("a has 65536 bytes, expected at most 4096"));
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_used_leaves_the_last_good_keys() {
        let folder = folder(&[("a", A), ("b", B)]);
        let directory = directory(folder.path());
        let (publish, mut keys) = watch::channel(Arc::new(directory.read_blocking().ok().unwrap()));
        assert_eq!(directory.look(&publish, None).await, None);
        assert!(!keys.has_changed().unwrap());
        fs::write(folder.path().join("a"), "short").unwrap();
        fs::remove_file(folder.path().join("b")).unwrap();
        let problem = directory.look(&publish, None).await;
        assert!(problem.is_some());
        assert_eq!(keys.borrow_and_update().ids().collect::<Vec<_>>(), ["a", "b"]);

        fs::write(folder.path().join("a"), A).unwrap();
        assert_eq!(directory.look(&publish, problem).await, None);
        assert_eq!(keys.borrow().ids().collect::<Vec<_>>(), ["a"]);
    }
}
