//! `/v1/groups`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use im_protocol::{ConversationId, GroupId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::SignedIn;
use super::extract::{Body, Path, Query};
use super::page::{Page, PageQuery};
use super::problem::Answer;
use super::users::SearchQuery;
use crate::chat::GroupUpdate;
use crate::store::{Group, JoinMode};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create, mine))
        .routes(routes!(search))
        .routes(routes!(one, change, dissolve))
        .merge(super::members::routes())
        .merge(super::join_requests::routes())
}

#[derive(Deserialize, ToSchema)]
struct NewGroup {
    /// Shown name; made of the members' names if absent or empty.
    name: Option<String>,
    /// The first members besides me: up to 500 (a setting).
    members: Option<Vec<UserId>>,
}

#[derive(Serialize, ToSchema)]
struct CreatedGroup {
    group: GroupId,
    conversation: ConversationId,
}

/// Make a group
///
/// Message 1 is the notification `group_created`. `not_found` names the first member who does not exist, `blocked` the
/// first who has blocked me.
#[utoipa::path(
    post, path = "/v1/groups", tag = "Groups", security(("access_token" = [])), request_body = NewGroup,
    responses((status = 201, description = "Made", body = CreatedGroup))
)]
async fn create(
    State(state): State<ApiState>,
    me: SignedIn,
    Body(NewGroup { name, members }): Body<NewGroup>,
) -> Answer<(StatusCode, Json<CreatedGroup>)> {
    let group = state.chat.create_group(&me.user, name.as_deref(), members.unwrap_or_default()).await?;
    Ok((StatusCode::CREATED, Json(CreatedGroup { conversation: ConversationId::group(&group), group })))
}

#[derive(Serialize, ToSchema)]
struct GroupView {
    group: GroupId,
    conversation: ConversationId,
    name: String,
    owner: UserId,
    /// Pinned text; empty for none.
    announcement: String,
    /// How many there are.
    members: u32,
    join: JoinMode,
    /// Only the owner and admins may speak.
    muted: bool,
}

impl From<Group> for GroupView {
    fn from(Group { group, settings, members }: Group) -> Self {
        Self {
            conversation: ConversationId::group(&group),
            group,
            name: settings.name,
            owner: settings.owner,
            announcement: settings.announcement,
            members,
            join: settings.join,
            muted: settings.muted,
        }
    }
}

/// My groups
#[utoipa::path(
    get, path = "/v1/groups", tag = "Groups", security(("access_token" = [])), params(PageQuery),
    responses((status = 200, description = "A page, by id", body = Page<GroupView>))
)]
async fn mine(
    State(state): State<ApiState>,
    me: SignedIn,
    Query(page): Query<PageQuery>,
) -> Answer<Json<Page<GroupView>>> {
    let found = state.chat.groups_of(&me.user, page.after_id()?.as_ref(), page.ask()).await?;
    Ok(Json(Page::new(found, &page, |group| group.group.to_string(), GroupView::from)))
}

/// Find groups
///
/// Those whose name contains `query`, without regard to case, or whose id it is.
#[utoipa::path(
    get, path = "/v1/groups/search", tag = "Groups", security(("access_token" = [])), params(SearchQuery),
    responses((status = 200, description = "A page, by id", body = Page<GroupView>))
)]
async fn search(
    State(state): State<ApiState>,
    _: SignedIn,
    Query(mut search): Query<SearchQuery>,
) -> Answer<Json<Page<GroupView>>> {
    let page = search.page();
    let query = search.query.unwrap_or_default();
    let found = state.chat.search_groups(&query, page.after_id()?.as_ref(), page.ask()).await?;
    Ok(Json(Page::new(found, &page, |group| group.group.to_string(), GroupView::from)))
}

/// A group
///
/// For whoever is signed in.
#[utoipa::path(
    get, path = "/v1/groups/{group}", tag = "Groups", security(("access_token" = [])),
    params(("group" = String, Path)), responses((status = 200, description = "Found", body = GroupView))
)]
async fn one(State(state): State<ApiState>, _: SignedIn, Path(group): Path<GroupId>) -> Answer<Json<GroupView>> {
    Ok(Json(state.chat.group(&group).await?.into()))
}

#[derive(Deserialize, ToSchema)]
struct ChangeGroup {
    /// 1 to 100 characters.
    name: Option<String>,
    /// Up to 4000 characters; empty for none.
    announcement: Option<String>,
    join: Option<JoinMode>,
    /// Only the owner and admins may speak.
    muted: Option<bool>,
}

/// Change a group
///
/// For its owner and admins.
#[utoipa::path(
    patch, path = "/v1/groups/{group}", tag = "Groups", security(("access_token" = [])),
    params(("group" = String, Path)), request_body = ChangeGroup,
    responses((status = 200, description = "As it is now", body = GroupView))
)]
async fn change(
    State(state): State<ApiState>,
    me: SignedIn,
    Path(group): Path<GroupId>,
    Body(ChangeGroup { name, announcement, join, muted }): Body<ChangeGroup>,
) -> Answer<Json<GroupView>> {
    let update = GroupUpdate { name, announcement, join, muted };
    Ok(Json(state.chat.update_group(&me.user, &group, update).await?.into()))
}

/// Dissolve a group
///
/// For its owner.
#[utoipa::path(
    delete, path = "/v1/groups/{group}", tag = "Groups", security(("access_token" = [])),
    params(("group" = String, Path)), responses((status = 204, description = "It is over"))
)]
async fn dissolve(State(state): State<ApiState>, me: SignedIn, Path(group): Path<GroupId>) -> Answer<StatusCode> {
    state.chat.dissolve_group(&me.user, &group).await?;
    Ok(StatusCode::NO_CONTENT)
}
