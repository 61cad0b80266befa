//! What `manifests/` gives the operator is what it needs.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser;
use imcluster_operator::cluster::build::Kind;
use imcluster_operator::cluster::names::OPERATOR;
use imcluster_operator::config::{Cli, Command, LogFormat, Namespaces, Settings};
use serde_json::Value;

/// The objects of a file of `manifests`.
fn read(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(file);
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn deployment() -> Value {
    read("base/deployment.yaml").remove(0)
}

/// The settings of the Deployment in an overlay.
fn settings(overlay: &str) -> Settings {
    let deployment = deployment();
    let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    let patches = read(&format!("overlays/{overlay}/kustomization.yaml"));
    let patch: Vec<Value> = serde_saphyr::from_str(patches[0]["patches"][0]["patch"].as_str().unwrap()).unwrap();
    let arguments = arguments.iter().chain([&patch[0]["value"]]).map(|it| it.as_str().unwrap());
    match Cli::try_parse_from([OPERATOR].into_iter().chain(arguments)).unwrap().command {
        Command::Run(settings) => *settings,
        Command::Crd => panic!("it runs nothing"),
    }
}

/// Group, resource, verb and name, if there is one, of every rule of a file.
fn rights(file: &str) -> BTreeSet<[String; 4]> {
    let words = |rule: &Value, field: &str| -> Vec<String> {
        let words = rule[field].as_array().into_iter().flatten();
        words.map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let mut found = BTreeSet::new();
    for rule in read(file)[0]["rules"].as_array().unwrap() {
        let mut names = words(rule, "resourceNames");
        if names.is_empty() {
            names.push(String::new());
        }
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for verb in words(rule, "verbs") {
                    let right = |name: &String| [group.clone(), resource.clone(), verb.clone(), name.clone()];
                    found.extend(names.iter().map(right));
                }
            }
        }
    }
    found
}

#[test]
fn it_understands_the_arguments_that_it_is_given() {
    let listed = settings("namespaced");
    let namespaces = Namespaces::Listed(BTreeSet::from(["default".to_owned()]));
    assert_eq!(listed.scope.namespaces("imcluster-system"), Ok(namespaces));
    assert_eq!(listed.log.log_format, LogFormat::Json);
    assert_eq!(settings("cluster-wide").scope.namespaces("imcluster-system"), Ok(Namespaces::All));
}

#[test]
fn it_listens_where_it_is_probed_and_is_known_to_gateways_by_its_label() {
    let template = &deployment()["spec"]["template"];
    let port = &template["spec"]["containers"][0]["ports"][0]["containerPort"];
    assert_eq!(*port, settings("namespaced").listen.port());
    assert_eq!(template["metadata"]["labels"]["app.kubernetes.io/name"], OPERATOR);
}

#[test]
fn it_may_have_its_lease_and_no_other() {
    let right = |verb: &str, name: &str| ["coordination.k8s.io", "leases", verb, name].map(str::to_owned);
    let lease = settings("namespaced").lease.lease_name;
    let expected = BTreeSet::from([right("create", ""), right("get", &lease), right("update", &lease)]);
    assert_eq!(rights("base/leader-election.yaml"), expected);
}

#[test]
fn it_may_make_watch_and_remove_every_kind_that_it_makes() {
    let rights = rights("watched-namespace/role.yaml");
    for kind in Kind::ALL {
        let (group, resource) = match kind {
            Kind::ServiceAccount => ("", "serviceaccounts"),
            Kind::ConfigMap => ("", "configmaps"),
            Kind::Secret => ("", "secrets"),
            Kind::Service => ("", "services"),
            Kind::NetworkPolicy => ("networking.k8s.io", "networkpolicies"),
            Kind::Ingress => ("networking.k8s.io", "ingresses"),
            Kind::PodDisruptionBudget => ("policy", "poddisruptionbudgets"),
            Kind::StatefulSet => ("apps", "statefulsets"),
        };
        for verb in ["get", "list", "watch", "create", "patch", "delete"] {
            assert!(rights.contains(&[group, resource, verb, ""].map(str::to_owned)), "{kind:?} {verb}");
        }
    }
}
