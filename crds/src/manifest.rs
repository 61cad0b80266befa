//! The definition as text.

use kube::CustomResourceExt;
use serde_json::Value;

use crate::ImCluster;

const HEAD: &str = "# Generated from crds/src: `make schemas` writes it again.\n";

/// The `CustomResourceDefinition`, as YAML for `kubectl apply`.
pub fn manifest() -> String {
    let mut definition = serde_json::to_value(ImCluster::crd()).expect("a definition is JSON");
    whole_numbers(&mut definition);
    let yaml = serde_saphyr::to_string(&definition).expect("a definition has nothing that YAML lacks");
    format!("{HEAD}{yaml}")
}

/// Bounds are floating-point numbers in a definition; people read 500, not 500.0.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(Ok(whole)) = number.to_string().strip_suffix(".0").map(str::parse::<i64>) {
                *number = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}
