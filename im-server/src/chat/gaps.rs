//! Which seqs of a range someone will never get. Pure.

use im_protocol::Seq;

use crate::store::Stint;

/// The seqs `[from, to]` between `first` and `last`, both included, that no stint covers. `stints` are in order and do
/// not overlap.
pub(super) fn gaps(stints: &[Stint], first: Seq, last: Seq) -> Vec<(Seq, Seq)> {
    let mut gaps = Vec::new();
    let mut next = first;
    for stint in stints {
        if next > last {
            break;
        }
        if stint.joined > next {
            gaps.push((next, last.min(stint.joined - 1)));
        }
        match stint.left {
            Some(left) => next = next.max(left),
            None => return gaps,
        }
    }
    if next <= last {
        gaps.push((next, last));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stint(joined: Seq, left: Option<Seq>) -> Stint {
        Stint { joined, left }
    }

    #[test]
    fn a_member_from_the_beginning_has_no_gaps() {
        assert_eq!(gaps(&[stint(1, None)], 1, 9), []);
    }

    #[test]
    fn what_was_said_before_between_and_after_the_stays_is_a_gap() {
        let stints = [stint(3, Some(5)), stint(8, Some(9))];
        assert_eq!(gaps(&stints, 1, 10), [(1, 2), (5, 7), (9, 10)]);
        assert_eq!(gaps(&stints, 4, 6), [(5, 6)]);
        assert_eq!(gaps(&stints, 1, 1), [(1, 1)]);
        assert_eq!(gaps(&stints, 5, 4), []);
    }

    proptest! {
        #[test]
        fn every_seq_is_either_covered_or_in_a_gap(
            lengths in prop::collection::vec((0_u64..4, 1_u64..4), 0..5),
            open in any::<bool>(),
            first in 1_u64..20,
            count in 0_u64..20,
        ) {
            let mut at = 1;
            let mut stints = Vec::new();
            for (pause, stay) in lengths {
                stints.push(stint(at + pause, Some(at + pause + stay)));
                at += pause + stay;
            }
            if let Some(last) = stints.last_mut() && open {
                last.left = None;
            }
            let last = first + count;
            let found = gaps(&stints, first, last);
            for seq in first..=last {
                let covered = stints.iter().any(|stint| stint.covers(seq));
                let missing = found.iter().any(|&(from, to)| from <= seq && seq <= to);
                prop_assert_ne!(covered, missing, "seq {}", seq);
            }
            prop_assert!(found.iter().all(|&(from, to)| first <= from && from <= to && to <= last));
        }
    }
}
