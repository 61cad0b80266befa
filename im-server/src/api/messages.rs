//! `/v1/messages` and `/v1/conversations/{conversation}/messages`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use im_protocol::client::{RawSend, parse_json};
use im_protocol::server::{Messages, Sent};
use im_protocol::{ClientMessageId, ConversationId, Kind, Rev, Seq, UserId, WireError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Authorized, SignedIn};
use super::extract::{Path, Query, RawBody, broken};
use super::page::{Page, PageQuery, clamp};
use super::problem::Answer;
use crate::chat::{MessagesQuery, Right};
use crate::store::Reader;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(send)).routes(routes!(list)).routes(routes!(recall)).routes(routes!(readers))
}

/// A message to send.
#[derive(ToSchema)]
#[allow(dead_code)] // the shape of a body that im-protocol reads; here for the document
struct SendMessage {
    /// Where to; or `to`.
    conversation: Option<ConversationId>,
    /// To whom, in the direct conversation; or `conversation`.
    to: Option<UserId>,
    /// Who says it: with a service token only, and then required.
    sender: Option<UserId>,
    /// Random; a retry with the same one gets the first answer.
    client_message_id: ClientMessageId,
    /// All but `notification`.
    kind: Kind,
    /// `{"text":"…"}` for text.
    #[schema(value_type = Object)]
    content: (),
    /// Up to 100.
    mentions: Option<Vec<UserId>>,
    mention_all: Option<bool>,
    /// The seq it answers to.
    reply_to: Option<Seq>,
}

/// Send a message
///
/// The answer means that it is committed. A retry with the same `client_message_id` gets the same answer.
#[utoipa::path(
    post, path = "/v1/messages", tag = "Messages", security(("access_token" = []), ("service_token" = [])),
    request_body = SendMessage, responses((status = 200, description = "Committed", body = Sent))
)]
async fn send(State(state): State<ApiState>, who: Authorized, RawBody(body): RawBody) -> Answer<Json<Sent>> {
    #[derive(Deserialize)]
    struct Outside {
        sender: Option<UserId>,
    }
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&body) {
        return Err(broken(format!("the body is not JSON: {error}")));
    }
    let mut caller = who.speaking_for(parse_json::<Outside>(&body)?.sender)?;
    if caller.right == Right::Service {
        let of_sender = |error| WireError { field: Some("sender".to_owned()), ..error };
        caller.user = state.chat.resolve(&caller.user).await.map_err(of_sender)?;
    }
    let send = parse_json::<RawSend<'_>>(&body)?.check()?;
    Ok(Json(state.chat.send(&caller, send).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Stretch {
    /// The last ones before this seq. Neither `before` nor `after`: the newest.
    before: Option<Seq>,
    /// The first ones after this seq.
    after: Option<Seq>,
    /// With `after`: what changed since this rev as well.
    rev: Option<Rev>,
    /// Messages at most: 50 if absent, 200 at most.
    #[param(maximum = 200, default = 50)]
    limit: Option<u64>,
}

/// Messages of a conversation
///
/// Oldest first, as far as I may see them.
#[utoipa::path(
    get, path = "/v1/conversations/{conversation}/messages", tag = "Messages", security(("access_token" = [])),
    params(("conversation" = String, Path), Stretch),
    responses((status = 200, description = "A stretch", body = Messages))
)]
async fn list(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(conversation): Path<ConversationId>,
    Query(Stretch { before, after, rev, limit }): Query<Stretch>,
) -> Answer<Json<Messages>> {
    let query = MessagesQuery { before, after, rev, limit: clamp(limit) };
    Ok(Json(state.chat.messages(&me.user, &conversation, query).await?))
}

/// Recall a message
///
/// It keeps its seq and loses its content. Mine within a time, those of others as a group's owner or admin.
#[utoipa::path(
    delete, path = "/v1/conversations/{conversation}/messages/{seq}", tag = "Messages",
    security(("access_token" = [])), params(("conversation" = String, Path), ("seq" = u64, Path)),
    responses((status = 204, description = "Recalled"))
)]
async fn recall(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(Which { conversation, seq }): Path<Which>,
) -> Answer<StatusCode> {
    state.chat.recall(&me.user, &conversation, seq).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Which {
    conversation: ConversationId,
    seq: Seq,
}

#[derive(Serialize, ToSchema)]
struct ReaderView {
    user: UserId,
    /// Has read up to this seq.
    read: Seq,
}

/// Who has read a message
#[utoipa::path(
    get, path = "/v1/conversations/{conversation}/messages/{seq}/readers", tag = "Messages",
    security(("access_token" = [])), params(("conversation" = String, Path), ("seq" = u64, Path), PageQuery),
    responses((status = 200, description = "A page, by user id", body = Page<ReaderView>))
)]
async fn readers(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(Which { conversation, seq }): Path<Which>,
    Query(page): Query<PageQuery>,
) -> Answer<Json<Page<ReaderView>>> {
    let after = page.after_id()?;
    let (found, more) = state.chat.readers(&me.user, &conversation, seq, after.as_ref(), page.limit()).await?;
    let next = found.last().filter(|_| more).map(|reader| reader.user.to_string());
    let view = |Reader { user, read, .. }: Reader| ReaderView { user, read };
    Ok(Json(Page::cut(found.into_iter().map(view).collect(), next)))
}
