//! Watches whose events arrive twice, late, or not at all.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

use super::{Delivery, Life};

/// Events of a watch that are under way at the same time.
const UNDER_WAY: usize = 1024;

/// The answer of a watch, each event as the faults want it.
pub(super) fn altered(life: Arc<Life>, resource: String, body: Body) -> Body {
    let bytes = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let lines = FramedRead::new(bytes, LinesCodec::new());
    Body::from_stream(delivered(lines, move || life.faults.delivery(&resource)))
}

/// Lines as they arrive. `delivery` is asked once for each event.
fn delivered(
    lines: impl Stream<Item = Result<String, LinesCodecError>> + Send + 'static,
    delivery: impl Fn() -> Delivery + Send + 'static,
) -> impl Stream<Item = Result<Bytes, LinesCodecError>> + Send {
    let arriving = lines.map(move |line| {
        // Bookmarks tell nothing about an object.
        let is_event = line.as_ref().is_ok_and(|line| !line.starts_with(r#"{"type":"BOOKMARK""#));
        let delivery = if is_event { delivery() } else { Delivery::Once };
        let sent = Instant::now();
        async move {
            if let Delivery::Late(late) = delivery {
                sleep_until(sent + late).await;
            }
            (delivery, line)
        }
    });
    let until_the_first_loss = |over: &mut bool, (delivery, line): (Delivery, Result<String, LinesCodecError>)| {
        let lines = match delivery {
            _ if *over => None,
            Delivery::Once | Delivery::Late(_) => Some(vec![line]),
            Delivery::Twice => {
                let again = line.as_ref().ok().cloned().map(Ok);
                Some(std::iter::once(line).chain(again).collect())
            }
            Delivery::Lost => Some(vec![Ok(gone())]),
        };
        *over |= delivery == Delivery::Lost;
        std::future::ready(lines)
    };
    arriving
        .buffered(UNDER_WAY)
        .scan(false, until_the_first_loss)
        .flat_map(stream::iter)
        .map_ok(|line| Bytes::from(line + "\n"))
}

fn gone() -> String {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410,
    });
    json!({ "type": "ERROR", "object": status }).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;

    async fn seen(lines: &[&str], deliveries: &[Delivery]) -> Vec<String> {
        let lines: Vec<_> = lines.iter().map(|line| Ok((*line).to_owned())).collect();
        let deliveries = Mutex::new(Vec::from(deliveries).into_iter());
        let delivery = move || deliveries.lock().next().unwrap();
        let seen = delivered(stream::iter(lines), delivery);
        seen.map(|line| String::from_utf8(line.unwrap().to_vec()).unwrap().trim_end().to_owned()).collect().await
    }

    /// So late that what comes one after the other shows.
    const LATE: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn events_arrive_twice_late_or_not_at_all() {
        let late = Delivery::Late(LATE);
        let began = Instant::now();
        assert_eq!(seen(&["a", "b", "c"], &[Delivery::Twice, late, Delivery::Once]).await, ["a", "a", "b", "c"]);
        assert!(began.elapsed() >= LATE);
        let gone = gone();
        assert_eq!(seen(&["a", "b", "c"], &[Delivery::Once, Delivery::Lost, Delivery::Once]).await, ["a", &gone]);
    }

    #[tokio::test]
    async fn events_that_are_late_are_so_together() {
        let began = Instant::now();
        assert_eq!(seen(&["a", "b", "c"], &[Delivery::Late(LATE); 3]).await, ["a", "b", "c"]);
        assert!((LATE..3 * LATE).contains(&began.elapsed()));
    }

    #[tokio::test]
    async fn bookmarks_are_no_events() {
        let bookmark = r#"{"type":"BOOKMARK","object":{}}"#;
        assert_eq!(seen(&[bookmark, "a"], &[Delivery::Twice]).await, [bookmark, "a", "a"]);
    }
}
