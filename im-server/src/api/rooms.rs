//! `/v1/rooms`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use im_protocol::{ConversationId, RoomId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::SignedIn;
use super::extract::Body;
use super::problem::Answer;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(create))
}

#[derive(Deserialize, ToSchema)]
struct NewRoom {
    /// Shown name: 1 to 100 characters.
    name: String,
}

#[derive(Serialize, ToSchema)]
struct CreatedRoom {
    room: RoomId,
    conversation: ConversationId,
}

/// Make a chat room
///
/// Its members are the connections in it: `join` and `leave` on the socket.
#[utoipa::path(
    post, path = "/v1/rooms", tag = "Rooms", security(("access_token" = [])), request_body = NewRoom,
    responses((status = 201, description = "Made", body = CreatedRoom))
)]
async fn create(
    State(state): State<ApiState>,
    me: SignedIn,
    Body(NewRoom { name }): Body<NewRoom>,
) -> Answer<(StatusCode, Json<CreatedRoom>)> {
    let room = state.chat.create_room(&me.user, &name).await?.room;
    Ok((StatusCode::CREATED, Json(CreatedRoom { conversation: ConversationId::room(&room), room })))
}
