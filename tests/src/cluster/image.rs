//! Images made of files of this machine, for a node that pulls nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::stack::run;

/// A file's mode: whether it may be run is all that matters.
const PROGRAM: u32 = 0o755;
const PLAIN: u32 = 0o644;

/// An image in the making.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    entry_point: Vec<String>,
    /// Where each file is in the image, without the leading slash, and where it comes from.
    files: BTreeMap<PathBuf, PathBuf>,
}

impl Image {
    /// One that runs a program of this machine, which is put into `/bin` together with the libraries that it loads.
    pub fn of_program(name: &str, program: &Path) -> Result<Self> {
        let program = program.canonicalize().with_context(|| format!("{} is not there", program.display()))?;
        let file = program.file_name().context("a program has a name")?;
        let inside = Path::new("bin").join(file);
        let entry_point = vec![format!("/{}", inside.display())];
        let mut files: BTreeMap<_, _> =
            libraries(&program)?.into_iter().map(|library| (below_root(&library), library)).collect();
        files.insert(inside, program);
        Ok(Self { name: name.to_owned(), entry_point, files })
    }

    /// With arguments that always come first.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.entry_point.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// With everything in a folder, which becomes the image's root.
    pub fn with_folder(mut self, folder: &Path) -> Result<Self> {
        let mut folders = vec![folder.to_owned()];
        while let Some(current) = folders.pop() {
            let entries = fs::read_dir(&current).with_context(|| format!("{} cannot be read", current.display()))?;
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    self.files.insert(path.strip_prefix(folder)?.to_owned(), path);
                }
            }
        }
        Ok(self)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts it on the node whose containerd listens there.
    pub(super) fn import(&self, ctr: &Path, containerd: &Path) -> Result<()> {
        let folder = tempfile::tempdir().context("no temporary folder can be made")?;
        let archive = folder.path().join("image.tar");
        self.archive(&archive)?;
        let mut import = Command::new(ctr);
        import.args(["--timeout", "2m", "--namespace", "k8s.io", "--address"]).arg(containerd);
        import.args(["images", "import"]).arg(&archive);
        run(&import, None).with_context(|| format!("the image {} cannot be put on the node", self.name))
    }

    /// Writes it as `docker save` does: one layer. The same files always give the same image.
    fn archive(&self, archive: &Path) -> Result<()> {
        let layer_file = archive.with_extension("layer");
        self.layer(&layer_file)?;
        let digest = digest_of(&layer_file)?;
        let config = json!({
            "architecture": match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
            "os": "linux",
            "config": { "Entrypoint": self.entry_point, "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
            "history": [],
        });
        let manifest = json!([{ "Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"] }]);
        let mut tar = Builder::new(File::create(archive)?);
        for (name, content) in [("config.json", config), ("manifest.json", manifest)] {
            let content = content.to_string();
            let mut header = header(PLAIN, content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes())?;
        }
        let layer = File::open(&layer_file)?;
        tar.append_data(&mut header(PLAIN, layer.metadata()?.len()), "layer.tar", layer)?;
        Ok(tar.into_inner()?.flush()?)
    }

    fn layer(&self, file: &Path) -> Result<()> {
        let mut tar = Builder::new(File::create(file)?);
        for (inside, source) in &self.files {
            // Links are followed: a library is loaded by the name of one.
            let mut append = || -> Result<()> {
                let content = File::open(source)?;
                let about = content.metadata()?;
                let mode = if about.permissions().mode() & 0o111 == 0 { PLAIN } else { PROGRAM };
                Ok(tar.append_data(&mut header(mode, about.len()), inside, content)?)
            };
            append().with_context(|| format!("{} cannot be put into the image {}", source.display(), self.name))?;
        }
        Ok(tar.into_inner()?.flush()?)
    }
}

fn header(mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn digest_of(file: &Path) -> Result<String> {
    let (mut file, mut digest, mut buffer) = (File::open(file)?, Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => digest.update(&buffer[..length]),
        }
    }
    let mut text = String::new();
    for byte in digest.finalize() {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// The libraries that a program loads, with the loader.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd cannot be started")?;
    let [said, complained] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    // It fails on a program that loads nothing.
    if complained.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        bail!("ldd {} failed ({}): {}", program.display(), output.status, complained.trim());
    }
    libraries_in(&said).with_context(|| format!("{} cannot be run", program.display()))
}

/// Reads what `ldd` says: `name => path (address)`, `path (address)`, or `name (address)` for what the kernel brings.
fn libraries_in(said: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in said.lines().map(str::trim) {
        let place = line.split_once("=>").map_or(line, |(_, place)| place.trim());
        if place.starts_with("not found") {
            bail!("a library is missing: {line}");
        }
        let path = place.split_whitespace().next().unwrap_or_default();
        if path.starts_with('/') {
            found.push(path.into());
        }
    }
    Ok(found)
}

fn below_root(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_place() {
        let said = "\tlinux-vdso.so.1 (0x7ff)\n\tlibc.so.6 => /lib/libc.so.6 (0x7fe)\n\t/lib64/ld-linux.so.2 (0x7fd)\n";
        let expected: Vec<PathBuf> = vec!["/lib/libc.so.6".into(), "/lib64/ld-linux.so.2".into()];
        assert_eq!(libraries_in(said).unwrap(), expected);
        assert_eq!(libraries_in("\tstatically linked\n").unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_library_that_is_missing_is_named() {
        let error = libraries_in("\tlibx.so.1 => not found\n").unwrap_err().to_string();
        assert!(error.contains("libx.so.1"), "{error}");
    }

    #[test]
    fn the_same_files_give_the_same_image() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/greeting"), "hello").unwrap();
        let image = Image { name: "test:1".into(), entry_point: vec!["/x".into()], files: BTreeMap::new() };
        let image = image.with_folder(folder.path()).unwrap();
        let target = tempfile::tempdir().unwrap();
        let archives = ["one", "two"].map(|name| {
            let archive = target.path().join(name);
            image.archive(&archive).unwrap();
            fs::read(archive).unwrap()
        });
        assert_eq!(archives[0], archives[1]);
        let mut outer = tar::Archive::new(archives[0].as_slice());
        let names: Vec<_> = outer.entries().unwrap().map(|it| it.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(names, ["config.json", "manifest.json", "layer.tar"].map(PathBuf::from));
    }
}
