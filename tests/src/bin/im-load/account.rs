//! Users and groups, set up over HTTP: in parallel, bounded.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use im_client::http::Http;
use im_client::{Method, Session, SignIn};
use im_protocol::{ConversationId, DeviceId, ErrorCode, Terminal, UserId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Calls under way at once.
const PARALLEL: usize = 8;
/// A line of progress at most this often.
const PROGRESS: Duration = Duration::from_secs(5);

/// The name of the n-th user. Runs use the same ones again, so that only the first run on a folder makes accounts.
pub(crate) fn user_name(n: u32) -> String {
    format!("load-{n:06}")
}

/// The API of the server.
pub(crate) fn http(server: SocketAddr) -> anyhow::Result<Http> {
    Ok(Http::new(&format!("http://{server}"))?)
}

/// The device that a terminal of these users is.
pub(crate) fn device(terminal: Terminal) -> DeviceId {
    DeviceId::parse(&format!("im-load-{terminal}")).expect("a short name is a device id")
}

/// Makes the account, if it is not there yet.
pub(crate) async fn sign_up(http: Http, n: u32) -> anyhow::Result<()> {
    let user = user_name(n);
    let body = serde_json::json!({ "user": user, "password": user, "name": user });
    match http.call::<serde_json::Value>(Method::POST, "/v1/accounts", None, Some(&body)).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(ErrorCode::AlreadyExists) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot make the account {user}")),
    }
}

/// Signs a user in.
pub(crate) async fn sign_in(http: Http, n: u32, terminal: Terminal) -> anyhow::Result<Session> {
    let user = user_name(n);
    let who = SignIn { user: user.clone(), password: user.clone(), terminal, device: device(terminal) };
    Session::sign_in(http, &who).await.with_context(|| {
        format!("cannot sign {user} in (a server with limits takes few sign-ins a minute: run it with --no-limits)")
    })
}

/// Creates a group; the first user is its owner.
pub(crate) async fn group(owner: &Session, users: std::ops::Range<u32>) -> anyhow::Result<ConversationId> {
    /// People named in one call, by the server's default.
    const PER_CALL: usize = 400;
    let members: Vec<UserId> = users.skip(1).map(|n| user_name(n).parse()).collect::<Result<_, _>>()?;
    let (first, rest) = members.split_at(members.len().min(PER_CALL));
    let created = owner.create_group(Some("load"), first).await.context("cannot create a group")?;
    for more in rest.chunks(PER_CALL) {
        let path = format!("/v1/groups/{}/members", created.group);
        let body = serde_json::json!({ "users": more });
        let _: serde_json::Value = owner.call(Method::POST, &path, Some(&body)).await.context("cannot invite")?;
    }
    Ok(created.conversation)
}

/// Does `work` for every item, a few at once, and keeps their order. Says how far it is.
pub(crate) async fn each<I, T, F>(
    what: &str,
    items: impl ExactSizeIterator<Item = I>,
    work: impl Fn(I) -> F,
) -> anyhow::Result<Vec<T>>
where
    T: 'static,
    F: Future<Output = anyhow::Result<T>> + 'static,
{
    each_of(what, PARALLEL, items, work).await
}

/// The same with so many at once.
pub(crate) async fn each_of<I, T, F>(
    what: &str,
    at_once: usize,
    items: impl ExactSizeIterator<Item = I>,
    work: impl Fn(I) -> F,
) -> anyhow::Result<Vec<T>>
where
    T: 'static,
    F: Future<Output = anyhow::Result<T>> + 'static,
{
    let total = items.len();
    let permits = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    let mut done: Vec<Option<T>> = (0..total).map(|_| None).collect();
    let mut finished = 0;
    let mut told = Instant::now();
    for (n, item) in items.enumerate() {
        let permit = permits.clone().acquire_owned().await?;
        let work = work(item);
        running.spawn_local(async move {
            let result = work.await;
            drop(permit);
            (n, result)
        });
        while let Some(joined) = running.try_join_next() {
            let (n, result) = joined?;
            done[n] = Some(result?);
            finished += 1;
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            eprintln!("{what}: {finished} of {total}");
        }
    }
    while let Some(joined) = running.join_next().await {
        let (n, result) = joined?;
        done[n] = Some(result?);
    }
    done.into_iter().map(|item| item.context("a task is missing")).collect()
}
