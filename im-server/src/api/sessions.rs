//! `/v1/sessions`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use im_protocol::{DeviceId, ErrorCode, Terminal, TimeMs, UserId, WireError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::SignedIn;
use super::extract::{Body, Path};
use super::limits::Counted;
use super::page::Page;
use super::problem::Answer;
use crate::chat;
use crate::store::{Session, SessionId};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(refresh))
        .routes(routes!(end_current))
        .routes(routes!(end))
}

#[derive(Deserialize, ToSchema)]
struct SignIn {
    user: UserId,
    /// 1 to 128 characters.
    password: String,
    terminal: Terminal,
    device: DeviceId,
}

#[derive(Serialize, ToSchema)]
struct SessionTokens {
    /// For the Authorization header, `hello` and `auth`.
    access_token: String,
    /// For `POST /v1/sessions/refresh`, once.
    refresh_token: String,
    /// Life of the access token, in seconds.
    expires_in: u64,
}

impl From<chat::SignedIn> for SessionTokens {
    fn from(tokens: chat::SignedIn) -> Self {
        Self {
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            expires_in: tokens.expires_in.as_secs(),
        }
    }
}

/// Sign in
#[utoipa::path(
    post, path = "/v1/sessions", tag = "Sessions", request_body = SignIn,
    responses(
        (status = 200, description = "Signed in", body = SessionTokens),
        (status = 401, description = "`invalid_credentials`", body = super::problem::Document,
         content_type = "application/problem+json"),
    )
)]
async fn create(
    State(state): State<ApiState>,
    _: Counted,
    Body(SignIn { user, password, terminal, device }): Body<SignIn>,
) -> Answer<Json<SessionTokens>> {
    Ok(Json(state.chat.sign_in(&user, password, terminal, device).await?.into()))
}

#[derive(Deserialize, ToSchema)]
struct Refresh {
    refresh_token: String,
}

/// Exchange a refresh token
///
/// Each works once; the one before the current one gets the same answer for 60 seconds, in case it got lost. An older
/// one ends the session.
#[utoipa::path(
    post, path = "/v1/sessions/refresh", tag = "Sessions", request_body = Refresh,
    responses(
        (status = 200, description = "Fresh tokens", body = SessionTokens),
        (status = 401, description = "`unauthorized`", body = super::problem::Document,
         content_type = "application/problem+json"),
    )
)]
async fn refresh(State(state): State<ApiState>, Body(old): Body<Refresh>) -> Answer<Json<SessionTokens>> {
    Ok(Json(state.chat.refresh(&old.refresh_token).await?.into()))
}

#[derive(Serialize, ToSchema)]
struct SessionView {
    id: String,
    terminal: Terminal,
    device: DeviceId,
    /// When it began: Unix milliseconds.
    created: TimeMs,
    /// When its tokens were last made: Unix milliseconds.
    last_seen: TimeMs,
    /// The session that asks.
    current: bool,
}

/// My sessions
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "Sessions", security(("access_token" = [])),
    responses((status = 200, description = "Those that live", body = Page<SessionView>))
)]
async fn list(State(state): State<ApiState>, me: SignedIn) -> Answer<Json<Page<SessionView>>> {
    let sessions = state.chat.sessions(&me.user).await?;
    let view = |session: Session| SessionView {
        current: Some(&session.id) == me.session.as_ref(),
        id: session.id.0,
        terminal: session.terminal,
        device: session.device,
        created: session.created,
        last_seen: session.last_seen,
    };
    Ok(Json(Page::whole(sessions.into_iter().map(view).collect())))
}

/// End a session of mine
///
/// Its tokens are dead, its device's connections are closed.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "Sessions", security(("access_token" = [])),
    params(("id" = String, Path)), responses((status = 204, description = "Ended"))
)]
async fn end(State(state): State<ApiState>, me: SignedIn, Path(id): Path<String>) -> Answer<StatusCode> {
    state.chat.sign_out(&me.user, &SessionId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sign out
#[utoipa::path(
    delete, path = "/v1/sessions/current", tag = "Sessions", security(("access_token" = [])),
    responses((status = 204, description = "Signed out"))
)]
async fn end_current(State(state): State<ApiState>, me: SignedIn) -> Answer<StatusCode> {
    let problem = "the token of an identity provider has no session here: end that of the device, by its id";
    let session = me.session.ok_or_else(|| WireError::new(ErrorCode::NotFound, problem))?;
    state.chat.sign_out(&me.user, &session).await?;
    Ok(StatusCode::NO_CONTENT)
}
