//! Cases of a story: who dies where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use imcluster_tests::operator::{Fate, Faults, Side, Write, Written};

use super::scenario::{self, LATER};

/// A write by which the operator dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    stage: usize,
    /// As [`Write`] shows itself.
    write: String,
    /// The how many-th of its kind since the stage began.
    number: usize,
    side: Side,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, write, number, side } = self;
        write!(f, "{side:?} no. {number} of {write} since stage {stage}")
    }
}

impl Case {
    fn faults(&self) -> Arc<Faults> {
        let case = self.clone();
        let seen = AtomicUsize::default();
        Faults::of_writes(move |write, stage| {
            let is_it = stage >= case.stage
                && write.to_string() == case.write
                && seen.fetch_add(1, Ordering::Relaxed) + 1 == case.number;
            if is_it { Fate::Dies(case.side) } else { Fate::Lands }
        })
    }

    /// Tells the story with it; whether the operator died.
    async fn tell(&self) -> bool {
        // The wait is a long one, and its writes come in the last stage as well.
        let left_out: &[usize] = if self.stage == LATER { &[] } else { &[LATER] };
        scenario::tell(&self.faults(), left_out).await > 0
    }
}

/// One write of each kind, with a stage in which it comes.
const KINDS: [(usize, &str); 18] = [
    (0, "apply serviceaccounts chat-gateway"),
    (0, "apply secrets chat-management"),
    (0, "apply services chat-gateway"),
    (0, "apply networkpolicies chat-gateway"),
    (0, "apply ingresses chat-gateway"),
    (0, "patch imclusters chat"),
    (0, "create topics"),
    (1, "apply poddisruptionbudgets chat-gateway"),
    (1, "create events"),
    (2, "update imclusters/status chat"),
    (2, "apply statefulsets chat-gateway"),
    (3, "apply configmaps chat-gateway"),
    (3, "alter topics"),
    (4, "delete networkpolicies chat-gateway"),
    (4, "delete ingresses chat-gateway"),
    (6, "delete statefulsets chat-gateway"),
    (6, "delete topics"),
    (6, "patch imclusters chat"),
];

/// An operator that dies after one write of each kind.
pub(crate) fn one_of_each_kind() -> Vec<Case> {
    KINDS.map(|(stage, write)| Case { stage, write: write.to_owned(), number: 1, side: Side::After }).into()
}

/// The kinds of writes among these that [`one_of_each_kind`] leaves out.
pub(crate) fn kinds_left_out(writes: &[Written]) -> BTreeSet<String> {
    let kind = |write: &Write| format!("{} {}", write.verb, write.resource);
    let is_known = |kind: &String| KINDS.iter().any(|(_, write)| write.starts_with(kind.as_str()));
    writes.iter().map(|written| kind(&written.write)).filter(|kind| !is_known(kind)).collect()
}

/// Both sides of every write. What people are told counts once per stage: nobody reads it back.
pub(crate) fn every(writes: &[Written]) -> Vec<Case> {
    let mut counts: BTreeMap<(usize, String), usize> = BTreeMap::new();
    let mut cases = Vec::new();
    for Written { write, stage, .. } in writes {
        let count = counts.entry((*stage, write.to_string())).or_default();
        *count += 1;
        if *count == 1 || write.resource != "events" {
            let case = |side| Case { stage: *stage, write: write.to_string(), number: *count, side };
            cases.extend([Side::Before, Side::After].map(case));
        }
    }
    cases
}

/// Tells the story with each of the cases, so many at a time. Panics with all that went wrong; gives those that did not come
/// about.
pub(crate) async fn all(cases: Vec<Case>, at_once: usize) -> Vec<Case> {
    let stories = cases.into_iter().map(|case| {
        let name = case.to_string();
        (name, async move { (!case.tell().await).then_some(case) })
    });
    scenario::together(stories, at_once).await.into_iter().flatten().collect()
}
