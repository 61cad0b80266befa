//! `/v1/groups/{group}/members`.

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
use crate::chat::MemberUpdate;
use crate::store::{MemberWithName, Role};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list, invite)).routes(routes!(change, remove))
}

#[derive(Serialize, ToSchema)]
struct MemberView {
    user: UserId,
    /// The account's name.
    name: String,
    /// Their name here; empty for none.
    alias: String,
    role: Role,
    /// May not speak until then: Unix milliseconds; 0 for not muted.
    muted_until: TimeMs,
    /// When they came: Unix milliseconds.
    joined: TimeMs,
}

impl From<MemberWithName> for MemberView {
    fn from(MemberWithName { member, name }: MemberWithName) -> Self {
        Self {
            user: member.user,
            name,
            alias: member.alias,
            role: member.role,
            muted_until: member.muted_until,
            joined: member.joined,
        }
    }
}

/// The members of a group
///
/// For members.
#[utoipa::path(
    get, path = "/v1/groups/{group}/members", tag = "Groups", security(("access_token" = [])),
    params(("group" = String, Path), PageQuery),
    responses((status = 200, description = "A page, by user id", body = Page<MemberView>))
)]
async fn list(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(group): Path<GroupId>,
    Query(page): Query<PageQuery>,
) -> Answer<Json<Page<MemberView>>> {
    let found = state.chat.group_members(&me.user, &group, page.after_id()?.as_ref(), page.ask()).await?;
    Ok(Json(Page::new(found, &page, |found| found.member.user.to_string(), MemberView::from)))
}

#[derive(Deserialize, ToSchema)]
struct Invitation {
    /// Up to 500 (a setting).
    users: Vec<UserId>,
}

/// Invite into a group
///
/// Who is in already stays in. Members may, unless `join` is `invite`: then the owner and admins.
#[utoipa::path(
    post, path = "/v1/groups/{group}/members", tag = "Groups", security(("access_token" = [])),
    params(("group" = String, Path)), request_body = Invitation, responses((status = 204, description = "They are in"))
)]
async fn invite(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(group): Path<GroupId>,
    Body(Invitation { users }): Body<Invitation>,
) -> Answer<StatusCode> {
    state.chat.invite(&me.user, &group, users).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Which {
    group: GroupId,
    user: UserOrMe,
}

/// `me` stands for whoever asks.
struct UserOrMe(Option<UserId>);

impl<'de> Deserialize<'de> for UserOrMe {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "me" {
            return Ok(Self(None));
        }
        text.parse().map(|user| Self(Some(user))).map_err(serde::de::Error::custom)
    }
}

#[derive(Deserialize, ToSchema)]
struct ChangeMember {
    /// For the owner; `owner` transfers the group.
    role: Option<Role>,
    /// May not speak until then: Unix milliseconds; 0 to unmute. For the owner and admins.
    muted_until: Option<TimeMs>,
    /// Their name here: up to 200 characters; empty for none. One's own, or for the owner and admins.
    alias: Option<String>,
}

/// Change a member
#[utoipa::path(
    patch, path = "/v1/groups/{group}/members/{user}", tag = "Groups", security(("access_token" = [])),
    params(("group" = String, Path), ("user" = String, Path)), request_body = ChangeMember,
    responses((status = 204, description = "Changed"))
)]
async fn change(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(Which { group, user }): Path<Which>,
    Body(ChangeMember { role, muted_until, alias }): Body<ChangeMember>,
) -> Answer<StatusCode> {
    let user = user.0.unwrap_or_else(|| me.user.clone());
    state.chat.update_member(&me.user, &group, &user, MemberUpdate { role, muted_until, alias }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Kick a member, or leave
///
/// Leave when it is me (`me` will do). The owner transfers the group first; the last one out dissolves it.
#[utoipa::path(
    delete, path = "/v1/groups/{group}/members/{user}", tag = "Groups", security(("access_token" = [])),
    params(("group" = String, Path), ("user" = String, Path)), responses((status = 204, description = "Gone"))
)]
async fn remove(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(Which { group, user }): Path<Which>,
) -> Answer<StatusCode> {
    let user = user.0.unwrap_or_else(|| me.user.clone());
    state.chat.remove_member(&me.user, &group, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}
