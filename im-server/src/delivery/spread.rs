//! Telling every connection to pull, a few at a time: thousands that pull at once would be the next outage.

use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How long it takes until the last one is told.
const WITHIN: Duration = Duration::from_secs(10);

/// In so many steps.
const STEPS: usize = 200;

/// Who is to be told yet.
pub(crate) struct Spread<T> {
    left: Vec<T>,
    steps: usize,
    clock: Interval,
}

impl<T> Spread<T> {
    pub(crate) fn new() -> Self {
        let mut clock = interval(WITHIN / u32::try_from(STEPS).expect("a few hundred"));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { left: Vec::new(), steps: 0, clock }
    }

    /// Begins with everyone, in any order but the same one each time. Whoever was told since an earlier beginning is told
    /// again: what is missing now may be newer than what was pulled then.
    pub(crate) fn begin(&mut self, mut everyone: Vec<T>) {
        everyone.shuffle(&mut rand::rng());
        self.left = everyone;
        self.steps = STEPS;
    }

    /// Waits until the next few are due, for ever when nobody is.
    pub(crate) async fn due(&mut self) {
        if self.left.is_empty() {
            std::future::pending::<()>().await;
        }
        self.clock.tick().await;
    }

    /// The next few.
    pub(crate) fn next(&mut self) -> impl Iterator<Item = T> {
        let few = self.left.len().div_ceil(self.steps.max(1));
        self.steps = self.steps.saturating_sub(1);
        self.left.drain(self.left.len() - few..)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn everyone_is_told_once_in_equal_steps() {
        for count in [1, 7, 200, 1_999, 20_000] {
            let mut spread = Spread::new();
            spread.begin((0..count).collect());
            let steps: Vec<Vec<usize>> = (0..STEPS).map(|_| spread.next().collect()).collect();
            let most = steps.iter().map(Vec::len).max().unwrap();
            assert!(most <= count.div_ceil(STEPS), "{count}: {most} at once");
            let told: Vec<_> = steps.into_iter().flatten().collect();
            assert_eq!(told.len(), count);
            assert_eq!(told.into_iter().collect::<HashSet<_>>().len(), count);
        }
    }

    #[tokio::test]
    async fn a_new_beginning_tells_everyone_again() {
        let mut spread = Spread::new();
        spread.begin((0..1_000).collect());
        for _ in 0..150 {
            spread.next().for_each(drop);
        }
        spread.begin((0..1_000).collect());
        let told: HashSet<usize> = (0..STEPS).flat_map(|_| spread.next().collect::<Vec<_>>()).collect();
        assert_eq!(told.len(), 1_000);
    }

    #[tokio::test]
    async fn nobody_is_due_when_all_are_told() {
        let mut spread = Spread::new();
        assert!(poll!(Box::pin(spread.due())).is_pending());
        spread.begin(vec![1]);
        spread.due().await;
        assert_eq!(spread.next().collect::<Vec<_>>(), [1]);
        assert!(poll!(Box::pin(spread.due())).is_pending());
    }
}
