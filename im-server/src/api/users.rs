//! `/v1/users`.

use axum::Json;
use axum::extract::State;
use im_protocol::UserId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::SignedIn;
use super::extract::{Body, Path, Query};
use super::page::{Page, PageQuery};
use super::problem::Answer;
use crate::store::{Account, ProfileChange};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(search)).routes(routes!(me, change_me)).routes(routes!(profile))
}

#[derive(Serialize, ToSchema)]
pub(super) struct Profile {
    user: UserId,
    /// Shown name.
    name: String,
    /// Address of a picture; empty for none.
    avatar: String,
}

impl From<Account> for Profile {
    fn from(Account { user, name, avatar }: Account) -> Self {
        Self { user, name, avatar }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchQuery {
    /// What to look for.
    pub(super) query: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Items at most: 50 if absent, 200 at most.
    #[param(maximum = 200, default = 50)]
    limit: Option<u64>,
}

impl SearchQuery {
    pub(super) fn page(&mut self) -> PageQuery {
        PageQuery { cursor: self.cursor.take(), limit: self.limit }
    }
}

/// Find people
///
/// Those whose id begins with `query` or whose name contains it, without regard to case, by id.
#[utoipa::path(
    get, path = "/v1/users", tag = "Users", security(("access_token" = [])), params(SearchQuery),
    responses((status = 200, description = "A page", body = Page<Profile>))
)]
async fn search(
    State(state): State<ApiState>,
    _: SignedIn,
    Query(mut search): Query<SearchQuery>,
) -> Answer<Json<Page<Profile>>> {
    let page = search.page();
    let query = search.query.unwrap_or_default();
    let found = state.chat.search_users(&query, page.after_id()?.as_ref(), page.ask()).await?;
    Ok(Json(Page::new(found, &page, |account| account.user.to_string(), Profile::from)))
}

/// Someone's profile
#[utoipa::path(
    get, path = "/v1/users/{user}", tag = "Users", security(("access_token" = [])), params(("user" = String, Path)),
    responses((status = 200, description = "Found", body = Profile))
)]
async fn profile(State(state): State<ApiState>, _: SignedIn, Path(user): Path<UserId>) -> Answer<Json<Profile>> {
    Ok(Json(state.chat.profile(&user).await?.into()))
}

/// My profile
#[utoipa::path(
    get, path = "/v1/users/me", tag = "Users", security(("access_token" = [])),
    responses((status = 200, description = "Me", body = Profile))
)]
async fn me(State(state): State<ApiState>, me: SignedIn) -> Answer<Json<Profile>> {
    Ok(Json(state.chat.profile(&me.user).await?.into()))
}

#[derive(Deserialize, ToSchema)]
struct ChangeMe {
    /// Shown name: 1 to 100 characters.
    name: Option<String>,
    /// Address of a picture; empty for none.
    avatar: Option<String>,
}

/// Change my profile
#[utoipa::path(
    patch, path = "/v1/users/me", tag = "Users", security(("access_token" = [])), request_body = ChangeMe,
    responses((status = 200, description = "As it is now", body = Profile))
)]
async fn change_me(
    State(state): State<ApiState>,
    me: SignedIn,
    Body(ChangeMe { name, avatar }): Body<ChangeMe>,
) -> Answer<Json<Profile>> {
    Ok(Json(state.chat.change_profile(&me.user, ProfileChange { name, avatar }).await?.into()))
}
