//! A namespace of a test's own, under the restricted Pod Security Standard.

use anyhow::Result;
use serde_json::{Value, json};

use super::kubectl::{Kubectl, Watch};

/// Gone, with everything in it, when dropped.
pub struct Namespace {
    kubectl: Kubectl,
    name: String,
}

impl Namespace {
    /// A fresh one, whose name begins with `test`.
    pub fn new(test: &str) -> Self {
        let kubectl = Kubectl::from_environment().unwrap();
        let name = format!("{test}-{:08x}", rand::random::<u32>());
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels },
        });
        kubectl.apply(&namespace).unwrap();
        Self { kubectl, name }
    }

    /// Runs kubectl in it and returns what it says.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap()
    }

    /// The same where it may fail.
    pub fn try_run(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl.run(&[&["--namespace", &self.name], arguments].concat())
    }

    /// Runs a kubectl in it that goes on until it is dropped.
    pub fn watch(&self, arguments: &[&str]) -> Result<Watch> {
        self.kubectl.watch(&[&["--namespace", &self.name], arguments].concat())
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gets objects as JSON.
    pub fn get(&self, arguments: &[&str]) -> Value {
        self.kubectl.get(&[arguments, &["--namespace", &self.name]].concat()).unwrap()
    }

    /// Applies objects that name no namespace; the API server must have nothing against them.
    pub fn apply(&self, objects: &[Value]) {
        for object in objects {
            let warned = self.try_apply(object).unwrap();
            assert!(!warned.contains("Warning"), "{warned}");
        }
    }

    /// Applies one, and returns what the API server remarks.
    pub fn try_apply(&self, object: &Value) -> Result<String> {
        let mut object = object.clone();
        object["metadata"]["namespace"] = self.name.as_str().into();
        self.kubectl.apply(&object)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nobody waits for it, and a test that failed says why by itself.
        let _ = self.kubectl.run(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
