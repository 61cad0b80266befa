//! When the number of connections in the status is written again: it moves all the time, and every write wakes who watches.

use std::time::{Duration, Instant};

/// It is written at most so often.
pub const APART: Duration = Duration::from_secs(30);

/// And only if it moved by more than this part of what was written: a twentieth.
const PART: i64 = 20;

/// What `status.connections` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The number; `None` if there is none yet.
    pub connections: Option<i64>,
    /// When this process told it; `None` if another did.
    pub at: Option<Instant>,
}

impl Told {
    /// Whether another number is worth a write.
    pub fn is_outdated_by(&self, connections: i64, now: Instant) -> bool {
        let moved = self.connections.is_none_or(|told| (connections - told).abs().saturating_mul(PART) > told);
        moved && self.at.is_none_or(|at| now.saturating_duration_since(at) >= APART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(connections: i64) -> Told {
        Told { connections: Some(connections), at: None }
    }

    #[test]
    fn the_first_number_is_told() {
        assert!(Told::default().is_outdated_by(0, Instant::now()));
    }

    #[test]
    fn a_number_is_told_again_when_it_moved_by_more_than_five_percent() {
        let now = Instant::now();
        for (connections, outdated) in
            [(1_000, false), (1_050, false), (1_051, true), (950, false), (949, true), (0, true)]
        {
            assert_eq!(told(1_000).is_outdated_by(connections, now), outdated, "{connections}");
        }
        assert!(!told(0).is_outdated_by(0, now));
        assert!(told(0).is_outdated_by(1, now));
    }

    #[test]
    fn a_number_is_told_again_after_half_a_minute_at_the_earliest() {
        let at = Instant::now();
        let told = Told { at: Some(at), ..told(1_000) };
        assert!(!told.is_outdated_by(2_000, at + Duration::from_secs(29)));
        assert!(told.is_outdated_by(2_000, at + Duration::from_secs(30)));
    }
}
