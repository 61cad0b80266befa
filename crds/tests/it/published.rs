//! What is committed is what the types say.

use std::path::Path;

/// Compares a committed file with `expected`; with `WRITE_DOCS=1` in the environment writes it instead.
fn published(path: &str, expected: &str) {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("WRITE_DOCS").is_some_and(|value| value == "1") {
        return std::fs::write(&whole, expected).unwrap();
    }
    let found = std::fs::read_to_string(&whole).unwrap_or_default();
    let line = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let line = line.unwrap_or(found.lines().count().min(expected.lines().count())) + 1;
    assert!(
        found == expected,
        "{path} differs from the types at line {line}: run `make schemas` and commit what it writes"
    );
}

#[test]
fn the_committed_definition_is_that_of_the_types() {
    published("crds/imclusters.yaml", &imcluster_crds::manifest());
}

#[test]
fn the_page_about_the_resource_is_that_of_the_definition() {
    published("docs/api.md", &crate::reference::page());
}

/// The definition as the template of a chart. Helm leaves it where it is when the chart is removed, and every `ImCluster` with it.
fn of_the_chart() -> String {
    let definition = imcluster_crds::manifest();
    assert!(!definition.contains("{{"), "Helm would take it for a directive");
    let (metadata, kept) = ("\nmetadata:\n", "\nmetadata:\n  annotations:\n    helm.sh/resource-policy: keep\n");
    assert_eq!(definition.matches(metadata).count(), 1);
    definition.replace(metadata, kept)
}

#[test]
fn the_chart_with_the_definition_is_that_of_the_types() {
    published("manifests/charts/imcluster-crds/templates/imclusters.yaml", &of_the_chart());
}
