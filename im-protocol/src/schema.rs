//! JSON Schemas of every frame, for people who write clients.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::client::Addressed;
use crate::notification::Notification;
use crate::server::ServerFrame;

/// One JSON Schema document (draft 2020-12). `$defs/ClientFrame` is what a client may send and `$defs/ServerFrame` what
/// it gets; `$defs/Notification` is the content of a message of kind `notification`.
pub fn frames() -> Value {
    // As written, for both sides: what a client leaves out when it writes is what a server does not require.
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let client = generator.subschema_for::<Addressed<'static>>();
    let server = generator.subschema_for::<ServerFrame>();
    generator.subschema_for::<Notification>();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ImCluster frames, version 1",
        "description": "A field that is not required may be absent or null. Fields and types of frames and events that are not \
            known are to be ignored.",
        "anyOf": [client, server],
        "$defs": generator.take_definitions(true),
    })
}
