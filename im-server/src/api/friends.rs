//! `/v1/friends`, `/v1/friend-requests`, `/v1/blocks`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use im_protocol::{TimeMs, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::SignedIn;
use super::extract::{Body, Path, Query};
use super::page::{Page, PageQuery};
use super::problem::Answer;
use super::users::Profile;
use crate::store;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(ask, requests))
        .routes(routes!(accept))
        .routes(routes!(reject))
        .routes(routes!(friends))
        .routes(routes!(set_remark, remove))
        .routes(routes!(blocks))
        .routes(routes!(block, unblock))
}

#[derive(Deserialize, ToSchema)]
struct NewFriendRequest {
    user: UserId,
    /// What to say: up to 200 characters.
    message: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct FriendRequest {
    id: String,
    from: UserId,
    to: UserId,
    message: String,
    /// When: Unix milliseconds.
    time: TimeMs,
}

impl From<store::FriendRequest> for FriendRequest {
    fn from(store::FriendRequest { id, from, to, message, time }: store::FriendRequest) -> Self {
        Self { id, from, to, message, time }
    }
}

/// Ask to be friends
///
/// Asking again replaces the message. `blocked` when they have blocked me, `already_exists` when we are friends.
#[utoipa::path(
    post, path = "/v1/friend-requests", tag = "Friends", security(("access_token" = [])),
    request_body = NewFriendRequest, responses((status = 201, description = "Asked", body = FriendRequest))
)]
async fn ask(
    State(state): State<ApiState>,
    me: SignedIn,
    Body(NewFriendRequest { user, message }): Body<NewFriendRequest>,
) -> Answer<(StatusCode, Json<FriendRequest>)> {
    let request = state.chat.request_friend(&me.user, &user, &message.unwrap_or_default()).await?;
    Ok((StatusCode::CREATED, Json(request.into())))
}

/// Who wants to be my friend
///
/// Open requests, newest first.
#[utoipa::path(
    get, path = "/v1/friend-requests", tag = "Friends", security(("access_token" = [])), params(PageQuery),
    responses((status = 200, description = "A page", body = Page<FriendRequest>))
)]
async fn requests(
    State(state): State<ApiState>,
    me: SignedIn,
    Query(page): Query<PageQuery>,
) -> Answer<Json<Page<FriendRequest>>> {
    let found = state.chat.friend_requests(&me.user, page.after()?.as_deref(), page.ask()).await?;
    Ok(Json(Page::new(found, &page, |request| request.id.clone(), FriendRequest::from)))
}

/// Accept
#[utoipa::path(
    post, path = "/v1/friend-requests/{id}/accept", tag = "Friends", security(("access_token" = [])),
    params(("id" = String, Path)), responses((status = 204, description = "We are friends"))
)]
async fn accept(State(state): State<ApiState>, me: SignedIn, Path(id): Path<String>) -> Answer<StatusCode> {
    state.chat.answer_friend_request(&me.user, &id, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reject
#[utoipa::path(
    post, path = "/v1/friend-requests/{id}/reject", tag = "Friends", security(("access_token" = [])),
    params(("id" = String, Path)), responses((status = 204, description = "Rejected; the other is not told"))
)]
async fn reject(State(state): State<ApiState>, me: SignedIn, Path(id): Path<String>) -> Answer<StatusCode> {
    state.chat.answer_friend_request(&me.user, &id, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
struct Friend {
    user: UserId,
    name: String,
    /// What I call them; empty for nothing.
    remark: String,
}

/// My friends
#[utoipa::path(
    get, path = "/v1/friends", tag = "Friends", security(("access_token" = [])), params(PageQuery),
    responses((status = 200, description = "A page, by user id", body = Page<Friend>))
)]
async fn friends(
    State(state): State<ApiState>,
    me: SignedIn,
    Query(page): Query<PageQuery>,
) -> Answer<Json<Page<Friend>>> {
    let found = state.chat.friends(&me.user, page.after_id()?.as_ref(), page.ask()).await?;
    let view = |store::Friend { user, name, remark }: store::Friend| Friend { user, name, remark };
    Ok(Json(Page::new(found, &page, |friend| friend.user.to_string(), view)))
}

#[derive(Deserialize, ToSchema)]
struct Remark {
    /// What I call them: up to 200 characters; empty for nothing.
    remark: Option<String>,
}

/// What I call a friend
#[utoipa::path(
    patch, path = "/v1/friends/{user}", tag = "Friends", security(("access_token" = [])), request_body = Remark,
    params(("user" = String, Path)), responses((status = 204, description = "Set"))
)]
async fn set_remark(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(user): Path<UserId>,
    Body(Remark { remark }): Body<Remark>,
) -> Answer<StatusCode> {
    if let Some(remark) = remark {
        state.chat.set_remark(&me.user, &user, &remark).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// End a friendship
#[utoipa::path(
    delete, path = "/v1/friends/{user}", tag = "Friends", security(("access_token" = [])),
    params(("user" = String, Path)), responses((status = 204, description = "Ended, for both"))
)]
async fn remove(State(state): State<ApiState>, me: SignedIn, Path(user): Path<UserId>) -> Answer<StatusCode> {
    state.chat.remove_friend(&me.user, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whom I have blocked
#[utoipa::path(
    get, path = "/v1/blocks", tag = "Friends", security(("access_token" = [])), params(PageQuery),
    responses((status = 200, description = "A page, by user id", body = Page<Profile>))
)]
async fn blocks(
    State(state): State<ApiState>,
    me: SignedIn,
    Query(page): Query<PageQuery>,
) -> Answer<Json<Page<Profile>>> {
    let found = state.chat.blocks(&me.user, page.after_id()?.as_ref(), page.ask()).await?;
    Ok(Json(Page::new(found, &page, |account| account.user.to_string(), Profile::from)))
}

/// Block someone
///
/// They cannot write to me, ask to be my friend, or put me into a group.
#[utoipa::path(
    put, path = "/v1/blocks/{user}", tag = "Friends", security(("access_token" = [])),
    params(("user" = String, Path)), responses((status = 204, description = "Blocked"))
)]
async fn block(State(state): State<ApiState>, me: SignedIn, Path(user): Path<UserId>) -> Answer<StatusCode> {
    state.chat.set_block(&me.user, &user, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Unblock someone
#[utoipa::path(
    delete, path = "/v1/blocks/{user}", tag = "Friends", security(("access_token" = [])),
    params(("user" = String, Path)), responses((status = 204, description = "Not blocked any more"))
)]
async fn unblock(State(state): State<ApiState>, me: SignedIn, Path(user): Path<UserId>) -> Answer<StatusCode> {
    state.chat.set_block(&me.user, &user, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
