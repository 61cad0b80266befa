//! One attempt to commit a message, and what its answer means.

use std::time::Duration;

use im_protocol::server::Sent;
use im_protocol::{ErrorCode, UserId, client};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, RETRY_AFTER};
use serde::{Deserialize, Serialize};

use super::{ATTEMPT_TIMEOUT, SendError, Sender};

/// The body of `POST /v1/messages`.
#[derive(Serialize)]
pub(super) struct Post {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sender: Option<UserId>,
    #[serde(flatten)]
    pub(super) send: client::Send,
}

/// What an attempt came to.
#[derive(Debug, PartialEq)]
pub(super) enum Attempt {
    /// Committed.
    Acked(Sent),
    /// Trying again would change nothing.
    Failed(SendError),
    /// It may succeed later.
    Again {
        /// What went wrong.
        why: String,
        /// What the server asks to wait.
        after: Option<Duration>,
    },
}

/// The part of an RFC 9457 problem that a sender acts on.
#[derive(Deserialize)]
struct Problem {
    code: ErrorCode,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: Option<String>,
}

impl Sender {
    pub(super) async fn attempt(&self, post: &Post, left: Duration) -> Attempt {
        let request = self
            .http
            .post(self.messages.clone())
            .header(AUTHORIZATION, self.authorization.clone())
            .timeout(left.min(ATTEMPT_TIMEOUT))
            .json(post);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Attempt::again(chain(&error)),
        };
        let status = answer.status();
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        match answer.bytes().await {
            Ok(body) => judge(status, after.map(Duration::from_secs), &body),
            // The commit may have happened: the retry gets its ack.
            Err(error) => Attempt::again(chain(&error)),
        }
    }
}

impl Attempt {
    fn again(why: String) -> Self {
        Self::Again { why, after: None }
    }
}

/// What an answer means.
fn judge(status: StatusCode, after: Option<Duration>, body: &[u8]) -> Attempt {
    if status == StatusCode::OK {
        return match serde_json::from_slice(body) {
            Ok(sent) => Attempt::Acked(sent),
            Err(error) => Attempt::Failed(SendError::Unexpected(format!("the ack cannot be read: {error}"))),
        };
    }
    if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
        let detail = problem.detail.unwrap_or(problem.title);
        return match problem.code {
            ErrorCode::Unavailable | ErrorCode::RateLimited => {
                Attempt::Again { why: format!("{}: {detail}", problem.code), after }
            }
            code => Attempt::Failed(SendError::Refused { code, detail }),
        };
    }
    // Not the server's own words: a proxy in front of it.
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Attempt::Again { why: format!("status {status}"), after },
        status => Attempt::Failed(SendError::Unexpected(format!("status {status} without a problem"))),
    }
}

/// An error with its causes: reqwest's own sentence names only the address.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: &str) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({"status":1,"title":"t","detail":"d","code":code})).unwrap()
    }

    #[test]
    fn only_unavailable_and_rate_limited_problems_are_tried_again() {
        for &code in ErrorCode::ALL {
            let status = StatusCode::from_u16(code.status()).unwrap();
            let again = matches!(judge(status, None, &problem(code.as_str())), Attempt::Again { .. });
            assert_eq!(again, matches!(code, ErrorCode::Unavailable | ErrorCode::RateLimited), "{code}");
        }
    }

    #[test]
    fn the_time_a_server_asks_for_is_kept() {
        let after = Some(Duration::from_secs(7));
        let answer = judge(StatusCode::TOO_MANY_REQUESTS, after, &problem("rate_limited"));
        assert_eq!(answer, Attempt::Again { why: "rate_limited: d".into(), after });
    }

    #[test]
    fn an_answer_of_a_proxy_is_tried_again_only_where_the_proxy_blames_the_way() {
        let again = |status| matches!(judge(status, None, b"<html>"), Attempt::Again { .. });
        assert!(again(StatusCode::BAD_GATEWAY));
        assert!(again(StatusCode::GATEWAY_TIMEOUT));
        assert!(!again(StatusCode::NOT_FOUND));
        assert!(!again(StatusCode::FOUND));
    }

    #[test]
    fn an_ack_that_cannot_be_read_is_not_taken_for_one() {
        assert!(matches!(judge(StatusCode::OK, None, b"{}"), Attempt::Failed(SendError::Unexpected(_))));
    }
}
