//! `/v1/groups/{group}/join-requests`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use im_protocol::{GroupId, TimeMs, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::SignedIn;
use super::extract::{Body, Path, Query};
use super::page::{Page, PageQuery};
use super::problem::Answer;
use crate::chat::Joined;
use crate::store;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(ask, list)).routes(routes!(accept)).routes(routes!(reject))
}

#[derive(Deserialize, ToSchema)]
struct WishToJoin {
    /// What to say: up to 200 characters.
    message: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct JoinAnswer {
    /// True in an open group; else the owner or an admin has to approve.
    joined: bool,
}

/// Join a group, or ask to
///
/// At once where `join` is `open`; where it is `approval` the owner or an admin answers; `forbidden` where it is
/// `invite`.
#[utoipa::path(
    post, path = "/v1/groups/{group}/join-requests", tag = "Groups", security(("access_token" = [])),
    params(("group" = String, Path)), request_body = WishToJoin,
    responses((status = 200, description = "In, or asked", body = JoinAnswer))
)]
async fn ask(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(group): Path<GroupId>,
    Body(WishToJoin { message }): Body<WishToJoin>,
) -> Answer<Json<JoinAnswer>> {
    let joined = state.chat.request_join(&me.user, &group, &message.unwrap_or_default()).await?;
    Ok(Json(JoinAnswer { joined: joined == Joined::AtOnce }))
}

#[derive(Serialize, ToSchema)]
struct JoinRequest {
    id: String,
    group: GroupId,
    user: UserId,
    message: String,
    /// When: Unix milliseconds.
    time: TimeMs,
}

impl From<store::JoinRequest> for JoinRequest {
    fn from(store::JoinRequest { id, group, user, message, time }: store::JoinRequest) -> Self {
        Self { id, group, user, message, time }
    }
}

/// Who wants to join
///
/// For the owner and admins: open requests, newest first.
#[utoipa::path(
    get, path = "/v1/groups/{group}/join-requests", tag = "Groups", security(("access_token" = [])),
    params(("group" = String, Path), PageQuery),
    responses((status = 200, description = "A page", body = Page<JoinRequest>))
)]
async fn list(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(group): Path<GroupId>,
    Query(page): Query<PageQuery>,
) -> Answer<Json<Page<JoinRequest>>> {
    let found = state.chat.join_requests(&me.user, &group, page.after()?.as_deref(), page.ask()).await?;
    Ok(Json(Page::new(found, &page, |request| request.id.clone(), JoinRequest::from)))
}

#[derive(Deserialize)]
struct Which {
    group: GroupId,
    id: String,
}

/// Let someone in
#[utoipa::path(
    post, path = "/v1/groups/{group}/join-requests/{id}/accept", tag = "Groups", security(("access_token" = [])),
    params(("group" = String, Path), ("id" = String, Path)), responses((status = 204, description = "They are in"))
)]
async fn accept(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(Which { group, id }): Path<Which>,
) -> Answer<StatusCode> {
    state.chat.answer_join_request(&me.user, &group, &id, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Do not let someone in
#[utoipa::path(
    post, path = "/v1/groups/{group}/join-requests/{id}/reject", tag = "Groups", security(("access_token" = [])),
    params(("group" = String, Path), ("id" = String, Path)),
    responses((status = 204, description = "Rejected; they are not told"))
)]
async fn reject(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(Which { group, id }): Path<Which>,
) -> Answer<StatusCode> {
    state.chat.answer_join_request(&me.user, &group, &id, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
