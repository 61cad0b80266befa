//! Writing events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event as KubeEvent, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Event;
use crate::leader::{self, Writing};
use crate::telemetry::metrics;

/// Who reports: the form that Kubernetes asks for, a domain and a name.
const CONTROLLER: &str = "imcluster.dev/operator";
/// What is told again within this time is counted, not told anew. The `Recorder` has the same.
const SAME: Duration = Duration::from_mins(6);
/// Bytes that Kubernetes takes as the text of an event.
const NOTE_LIMIT: usize = 1024;

/// Events that wait to be written, at most: they are rare, and old ones are of little use.
const QUEUE: usize = 256;

/// Where events go. Clones are the same.
#[derive(Clone)]
pub struct Events(mpsc::Sender<(ObjectReference, Event)>);

impl Events {
    /// Events by the process `identity`, written one after the other as long as it may write.
    pub fn start(client: Client, writing: Arc<dyn Writing>, identity: String) -> Self {
        let (sender, mut queue) = mpsc::channel::<(ObjectReference, Event)>(QUEUE);
        let mut teller = Teller::new(client, writing, identity);
        tokio::spawn(async move {
            while let Some((about, event)) = queue.recv().await {
                teller.tell(&about, &event).await;
            }
        });
        Self(sender)
    }

    /// Tells an event about an `ImCluster`, some time soon. One that cannot be written is logged and counted, and otherwise makes
    /// no difference.
    pub fn publish(&self, about: &ObjectReference, event: Event) {
        if let Err(lost) = self.0.try_send((about.clone(), event)) {
            let (_, event) = lost.into_inner();
            not_told(event.head().0, "too many wait");
        }
    }
}

fn not_told(reason: &'static str, why: &str) {
    metrics::not_told();
    tracing::warn!(reason, "an event was not written: {why}");
}

/// Writes events.
struct Teller {
    client: Client,
    writing: Arc<dyn Writing>,
    reporter: Reporter,
    /// One recorder per text, with when it was used: a recorder tells events apart by their reasons alone, and would count one
    /// with another text as the first again.
    recorders: HashMap<Told, (Recorder, Instant)>,
}

/// What was told, about which resource.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Told {
    cluster: Option<String>,
    reason: &'static str,
    note: String,
}

impl Teller {
    fn new(client: Client, writing: Arc<dyn Writing>, identity: String) -> Self {
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(identity) };
        Self { client, writing, reporter, recorders: HashMap::new() }
    }

    async fn tell(&mut self, about: &ObjectReference, event: &Event) {
        let (reason, type_, action) = event.head();
        let note = shortened(event.note());
        let told = Told { cluster: about.uid.clone(), reason, note: note.clone() };
        let recorder = self.recorder(told.clone());
        let event = KubeEvent {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: None,
        };
        let failure = match leader::write(&*self.writing, recorder.publish(&event, about)).await {
            Ok(Ok(())) => return metrics::told(reason),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // The event that it knows of may be gone.
        self.recorders.remove(&told);
        not_told(reason, &failure);
    }

    fn recorder(&mut self, told: Told) -> Recorder {
        let now = Instant::now();
        self.recorders.retain(|_, (_, used)| now.duration_since(*used) < SAME);
        let new = || (Recorder::new(self.client.clone(), self.reporter.clone()), now);
        let (recorder, used) = self.recorders.entry(told).or_insert_with(new);
        *used = now;
        recorder.clone()
    }
}

fn shortened(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(NOTE_LIMIT));
    note
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::{Request, Response, StatusCode};
    use imcluster_crds::conditions::Reason;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::{Value, json};

    use super::*;

    /// Writes if it is true.
    struct May(bool);

    impl Writing for May {
        fn left(&self) -> Option<Duration> {
            self.0.then_some(Duration::from_secs(1))
        }
    }

    type Written = Arc<Mutex<Vec<(String, Value)>>>;

    /// An API server that answers with `status`, and what it got: methods and bodies.
    fn api(status: StatusCode) -> (Client, Written) {
        let written = Written::default();
        let got = written.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let got = got.clone();
            async move {
                let method = request.method().to_string();
                let body = request.into_body().collect_bytes().await.unwrap();
                got.lock().push((method, serde_json::from_slice(&body).unwrap()));
                let answer = Response::builder().status(status).body(Body::from(body.to_vec())).unwrap();
                Ok::<_, Infallible>(answer)
            }
        });
        (Client::new(service, "chat"), written)
    }

    fn teller(status: StatusCode, may_write: bool) -> (Teller, Written) {
        let (client, written) = api(status);
        (Teller::new(client, Arc::new(May(may_write)), "me".to_owned()), written)
    }

    fn cluster(uid: &str) -> ObjectReference {
        ObjectReference {
            name: Some("chat".to_owned()),
            namespace: Some("here".to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }
    }

    #[tokio::test]
    async fn what_is_told_again_is_counted_and_another_text_is_told_anew() {
        let (mut teller, written) = teller(StatusCode::OK, true);
        for (uid, to) in [("x", 5), ("x", 5), ("x", 2), ("y", 5)] {
            teller.tell(&cluster(uid), &Event::GatewaysScaled { from: 3, to }).await;
        }
        let written = written.lock();
        let methods: Vec<_> = written.iter().map(|(method, _)| method.as_str()).collect();
        assert_eq!(methods, ["POST", "PATCH", "POST", "POST"]);
        assert_eq!(written[1].1["series"]["count"], 2);
        assert_eq!(written[2].1["note"], "From 3 to 2 gateways");
        for (pointer, expected) in [
            ("/reason", "GatewaysScaled"),
            ("/type", "Normal"),
            ("/action", "Scale"),
            ("/reportingController", CONTROLLER),
            ("/reportingInstance", "me"),
            ("/regarding/uid", "x"),
            ("/metadata/namespace", "here"),
        ] {
            assert_eq!(written[0].1.pointer(pointer), Some(&json!(expected)), "{pointer}");
        }
    }

    #[tokio::test]
    async fn an_event_that_could_not_be_written_is_told_anew_the_next_time() {
        let (mut teller, written) = teller(StatusCode::INTERNAL_SERVER_ERROR, true);
        for _ in 0..2 {
            teller.tell(&cluster("x"), &Event::Paused).await;
        }
        assert!(written.lock().iter().all(|(method, _)| method == "POST") && written.lock().len() == 2);
    }

    #[tokio::test]
    async fn who_does_not_lead_tells_nothing() {
        let (mut teller, written) = teller(StatusCode::OK, false);
        teller.tell(&cluster("x"), &Event::Paused).await;
        assert!(written.lock().is_empty());
    }

    #[tokio::test]
    async fn a_text_is_cut_to_what_kubernetes_takes() {
        let (mut teller, written) = teller(StatusCode::OK, true);
        let trouble = Event::Trouble(Reason::TopicRejected, "é".repeat(NOTE_LIMIT));
        teller.tell(&cluster("x"), &trouble).await;
        assert_eq!(written.lock()[0].1["note"].as_str().unwrap().len(), NOTE_LIMIT);
    }

    #[tokio::test]
    async fn an_api_server_that_hangs_holds_nobody_up_and_fills_no_memory() {
        let hangs = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
        let events = Events::start(Client::new(hangs, "chat"), Arc::new(May(true)), "me".to_owned());
        for _ in 0..3 * QUEUE {
            events.publish(&cluster("x"), Event::Paused);
        }
        assert_eq!(events.0.capacity(), 0);
    }
}
