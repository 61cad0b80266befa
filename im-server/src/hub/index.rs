//! The members of a large group that are connected here.

use std::collections::HashMap;
use std::sync::Arc;

use im_protocol::{Seq, UserId};

use super::Present;
use crate::store::Stint;

/// Members of one large group with a connection here, by stint.
pub struct GroupIndex {
    version: u64,
    members: HashMap<UserId, (Arc<Present>, Vec<Stint>)>,
}

impl GroupIndex {
    /// An index that is right for membership changes up to `version`.
    pub fn new(version: u64) -> Self {
        Self { version, members: HashMap::new() }
    }

    /// Up to which change of the membership it is right.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Nobody is left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a stint of a connected user.
    pub(super) fn add(&mut self, user: &UserId, stint: Stint, present: Arc<Present>) {
        let (entry, stints) = self.members.entry(user.clone()).or_insert_with(|| (present.clone(), Vec::new()));
        *entry = present;
        match stints.iter_mut().find(|known| known.joined == stint.joined) {
            Some(known) => *known = stint,
            None => stints.push(stint),
        }
    }

    /// Forgets a user who has no connection any more. True if they stood here.
    pub(super) fn remove(&mut self, user: &UserId) -> bool {
        self.members.remove(user).is_some()
    }

    /// Calls `found` for everyone whose stint covers the seq.
    pub(super) fn each(&self, seq: Seq, mut found: impl FnMut(&Present)) {
        for (present, stints) in self.members.values() {
            if stints.iter().any(|stint| stint.covers(seq)) {
                found(present);
            }
        }
    }

    /// Drops stints that ended at or before a seq.
    pub(super) fn forget_left(&mut self, seq: Seq) {
        self.members.retain(|_, (_, stints)| {
            stints.retain(|stint| stint.left.is_none_or(|left| left > seq));
            !stints.is_empty()
        });
    }
}
