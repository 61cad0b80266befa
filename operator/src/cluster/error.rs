//! Why reconciles fail, and when they are tried again.

use std::time::Duration;

use super::apply::ApplyError;
use super::record::RecordError;

/// Why a reconcile did not come to its end. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A record was not written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// An object was not written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The API server could not be asked.
    #[error("the API server: {0}")]
    Api(#[source] Box<kube::Error>),
    /// What was decided did not come to rest: a mistake of the operator.
    #[error("the record does not come to rest")]
    Restless,
}

impl ReconcileError {
    /// The reason, as metrics have it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Record(RecordError::Changed) => "changed",
            Self::Record(_) => "record",
            Self::Apply(ApplyError::NotOurs { .. }) => "not_ours",
            Self::Apply(ApplyError::Predecessors { .. }) => "predecessors",
            Self::Apply(_) => "apply",
            Self::Api(_) => "api",
            Self::Restless => "restless",
        }
    }
}

impl From<kube::Error> for ReconcileError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

/// When a reconcile that failed is tried again: what somebody else changed at once, the rest ever more slowly.
pub fn again(error: &ReconcileError, failures: u32) -> Duration {
    match error {
        ReconcileError::Record(RecordError::Changed) => Duration::from_millis(100),
        _ => Duration::from_millis(500).saturating_mul(1 << failures.min(7)),
    }
}
