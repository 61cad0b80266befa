//! `/v1/accounts`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use im_protocol::UserId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::is_service;
use super::extract::Body;
use super::limits::Counted;
use super::problem::Answer;
use crate::chat::Registrar;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(create))
}

#[derive(Deserialize, ToSchema)]
struct NewAccount {
    user: UserId,
    /// At least 8 characters (a setting), at most 128. Left out where an identity provider signs people in.
    password: Option<String>,
    /// Shown name: 1 to 100 characters.
    name: String,
}

#[derive(Serialize, ToSchema)]
struct CreatedAccount {
    user: UserId,
    name: String,
}

/// Make an account
///
/// `forbidden` when registration is closed or an identity provider signs people in, unless a backend asks;
/// `already_exists` when the id is taken, in whatever case.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "Accounts", request_body = NewAccount, security((), ("service_token" = [])),
    responses((status = 201, description = "Made", body = CreatedAccount))
)]
async fn create(
    State(state): State<ApiState>,
    _: Counted,
    headers: HeaderMap,
    Body(new): Body<NewAccount>,
) -> Answer<(StatusCode, Json<CreatedAccount>)> {
    let by = if is_service(&headers, &state) { Registrar::Service } else { Registrar::Public };
    let account = state.chat.register(by, new.user, new.password, &new.name).await?;
    Ok((StatusCode::CREATED, Json(CreatedAccount { user: account.user, name: account.name })))
}
