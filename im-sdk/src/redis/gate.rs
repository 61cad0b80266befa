//! Keeps calls off a Redis that is down: after a failure one call at a time tries it, the others fail at once.
//!
//! Without it every call would wait for the time-out, and all that arrives meanwhile would pile up behind it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two attempts at what is down. With a connect that is refused at once this is how late a recovery is noticed.
const RETRY: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Open,
    /// Closed until then, when one may try.
    Closed(Instant),
    /// One is trying.
    Trying,
}

/// The permission to call. Dropped without a word (a call that was cancelled) it counts for nothing.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    /// This call decides whether the gate opens again.
    pub(super) trying: bool,
    told: bool,
}

impl Gate {
    /// `None` while it is closed.
    pub(super) fn enter(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = self.0.lock();
        let trying = match *state {
            State::Open => false,
            State::Closed(until) if now >= until => true,
            State::Closed(_) | State::Trying => return None,
        };
        if trying {
            *state = State::Trying;
        }
        Some(Pass { gate: self, trying, told: false })
    }
}

impl Pass<'_> {
    /// It answered, or did not.
    pub(super) fn tell(mut self, answered: bool, now: Instant) {
        self.told = true;
        let mut state = self.gate.0.lock();
        match (*state, answered) {
            // A call from before may say anything while another one is trying.
            (State::Trying, _) if !self.trying => {}
            (State::Closed(_), true) => {}
            (_, true) => *state = State::Open,
            (_, false) => *state = State::Closed(now + RETRY),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.trying && !self.told {
            *self.gate.0.lock() = State::Closed(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_one_call_tries_and_the_others_fail_at_once() {
        let (gate, start) = (Gate::default(), Instant::now());
        gate.enter(start).expect("open").tell(false, start);
        assert!(gate.enter(start).is_none(), "closed");
        let late = start + RETRY;
        let attempt = gate.enter(late).expect("one may try");
        assert!(attempt.trying);
        assert!(gate.enter(late).is_none(), "one at a time");
        attempt.tell(true, late);
        assert!(gate.enter(late).is_some_and(|pass| !pass.trying), "open again");
    }

    #[test]
    fn an_attempt_that_fails_closes_it_again() {
        let (gate, start) = (Gate::default(), Instant::now());
        gate.enter(start).expect("open").tell(false, start);
        let late = start + RETRY;
        gate.enter(late).expect("one may try").tell(false, late);
        assert!(gate.enter(late).is_none());
        assert!(gate.enter(late + RETRY).is_some());
    }

    #[test]
    fn a_cancelled_attempt_leaves_the_next_one_to_try() {
        let (gate, start) = (Gate::default(), Instant::now());
        gate.enter(start).expect("open").tell(false, start);
        drop(gate.enter(start + RETRY).expect("one may try"));
        assert!(gate.enter(start + RETRY * 2).is_some_and(|pass| pass.trying));
    }

    #[test]
    fn a_call_from_before_neither_opens_nor_disturbs_an_attempt() {
        let (gate, start) = (Gate::default(), Instant::now());
        let (early, slow) = (gate.enter(start).expect("open"), gate.enter(start).expect("open"));
        gate.enter(start).expect("open").tell(false, start);
        early.tell(true, start);
        assert!(gate.enter(start).is_none(), "an answer from before says nothing of now");
        let attempt = gate.enter(start + RETRY).expect("one may try");
        slow.tell(false, start + RETRY);
        attempt.tell(true, start + RETRY);
        assert!(gate.enter(start + RETRY).is_some());
    }
}
