//! Who calls: `Authorization: Bearer …`, never anything in a URL.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use im_protocol::{ErrorCode, UserId, WireError};

use super::ApiState;
use super::problem::Problem;
use crate::chat::{Caller, Grant, Identity, Right};
use crate::store::SessionId;

/// Someone with a good access token.
pub(super) struct SignedIn {
    pub(super) user: UserId,
    /// What the token rests on here; an identity provider's rests on nothing here.
    pub(super) session: Option<SessionId>,
}

impl FromRequestParts<ApiState> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let Identity { user, grant, .. } = state.chat.authenticate(bearer_token(&parts.headers)?).await?;
        let session = match grant {
            Grant::Session(id) => Some(id),
            Grant::Provider { .. } => None,
        };
        Ok(Self { user, session })
    }
}

/// Someone with a good access token, or a backend.
pub(super) enum Authorized {
    /// A person.
    Person(SignedIn),
    /// A backend with the service token.
    Service,
}

impl Authorized {
    /// Whoever acts: the person, or whom the backend names. A person cannot speak for another.
    pub(super) fn speaking_for(self, sender: Option<UserId>) -> Result<Caller, WireError> {
        match (self, sender) {
            (Self::Service, Some(user)) => Ok(Caller { user, right: Right::Service }),
            (Self::Service, None) => {
                Err(WireError::invalid_field("sender", "is missing: a service token speaks for someone"))
            }
            (Self::Person(SignedIn { user, .. }), None) => Ok(Caller { user, right: Right::Person }),
            (Self::Person(SignedIn { user, .. }), Some(sender)) if sender == user => {
                Ok(Caller { user, right: Right::Person })
            }
            (Self::Person(_), Some(_)) => {
                Err(WireError::new(ErrorCode::Forbidden, "only a service token speaks for another user"))
            }
        }
    }
}

impl FromRequestParts<ApiState> for Authorized {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        if is_service(&parts.headers, state) {
            return Ok(Self::Service);
        }
        SignedIn::from_request_parts(parts, state).await.map(Self::Person)
    }
}

/// Whether the request carries the service token.
pub(super) fn is_service(headers: &HeaderMap, state: &ApiState) -> bool {
    let given = bearer_token(headers).ok();
    state.service_token.as_ref().zip(given).is_some_and(|(secret, given)| secret.matches(given))
}

/// The token of the Authorization header.
pub(super) fn bearer_token(headers: &HeaderMap) -> Result<&str, WireError> {
    let unauthorized = |detail| WireError::new(ErrorCode::Unauthorized, detail);
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Err(unauthorized("the header Authorization: Bearer <access token> is missing"));
    };
    let token = value.to_str().ok().and_then(|value| value.split_once(' '));
    match token {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(unauthorized("the Authorization header must be: Bearer <access token>")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, axum::http::HeaderValue::from_static(value))])
    }

    #[test]
    fn the_token_is_read_whatever_the_case_of_the_scheme() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            assert_eq!(bearer_token(&headers(value)).unwrap(), "abc", "{value}");
        }
    }

    #[test]
    fn other_schemes_are_unauthorized() {
        for value in ["Basic abc", "abc", "Bearer"] {
            assert_eq!(bearer_token(&headers(value)).unwrap_err().code, ErrorCode::Unauthorized, "{value}");
        }
        assert_eq!(bearer_token(&HeaderMap::new()).unwrap_err().code, ErrorCode::Unauthorized);
    }

    #[test]
    fn nobody_speaks_for_another_but_a_backend() {
        let user = |name| UserId::parse(name).unwrap();
        let alice = || Authorized::Person(SignedIn { user: user("alice"), session: None });
        assert_eq!(alice().speaking_for(None).unwrap().user, user("alice"));
        assert_eq!(alice().speaking_for(Some(user("alice"))).unwrap().user, user("alice"));
        assert_eq!(alice().speaking_for(Some(user("bob"))).unwrap_err().code, ErrorCode::Forbidden);
        assert_eq!(Authorized::Service.speaking_for(Some(user("bob"))).unwrap().right, Right::Service);
        assert_eq!(Authorized::Service.speaking_for(None).unwrap_err().field.as_deref(), Some("sender"));
    }
}
