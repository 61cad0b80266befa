//! What one connection has seen of the seqs of a conversation.
//!
//! One server pushes in order. Several that commit to one conversation may overtake each other on the way: the client puts
//! that in order, and only what never comes, or comes twice, is a fault.

use std::collections::BTreeSet;

/// The seqs seen so far; what is skipped and still may come is bounded by what is under way.
#[derive(Default)]
pub(crate) struct Order {
    last: Option<u64>,
    skipped: BTreeSet<u64>,
    /// Those before the first that came: the first may have overtaken some.
    before: BTreeSet<u64>,
    first: u64,
}

/// How a push stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Later than all before; so many between them did not come yet.
    InOrder {
        skipped: u64,
    },
    /// After a later one; so many that were taken for skipped are not.
    Late {
        found: u64,
    },
    Repeated,
}

impl Order {
    /// Takes a push in.
    pub(crate) fn take(&mut self, seq: u64) -> Arrival {
        let Some(last) = self.last else {
            self.last = Some(seq);
            self.first = seq;
            return Arrival::InOrder { skipped: 0 };
        };
        if seq > last {
            self.skipped.extend(last + 1..seq);
            self.last = Some(seq);
            Arrival::InOrder { skipped: seq - last - 1 }
        } else if self.skipped.remove(&seq) {
            Arrival::Late { found: 1 }
        } else if seq < self.first && self.before.insert(seq) {
            Arrival::Late { found: 0 }
        } else {
            Arrival::Repeated
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_a_doubled_and_a_late_push_are_told_apart() {
        let mut order = Order::default();
        let arrivals = [7, 6, 6, 8, 11, 10, 10, 8, 12].map(|seq| order.take(seq));
        let next = Arrival::InOrder { skipped: 0 };
        let far = Arrival::InOrder { skipped: 2 };
        let (early, late, repeated) = (Arrival::Late { found: 0 }, Arrival::Late { found: 1 }, Arrival::Repeated);
        assert_eq!(arrivals, [next, early, repeated, next, far, late, repeated, repeated, next]);
    }
}
