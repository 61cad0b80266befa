//! Which fields of an object are whose, as the API server keeps it (`metadata.managedFields`): whoever changes the value of a
//! field takes it from those who had set another. So an object whose fields are all still ours is as it was applied.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// Whether all fields of an object are those of who applied it as `manager`.
pub(super) fn holds(live: &ObjectMeta, manager: &str, applied: &Value) -> bool {
    let entries = live.managed_fields.iter().flatten();
    let mut ours = entries.filter(|entry| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    });
    let Some(set) = ours.next().and_then(|entry| entry.fields_v1.as_ref()) else { return false };
    covers(&set.0, &without_identity(applied))
}

/// What names an object is nobody's.
fn without_identity(applied: &Value) -> Value {
    let mut fields = applied.clone();
    let remove = |object: &mut Value, names: [&str; 2]| {
        if let Some(object) = object.as_object_mut() {
            object.retain(|name, _| !names.contains(&name.as_str()));
        }
    };
    remove(&mut fields, ["apiVersion", "kind"]);
    remove(&mut fields["metadata"], ["name", "namespace"]);
    fields
}

/// Whether a set of fields has all of a value. A set without members is the whole of what it stands for.
fn covers(set: &Value, value: &Value) -> bool {
    let Some(members) = set.as_object() else { return false };
    if members.is_empty() {
        return true;
    }
    match value {
        Value::Object(fields) => {
            fields.iter().all(|(name, value)| members.get(&format!("f:{name}")).is_some_and(|set| covers(set, value)))
        }
        Value::Array(items) => items.iter().all(|item| {
            members.iter().any(|(member, set)| match member.split_once(':') {
                Some(("k", key)) => has_key(item, key) && covers(set, item),
                Some(("v", text)) => serde_json::from_str::<Value>(text).is_ok_and(|value| value == *item),
                _ => false,
            })
        }),
        _ => false,
    }
}

/// Whether an item of a list is the one of a key, which has the defaults of what the item leaves out.
fn has_key(item: &Value, key: &str) -> bool {
    let Ok(Value::Object(key)) = serde_json::from_str(key) else { return false };
    key.iter().all(|(name, value)| item.get(name).is_none_or(|own| own == value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "annotations": { "note": "a" },
                "name": "chat-gateway",
                "namespace": "im",
                "ownerReferences": [{ "uid": "1", "controller": true }],
            },
            "spec": {
                "ports": [{ "name": "http", "port": 8080 }],
                "selector": { "app": "im" },
                "finalizers": ["a"],
                "emptyDir": {},
            },
        })
    }

    fn fields() -> Value {
        json!({
            "f:metadata": {
                "f:annotations": { "f:note": {} },
                "f:ownerReferences": { "k:{\"uid\":\"1\"}": { ".": {}, "f:uid": {}, "f:controller": {} } },
            },
            "f:spec": {
                "f:ports": { "k:{\"port\":8080,\"protocol\":\"TCP\"}": { ".": {}, "f:name": {}, "f:port": {} } },
                "f:selector": {},
                "f:finalizers": { "v:\"a\"": {} },
                "f:emptyDir": {},
            },
        })
    }

    fn live(manager: &str, operation: &str, subresource: Option<&str>, fields: &Value) -> ObjectMeta {
        let entry = json!({
            "manager": manager, "operation": operation, "subresource": subresource, "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        });
        serde_json::from_value(json!({ "managedFields": [entry] })).unwrap()
    }

    #[test]
    fn an_object_is_as_it_was_applied_while_every_field_is_the_appliers() {
        assert!(holds(&live("us", "Apply", None, &fields()), "us", &applied()));
    }

    #[test]
    fn fields_of_somebody_else_or_of_another_kind_of_write_do_not_count() {
        assert!(!holds(&live("them", "Apply", None, &fields()), "us", &applied()));
        assert!(!holds(&live("us", "Update", None, &fields()), "us", &applied()));
        assert!(!holds(&live("us", "Apply", Some("status"), &fields()), "us", &applied()));
        assert!(!holds(&ObjectMeta::default(), "us", &applied()));
    }

    #[test]
    fn each_field_that_was_taken_is_missed() {
        for taken in [
            "/f:metadata/f:annotations/f:note",
            "/f:metadata/f:ownerReferences/k:{\"uid\":\"1\"}/f:controller",
            "/f:spec/f:ports/k:{\"port\":8080,\"protocol\":\"TCP\"}",
            "/f:spec/f:selector",
            "/f:spec/f:finalizers/v:\"a\"",
            "/f:spec/f:emptyDir",
        ] {
            let mut fields = fields();
            let (parent, name) = taken.rsplit_once('/').unwrap();
            let parent = fields.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            parent.remove(name).unwrap();
            // What has no member left would be the whole.
            parent.insert("f:theirs".to_owned(), json!({}));
            assert!(!holds(&live("us", "Apply", None, &fields), "us", &applied()), "{taken}");
        }
    }
}
