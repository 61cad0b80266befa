//! Sessions: signing in, refreshing, signing out, and who a token speaks for.

use std::time::Duration;

use im_protocol::close::CloseReason;
use im_protocol::{DeviceId, ErrorCode, Terminal, TimeMs, UserId, WireError};

use super::accounts::PASSWORD_CHARS;
use super::tokens::{new_refresh_token, refresh_hash};
use super::{Chat, Devices, Result, now_ms};
use crate::store::{Arrival, Arriving, NewSession, Rotation, Session, SessionId};

/// How long the refresh token before the current one gets the same answer again: an answer may be lost on the way.
const REFRESH_GRACE_MS: i64 = 60_000;

/// The tokens of a session. There is no `Debug`: they are secrets.
pub struct SignedIn {
    /// For calls and `hello`.
    pub access_token: String,
    /// For the next tokens.
    pub refresh_token: String,
    /// How long the access token lives.
    pub expires_in: Duration,
}

/// Who a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user, spelled as registered.
    pub user: UserId,
    /// The session.
    pub session: SessionId,
    /// When the token expires: Unix milliseconds.
    pub expires: TimeMs,
}

impl Chat {
    /// Signs in. `invalid_credentials` tells neither whether the user exists, nor by the time it takes.
    pub async fn sign_in(
        &self,
        user: &UserId,
        password: String,
        terminal: Terminal,
        device: DeviceId,
    ) -> Result<SignedIn> {
        if password.is_empty() || password.chars().count() > PASSWORD_CHARS {
            let problem = format!("must have 1 to {PASSWORD_CHARS} characters");
            return Err(WireError::invalid_field("password", problem));
        }
        let (user, phc) = self.store.credentials(user).await?.unzip();
        let matches = self.passwords.verify(password, phc).await?;
        let Some(user) = user.filter(|_| matches) else {
            return Err(WireError::new(ErrorCode::InvalidCredentials, "user and password do not match"));
        };
        let now = now_ms();
        let refresh_token = new_refresh_token();
        let session = Session {
            id: SessionId(ulid::Ulid::generate().to_string()),
            user,
            terminal,
            device,
            created: now,
            last_seen: now,
            expires: self.refresh_expiry(now),
            revoked: false,
        };
        let new = NewSession { session: session.clone(), refresh_hash: refresh_hash(&refresh_token) };
        self.store.create_session(new).await?;
        self.signed_in(&session, refresh_token, now)
    }

    /// Exchanges a refresh token. One that was exchanged long ago has been stolen: its session ends.
    pub async fn refresh(&self, refresh_token: &str) -> Result<SignedIn> {
        let now = now_ms();
        let successor = self.tokens.successor(refresh_token);
        let (hash, next) = (refresh_hash(refresh_token), refresh_hash(&successor));
        match self.store.rotate(&hash, &next, now, self.refresh_expiry(now), REFRESH_GRACE_MS).await? {
            Rotation::Rotated(session) | Rotation::Again(session) => self.signed_in(&session, successor, now),
            Rotation::Reused(session) => {
                tracing::warn!(user = %session.user, session = session.id.0, "a refresh token was used again: the session ends");
                self.end_connections(session);
                Err(WireError::new(
                    ErrorCode::Unauthorized,
                    "the refresh token was used before: the session is over, sign in",
                ))
            }
            Rotation::Unknown => Err(WireError::new(ErrorCode::Unauthorized, "the refresh token is not good: sign in")),
        }
    }

    /// A user's living sessions, newest first.
    pub async fn sessions(&self, user: &UserId) -> Result<Vec<Session>> {
        Ok(self.store.sessions(user, now_ms()).await?)
    }

    /// Ends a session of a user, and the connections of its device.
    pub async fn sign_out(&self, user: &UserId, id: &SessionId) -> Result<()> {
        let session = self.store.session(id).await?.filter(|session| session.user == *user);
        let unknown = || WireError::new(ErrorCode::NotFound, "you have no such session");
        let session = session.ok_or_else(unknown)?;
        if !self.store.revoke(user, id).await? {
            return Err(unknown());
        }
        self.end_connections(session);
        Ok(())
    }

    /// Who an access token speaks for: it is good, and its session has not ended.
    pub async fn authenticate(&self, token: &str) -> Result<Identity> {
        let identity = self.claimed(token)?;
        let session = self.store.session(&identity.session).await?;
        if session.is_some_and(|session| !session.revoked && session.user == identity.user) {
            Ok(identity)
        } else {
            Err(session_over())
        }
    }

    /// Who an access token claims to speak for: it is ours and has not expired, but its session may be over.
    pub(crate) fn claimed(&self, token: &str) -> Result<Identity> {
        let claims = self.tokens.verify(token)?;
        Ok(Identity { session: claims.session(), expires: claims.expires(), user: claims.user })
    }

    /// Lets a user in on a terminal, if the session has not ended, and ends the sessions of the class's other devices.
    /// What the store knows of the user comes with the same look.
    pub(crate) async fn arrive(&self, identity: &Identity, terminal: Terminal, device: &DeviceId) -> Result<Arrival> {
        let Identity { user, session, .. } = identity;
        let arrival = self.store.arrival(Arriving { user, session, terminal, device }, now_ms()).await?;
        if !arrival.session_lives {
            return Err(session_over());
        }
        // Nearly always there is none, and the look costs no write, which would wait for the disk.
        if arrival.other_devices {
            self.store.revoke_other_devices(user, terminal, device, session).await?;
        }
        Ok(arrival)
    }

    fn signed_in(&self, session: &Session, refresh_token: String, now: TimeMs) -> Result<SignedIn> {
        let access = self.tokens.access(&session.user, &session.id, now, self.settings.access_lifetime)?;
        Ok(SignedIn { access_token: access.token, refresh_token, expires_in: access.lifetime })
    }

    fn refresh_expiry(&self, now: TimeMs) -> TimeMs {
        now.saturating_add_unsigned(u64::try_from(self.settings.refresh_lifetime.as_millis()).unwrap_or(u64::MAX))
    }

    fn end_connections(&self, session: Session) {
        let devices = Devices::One(session.terminal, session.device);
        self.publish.disconnect(session.user, devices, CloseReason::Unauthorized);
    }
}

fn session_over() -> WireError {
    WireError::new(ErrorCode::Unauthorized, "the session is over: sign in")
}
