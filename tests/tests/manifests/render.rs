//! kustomize and helm, as a person would call them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// The namespace of the operator in `manifests/base`.
pub(crate) const NAMESPACE: &str = "imcluster-system";

/// The folder `manifests`.
pub(crate) fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").canonicalize().unwrap()
}

/// The documents of a YAML text.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    documents.into_iter().filter(|it| !it.is_null()).collect()
}

/// The objects of a kustomization.
pub(crate) fn kustomize(folder: &Path) -> Vec<Value> {
    documents(&run("kustomize", &["build", folder.to_str().unwrap()], "").unwrap())
}

/// The objects of a kustomization that somebody else writes. Its files say `MANIFESTS` for the way to `manifests`.
pub(crate) fn kustomize_of_a_user(files: &[(&str, &str)]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for (name, content) in files {
        let file = root.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        // kustomize takes no absolute path.
        let up = "../".repeat(file.parent().unwrap().components().count() - 1);
        let way = format!("{up}{}", manifests().strip_prefix("/").unwrap().display());
        std::fs::write(file, content.replace("MANIFESTS", &way)).unwrap();
    }
    kustomize(&root)
}

/// The objects of a chart, or what helm has against the values.
pub(crate) fn helm(chart: &str, values: &Value) -> Result<Vec<Value>, String> {
    let chart = manifests().join("charts").join(chart);
    let arguments = [
        "template",
        "release",
        chart.to_str().unwrap(),
        "--namespace",
        NAMESPACE,
        "--kube-version=1.33.0",
        "--values=-",
    ];
    run("helm", &arguments, &values.to_string()).map(|text| documents(&text))
}

/// What helm's own linter says.
pub(crate) fn lint(chart: &str, values: &Value) -> Result<String, String> {
    let chart = manifests().join("charts").join(chart);
    let arguments = ["lint", "--strict", chart.to_str().unwrap(), "--kube-version=1.33.0", "--values=-"];
    run("helm", &arguments, &values.to_string())
}

/// The chart of the operator with values that it takes.
pub(crate) fn operator(values: &Value) -> Vec<Value> {
    helm("imcluster-operator", values).unwrap()
}

/// The chart of the operator as it is.
pub(crate) fn operator_by_default() -> Vec<Value> {
    operator(&json!({}))
}

fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        // No cluster of the person who runs the tests is asked.
        .env("KUBECONFIG", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} cannot be started ({error}): run make test-manifests"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let [said, complained] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    if output.status.success() { Ok(said) } else { Err(format!("{said}{complained}")) }
}
