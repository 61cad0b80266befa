//! `/v1/conversations`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use im_protocol::server::{ConversationItem, Conversations};
use im_protocol::{ConversationId, Seq};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::SignedIn;
use super::extract::{Body, Path, Query};
use super::page::clamp;
use super::problem::Answer;
use crate::store::Preferences;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one, change, delete)).routes(routes!(read))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `next` of the page before.
    cursor: Option<String>,
    /// A `since` of an earlier answer: only what changed after it, tombstones included.
    since: Option<String>,
    /// Items at most: 50 if absent, 200 at most.
    #[param(maximum = 200, default = 50)]
    limit: Option<u64>,
}

/// My conversations
///
/// Newest first. With `since`, what changed.
#[utoipa::path(
    get, path = "/v1/conversations", tag = "Conversations", security(("access_token" = [])), params(ListQuery),
    responses((status = 200, description = "A page", body = Conversations))
)]
async fn list(
    State(state): State<ApiState>,
    me: SignedIn,
    Query(ListQuery { cursor, since, limit }): Query<ListQuery>,
) -> Answer<Json<Conversations>> {
    let page = state.chat.conversations(&me.user, cursor.as_deref(), since.as_deref(), clamp(limit)).await?;
    Ok(Json(page))
}

/// A conversation of mine
#[utoipa::path(
    get, path = "/v1/conversations/{conversation}", tag = "Conversations", security(("access_token" = [])),
    params(("conversation" = String, Path)),
    responses((status = 200, description = "As I see it", body = ConversationItem))
)]
async fn one(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(conversation): Path<ConversationId>,
) -> Answer<Json<ConversationItem>> {
    Ok(Json(state.chat.conversation(&me.user, &conversation).await?))
}

#[derive(Deserialize, ToSchema)]
struct ChangeConversation {
    /// Keep it on top.
    pinned: Option<bool>,
    /// No push for it.
    do_not_disturb: Option<bool>,
    /// What I began to write: up to 4000 characters; empty for nothing.
    draft: Option<String>,
}

/// My switches for a conversation
#[utoipa::path(
    patch, path = "/v1/conversations/{conversation}", tag = "Conversations", security(("access_token" = [])),
    params(("conversation" = String, Path)), request_body = ChangeConversation,
    responses((status = 204, description = "Set"))
)]
async fn change(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(conversation): Path<ConversationId>,
    Body(ChangeConversation { pinned, do_not_disturb, draft }): Body<ChangeConversation>,
) -> Answer<StatusCode> {
    let set = Preferences { pinned, do_not_disturb, draft };
    state.chat.set_preferences(&me.user, &conversation, set).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete a conversation for me
///
/// It comes back with the next message; what was there stays hidden.
#[utoipa::path(
    delete, path = "/v1/conversations/{conversation}", tag = "Conversations", security(("access_token" = [])),
    params(("conversation" = String, Path)), responses((status = 204, description = "Hidden"))
)]
async fn delete(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(conversation): Path<ConversationId>,
) -> Answer<StatusCode> {
    state.chat.delete_conversation(&me.user, &conversation).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
struct ReadUpTo {
    seq: Seq,
}

/// I have read up to here
///
/// Beyond the head it is clamped; lower than before changes nothing.
#[utoipa::path(
    put, path = "/v1/conversations/{conversation}/read", tag = "Conversations", security(("access_token" = [])),
    params(("conversation" = String, Path)), request_body = ReadUpTo,
    responses((status = 204, description = "Noted"))
)]
async fn read(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(conversation): Path<ConversationId>,
    Body(ReadUpTo { seq }): Body<ReadUpTo>,
) -> Answer<StatusCode> {
    state.chat.read(&me.user, &conversation, seq, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
