//! What docs/operator.md says of settings, metrics and events is what the code says.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use imcluster_operator::config::Cli;
use imcluster_operator::events::Reason;
use imcluster_operator::telemetry::metrics::METRICS;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares what stands between two marks with `expected`; with `WRITE_DOCS=1` in the environment writes it instead.
fn documented(what: &str, source: &str, expected: &str) {
    let marks = [format!("<!-- {what}: generated from {source} -->\n"), format!("<!-- end of {what} -->")];
    assert!(here().join("..").join(source).exists(), "{source} is somewhere else now");
    let path = here().join("../docs/operator.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(&marks[0]).expect("the first mark");
    let (found, after) = rest.split_once(&marks[1]).expect("the second mark");
    if std::env::var_os("WRITE_DOCS").is_some_and(|value| value == "1") {
        return fs::write(&path, [before, &marks[0], expected, &marks[1], after].concat()).unwrap();
    }
    assert!(
        found == expected,
        "docs/operator.md differs from the code in its {what}: run `make schemas` and commit what it writes"
    );
}

fn settings() -> String {
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    let mut table = String::from("| flag | variable | default | what it is |\n|---|---|---|---|\n");
    for setting in run.get_arguments() {
        let variable = setting.get_env().unwrap().to_str().unwrap();
        let value = setting.get_value_names().unwrap()[0].as_str();
        let default = match setting.get_default_values() {
            [] => "none".to_owned(),
            [value] if value.is_empty() => "none".to_owned(),
            // It has the version in it.
            [_] if setting.get_id() == "image" => "that of this release".to_owned(),
            [value, ..] => format!("`{}`", value.to_str().unwrap()),
        };
        let help = setting.get_help().unwrap();
        writeln!(table, "| `--{} {value}` | `{variable}` | {default} | {help} |", setting.get_long().unwrap()).unwrap();
    }
    table
}

fn metrics() -> String {
    let mut table = String::from("| metric | kind | labels | says |\n|---|---|---|---|\n");
    for metric in METRICS {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(table, "| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help).unwrap();
    }
    table
}

fn events() -> String {
    let mut table = String::from("| reason | type | action | says |\n|---|---|---|---|\n");
    for reason in Reason::ALL {
        let (word, action, meaning) = (reason.as_str(), reason.action(), reason.meaning());
        writeln!(table, "| `{word}` | {:?} | `{action}` | {meaning} |", reason.kind()).unwrap();
    }
    table
}

/// In one test: each writes the same page.
#[test]
fn the_page_about_the_operator_says_what_the_code_says() {
    documented("settings", "operator/src/config.rs", &settings());
    documented("metrics", "operator/src/telemetry/metrics.rs", &metrics());
    documented("events", "operator/src/events/mod.rs", &events());
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
    let texts = sources(&here().join("src")).into_iter().map(|path| fs::read_to_string(path).unwrap());
    let in_code: BTreeSet<String> = texts.flat_map(|text| emitted(&text).collect::<Vec<_>>()).collect();
    let described: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(in_code, described, "describe it in operator/src/telemetry/metrics.rs");
    assert_eq!(described.len(), METRICS.len(), "no name twice");
}
