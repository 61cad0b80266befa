//! Changes of messages, applied by rev.

use im_protocol::{Message, Rev};

/// Whether `next` takes the place of `stored`: of two versions of a message the one changed last is the truth.
pub fn supersedes(stored: &Message, next: &Message) -> bool {
    next.incarnation > stored.incarnation || (next.incarnation == stored.incarnation && next.rev > stored.rev)
}

/// How far a conversation's changes were applied without a hole, and how far they are known to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revisions {
    applied: Rev,
    known: Rev,
}

impl Revisions {
    /// Everything up to `applied` was applied.
    pub fn new(applied: Rev) -> Self {
        Self { applied, known: applied }
    }

    /// Everything up to here was applied.
    pub fn applied(self) -> Rev {
        self.applied
    }

    /// Whether there are changes that were not applied.
    pub fn behind(self) -> bool {
        self.applied < self.known
    }

    /// The conversation has come to `rev`, whoever said so.
    pub fn heard(&mut self, rev: Rev) {
        self.known = self.known.max(rev);
    }

    /// A pushed change was applied to its message. The mark moves only where it leaves no hole.
    pub fn pushed(&mut self, rev: Rev) {
        self.heard(rev);
        if rev == self.applied + 1 {
            self.applied = rev;
        }
    }

    /// The server answered with everything up to `rev`.
    pub fn answered(&mut self, rev: Rev) {
        self.heard(rev);
        self.applied = self.applied.max(rev);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_the_order_of_pushes_the_mark_leaves_no_hole(mut revs in prop::collection::vec(1..20_u64, 0..40)) {
            let mut revisions = Revisions::new(0);
            let mut seen = std::collections::BTreeSet::new();
            for rev in revs.drain(..) {
                revisions.pushed(rev);
                seen.insert(rev);
                prop_assert!((1..=revisions.applied()).all(|rev| seen.contains(&rev)));
                prop_assert_eq!(revisions.behind(), revisions.applied() < *seen.last().unwrap());
            }
        }
    }

    #[test]
    fn an_older_answer_does_not_move_the_mark_back() {
        let mut revisions = Revisions::new(0);
        revisions.answered(9);
        revisions.answered(4);
        assert_eq!(revisions.applied(), 9);
        assert!(!revisions.behind());
    }
}
