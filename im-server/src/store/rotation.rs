//! What becomes of a refresh token that is used.

use im_protocol::TimeMs;

use super::{Rotation, Session};

/// A refresh token, neither expired nor of a revoked session.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// Its place among the tokens of its session, from 1.
    pub(super) number: i64,
    /// The place of the newest one.
    pub(super) newest: i64,
    /// The hash of the newest one.
    pub(super) newest_hash: Vec<u8>,
    /// When its successor was first told: Unix milliseconds.
    pub(super) exchanged: Option<TimeMs>,
}

impl Token {
    /// What its use at `now` comes to, and the session as it is then. A successor expires at `expires`.
    pub(super) fn used(self, session: Session, now: TimeMs, expires: TimeMs, grace_ms: i64) -> Rotation {
        match self.exchanged {
            None => Rotation::Rotated(Session { last_seen: now, expires, ..session }),
            Some(at) if self.number + 1 == self.newest && now <= at.saturating_add(grace_ms) => {
                Rotation::Again { session, successor: self.newest_hash }
            }
            Some(_) => Rotation::Reused(Session { revoked: true, ..session }),
        }
    }
}

#[cfg(test)]
mod tests {
    use im_protocol::{DeviceId, Terminal, UserId};

    use super::super::SessionId;
    use super::*;

    const GRACE: i64 = 60;

    fn session() -> Session {
        Session {
            id: SessionId("s".to_owned()),
            user: UserId::parse("alice").unwrap(),
            terminal: Terminal::Web,
            device: DeviceId::parse("d").unwrap(),
            created: 1,
            last_seen: 1,
            expires: 1_000,
            revoked: false,
        }
    }

    fn used(number: i64, newest: i64, exchanged: Option<TimeMs>, now: TimeMs) -> Rotation {
        Token { number, newest, newest_hash: vec![7], exchanged }.used(session(), now, 2_000, GRACE)
    }

    #[test]
    fn the_newest_token_is_exchanged_and_the_session_lives_on() {
        assert_eq!(used(3, 3, None, 100), Rotation::Rotated(Session { last_seen: 100, expires: 2_000, ..session() }));
    }

    #[test]
    fn the_one_before_answers_again_until_the_grace_is_over() {
        let again = || Rotation::Again { session: session(), successor: vec![7] };
        assert_eq!(used(2, 3, Some(40), 40 + GRACE), again());
        let revoked = Rotation::Reused(Session { revoked: true, ..session() });
        assert_eq!(used(2, 3, Some(40), 40 + GRACE + 1), revoked);
        assert_eq!(used(2, 3, Some(TimeMs::MAX), TimeMs::MAX), again(), "no time is too late to add");
    }

    #[test]
    fn an_older_one_ends_the_session_even_within_the_grace() {
        assert_eq!(used(1, 3, Some(40), 41), Rotation::Reused(Session { revoked: true, ..session() }));
    }
}
