//! Every call to the API server is counted and ends in time.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::{Request, Response};
use futures_util::future::BoxFuture;
use tower::{BoxError, Layer, Service};

use super::call::{Call, Verb};
use crate::telemetry::metrics;

/// How long a call may take until its answer begins. Not a watch: who watches looks after that.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);

/// The layer that counts calls and ends those that take too long.
#[derive(Clone, Copy, Debug)]
pub struct Watched;

impl<S> Layer<S> for Watched {
    type Service = WatchedService<S>;

    fn layer(&self, inner: S) -> WatchedService<S> {
        WatchedService(inner)
    }
}

/// See [`Watched`].
#[derive(Clone, Debug)]
pub struct WatchedService<S>(S);

/// A call that took longer than [`CALL_LIMIT`].
#[derive(Debug, thiserror::Error)]
#[error("no answer from the API server within {} s", CALL_LIMIT.as_secs())]
struct NoAnswer;

impl<S, A, B> Service<Request<A>> for WatchedService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let Call { verb, resource, .. } = Call::of(&request);
        let began = Instant::now();
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = match verb {
                Verb::Watch => Ok(answer.await),
                _ => tokio::time::timeout(CALL_LIMIT, answer).await,
            };
            let code = match &answer {
                Ok(Ok(response)) => response.status().as_str().to_owned(),
                Ok(Err(_)) => "error".to_owned(),
                Err(_) => "timeout".to_owned(),
            };
            metrics::requested(verb.as_str(), &resource, code, began.elapsed());
            answer.map_err(|_| NoAnswer)?.map_err(Into::into)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn get(query: &str) -> Request<()> {
        Request::get(format!("/api/v1/namespaces/a/pods{query}")).body(()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_ends_and_a_watch_does_not() {
        let hangs = tower::service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>());
        let mut service = Watched.layer(hangs);
        let began = tokio::time::Instant::now();
        let error = service.call(get("")).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), began.elapsed()), (NoAnswer.to_string().as_str(), CALL_LIMIT));
        assert!(tokio::time::timeout(CALL_LIMIT * 10, service.call(get("?&watch=true"))).await.is_err());
    }
}
