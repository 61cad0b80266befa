//! Sessions: who is signed in, on which device, with which refresh token.

use async_trait::async_trait;
use im_protocol::{DeviceId, Terminal, TimeMs, UserId};

use super::Result;

/// Id of a session, also in its access tokens (`sid`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub String);

/// A sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// Device class it was made for.
    pub terminal: Terminal,
    /// Device it was made for.
    pub device: DeviceId,
    /// When: Unix milliseconds.
    pub created: TimeMs,
    /// When its tokens were last made: Unix milliseconds.
    pub last_seen: TimeMs,
    /// When the refresh token expires: Unix milliseconds.
    pub expires: TimeMs,
    /// Ended: its tokens are dead.
    pub revoked: bool,
}

/// A session to store.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The session, not revoked.
    pub session: Session,
    /// Hash of its first refresh token; `None` where an identity provider makes the tokens.
    pub refresh_hash: Option<Vec<u8>>,
}

/// What became of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It was the current one; its successor is stored.
    Rotated(Session),
    /// It was the one before, within the grace: the successor may be told again.
    Again {
        /// The session, unchanged.
        session: Session,
        /// Hash of the successor that is stored.
        successor: Vec<u8>,
    },
    /// It was an old one: someone else has used it. The session was revoked.
    Reused(Session),
    /// Nobody's, expired, or of a revoked session.
    Unknown,
}

/// Sessions.
#[async_trait]
pub trait Sessions {
    /// Stores a session.
    async fn create_session(&self, session: NewSession) -> Result<()>;

    /// A session by id, revoked or not.
    async fn session(&self, id: &SessionId) -> Result<Option<Session>>;

    /// A user's sessions that are neither revoked nor expired at `now`, newest first.
    async fn sessions(&self, user: &UserId, now: TimeMs) -> Result<Vec<Session>>;

    /// Exchanges a refresh token (by hash) for its successor. The one before the current one still answers for
    /// `grace_ms` after it was exchanged; any older one that is known revokes the session.
    async fn rotate(
        &self,
        hash: &[u8],
        successor: &[u8],
        now: TimeMs,
        expires: TimeMs,
        grace_ms: i64,
    ) -> Result<Rotation>;

    /// Notes when a session was last seen, and until when it lives now: Unix milliseconds.
    async fn keep_session(&self, id: &SessionId, seen: TimeMs, expires: TimeMs) -> Result<()>;

    /// Ends a user's session. False if there is none that lives.
    async fn revoke(&self, user: &UserId, id: &SessionId) -> Result<bool>;

    /// Ends a user's sessions of a device class on other devices than `device`, except `keep`. Returns those it ended.
    async fn revoke_other_devices(
        &self,
        user: &UserId,
        terminal: Terminal,
        device: &DeviceId,
        keep: &SessionId,
    ) -> Result<Vec<SessionId>>;

    /// Which of these sessions are dead: revoked, or not there.
    async fn dead_sessions(&self, ids: &[SessionId]) -> Result<Vec<SessionId>>;
}
