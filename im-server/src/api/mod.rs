//! The HTTP API of `docs/protocol.md`: one file per resource, problems by RFC 9457, an `OpenAPI` document made from the
//! handlers. The management port has a router of its own.

mod accounts;
mod auth;
mod conversations;
mod docs;
mod extract;
mod friends;
mod groups;
mod join_requests;
mod limits;
mod management;
mod members;
mod messages;
mod observe;
mod openapi;
mod page;
mod problem;
mod prometheus;
mod rooms;
mod sessions;
mod users;
mod web;

use std::sync::Arc;

use axum::middleware;
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

pub use limits::AddressLimits;
pub use management::{DrainRequest, DrainStatus, Managed, Management, Phase, Status, management_router};
pub use problem::{Problem, unknown_method, unknown_path};
pub use prometheus::{Kind, METRICS, Metric, install_metrics, keep_metrics};

use crate::chat::{Chat, Secret};

/// Bytes of a body besides the message that a client's frame may hold.
const BODY_SLACK: usize = 4 * 1024;

/// What the handlers need.
#[derive(Clone)]
pub struct ApiState {
    /// The rules.
    pub chat: Arc<Chat>,
    /// How often one address may make accounts and sign in.
    pub limits: Arc<AddressLimits>,
    /// A backend with this token speaks for users; without one no backend does.
    pub service_token: Option<Secret>,
}

/// The API, its documentation and the web client.
pub fn router(state: ApiState) -> Router {
    let body_bytes = state.chat.settings().limits.frame_bytes + BODY_SLACK;
    let (api, document) = endpoints().split_for_parts();
    Router::new()
        .merge(api)
        .with_state(state)
        .merge(docs::router(&document))
        .merge(web::router())
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(Extension(extract::BodyLimit(body_bytes)))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn(observe::observe))
}

/// Every endpoint, each with its part of the `OpenAPI` document.
fn endpoints() -> OpenApiRouter<ApiState> {
    let mut router = OpenApiRouter::with_openapi(openapi::preamble())
        .merge(accounts::routes())
        .merge(sessions::routes())
        .merge(users::routes())
        .merge(friends::routes())
        .merge(groups::routes())
        .merge(rooms::routes())
        .merge(messages::routes())
        .merge(conversations::routes());
    openapi::complete(router.get_openapi_mut());
    router
}
