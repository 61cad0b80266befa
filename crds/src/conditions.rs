//! The conditions of an ImCluster and their reasons: the words that people, scripts and alerts match on. They are stable.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// An enum whose variants are words of the API, with what each means.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $meaning:literal])+ $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word as it stands in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }

            /// What it means, in a sentence or two.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning,)+),)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What a condition is about.
    ConditionType {
        /// The spec is valid, and all that it refers to is there.
        Accepted,
        /// Every server id that should serve has its topic, as the spec wants it.
        TopicsReady,
        /// As many gateways are ready as the spec wants, with its image and settings. A planned roll or drain keeps it true.
        GatewaysReady,
        /// Clients are served: Accepted, TopicsReady and GatewaysReady together. A planned roll or drain keeps it true.
        Ready,
        /// The operator leaves everything as it is, because the spec says so.
        Paused,
        /// The gateways run an older image or pod template than the operator would make today; it takes effect with the next
        /// roll.
        UpdateAvailable,
        /// The operator is on its way to the spec. Only there while it is true, for tools that follow kstatus.
        Reconciling,
        /// The operator cannot go on before somebody does something. Only there while it is true, for tools that follow
        /// kstatus.
        Stalled,
    }
}

words! {
    /// Why a condition is as it is.
    Reason {
        /// The operator has not looked yet.
        Pending,
        /// Accepted: the spec is valid, and all that it refers to is there.
        Valid,
        /// Accepted, Stalled: a field is wrong in a way that the API server does not see. The message names it.
        InvalidSpec,
        /// Accepted, Stalled: a Secret that the spec names, or a key in it, is not there.
        ReferenceNotFound,
        /// Accepted, Stalled: what stands in a Secret cannot be used, for instance a certificate that is none.
        InvalidReference,
        /// Accepted, Stalled: an older ImCluster has the same topic prefix on the same Kafka.
        TopicConflict,
        /// TopicsReady: every topic is there, as the spec wants it.
        TopicsInPlace,
        /// TopicsReady: topics are being made.
        CreatingTopics,
        /// TopicsReady: topics are missing, and by `policy: Unmanaged` somebody else makes them.
        TopicsMissing,
        /// TopicsReady: Kafka cannot do what the spec wants of a topic that exists: fewer partitions, other replication.
        NotSupported,
        /// TopicsReady: Kafka refused a setting or the replication factor.
        TopicRejected,
        /// TopicsReady: Kafka does not let the operator's user in, or do what it has to.
        KafkaDenied,
        /// TopicsReady: Kafka does not answer. Gateways that run go on.
        KafkaUnavailable,
        /// GatewaysReady: as many are ready as the spec wants.
        GatewaysInPlace,
        /// GatewaysReady: the spec wants none.
        ScaledToZero,
        /// GatewaysReady, Reconciling: gateways start.
        Starting,
        /// GatewaysReady, Reconciling: gateways get a new image or new settings, one at a time.
        Rolling,
        /// GatewaysReady, Reconciling: clients are moved off gateways that are to go.
        Draining,
        /// GatewaysReady: pods that should be ready are not, or cannot be started. The message names the first.
        PodsNotReady,
        /// GatewaysReady, Reconciling: gateways wait for their topics.
        WaitingForTopics,
        /// GatewaysReady, Stalled: somebody else's object has a name that the operator needs. It is left alone, and what would
        /// be made after it is not. The message names it.
        NotOurs,
        /// GatewaysReady, Stalled: the API server refuses an object. The message names it, and has what was said.
        ObjectRefused,
        /// Ready: clients are served.
        Serving,
        /// Ready: the condition Accepted is not true.
        NotAccepted,
        /// Ready: the condition TopicsReady is not true.
        TopicsNotReady,
        /// Ready: the condition GatewaysReady is not true.
        GatewaysNotReady,
        /// Ready, Reconciling: the resource is being deleted.
        Deleting,
        /// Paused: `spec.paused` is true.
        PausedInSpec,
        /// Paused: `spec.paused` is false.
        NotPaused,
        /// UpdateAvailable: the operator would make another image or pod template.
        NewerRelease,
        /// UpdateAvailable: the gateways are what the operator would make.
        UpToDate,
    }
}

/// The condition of a resource that no operator has looked at: what the definition fills in.
pub(crate) fn not_seen_yet() -> Value {
    json!({
        "type": ConditionType::Ready.as_str(),
        "status": "Unknown",
        "reason": Reason::Pending.as_str(),
        "message": "Waiting for the operator",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    })
}

/// A list of conditions, within the limits that Kubernetes itself gives them.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {
            "type": "object",
            "description": "One aspect of the state of the resource.",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {
                    "type": "string",
                    "description": "What it is about.",
                    "maxLength": 316,
                    "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
                "status": {
                    "type": "string",
                    "description": "Whether it holds.",
                    "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "description": "The generation of the spec that it is about.",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status changed last.",
                },
                "reason": {
                    "type": "string",
                    "description": "Why, in a word for programs.",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "type": "string",
                    "description": "Why, in a sentence for people.",
                    "maxLength": 32_768,
                },
            },
        },
    })
}
