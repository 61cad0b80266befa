//! Where a reader stands in its topic. Plain numbers, no client.

/// Why a reader cannot simply go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// There is nothing at its position: what was there is deleted, or the end of the log was lost.
    OutOfRange,
    /// The topic was deleted; one of the same name is another one.
    MadeAnew,
}

/// Where to go on in a topic that holds `[low, high)`, for a reader that wanted `position` next.
///
/// Nothing that can still be read is passed over: a record may ask for more than a client can pull. After a lost end of the
/// log it begins behind it, since what is before was read.
pub(super) fn resume(why: Break, position: i64, low: i64, high: i64) -> i64 {
    match why {
        Break::MadeAnew => low,
        Break::OutOfRange => position.clamp(low, high.max(low)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_retention_left_is_read() {
        assert_eq!(resume(Break::OutOfRange, 10, 25, 40), 25);
    }

    #[test]
    fn behind_a_lost_end_what_was_read_is_not_read_again() {
        assert_eq!(resume(Break::OutOfRange, 50, 0, 40), 40);
    }

    #[test]
    fn a_new_topic_is_read_from_its_beginning_wherever_the_old_one_ended() {
        assert_eq!(resume(Break::MadeAnew, 50, 0, 100), 0);
        assert_eq!(resume(Break::MadeAnew, 50, 3, 7), 3);
    }

    #[test]
    fn a_reader_that_can_go_on_does() {
        assert_eq!(resume(Break::OutOfRange, 30, 25, 40), 30);
    }
}
