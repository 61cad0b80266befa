//! Accounts: making one.

use im_protocol::limits::NAME_CHARS;
use im_protocol::text::{self, Controls};
use im_protocol::{ErrorCode, UserId, WireError};

use super::passwords::NO_PASSWORD;
use super::sessions::ELSEWHERE;
use super::{Chat, Result, now_ms};
use crate::store::{Account, NewAccount};

/// Characters of a password at most: work on a password grows with its length.
pub(super) const PASSWORD_CHARS: usize = 128;

/// Who wants an account made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registrar {
    /// Someone, for themself.
    Public,
    /// A backend with the service token.
    Service,
}

impl Chat {
    /// Makes an account. `forbidden` to the public when registration is closed; `already_exists` when the id is taken,
    /// in whatever case. Where an identity provider signs people in, an account has no password, and only a backend makes
    /// one before its owner first comes.
    pub async fn register(&self, by: Registrar, user: UserId, password: Option<String>, name: &str) -> Result<Account> {
        let own = self.own_tokens().is_some();
        if by == Registrar::Public && !own {
            return Err(WireError::new(ErrorCode::Forbidden, ELSEWHERE));
        }
        if by == Registrar::Public && !self.settings.open_registration {
            return Err(WireError::new(ErrorCode::Forbidden, "this server's operator makes the accounts"));
        }
        let name = shown_name(name)?;
        let password_hash = match (own, password) {
            (true, Some(password)) => {
                check_new_password(&password, self.settings.password_chars)?;
                self.passwords.hash(password).await?
            }
            (true, None) => return Err(WireError::invalid_field("password", "is missing")),
            (false, None) => NO_PASSWORD.to_owned(),
            (false, Some(_)) => {
                let problem = "must be left out: people sign in at this server's identity provider";
                return Err(WireError::invalid_field("password", problem));
            }
        };
        let account = NewAccount { user: user.clone(), name: name.clone(), password_hash, created: now_ms() };
        if self.store.create_account(account).await? {
            Ok(Account { user, name, avatar: String::new() })
        } else {
            Err(WireError::new(ErrorCode::AlreadyExists, format!("{user} is taken")))
        }
    }

    /// Makes sure that someone whom an identity provider vouches for has an account: it is made when they first come, under
    /// the name that the provider shows, or else their id. To the provider `Alice` and `alice` may be two people, so who is
    /// not spelled as registered is `unauthorized`.
    pub(super) async fn admit(&self, user: &UserId, name: Option<&str>) -> Result<()> {
        let registered = match self.resolve(user).await {
            Err(error) if error.code == ErrorCode::NotFound => {
                let name = name.and_then(|name| shown_name(name).ok()).unwrap_or_else(|| user.to_string());
                let password_hash = NO_PASSWORD.to_owned();
                let account = NewAccount { user: user.clone(), name, password_hash, created: now_ms() };
                if self.store.create_account(account).await? {
                    return Ok(());
                }
                // Another call was faster.
                self.resolve(user).await?
            }
            known => known?,
        };
        if registered != *user {
            let problem = format!("{user} cannot be let in: the account {registered} differs in nothing but case");
            return Err(WireError::new(ErrorCode::Unauthorized, problem));
        }
        Ok(())
    }
}

/// A person's name as it is stored.
pub(super) fn shown_name(name: &str) -> Result<String> {
    text::name(name, NAME_CHARS).map(str::to_owned).map_err(|problem| WireError::invalid_field("name", problem))
}

fn check_new_password(password: &str, at_least: usize) -> Result<()> {
    let wrong = |problem: String| Err(WireError::invalid_field("password", problem));
    let characters = password.chars().count();
    let at_least = at_least.max(1);
    if characters < at_least || characters > PASSWORD_CHARS {
        return wrong(format!("must have {at_least} to {PASSWORD_CHARS} characters"));
    }
    match text::forbidden_character(password, Controls::Refused) {
        Some(c) => wrong(format!("control character U+{:04X} is not allowed", u32::from(c))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_is_counted_in_characters_not_bytes() {
        assert!(check_new_password("密码密码密码密码", 8).is_ok());
        assert!(check_new_password("密码密码密码密", 8).is_err());
        assert!(check_new_password(&"é".repeat(128), 8).is_ok());
        assert!(check_new_password(&"é".repeat(129), 8).is_err());
    }

    #[test]
    fn an_empty_password_is_never_enough() {
        assert!(check_new_password("", 0).is_err());
        assert!(check_new_password("x", 0).is_ok());
    }

    #[test]
    fn a_password_of_control_characters_is_refused() {
        assert_eq!(check_new_password("12345678\0", 8).unwrap_err().field.as_deref(), Some("password"));
    }
}
