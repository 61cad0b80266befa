//! Metrics: those in the code, those that are described, and those in the documentation are the same.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use im_server::api::METRICS;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Rust files of a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| {
        let rust = path.extension().is_some_and(|extension| extension == "rs");
        if path.is_dir() { sources(&path) } else { Vec::from_iter(rust.then_some(path)) }
    };
    entries.flat_map(of).collect()
}

/// The names that a source counts or times under.
fn emitted(source: &str) -> impl Iterator<Item = String> {
    ["counter!(", "gauge!(", "histogram!("].into_iter().flat_map(move |macro_name| {
        source.split(macro_name).skip(1).filter_map(|rest| {
            let name = rest.trim_start().strip_prefix('"')?;
            Some(name.split('"').next()?.to_owned())
        })
    })
}

#[test]
fn every_metric_in_the_code_is_described_and_every_described_one_is_in_the_code() {
    let folders = ["im-server/src", "im-sdk/src"].map(|folder| sources(&repository().join(folder)));
    let texts = folders.iter().flatten().map(|path| fs::read_to_string(path).unwrap());
    let in_code: BTreeSet<String> = texts.flat_map(|text| emitted(&text).collect::<Vec<_>>()).collect();
    let described: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(in_code, described, "describe it in im-server/src/api/prometheus.rs");
    assert_eq!(described.len(), METRICS.len(), "no name twice");
}

#[test]
fn the_documented_metrics_are_those_of_the_code() {
    const MARKS: [&str; 2] =
        ["<!-- metrics: generated from im-server/src/api/prometheus.rs -->\n", "<!-- end of metrics -->"];
    let mut table = String::from("| metric | kind | labels | says |\n|---|---|---|---|\n");
    for metric in METRICS {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(table, "| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help).unwrap();
    }
    let path = repository().join("docs/operations.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).expect("the first mark");
    let (found, after) = rest.split_once(MARKS[1]).expect("the second mark");
    if std::env::var_os("WRITE_DOCS").is_some_and(|value| value == "1") {
        return fs::write(&path, [before, MARKS[0], &table, MARKS[1], after].concat()).unwrap();
    }
    assert!(
        found == table,
        "docs/operations.md differs from the code: run `WRITE_DOCS=1 cargo test -p im-server --test it documented` and \
         commit what it writes"
    );
}
