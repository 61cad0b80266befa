//! The bounds and rules of the definition, as the API server checks them: the definition itself is what is read, so that no
//! rule stands in two places.

use std::sync::LazyLock;

use imcluster_crds::ImCluster;
use jsonschema::Validator as Bounds;
use kube::CustomResourceExt;
use kube::core::cel::{CompiledSchema, ValidationError, Validator as Rules, compile_schema};
use serde_json::{Value, json};

use super::Refusal;

/// Compiled once: a definition never changes while a process runs.
struct Definition {
    bounds: Bounds,
    rules: CompiledSchema,
    evaluator: Rules,
}

static DEFINITION: LazyLock<Definition> = LazyLock::new(|| {
    let version = ImCluster::crd().spec.versions.remove(0);
    let schema = version.schema.and_then(|schema| schema.open_api_v3_schema).expect("a definition has a schema");
    let schema = serde_json::to_value(schema).expect("a definition is JSON");
    Definition {
        bounds: jsonschema::draft4::new(&schema).expect("the schema of a definition is one"),
        rules: compile_schema(&schema),
        evaluator: Rules::new(),
    }
});

/// Bounds first: rules may rely on them.
pub(super) fn check(cluster: &ImCluster) -> Result<(), Refusal> {
    // Without the status, which is the operator's own word.
    let written = json!({ "metadata": { "name": cluster.metadata.name }, "spec": cluster.spec });
    check_bounds(&written)?;
    check_rules(&written)
}

fn check_bounds(written: &Value) -> Result<(), Refusal> {
    let broken = DEFINITION.bounds.iter_errors(written).map(|error| {
        let field = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
        // Without the value, which may be long.
        (field, error.masked().to_string())
    });
    match broken.min() {
        Some((field, problem)) => Err(Refusal::OutOfBounds { field, problem }),
        None => Ok(()),
    }
}

fn check_rules(written: &Value) -> Result<(), Refusal> {
    let broken = match DEFINITION.evaluator.validate_compiled(&DEFINITION.rules, written, None) {
        Ok(()) => return Ok(()),
        Err(broken) => broken.into_vec(),
    };
    // The order in which rules are looked at is not fixed, and a message that changes by itself would look like news.
    let first = broken.into_iter().map(|ValidationError { field_path, message, .. }| (field_path, message)).min();
    match first {
        Some((field, message)) if field.is_empty() => {
            Err(Refusal::BrokenRule { field: "metadata.name".to_owned(), message })
        }
        Some((field, message)) => Err(Refusal::BrokenRule { field, message }),
        None => Ok(()),
    }
}
