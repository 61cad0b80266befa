//! How many round trips things take, measured behind a line on which each costs a fixed time.

use std::future::Future;
use std::time::{Duration, Instant};

use im_protocol::{Epoch, ServerId};
use im_sdk::registry::Registry;
use im_sdk::registry::Topic;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{connect, connected, url};
use crate::given::{conversation, route, user};

/// One way.
const DELAY: Duration = Duration::from_millis(200);

/// A line to the shared Redis.
async fn slow_line() -> String {
    let redis = url("IM_TEST_REDIS_URL");
    let target = redis.trim_start_matches("redis://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&target).await.unwrap();
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            carry(near_read, far_write);
            carry(far_read, near_write);
        }
    });
    format!("redis://{address}")
}

/// Every piece arrives a delay after it was sent, however many are under way.
fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(10_000);
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let _ = sender.send((Instant::now() + DELAY, buffer[..length].to_vec())).await;
        }
    });
    tokio::spawn(async move {
        while let Some((when, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(when.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
}

async fn is_one_trip<T>(what: &str, call: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let result = call.await;
    let taken = start.elapsed();
    assert!((DELAY * 2..DELAY * 4).contains(&taken), "{what} took {taken:?}");
    result
}

#[tokio::test]
#[ignore = "needs Redis: make test-stack"]
async fn everything_on_the_way_of_a_message_or_a_sign_in_is_one_round_trip() {
    let registry = connect(&slow_line().await).await;
    let users = is_one_trip("announcing a thousand again", connected(&registry, 1_000)).await;
    let routes = is_one_trip("looking a thousand up", registry.routes(&users)).await.unwrap();
    assert_eq!(routes.of.iter().flatten().count(), 1_000);
    is_one_trip("signing in", registry.register(&user("alice"), route(9_999, 0, 1))).await.unwrap();
    let topics: Vec<_> = (0..500).map(|n| Topic::Conversation(conversation(&format!("g:{n}")))).collect();
    let write = || registry.set_interest(&topics, ServerId(0), Epoch(1), true);
    // The first time Redis may have to be told the script.
    write().await.unwrap();
    is_one_trip("writing interests", write()).await.unwrap();
    let interests = is_one_trip("looking interests up", registry.interested(&topics)).await.unwrap();
    assert_eq!(interests.of.iter().flatten().count(), 500);
    is_one_trip("the marker", registry.marker()).await.unwrap();
}
