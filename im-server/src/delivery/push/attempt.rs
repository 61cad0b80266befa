//! What an answer of the receiver means, and when the next attempt is due. Pure.

use std::time::Duration;

use im_protocol::TimeMs;

use crate::store::JobOutcome;

/// A receiver that asks for more time than this gets this much.
const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// How often, and after what pauses, a delivery is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// Attempts until the job is dead.
    pub most: u32,
    /// The pause after the first; each next one is twice as long.
    pub first_pause: Duration,
    /// No pause is longer, but for one that the receiver asks for.
    pub longest_pause: Duration,
}

impl Default for Attempts {
    /// About 20 minutes in all: a notification that comes later tells nobody anything new.
    fn default() -> Self {
        Self { most: 10, first_pause: Duration::from_secs(2), longest_pause: Duration::from_mins(10) }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An HTTP answer.
    Status {
        code: u16,
        /// Of `Retry-After`.
        after: Option<Duration>,
        /// The beginning of the body.
        body: String,
    },
    /// None: the receiver is out of reach, or too slow.
    Failed(String),
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Judgement {
    Done,
    Again(Option<Duration>, String),
    Dead(String),
}

impl Answer {
    fn judge(self) -> Judgement {
        let (code, after, body) = match self {
            Self::Failed(why) => return Judgement::Again(None, why),
            Self::Status { code, after, body } => (code, after, body),
        };
        let text = if body.is_empty() { format!("status {code}") } else { format!("status {code}: {body}") };
        match code {
            200..300 => Judgement::Done,
            // Too slow, too early, too many: these ask for another attempt, every other 4xx says that it would fail too.
            408 | 425 | 429 => Judgement::Again(after, text),
            400..500 => Judgement::Dead(text),
            300..400 => Judgement::Again(after, format!("{text}: redirects are not followed")),
            _ => Judgement::Again(after, text),
        }
    }
}

impl Attempts {
    /// What becomes of a job that had failed `failed` times before this answer. `random` is in `[0, 1)`.
    pub(super) fn outcome(self, failed: u32, answer: Answer, id: &str, now: TimeMs, random: f64) -> JobOutcome {
        let dead = |reason| JobOutcome::Dead { id: id.to_owned(), reason };
        match answer.judge() {
            Judgement::Done => JobOutcome::Over,
            Judgement::Dead(reason) => dead(reason),
            Judgement::Again(_, reason) if failed + 1 >= self.most => dead(reason),
            Judgement::Again(asked, _) => {
                let pause = self.pause(failed, random).max(asked.unwrap_or_default().min(LONGEST_ASKED));
                JobOutcome::Again { due: now + i64::try_from(pause.as_millis()).unwrap_or(i64::MAX / 2), failed: true }
            }
        }
    }

    /// Random over its upper half, so that jobs which failed together do not come back together.
    fn pause(self, failed: u32, random: f64) -> Duration {
        let whole = self.first_pause.saturating_mul(2_u32.saturating_pow(failed)).min(self.longest_pause);
        whole.mul_f64(0.5 + random / 2.0)
    }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(value: &str, now: std::time::SystemTime) -> Option<Duration> {
    let value = value.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    const ATTEMPTS: Attempts =
        Attempts { most: 4, first_pause: Duration::from_secs(2), longest_pause: Duration::from_mins(1) };

    fn status(code: u16) -> Answer {
        Answer::Status { code, after: None, body: String::new() }
    }

    fn outcome(failed: u32, answer: Answer) -> JobOutcome {
        ATTEMPTS.outcome(failed, answer, "id", 0, 0.0)
    }

    #[test]
    fn a_success_is_over_and_a_refusal_dead_at_once() {
        for code in [200, 202, 204] {
            assert_eq!(outcome(0, status(code)), JobOutcome::Over);
        }
        for code in [400, 401, 404, 410, 422] {
            let reason = format!("status {code}");
            assert_eq!(outcome(0, status(code)), JobOutcome::Dead { id: "id".into(), reason });
        }
        for code in [301, 408, 425, 429, 500, 503] {
            assert!(matches!(outcome(0, status(code)), JobOutcome::Again { failed: true, .. }), "{code}");
        }
        assert!(matches!(outcome(0, Answer::Failed("refused".into())), JobOutcome::Again { .. }));
    }

    #[test]
    fn the_last_attempt_leaves_a_dead_letter_with_its_reason() {
        assert!(matches!(outcome(2, status(500)), JobOutcome::Again { .. }));
        let last = outcome(3, Answer::Status { code: 500, after: None, body: "oops".into() });
        assert_eq!(last, JobOutcome::Dead { id: "id".into(), reason: "status 500: oops".into() });
    }

    #[test]
    fn a_receiver_that_asks_for_time_gets_it_within_reason() {
        let asking =
            |seconds| Answer::Status { code: 429, after: Some(Duration::from_secs(seconds)), body: String::new() };
        assert_eq!(outcome(0, asking(90)), JobOutcome::Again { due: 90_000, failed: true });
        assert_eq!(outcome(0, asking(1_000_000)), JobOutcome::Again { due: 3_600_000, failed: true });
        assert_eq!(outcome(0, asking(0)), JobOutcome::Again { due: 1_000, failed: true });
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_717);
        assert_eq!(retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_mins(1)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:40:37 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    proptest! {
        #[test]
        fn pauses_double_up_to_the_longest_and_stay_in_their_upper_half(failed in 0_u32..100, random in 0.0..1.0_f64) {
            let whole = ATTEMPTS.first_pause.saturating_mul(2_u32.saturating_pow(failed)).min(ATTEMPTS.longest_pause);
            let pause = ATTEMPTS.pause(failed, random);
            prop_assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
        }
    }
}
