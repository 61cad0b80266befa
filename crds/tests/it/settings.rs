//! The settings of the resource are those of im-server, whose list is generated from im-server.

use std::collections::{BTreeMap, BTreeSet};

use imcluster_crds::{ImCluster, Settings, settings};
use serde_json::json;

use crate::admission::full;
use crate::cases::{merged, smallest};

/// A row of docs/configuration.md.
struct Documented {
    default: String,
    secret: bool,
}

/// Every setting that im-server documents, by its name.
fn documented() -> BTreeMap<String, Documented> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let cells: Vec<_> = line.strip_prefix("| `--")?.splitn(4, " | ").collect();
        let [flag, _, default, what] = cells[..] else { panic!("{line}") };
        let name = flag.split([' ', '`']).next()?.to_owned();
        Some((name, Documented { default: default.trim_matches('`').to_owned(), secret: what.contains("**Secret**") }))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn im_server_knows_every_setting_that_is_named_here() {
    let documented = documented();
    assert!(documented.len() > 50, "the list was not understood");
    let known = |name: &str| {
        let of_file = name.strip_suffix("-file").and_then(|secret| documented.get(secret)).is_some_and(|it| it.secret);
        // `config` is the file that all settings are in, and not a setting.
        of_file || documented.contains_key(name) || name == "config"
    };
    let typed = Settings::names();
    for name in settings::OPERATORS_OWN.iter().chain(settings::SECRETS).copied().chain(typed.iter().map(String::as_str))
    {
        assert!(known(name), "im-server has no setting {name}");
    }
}

#[test]
fn every_setting_has_one_way_to_be_set() {
    let typed = Settings::names();
    let own: BTreeSet<_> = settings::OPERATORS_OWN.iter().map(|name| (*name).to_owned()).collect();
    let secret: BTreeSet<_> = settings::SECRETS.iter().map(|name| (*name).to_owned()).collect();
    assert!(typed.is_disjoint(&own) && typed.is_disjoint(&secret) && own.is_disjoint(&secret));
}

#[test]
fn no_secret_of_im_server_can_stand_in_a_resource() {
    for (name, _) in documented().into_iter().filter(|(_, setting)| setting.secret) {
        let refused = settings::OPERATORS_OWN.contains(&&*name) || settings::SECRETS.contains(&&*name);
        assert!(refused, "{name}: everybody who sees the resource would see it");
    }
}

#[test]
fn the_rule_about_frames_knows_the_defaults_of_im_server() {
    let documented = documented();
    assert_eq!(documented["frame-bytes"].default, "131072");
    assert_eq!(documented["content-bytes"].default, "65536");
}

#[test]
fn settings_are_handed_on_by_the_names_of_the_file() {
    let typed: ImCluster = serde_json::from_value(full()).unwrap();
    let entries = typed.spec.config.entries();
    assert_eq!(entries.keys().cloned().collect::<BTreeSet<_>>(), Settings::names(), "the full resource has them all");
    for (name, value) in [
        ("trusted-proxies", "10.0.0.0/8"),
        ("open-registration", "true"),
        ("push-delay-ms", "1000"),
        ("log-format", "json"),
        ("trace-ratio", "0.5"),
        ("redis-prefix", "chat:"),
    ] {
        assert_eq!(entries[name], value, "{name}");
    }
}

#[test]
fn a_setting_that_is_not_set_is_left_to_im_server() {
    let typed: ImCluster = serde_json::from_value(smallest()).unwrap();
    assert_eq!(typed.spec.config.entries(), BTreeMap::new());
    let two = json!({ "spec": { "config": { "trustedProxies": ["10.0.0.0/8", "fd00::/8"] } } });
    let typed: ImCluster = serde_json::from_value(merged(&smallest(), &two)).unwrap();
    assert_eq!(typed.spec.config.entries()["trusted-proxies"], "10.0.0.0/8,fd00::/8");
}
