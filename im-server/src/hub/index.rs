//! The members of a large group that are connected here.

use std::collections::HashMap;
use std::sync::Arc;

use im_protocol::{Seq, UserId};

use super::Present;
use crate::store::Stint;

/// Members of one large group with a connection here, by stint.
pub struct GroupIndex {
    version: u64,
    /// It holds everyone of that version who is connected here. Otherwise it only says that someone is, and the members
    /// have to be loaded before a message is expanded.
    whole: bool,
    members: HashMap<UserId, (Arc<Present>, Vec<Stint>)>,
}

impl GroupIndex {
    /// An index that is right for membership changes up to `version`.
    pub fn new(version: u64) -> Self {
        Self { version, whole: true, members: HashMap::new() }
    }

    /// An index of a group whose members nobody has loaded yet: others than those who enter may have been connected
    /// here before the group became large.
    pub(super) fn partial() -> Self {
        Self { version: 0, whole: false, members: HashMap::new() }
    }

    /// Whether it can expand a message made under `version`.
    pub(super) fn is_right_for(&self, version: u64) -> bool {
        self.whole && self.version >= version
    }

    /// Takes in a user who has just connected, with a stay that was read under `version`. Under another version than
    /// the index's one of the two is out of date: the stay may be over, or others may have come.
    pub(super) fn enter(&mut self, version: u64, user: &UserId, stint: Stint, present: Arc<Present>) {
        if self.version != version {
            self.version = self.version.max(version);
            self.whole = false;
        }
        self.add(user, stint, present);
    }

    /// Up to which change of the membership it is right.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Nobody is left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Any of them.
    pub(super) fn anyone(&self) -> Option<&UserId> {
        self.members.keys().next()
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

    /// Forgets a user whose last connection is gone; not one who has come back with a new one meanwhile. True if they
    /// stood here.
    pub(super) fn remove(&mut self, user: &UserId, gone: &Arc<Present>) -> bool {
        let stood = self.members.get(user).is_some_and(|(present, _)| Arc::ptr_eq(present, gone));
        if stood {
            self.members.remove(user);
        }
        stood
    }

    /// Calls `found` for everyone whose stint covers the seq.
    pub(super) fn each(&self, seq: Seq, mut found: impl FnMut(&Present)) {
        for (present, stints) in self.members.values() {
            if stints.iter().any(|stint| stint.covers(seq)) {
                found(present);
            }
        }
    }
}
