//! The page about the resource, made from the definition.

use std::fmt::Write;

use imcluster_crds::ImCluster;
use imcluster_crds::conditions::{ConditionType, Reason};
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use crate::admission::{rules_of, schema};
use crate::cases::smallest;

const HEAD: &str = "\
# ImCluster

<!-- Generated from the types in crds/src; a test fails when the two differ. -->

The resource that the operator makes an installation from: `imcluster.dev/v1alpha1`, kind `ImCluster`, in a namespace;
`kubectl get imc`. `kubectl explain imc.spec --recursive` shows the same in a terminal. Later versions only add to it.

A field is required where the table says so; everything else may be left out, and nothing can be null. What is listed under
**Rules** is checked when the resource is written, and says what to do when it is broken.

The smallest one:
";

/// A type in a word or two, with its bounds.
fn kind(node: &Value) -> String {
    let text = |keyword: &str| node.get(keyword).map(Value::to_string);
    let plain = match node["type"].as_str() {
        Some("array") => return format!("list of {}{}", kind(&node["items"]), most(text("maxItems"))),
        Some("object") if node.get("additionalProperties").is_some() => {
            return format!("map of {}{}", kind(&node["additionalProperties"]), most(text("maxProperties")));
        }
        Some("string") if node.get("enum").is_some() => {
            let words = node["enum"].as_array().unwrap().iter().map(|word| format!("`{}`", word.as_str().unwrap()));
            return words.collect::<Vec<_>>().join(", ");
        }
        Some("string") if node["format"] == "date-time" => "time",
        Some("integer" | "number") => "number",
        Some(other) => other,
        None => "quantity",
    };
    let whole = |bound: Option<&Value>| bound.and_then(Value::as_f64).map(|bound| bound.to_string());
    match (whole(node.get("minimum")), whole(node.get("maximum"))) {
        (Some(least), Some(most)) => format!("{plain}, {least} … {most}"),
        (Some(least), None) => format!("{plain}, from {least}"),
        _ => plain.to_owned(),
    }
}

fn most(bound: Option<String>) -> String {
    bound.map(|bound| format!(", at most {bound}")).unwrap_or_default()
}

/// The default, if it is worth a word: that of an object stands at its fields.
fn default(node: &Value) -> String {
    match node.get("default") {
        None | Some(Value::Array(_)) => String::new(),
        Some(Value::Object(_)) if node.get("properties").is_some() => String::new(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(other) => format!("`{other}`"),
    }
}

/// A description in one cell of a table.
fn cell(node: &Value) -> String {
    let text = node["description"].as_str().unwrap_or_default().replace('|', "\\|");
    text.replace("\n\nPossible values:", "").replace("\n\n", " ").replace('\n', "<br>")
}

/// What has fields of its own to be told in a section.
fn fields(node: &Value) -> Option<&Map<String, Value>> {
    match node["type"].as_str() {
        Some("array") => fields(&node["items"]),
        _ => node["properties"].as_object(),
    }
}

/// A section on the fields of `node`, then one on each of those that have fields.
fn section(page: &mut String, path: &str, node: &Value) {
    let Some(properties) = fields(node) else { return };
    let inner = if node["type"] == "array" { &node["items"] } else { node };
    let required = |name: &str| inner["required"].as_array().into_iter().flatten().any(|field| field == name);
    writeln!(page, "\n### {path}\n\n{}\n", node["description"].as_str().unwrap_or_default()).unwrap();
    page.push_str("| field | type | default | what it is |\n|---|---|---|---|\n");
    for (name, field) in properties {
        let default = if required(name) { "**required**".to_owned() } else { default(field) };
        writeln!(page, "| `{name}` | {} | {default} | {} |", kind(field), cell(field)).unwrap();
    }
    let told_here = std::iter::once(node).chain(properties.values().filter(|field| fields(field).is_none()));
    let rules: Vec<_> = told_here.flat_map(rules_of).map(|rule| rule["message"].as_str().unwrap()).collect();
    if !rules.is_empty() {
        page.push_str("\nRules:\n\n");
        for rule in rules {
            writeln!(page, "- {rule}").unwrap();
        }
    }
    for (name, field) in properties {
        let list = if field["type"] == "array" { "[]" } else { "" };
        section(page, &format!("{path}.{name}{list}"), field);
    }
}

/// Words and what each means, as a table.
fn words<'a>(page: &mut String, head: &str, words: impl Iterator<Item = (&'a str, &'a str)>) {
    writeln!(page, "\n| {head} | meaning |\n|---|---|").unwrap();
    words.for_each(|(word, meaning)| writeln!(page, "| `{word}` | {} |", meaning.trim()).unwrap());
}

/// The whole page.
pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    let yaml = serde_saphyr::to_string(&smallest()).unwrap();
    write!(page, "\n```yaml\n{yaml}```\n").unwrap();
    page.push_str("\nRules:\n\n");
    rules_of(schema()).for_each(|rule| writeln!(page, "- {}", rule["message"].as_str().unwrap()).unwrap());
    page.push_str("\n## spec\n");
    section(&mut page, "spec", &schema()["properties"]["spec"]);
    page.push_str("\n## status\n");
    section(&mut page, "status", &schema()["properties"]["status"]);
    page.push_str("\n## Conditions\n\nMatch on type, status and reason; messages are for people and may change.\n");
    words(&mut page, "type", ConditionType::ALL.iter().map(|word| (word.as_str(), word.meaning())));
    page.push_str("\nA reason, and the conditions that it can be on:\n");
    words(&mut page, "reason", Reason::ALL.iter().map(|word| (word.as_str(), word.meaning())));
    page.push_str("\n## Columns\n\nOf `kubectl get imc`; the last ones with `-o wide`.\n\n| column | what it shows |\n|---|---|\n");
    for column in ImCluster::crd().spec.versions[0].additional_printer_columns.iter().flatten() {
        let shows = column.description.clone().unwrap_or_else(|| "Time since it was made.".to_owned());
        writeln!(page, "| {} | {shows} |", column.name.to_uppercase()).unwrap();
    }
    page
}
