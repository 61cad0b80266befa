//! The strategic merge patch of a pod's spec.

use serde_json::{Map, Value};

/// Lists that are merged by what their items are told apart by, as the patch merge keys of Kubernetes' `PodSpec` say. Any
/// other list is replaced as a whole. The names of these fields mean the same wherever they stand in a pod's spec.
const MERGE_KEYS: [(&str, &[&str]); 12] = [
    ("containers", &["name"]),
    ("env", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("ports", &["containerPort", "protocol"]),
    ("resourceClaims", &["name"]),
    ("schedulingGates", &["name"]),
    ("topologySpreadConstraints", &["topologyKey"]),
    ("volumeDevices", &["devicePath"]),
    ("volumeMounts", &["mountPath"]),
];

/// Volumes are told apart by name as well, and one of another kind replaces what was there: two kinds in one are none.
const REPLACED_BY_NAME: &str = "volumes";

/// Merges `patch` into `base`: objects field by field, lists as the table says, null removes. Merging the same again changes
/// nothing.
pub(crate) fn merge(base: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *base = plain(patch);
        return;
    };
    if !base.is_object() {
        *base = Value::Object(Map::new());
    }
    let Value::Object(fields) = base else { return };
    for (name, change) in changes {
        let keys = MERGE_KEYS.iter().find(|(list, _)| list == name).map(|(_, keys)| *keys);
        match (change, keys) {
            (Value::Null, _) => {
                fields.remove(name);
            }
            (Value::Array(items), Some(keys)) => merge_list(list(fields, name), items, keys, merge),
            (Value::Array(items), None) if name == REPLACED_BY_NAME => {
                merge_list(list(fields, name), items, &["name"], |volume, new| *volume = fresh(new));
            }
            _ => merge(fields.entry(name.clone()).or_insert(Value::Null), change),
        }
    }
}

fn list<'a>(fields: &'a mut Map<String, Value>, name: &str) -> &'a mut Vec<Value> {
    let field = fields.entry(name.to_owned()).or_insert(Value::Null);
    if !field.is_array() {
        *field = Value::Array(Vec::new());
    }
    field.as_array_mut().expect("it has just been made one")
}

/// Items that are there are changed in place, others come behind them: the order of containers and variables has a meaning.
fn merge_list(list: &mut Vec<Value>, items: &[Value], keys: &[&str], change: impl Fn(&mut Value, &Value)) {
    for item in items {
        match list.iter_mut().find(|there| same(there, item, keys)) {
            Some(there) => change(there, item),
            None => list.push(fresh(item)),
        }
    }
}

/// Whether two items are one. An item without the first key, which no pod can have, is like no other but its equal.
fn same(there: &Value, item: &Value, keys: &[&str]) -> bool {
    let key = |item: &Value, key: &str| item.get(key).filter(|value| !value.is_null()).map(plain);
    match keys.first() {
        Some(first) if key(there, first).is_some() && key(item, first).is_some() => {
            keys.iter().all(|name| key(there, name) == key(item, name))
        }
        _ => *there == fresh(item),
    }
}

/// What a patch makes where there was nothing.
fn fresh(patch: &Value) -> Value {
    let mut made = Value::Null;
    merge(&mut made, patch);
    made
}

/// A value without the fields that are null.
pub(crate) fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn merged(base: &Value, patch: &Value) -> Value {
        let mut whole = base.clone();
        merge(&mut whole, patch);
        whole
    }

    fn base() -> Value {
        json!({
            "containers": [{
                "name": "im-server",
                "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }],
                "ports": [{ "containerPort": 53, "protocol": "TCP" }, { "containerPort": 53, "protocol": "UDP" }],
                "volumeMounts": [{ "mountPath": "/a", "name": "a" }],
            }],
            "tolerations": [{ "operator": "Exists" }],
            "securityContext": { "runAsUser": 1, "runAsNonRoot": true },
            "topologySpreadConstraints": [{ "topologyKey": "zone", "maxSkew": 1 }, { "topologyKey": "host", "maxSkew": 1 }],
            "volumes": [{ "name": "a", "emptyDir": {} }],
        })
    }

    #[test]
    fn containers_variables_mounts_ports_and_constraints_are_found_by_their_keys_and_changed_in_place() {
        let patch = json!({
            "containers": [
                { "name": "sidecar", "image": "s" },
                {
                    "name": "im-server",
                    "env": [{ "name": "C", "value": "3" }, { "name": "A", "value": "4" }],
                    "ports": [{ "containerPort": 53, "protocol": "UDP", "name": "dns" }],
                    "volumeMounts": [{ "mountPath": "/a", "readOnly": true }, { "mountPath": "/b", "name": "a" }],
                },
            ],
            "topologySpreadConstraints": [{ "topologyKey": "host", "maxSkew": 5 }],
        });
        let whole = merged(&base(), &patch);
        let container = &whole["containers"][0];
        assert_eq!(whole["containers"][1], json!({ "name": "sidecar", "image": "s" }));
        let (a, b, c) = ("A", "B", "C");
        assert_eq!(
            container["env"],
            json!([{ "name": a, "value": "4" }, { "name": b, "value": "2" }, { "name": c, "value": "3" }])
        );
        assert_eq!(container["ports"][0], json!({ "containerPort": 53, "protocol": "TCP" }));
        assert_eq!(container["ports"][1]["name"], "dns");
        assert_eq!(container["volumeMounts"][0], json!({ "mountPath": "/a", "name": "a", "readOnly": true }));
        assert_eq!(container["volumeMounts"][1], json!({ "mountPath": "/b", "name": "a" }));
        assert_eq!(whole["topologySpreadConstraints"][0]["maxSkew"], 1);
        assert_eq!(whole["topologySpreadConstraints"][1]["maxSkew"], 5);
    }

    #[test]
    fn lists_without_a_merge_key_are_replaced() {
        let patch = json!({ "tolerations": [{ "key": "gpu" }] });
        assert_eq!(merged(&base(), &patch)["tolerations"], json!([{ "key": "gpu" }]));
    }

    #[test]
    fn null_removes_and_never_stays() {
        let patch = json!({
            "securityContext": { "runAsUser": null },
            "tolerations": null,
            "affinity": { "nodeAffinity": null },
            "volumes": [{ "name": "b", "configMap": { "name": "b", "optional": null } }],
        });
        let whole = merged(&base(), &patch);
        assert_eq!(whole["securityContext"], json!({ "runAsNonRoot": true }));
        assert_eq!(whole.get("tolerations"), None);
        assert_eq!(whole["affinity"], json!({}));
        assert_eq!(whole["volumes"][1], json!({ "name": "b", "configMap": { "name": "b" } }));
    }

    #[test]
    fn a_volume_of_another_kind_replaces_the_one_of_its_name() {
        let patch = json!({ "volumes": [{ "name": "a", "configMap": { "name": "c" } }] });
        assert_eq!(merged(&base(), &patch)["volumes"], json!([{ "name": "a", "configMap": { "name": "c" } }]));
    }

    /// Fields of pods, of containers and of their parts, by names that mean a list with a key, a plain list or a value.
    fn pods() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3_u8).prop_map(Value::from),
            "[a-c]".prop_map(Value::from),
        ];
        let field = prop::sample::select(
            MERGE_KEYS
                .iter()
                .flat_map(|(list, keys)| [*list, keys[0]])
                .chain(["volumes", "tolerations", "x"])
                .collect::<Vec<_>>(),
        );
        leaf.prop_recursive(4, 48, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(field.clone().prop_map(str::to_owned), inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn merging_the_same_twice_is_merging_it_once(base in pods(), patch in pods()) {
            let once = merged(&base, &patch);
            prop_assert_eq!(merged(&once, &patch), once);
        }
    }
}
