//! What the operator may do.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::render::{documents, manifests};

/// Where rights are given.
const FILES: [&str; 3] = ["watched-namespace/role.yaml", "base/imclusters.yaml", "base/leader-election.yaml"];

/// Group, resource and verb of every rule of a file of `manifests`.
fn rights(file: &str) -> BTreeSet<[String; 3]> {
    let text = std::fs::read_to_string(manifests().join(file)).unwrap();
    let role = documents(&text).into_iter().find(|it| it["rules"].is_array()).unwrap();
    let list = |rule: &Value, field: &str| -> Vec<String> {
        rule[field].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let mut found = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                for verb in list(rule, "verbs") {
                    let new = found.insert([group.clone(), resource.clone(), verb.clone()]);
                    assert!(new, "{group}/{resource} {verb} is given twice");
                }
            }
        }
    }
    found
}

#[test]
fn nothing_is_given_by_a_star() {
    for file in FILES {
        for right in rights(file) {
            assert!(right.iter().all(|word| !word.contains('*')), "{right:?}");
        }
    }
}

#[test]
fn nothing_is_given_by_which_more_could_be_taken() {
    // Roles and bindings, other identities, the inside of pods, what is outside of namespaces.
    let too_much = ["roles", "rolebindings", "clusterroles", "clusterrolebindings", "pods/exec", "pods/attach"];
    let verbs = ["escalate", "bind", "impersonate", "deletecollection"];
    for [group, resource, verb] in FILES.into_iter().flat_map(rights) {
        assert!(!too_much.contains(&&*resource) && !verbs.contains(&&*verb), "{group}/{resource} {verb}");
        assert!(resource != "serviceaccounts/token" && resource != "nodes", "{group}/{resource} {verb}");
    }
}
