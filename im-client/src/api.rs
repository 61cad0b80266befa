//! The calls of the HTTP API that an application cannot do without; [`Session::call`] reaches the others.

use im_protocol::{ConversationId, GroupId, Seq, UserId};
use reqwest::Method;
use serde::Deserialize;

use crate::http::HttpError;
use crate::session::Session;

/// A group that was created.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CreatedGroup {
    /// The group.
    pub group: GroupId,
    /// Its conversation.
    pub conversation: ConversationId,
}

impl Session {
    /// Creates a group with these members and me; without a name it is named after them.
    pub async fn create_group(&self, name: Option<&str>, members: &[UserId]) -> Result<CreatedGroup, HttpError> {
        let body = serde_json::json!({ "name": name, "members": members });
        self.call(Method::POST, "/v1/groups", Some(&body)).await
    }

    /// Takes a message back.
    pub async fn recall(&self, conversation: &ConversationId, seq: Seq) -> Result<(), HttpError> {
        let path = format!("/v1/conversations/{conversation}/messages/{seq}");
        self.call(Method::DELETE, &path, None::<&()>).await
    }
}
