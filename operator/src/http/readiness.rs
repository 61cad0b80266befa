//! What a start waits for.

use std::sync::Arc;

use parking_lot::Mutex;

/// Whether the process is ready, and what it waits for if not. Clones are the same.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<Option<&'static str>>>);

impl Readiness {
    /// Of a process that waits for `what`.
    pub fn waiting(what: &'static str) -> Self {
        Self(Arc::new(Mutex::new(Some(what))))
    }

    /// From now on it waits for `what`.
    pub fn wait_for(&self, what: &'static str) {
        *self.0.lock() = Some(what);
    }

    /// From now on it is ready.
    pub fn reached(&self) {
        *self.0.lock() = None;
    }

    /// What it waits for; `None`: it is ready.
    pub fn waits_for(&self) -> Option<&'static str> {
        *self.0.lock()
    }
}
