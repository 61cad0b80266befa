//! Sessions: signing in, refreshing, signing out, and who a token speaks for.

use std::time::Duration;

use im_protocol::close::CloseReason;
use im_protocol::{DeviceId, ErrorCode, Terminal, TimeMs, UserId, WireError};

use super::accounts::PASSWORD_CHARS;
use super::tokens::{OwnTokens, Tokens, new_refresh_token, refresh_hash};
use super::{Chat, Devices, Result, now_ms};
use crate::store::{Arrival, Arriving, NewSession, Rotation, Session, SessionId};

/// How long the refresh token before the current one gets the same answer again: an answer may be lost on the way.
const REFRESH_GRACE_MS: i64 = 60_000;

/// What is said to who would sign in here where an identity provider does that.
pub(super) const ELSEWHERE: &str = "sign in at this server's identity provider: its access tokens are taken here";

/// The tokens of a session. There is no `Debug`: they are secrets.
pub struct SignedIn {
    /// For calls and `hello`.
    pub access_token: String,
    /// For the next tokens.
    pub refresh_token: String,
    /// How long the access token lives.
    pub expires_in: Duration,
}

/// How long the row of a device may say that it was last seen earlier than it was: each change is a write to the disk.
const SEEN_EVERY_MS: i64 = 24 * 3_600_000;

/// Who a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user, spelled as registered.
    pub user: UserId,
    /// Who says so.
    pub grant: Grant,
    /// When the token expires: Unix milliseconds.
    pub expires: TimeMs,
}

/// Who vouches for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// We do: a session that began with a password.
    Session(SessionId),
    /// An identity provider does.
    Provider {
        /// The name that it shows for them, if it tells.
        name: Option<String>,
    },
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
        let tokens = self.own_tokens().ok_or_else(|| WireError::new(ErrorCode::Forbidden, ELSEWHERE))?;
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
        let session = self.new_session(user, terminal, device, now);
        let new = NewSession { session: session.clone(), refresh_hash: Some(refresh_hash(&refresh_token)) };
        self.store.create_session(new).await?;
        self.signed_in(tokens, &session, refresh_token, now)
    }

    /// Exchanges a refresh token. One that was exchanged long ago has been stolen: its session ends.
    pub async fn refresh(&self, refresh_token: &str) -> Result<SignedIn> {
        // `unauthorized`, so that a client whose token is from before this server took a provider's asks to sign in.
        let tokens = self.own_tokens().ok_or_else(|| WireError::new(ErrorCode::Unauthorized, ELSEWHERE))?;
        let now = now_ms();
        let successor = tokens.successor(refresh_token);
        let unknown = || WireError::new(ErrorCode::Unauthorized, "the refresh token is not good: sign in");
        let (hash, next) = (refresh_hash(refresh_token), refresh_hash(&successor));
        match self.store.rotate(&hash, &next, now, self.refresh_expiry(now), REFRESH_GRACE_MS).await? {
            Rotation::Rotated(session) => self.signed_in(tokens, &session, successor, now),
            Rotation::Again { session, successor } => {
                let successor = tokens.successor_of_hash(refresh_token, &successor).ok_or_else(unknown)?;
                self.signed_in(tokens, &session, successor, now)
            }
            Rotation::Reused(session) => {
                tracing::warn!(user = %session.user, session = session.id.0, "a refresh token was used again: the session ends");
                self.end_connections(session);
                Err(WireError::new(
                    ErrorCode::Unauthorized,
                    "the refresh token was used before: the session is over, sign in",
                ))
            }
            Rotation::Unknown => Err(unknown()),
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

    /// Who an access token speaks for: it is good, and its session has not ended. Someone whom an identity provider vouches
    /// for has an account from then on.
    pub async fn authenticate(&self, token: &str) -> Result<Identity> {
        let identity = self.claimed(token).await?;
        match &identity.grant {
            Grant::Session(id) => {
                let session = self.store.session(id).await?;
                if !session.is_some_and(|session| !session.revoked && session.user == identity.user) {
                    return Err(session_over());
                }
            }
            Grant::Provider { name } => self.admit(&identity.user, name.as_deref()).await?,
        }
        Ok(identity)
    }

    /// Who an access token claims to speak for: it is good, but its session may be over, or the account not made yet.
    pub(crate) async fn claimed(&self, token: &str) -> Result<Identity> {
        Ok(self.tokens.verify(token).await?)
    }

    /// The session of someone on a device: the token's own, which may be over; or, where an identity provider vouches, the
    /// row by which the device is listed and pushed to.
    pub(crate) async fn session_on(
        &self,
        identity: &Identity,
        terminal: Terminal,
        device: &DeviceId,
    ) -> Result<SessionId> {
        let Identity { user, grant, .. } = identity;
        let name = match grant {
            Grant::Session(id) => return Ok(id.clone()),
            Grant::Provider { name } => name.as_deref(),
        };
        let now = now_ms();
        match row_of(self.store.sessions(user, now).await?, terminal, device, now) {
            Row::Fresh(id) => Ok(id),
            Row::Stale(id) => {
                self.store.keep_session(&id, now, self.refresh_expiry(now)).await?;
                Ok(id)
            }
            Row::Missing => {
                self.admit(user, name).await?;
                let session = self.new_session(user.clone(), terminal, device.clone(), now);
                let id = session.id.clone();
                self.store.create_session(NewSession { session, refresh_hash: None }).await?;
                Ok(id)
            }
        }
    }

    /// Lets a user in on a terminal, if the session has not ended, and ends the sessions of the class's other devices.
    /// What the store knows of the user comes with the same look.
    pub(crate) async fn arrive(
        &self,
        user: &UserId,
        session: &SessionId,
        terminal: Terminal,
        device: &DeviceId,
    ) -> Result<Arrival> {
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

    /// Our own tokens; `None` where an identity provider signs people in.
    pub(super) fn own_tokens(&self) -> Option<&OwnTokens> {
        match &self.tokens {
            Tokens::Own(own) => Some(own),
            Tokens::Provider(_) => None,
        }
    }

    fn new_session(&self, user: UserId, terminal: Terminal, device: DeviceId, now: TimeMs) -> Session {
        Session {
            id: SessionId(ulid::Ulid::generate().to_string()),
            user,
            terminal,
            device,
            created: now,
            last_seen: now,
            expires: self.refresh_expiry(now),
            revoked: false,
        }
    }

    fn signed_in(&self, tokens: &OwnTokens, session: &Session, refresh_token: String, now: TimeMs) -> Result<SignedIn> {
        let access = tokens.access(&session.user, &session.id, now, self.settings.access_lifetime)?;
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

/// The row of a device.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    /// It can stay as it is.
    Fresh(SessionId),
    /// It has to say that the device was seen.
    Stale(SessionId),
    /// There is none.
    Missing,
}

/// The row of a device among the living sessions of its user.
fn row_of(sessions: Vec<Session>, terminal: Terminal, device: &DeviceId, now: TimeMs) -> Row {
    match sessions.into_iter().find(|session| session.terminal == terminal && session.device == *device) {
        Some(session) if now - session.last_seen < SEEN_EVERY_MS => Row::Fresh(session.id),
        Some(session) => Row::Stale(session.id),
        None => Row::Missing,
    }
}

fn session_over() -> WireError {
    WireError::new(ErrorCode::Unauthorized, "the session is over: sign in")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_noted_as_seen_once_a_day() {
        let device = |name| DeviceId::parse(name).unwrap();
        let session = Session {
            id: SessionId("s1".to_owned()),
            user: UserId::parse("alice").unwrap(),
            terminal: Terminal::Mobile,
            device: device("d1"),
            created: 0,
            last_seen: 1_000,
            expires: TimeMs::MAX,
            revoked: false,
        };
        let row = |terminal, name, now| row_of(vec![session.clone()], terminal, &device(name), now);
        let day = 24 * 60 * 60 * 1_000;
        assert_eq!(row(Terminal::Mobile, "d1", 1_000 + day - 1), Row::Fresh(session.id.clone()));
        assert_eq!(row(Terminal::Mobile, "d1", 1_000 + day), Row::Stale(session.id.clone()));
        assert_eq!(row(Terminal::Mobile, "d2", 1_000), Row::Missing);
        assert_eq!(row(Terminal::Web, "d1", 1_000), Row::Missing);
    }
}
