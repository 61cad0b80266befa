//! Before the API server.

use std::sync::Arc;

use anyhow::Result;
use axum::body::Body as Answer;
use axum::http::{Request, Response, StatusCode, header};
use imcluster_operator::client::{self, Call, Verb, Watched};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use serde_json::json;
use tower::BoxError;
use tower::retry::RetryLayer;

use super::{Faults, Life, watches};
use crate::operator::writes::Write;

/// Seconds that one who is refused with 429 is asked to wait.
const RETRY_AFTER: u64 = 1;

impl Faults {
    /// A client that may do everything, through these faults. It lives as long as the runtime that it is made in.
    pub fn client(self: &Arc<Self>, config: Config) -> Result<Client> {
        Life::new(self.clone(), &config.default_namespace.clone(), None).client(config)
    }
}

impl Life {
    /// The client of an operator, as `client::for_work` makes it: the faults are where the network is, below what the client
    /// tries again by itself.
    pub(in crate::operator) fn client(self: &Arc<Self>, mut config: Config) -> Result<Client> {
        config.default_retry = false;
        let namespace = config.default_namespace.clone();
        let (life, inner) = (self.clone(), Client::try_from(config)?);
        let service = tower::service_fn(move |request| life.clone().call(inner.clone(), request));
        let retry = RetryLayer::new(RetryPolicy::server_retry());
        Ok(ClientBuilder::new(service, namespace).with_layer(&retry).with_layer(&Watched).build())
    }

    /// The client for the lease.
    pub(in crate::operator) fn lease_client(self: &Arc<Self>, config: Config) -> Result<Client> {
        let namespace = config.default_namespace.clone();
        let (life, inner) = (self.clone(), client::for_lease(config)?);
        let service = tower::service_fn(move |request| life.clone().call_about_the_lease(inner.clone(), request));
        Ok(ClientBuilder::new(service, namespace).build())
    }

    async fn call(self: Arc<Self>, inner: Client, request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        self.lives().await;
        let Some(write) = Write::of(&request) else {
            let Call { verb, resource, .. } = Call::of(&request);
            let answer = inner.send(request).await?.map(Answer::new);
            let altered = verb == Verb::Watch && self.faults.of_watches.is_some() && answer.status().is_success();
            return Ok(if altered {
                answer.map(|body| watches::altered(self.clone(), resource, body))
            } else {
                answer
            });
        };
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        if let Some(guard) = &self.guard {
            self.note(guard.object(&write, &body).await);
        }
        let request = Request::from_parts(head, Body::from(body));
        match self.write(write, inner.send(request)).await {
            Ok(answer) => Ok(answer?.map(Answer::new)),
            Err(status) => Ok(refusal(status)),
        }
    }

    async fn call_about_the_lease(
        self: Arc<Self>,
        inner: Client,
        request: Request<Body>,
    ) -> Result<Response<Answer>, BoxError> {
        tokio::select! {
            biased;
            () = self.cut.cancelled() => std::future::pending().await,
            () = self.ended() => std::future::pending().await,
            answer = inner.send(request) => Ok(answer?.map(Answer::new)),
        }
    }
}

/// As the API server says it.
fn refusal(status: u16) -> Response<Answer> {
    let reason = match status {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "refused by the test", "reason": reason, "code": status,
    });
    let mut answer = Response::new(Answer::from(body.to_string()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a test names statuses that there are");
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if status == 429 {
        answer.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER.into());
    }
    answer
}
