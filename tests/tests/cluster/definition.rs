//! The definition of `ImCluster`, at a real API server.

use std::fs;
use std::path::Path;

use imcluster_tests::cluster::Kubectl;

use crate::eventually::eventually;

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn the_definition_is_accepted_without_a_warning_and_explains_itself() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/imclusters.yaml");
    let definition = fs::read_to_string(file).unwrap();
    let kubectl = Kubectl::from_environment().unwrap();
    let warned = kubectl.apply_text(&definition).unwrap();
    assert_eq!(warned, "");
    let name = "customresourcedefinition/imclusters.imcluster.dev";
    // NonStructuralSchema would be one that is true, and its rules would not be looked at.
    kubectl.run(&["wait", "--for=condition=Established", name, "--timeout=60s"]).unwrap();
    let conditions = kubectl.get(&[name]).unwrap()["status"]["conditions"].take();
    let structural = conditions.as_array().unwrap().iter().all(|it| it["type"] != "NonStructuralSchema");
    assert!(structural, "{conditions:#}");
    let explained = eventually(|| kubectl.run(&["explain", "imclusters.spec.gateways.replicas"]));
    assert!(explained.contains("integer"), "{explained}");
}
