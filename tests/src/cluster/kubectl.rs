//! `kubectl`, as a person would use it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::programs;

/// Longest wait for one answer of the API server.
const ANSWER: &str = "--request-timeout=60s";

/// A `kubectl` for one cluster.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// For the cluster of a kubeconfig.
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        Ok(Self { program: programs::kubectl()?, kubeconfig: kubeconfig.to_owned() })
    }

    /// For the cluster that `KUBECONFIG` names.
    pub fn from_environment() -> Result<Self> {
        let kubeconfig = std::env::var_os("KUBECONFIG").context("KUBECONFIG is not set: make test-cluster sets it")?;
        Self::new(Path::new(&kubeconfig))
    }

    /// Its folder, for `PATH`.
    pub fn folder(&self) -> &Path {
        self.program.parent().unwrap_or(Path::new("/"))
    }

    /// Runs it and returns what it says; an error has what it complains about.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        Ok(self.feed(arguments, "")?.said)
    }

    /// Gets objects as JSON.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let said = self.run(&[&["get", "--output=json"], arguments].concat())?;
        serde_json::from_str(&said).with_context(|| format!("kubectl get {} said no JSON", arguments.join(" ")))
    }

    /// Applies objects, server-side, and returns the API server's warnings.
    pub fn apply(&self, objects: &Value) -> Result<String> {
        self.apply_text(&objects.to_string())
    }

    /// The same with manifests in YAML or JSON.
    pub fn apply_text(&self, manifests: &str) -> Result<String> {
        Ok(self.feed(&["apply", "--server-side", "--filename=-"], manifests)?.warned)
    }

    /// Runs one that goes on until it is dropped.
    pub fn watch(&self, arguments: &[&str]) -> Result<Watch> {
        let mut command = Command::new(&self.program);
        command.arg(ANSWER).args(arguments).env("KUBECONFIG", &self.kubeconfig).stdout(Stdio::piped());
        let mut child = command.spawn().context("kubectl cannot be started")?;
        let said = BufReader::new(child.stdout.take().context("a pipe from kubectl")?);
        Ok(Watch { child, said })
    }

    fn feed(&self, arguments: &[&str], input: &str) -> Result<Said> {
        let mut command = Command::new(&self.program);
        command.arg(ANSWER).args(arguments).env("KUBECONFIG", &self.kubeconfig);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("kubectl cannot be started")?;
        // What it could not take, it will complain about.
        let _ = child.stdin.take().context("a pipe to kubectl")?.write_all(input.as_bytes());
        let output = child.wait_with_output().context("kubectl was lost")?;
        let [said, warned] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if !output.status.success() {
            bail!("kubectl {} failed ({}): {}", arguments.join(" "), output.status, warned.trim());
        }
        Ok(Said { said, warned })
    }
}

/// A `kubectl` that goes on, for a minute at most; it ends with the value.
pub struct Watch {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Watch {
    /// The lines that it says from now on until one is as expected, that one included.
    pub fn until(&mut self, expected: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            ensure!(self.said.read_line(&mut line)? > 0, "kubectl has ended after {lines:?}");
            lines.push(line);
            if lines.last().is_some_and(|line| expected(line)) {
                return Ok(lines);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // One that has ended already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Said {
    said: String,
    warned: String,
}
