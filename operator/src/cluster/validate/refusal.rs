//! Why a resource is refused.

use std::borrow::Cow;

use imcluster_crds::conditions::Reason;

/// Characters of a refusal that a resource says: a message has to fit into a condition, and be read.
const MOST_QUOTED: usize = 300;

/// The beginning of what a resource says.
fn quoted(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MOST_QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Why a resource is refused: what is wrong, where, and what to do. It becomes the message of a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A value is not within the bounds of the definition.
    #[error("{}: {}", quoted(field), quoted(problem))]
    OutOfBounds {
        /// The field.
        field: String,
        /// What the bound is.
        problem: String,
    },

    /// A rule of the definition does not hold.
    #[error("{field}: {message}")]
    BrokenRule {
        /// What the rule is about.
        field: String,
        /// The rule's message.
        message: String,
    },

    /// Topics have another prefix by now.
    #[error(
        "spec.kafka.topics.prefix: the topics of this ImCluster begin with {recorded}, and would begin with {now}: gateways \
         would lose what is under way; set the prefix back, or make a new ImCluster"
    )]
    PrefixChanged {
        /// The prefix that is in use.
        recorded: String,
        /// The prefix that the spec says.
        now: String,
    },

    /// The pod template has a field that no pod has.
    #[error("{}: there is no such field in a pod: correct its name or its place, or leave it out", quoted(field))]
    UnknownField {
        /// The field.
        field: String,
    },

    /// The pod template has a value that the field cannot take.
    #[error("{}: {}", quoted(field), quoted(problem))]
    WrongType {
        /// The field.
        field: String,
        /// What there is, and what is expected.
        problem: String,
    },

    /// The pod template lacks what a pod must have.
    #[error("{}: it must be set", quoted(field))]
    FieldMissing {
        /// The field.
        field: String,
    },

    /// The pod template changes what has to be as it is.
    #[error("{}: {instead}", quoted(field))]
    Protected {
        /// The field.
        field: String,
        /// Why it is fixed, and what to set instead.
        instead: String,
    },

    /// The pod template has an instruction for a patch tool.
    #[error(
        "{}: instructions like $patch are not followed: lists are merged by name, and a field that is null is removed",
        quoted(field)
    )]
    Directive {
        /// The field.
        field: String,
    },

    /// A label or an annotation is none that Kubernetes takes.
    #[error("{}: {problem}", quoted(field))]
    NoLabel {
        /// Where it stands.
        field: String,
        /// What is wrong.
        problem: &'static str,
    },

    /// It would not fit into the annotations of an object.
    #[error("{field}: it has {bytes} bytes and may have {most}: {instead}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        most: usize,
        /// What to do.
        instead: &'static str,
    },

    /// A Secret is not there.
    #[error("{field}: there is no Secret {name} in this namespace: create it, or correct the name")]
    SecretNotFound {
        /// The field that names it.
        field: &'static str,
        /// Its name.
        name: String,
    },

    /// A Secret does not have a key.
    #[error("{field}: the Secret {name} has no {key}: add it, or correct the field")]
    KeyNotFound {
        /// The field that names the Secret.
        field: &'static str,
        /// The Secret.
        name: String,
        /// The key, or the keys of which some are needed.
        key: String,
    },

    /// What stands in a Secret cannot be used. It is not repeated.
    #[error("{field}: {key} in the Secret {name} {problem}")]
    Unusable {
        /// The field that names the Secret.
        field: &'static str,
        /// The Secret.
        name: String,
        /// The key.
        key: String,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
}

impl Refusal {
    /// The reason of the condition `Accepted`.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::OutOfBounds { .. }
            | Self::BrokenRule { .. }
            | Self::PrefixChanged { .. }
            | Self::UnknownField { .. }
            | Self::WrongType { .. }
            | Self::FieldMissing { .. }
            | Self::Protected { .. }
            | Self::Directive { .. }
            | Self::NoLabel { .. }
            | Self::TooLarge { .. } => Reason::InvalidSpec,
            Self::SecretNotFound { .. } | Self::KeyNotFound { .. } => Reason::ReferenceNotFound,
            Self::Unusable { .. } => Reason::InvalidReference,
        }
    }
}
