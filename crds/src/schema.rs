//! What Kubernetes asks of a schema beyond what is derived.

use std::fmt::Write;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::transform::transform_subschemas;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

/// Makes a derived schema one that an API server takes as it is meant. It works on a whole tree.
///
/// - Nothing may be null: an optional field is left out. With `nullable` a null would be stored, and would keep a default away.
/// - Integers are `int32` or `int64`, the formats that API servers know.
/// - Values of an enum are a list, told in the description.
/// - A description has one line per paragraph: `kubectl explain` wraps it.
pub(crate) fn kubernetes(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("title");
    unwrap_optional(object);
    list_values(object);
    if let Some(Value::Array(types)) = object.get("type") {
        let other = types.iter().find(|kind| *kind != "null").cloned();
        object.extend(other.map(|kind| ("type".to_owned(), kind)));
    }
    if let Some(format) = object.get("format").and_then(Value::as_str)
        && (format.starts_with("uint") || format.starts_with("int"))
    {
        let small = object.get("maximum").and_then(Value::as_u64).is_some_and(|most| most <= u64::from(INT32_MAX));
        let format = if small || format == "int32" { "int32" } else { "int64" };
        object.insert("format".to_owned(), format.into());
    }
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = paragraphs(text);
    }
    transform_subschemas(&mut kubernetes, schema);
}

/// The largest `int32`.
pub(crate) const INT32_MAX: u32 = i32::MAX as u32;

/// `anyOf: [T, null]` is how an `Option<T>` is derived: leaves T.
fn unwrap_optional(object: &mut Map<String, Value>) {
    let Some(Value::Array(forms)) = object.get("anyOf") else { return };
    let [Value::Object(form), null] = forms.as_slice() else { return };
    if null.get("type") != Some(&json!("null")) {
        return;
    }
    let mut whole = form.clone();
    object.remove("anyOf");
    // What is said of the field goes before what is said of its type.
    whole.append(object);
    *object = whole;
}

/// `oneOf` constants with a description each is how an enum is derived: leaves a plain list of values.
fn list_values(object: &mut Map<String, Value>) {
    let Some(Value::Array(forms)) = object.get("oneOf") else { return };
    let value = |form: &Value| form.get("const").and_then(Value::as_str).map(str::to_owned);
    let Some(values) = forms.iter().map(value).collect::<Option<Vec<_>>>() else { return };
    let mut text = object.get("description").and_then(Value::as_str).map(paragraphs).unwrap_or_default();
    text.push_str("\n\nPossible values:");
    for (value, form) in values.iter().zip(forms) {
        let meaning = form.get("description").and_then(Value::as_str).map(paragraphs).unwrap_or_default();
        write!(text, "\n- `{value}`: {meaning}").expect("a string takes everything");
    }
    object.remove("oneOf");
    object.insert("type".to_owned(), "string".into());
    object.insert("enum".to_owned(), json!(values));
    object.insert("description".to_owned(), text.into());
}

/// One line per paragraph and per item of a list.
fn paragraphs(text: &str) -> String {
    let mut whole = String::new();
    for line in text.lines().map(str::trim) {
        let joins = !(line.is_empty() || line.starts_with("- ") || whole.is_empty() || whole.ends_with('\n'));
        if joins {
            whole.push(' ');
        } else if !whole.is_empty() {
            whole.push('\n');
        }
        whole.push_str(line);
    }
    whole
}

/// A map of at most `ENTRIES` texts of at most `LENGTH` characters.
pub(crate) fn texts<const ENTRIES: u32, const LENGTH: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": ENTRIES,
        "additionalProperties": { "type": "string", "maxLength": LENGTH },
    })
}

/// Quantities by resource: a pod takes none below zero.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "pattern": r"^(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
            "maxLength": 64,
            "x-kubernetes-int-or-string": true,
        },
    })
}

/// An object that is kept as it is, whatever is in it.
pub(crate) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// The name of an object: a DNS subdomain.
pub(crate) fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 253,
        "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    })
}

/// A key in a Secret.
pub(crate) fn secret_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 253, "pattern": "^[-._a-zA-Z0-9]+$" })
}

/// Whom a `NetworkPolicy` lets in.
pub(crate) fn peers(generator: &mut SchemaGenerator) -> Schema {
    let peer = generator.subschema_for::<NetworkPolicyPeer>();
    json_schema!({ "type": "array", "maxItems": 16, "x-kubernetes-list-type": "atomic", "items": peer })
}
