//! `gateways.podTemplate`: it is read strictly, and may not change what the operator relies on.

use imcluster_crds::ImCluster;
use imcluster_crds::names::{CONTAINER, RESTARTED_AT};
use imcluster_crds::settings::OPERATORS_OWN;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Map, Value};

use super::{Layout, Refusal};
use crate::cluster::build::merge::plain;
use crate::cluster::build::template::{self, Stamp};
use crate::cluster::names::{HTTP_PORT, MANAGEMENT_PORT, TCP_PORT};
use crate::cluster::strict::{self, Flaw};

const PLACE: &str = "spec.gateways.podTemplate";

/// Bytes that the template may add. All annotations of an object may have 262144 together, and the applied template is one.
const MOST_BYTES: usize = 131_072;

/// Bytes of what asks for a restart: a time has fewer, and whoever likes may write a reason behind it.
const MOST_BYTES_OF_A_TIME: usize = 256;

/// Fields of pods that stay as they are, and why.
const OF_PODS: [(&str, &str); 8] = [
    ("restartPolicy", "a gateway that ends is always started again: leave it out"),
    (
        "terminationGracePeriodSeconds",
        "it is fixed above the longest drain, so that another deadline rolls nothing: leave it out, and set \
         spec.gateways.drain.deadlineSeconds",
    ),
    ("hostname", "the name of a pod ends in its server id: leave it out"),
    ("subdomain", "the operator's Service names the pods: leave it out"),
    ("setHostnameAsFQDN", "the name of a pod ends in its server id: leave it out"),
    ("nodeName", "it would put all gateways on one node: leave it out, and use nodeSelector or affinity"),
    ("activeDeadlineSeconds", "it would end gateways that have clients: leave it out"),
    ("ephemeralContainers", "no pod begins with these: leave them out, and use `kubectl debug`"),
];

/// Fields of the gateway's container that stay as they are, and why.
const OF_THE_CONTAINER: [(&str, &str); 5] = [
    ("image", "leave it out, and set spec.image"),
    ("command", "leave it out, and set spec.config or spec.extraConfig"),
    ("args", "leave them out, and set spec.config or spec.extraConfig"),
    ("ports", "the ports of a gateway are fixed: leave them out"),
    ("resources", "leave them out, and set spec.gateways.resources"),
];

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const HANDLERS: [&str; 4] = ["exec", "grpc", "httpGet", "tcpSocket"];

pub(super) fn check(cluster: &ImCluster) -> Result<(), Refusal> {
    let template = &cluster.spec.gateways.pod_template;
    labels(cluster)?;
    let spec = Value::Object(template.spec.clone());
    let bytes = serde_json::json!({ "metadata": template.metadata, "spec": spec }).to_string().len();
    if bytes > MOST_BYTES {
        let instead = "move what is long into a ConfigMap, and mount that";
        return Err(Refusal::TooLarge { field: PLACE, bytes, most: MOST_BYTES, instead });
    }
    restarted_at(cluster)?;
    let place = format!("{PLACE}.spec");
    no_directives(&spec, &place)?;
    no_protected(&template.spec, &place)?;
    strict::read::<PodSpec>(&plain(&spec)).map_err(|flaw| flaw.refusal(&place))?;
    complete(cluster, &place)
}

/// It becomes an annotation of the pods.
fn restarted_at(cluster: &ImCluster) -> Result<(), Refusal> {
    let annotations = cluster.metadata.annotations.as_ref();
    match annotations.and_then(|annotations| annotations.get(RESTARTED_AT)).map(String::len) {
        Some(bytes) if bytes > MOST_BYTES_OF_A_TIME => Err(Refusal::TooLarge {
            field: "metadata.annotations[imcluster.dev/restartedAt]",
            bytes,
            most: MOST_BYTES_OF_A_TIME,
            instead: "set it to the time",
        }),
        _ => Ok(()),
    }
}

impl Flaw {
    fn refusal(self, place: &str) -> Refusal {
        match self {
            Self::WrongType { field, problem } => Refusal::WrongType { field: format!("{place}{field}"), problem },
            Self::Unknown { field } => Refusal::UnknownField { field: format!("{place}{field}") },
            Self::Missing { field } => Refusal::FieldMissing { field: format!("{place}{field}") },
        }
    }
}

/// What must be set may come from either side, so it is looked for in what they make together. What the Secrets hold makes
/// no difference to it.
fn complete(cluster: &ImCluster, place: &str) -> Result<(), Refusal> {
    let stamp = Stamp { image: "image", secrets_hash: "", restarted_at: None };
    let mut whole = template::pod_template(cluster, &Layout::default(), &stamp);
    let spec = whole["spec"].take();
    match strict::complete::<PodSpec>(&spec) {
        Err(flaw) => Err(flaw.refusal(place)),
        Ok(()) => Ok(()),
    }
}

fn no_directives(value: &Value, place: &str) -> Result<(), Refusal> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let field = format!("{place}.{name}");
            if name.starts_with('$') { Err(Refusal::Directive { field }) } else { no_directives(value, &field) }
        }),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(n, item)| no_directives(item, &format!("{place}[{n}]")))
        }
        _ => Ok(()),
    }
}

fn protected(field: String, instead: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal::Protected { field, instead: instead.into() })
}

/// The objects of a list with their places; what is none of both is refused later, as a wrong type.
fn objects<'a>(
    spec: &'a Map<String, Value>,
    list: &'a str,
    place: &'a str,
) -> impl Iterator<Item = (&'a Map<String, Value>, String)> {
    let items = spec.get(list).and_then(Value::as_array).into_iter().flatten();
    items.enumerate().filter_map(move |(n, item)| Some((item.as_object()?, format!("{place}.{list}[{n}]"))))
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A null removes, and of these the operator's part must stay.
fn not_removed(object: &Map<String, Value>, fields: &[&str], place: &str) -> Result<(), Refusal> {
    match fields.iter().find(|field| object.get(**field).is_some_and(Value::is_null)) {
        Some(field) => {
            protected(format!("{place}.{field}"), "the operator's part of it cannot be removed: leave it out")
        }
        None => Ok(()),
    }
}

fn no_protected(spec: &Map<String, Value>, place: &str) -> Result<(), Refusal> {
    if let Some((field, instead)) = OF_PODS.iter().find(|(field, _)| spec.contains_key(*field)) {
        return protected(format!("{place}.{field}"), *instead);
    }
    not_removed(spec, &["containers", "volumes"], place)?;
    for (volume, place) in objects(spec, "volumes", place) {
        if template::VOLUMES.contains(&text(volume, "name")) {
            return protected(place, "the operator has a volume of this name: choose another");
        }
    }
    for (container, place) in objects(spec, "containers", place) {
        if text(container, "name") == CONTAINER {
            gateway(container, &place)?;
        } else {
            no_port_of_ours(container, &place)?;
        }
    }
    for (container, place) in objects(spec, "initContainers", place) {
        if text(container, "name") == CONTAINER {
            return protected(place, "the gateway's container has this name: choose another");
        }
        no_port_of_ours(container, &place)?;
    }
    Ok(())
}

/// Containers of a pod share its ports.
fn no_port_of_ours(container: &Map<String, Value>, place: &str) -> Result<(), Refusal> {
    let ours = [HTTP_PORT, TCP_PORT, MANAGEMENT_PORT].map(u64::from);
    for (port, place) in objects(container, "ports", place) {
        if let Some(number) = port.get("containerPort").and_then(Value::as_u64).filter(|number| ours.contains(number)) {
            return protected(place, format!("the gateway listens on port {number} of the pod: choose another"));
        }
    }
    Ok(())
}

fn gateway(container: &Map<String, Value>, place: &str) -> Result<(), Refusal> {
    if let Some((field, instead)) = OF_THE_CONTAINER.iter().find(|(field, _)| container.contains_key(*field)) {
        return protected(format!("{place}.{field}"), *instead);
    }
    not_removed(container, &["env", "volumeMounts"], place)?;
    not_removed(container, &PROBES, place)?;
    for probe in PROBES {
        let handlers = container.get(probe).and_then(Value::as_object);
        let handler = handlers.and_then(|probe| HANDLERS.iter().find(|handler| probe.contains_key(**handler)));
        if let Some(handler) = handler {
            let field = format!("{place}.{probe}.{handler}");
            return protected(field, "probes ask the management port: leave it out; their times may be changed");
        }
    }
    for (variable, place) in objects(container, "env", place) {
        let name = text(variable, "name");
        if is_ours(name) {
            return protected(
                place,
                format!("{name} follows from the rest of the spec: set the field of the spec instead"),
            );
        }
    }
    for (mount, place) in objects(container, "volumeMounts", place) {
        let path = text(mount, "mountPath").trim_end_matches('/');
        if path == template::FOLDER || path.starts_with(&format!("{}/", template::FOLDER)) {
            return protected(place, format!("the operator mounts below {}: choose another path", template::FOLDER));
        }
    }
    Ok(())
}

/// Whether an environment variable would win over a setting of the operator's.
fn is_ours(variable: &str) -> bool {
    let setting = variable.strip_prefix("IM_").map(|name| name.to_ascii_lowercase().replace('_', "-"));
    setting.is_some_and(|setting| OPERATORS_OWN.contains(&setting.as_str()))
}

/// Labels and annotations as Kubernetes takes them; the definition bounds their number and length.
fn labels(cluster: &ImCluster) -> Result<(), Refusal> {
    let gateways = &cluster.spec.gateways;
    let metadata = &gateways.pod_template.metadata;
    for (name, value) in &metadata.labels {
        let field = format!("{PLACE}.metadata.labels[{name}]");
        qualified(name, &field)?;
        if !value.is_empty() && !is_word(value) {
            let problem = "a label's value has letters, digits, dashes, underscores and dots, and begins and ends with a \
                           letter or digit: correct it";
            return Err(Refusal::NoLabel { field, problem });
        }
    }
    let ingress = cluster.spec.ingress.as_ref().map(|ingress| ("spec.ingress.annotations", &ingress.annotations));
    let annotations = [
        ("spec.gateways.podTemplate.metadata.annotations", &metadata.annotations),
        ("spec.gateways.service.annotations", &gateways.service.annotations),
    ];
    for (place, annotations) in annotations.into_iter().chain(ingress) {
        annotations.keys().try_for_each(|name| qualified(name, &format!("{place}[{name}]")))?;
    }
    Ok(())
}

/// Checks a name of the form `name` or `domain.example/name`.
fn qualified(key: &str, field: &str) -> Result<(), Refusal> {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let part = |part: &str| {
        part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if name.len() <= 63
        && is_word(name)
        && domain.is_none_or(|domain| domain.len() <= 253 && domain.split('.').all(part))
    {
        return Ok(());
    }
    let problem = "such a key is a name of at most 63 letters, digits, dashes, underscores and dots, with a domain and a \
                   slash before it if you like: correct it";
    Err(Refusal::NoLabel { field: field.to_owned(), problem })
}

/// Letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_word(text: &str) -> bool {
    let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && end(bytes.first())
        && end(bytes.last())
}
