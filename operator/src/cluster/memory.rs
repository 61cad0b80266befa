//! What is known by this process alone. Without it things take longer, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use imcluster_crds::{ServerId, ServerStatus};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use super::look::Look;
use crate::drain;
use crate::topics::{KafkaSettings, Report};

/// By the UIDs of `ImCluster`s.
#[derive(Default)]
pub struct Memories(Mutex<HashMap<String, Memory>>);

#[derive(Default)]
struct Memory {
    gone_since: BTreeMap<ServerId, Timestamp>,
    kafka: Option<KafkaSettings>,
    report: Option<Arc<Report>>,
}

impl Memories {
    /// Since when pods are known to be gone, kept with what is seen now.
    pub(super) fn gone_since(
        &self,
        uid: &str,
        look: &Look,
        servers: &[ServerStatus],
        now: Timestamp,
    ) -> BTreeMap<ServerId, Timestamp> {
        let mut all = self.0.lock();
        let gone_since = &mut all.entry(uid.to_owned()).or_default().gone_since;
        drain::note_gone(gone_since, servers, &look.pods, look.live().as_ref(), now);
        gone_since.clone()
    }

    /// How Kafka is reached: by what the Secrets say, or said when they were there.
    pub(super) fn kafka(&self, uid: &str, now: Option<&KafkaSettings>) -> Option<KafkaSettings> {
        let mut all = self.0.lock();
        let last = &mut all.entry(uid.to_owned()).or_default().kafka;
        if let Some(now) = now {
            *last = Some(now.clone());
        }
        last.clone()
    }

    /// What was heard of the topics before, kept with what is heard now.
    pub(super) fn heard(&self, uid: &str, now: &Arc<Report>) -> Option<Arc<Report>> {
        let mut all = self.0.lock();
        all.entry(uid.to_owned()).or_default().report.replace(now.clone())
    }

    /// Forgets an `ImCluster` that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}
