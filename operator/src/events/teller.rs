//! Writing events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use imcluster_crds::ImCluster;
use kube::runtime::events::{Event as KubeEvent, Recorder, Reporter};
use kube::{Client, Resource};
use parking_lot::Mutex;
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

/// Where events go. Clones are the same.
#[derive(Clone)]
pub struct Events {
    client: Client,
    writing: Arc<dyn Writing>,
    reporter: Reporter,
    /// One recorder per text, with when it was used: a recorder tells events apart by their reasons alone, and would count one
    /// with another text as the first again.
    recorders: Arc<Mutex<HashMap<Told, (Recorder, Instant)>>>,
}

/// What was told, about which resource.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Told {
    cluster: Option<String>,
    reason: &'static str,
    note: String,
}

impl Events {
    /// Events by the process `identity`, written as long as it may write.
    pub fn new(client: Client, writing: Arc<dyn Writing>, identity: String) -> Self {
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(identity) };
        Self { client, writing, reporter, recorders: Arc::default() }
    }

    /// Tells an event. One that cannot be written is logged and counted, and otherwise makes no difference; it takes as long as
    /// a write may.
    pub async fn tell(&self, about: &ImCluster, event: &Event) {
        let (reason, type_, action) = event.head();
        let note = shortened(event.note());
        let told = Told { cluster: about.metadata.uid.clone(), reason, note: note.clone() };
        let recorder = self.recorder(told.clone());
        let event = KubeEvent {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: None,
        };
        let reference = about.object_ref(&());
        let failure = match leader::write(&*self.writing, recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => return metrics::told(reason),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // What it knows of may be gone.
        self.recorders.lock().remove(&told);
        metrics::not_told();
        tracing::warn!(reason, "an event could not be written: {failure}");
    }

    fn recorder(&self, told: Told) -> Recorder {
        let now = Instant::now();
        let mut recorders = self.recorders.lock();
        recorders.retain(|_, (_, used)| now.duration_since(*used) < SAME);
        let new = || (Recorder::new(self.client.clone(), self.reporter.clone()), now);
        let (recorder, used) = recorders.entry(told).or_insert_with(new);
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

    /// Events at an API server that answers with `status`, and what it got: methods and bodies.
    fn events(status: StatusCode, may_write: bool) -> (Events, Written) {
        let written = Written::default();
        let service = tower::service_fn({
            let written = written.clone();
            move |request: Request<Body>| {
                let written = written.clone();
                async move {
                    let method = request.method().to_string();
                    let body = request.into_body().collect_bytes().await.unwrap();
                    written.lock().push((method, serde_json::from_slice(&body).unwrap()));
                    let answer = Response::builder().status(status).body(Body::from(body.to_vec())).unwrap();
                    Ok::<_, Infallible>(answer)
                }
            }
        });
        let client = Client::new(service, "chat");
        (Events::new(client, Arc::new(May(may_write)), "me".to_owned()), written)
    }

    fn cluster(uid: &str) -> ImCluster {
        let mut cluster: ImCluster = serde_json::from_value(json!({
            "apiVersion": "imcluster.dev/v1alpha1", "kind": "ImCluster", "metadata": { "name": "chat", "namespace": "here" },
            "spec": { "kafka": { "bootstrapServers": "k:9092", "topics": {} },
                      "redis": { "urlSecretRef": { "name": "a" } }, "database": { "urlSecretRef": { "name": "b" } } },
        }))
        .unwrap();
        cluster.metadata.uid = Some(uid.to_owned());
        cluster
    }

    #[tokio::test]
    async fn what_is_told_again_is_counted_and_another_text_is_told_anew() {
        let (events, written) = events(StatusCode::OK, true);
        let scaled = |to| Event::GatewaysScaled { from: 3, to };
        for (cluster_uid, to) in [("x", 5), ("x", 5), ("x", 2), ("y", 5)] {
            events.tell(&cluster(cluster_uid), &scaled(to)).await;
        }
        let written = written.lock();
        let methods: Vec<_> = written.iter().map(|(method, _)| method.as_str()).collect();
        assert_eq!(methods, ["POST", "PATCH", "POST", "POST"]);
        assert_eq!(written[1].1["series"]["count"], 2);
        assert_eq!(written[2].1["note"], "From 3 to 2 gateways");
        let first = &written[0].1;
        assert_eq!(
            (&first["reason"], &first["type"], &first["action"]),
            (&json!("GatewaysScaled"), &json!("Normal"), &json!("Scale"))
        );
        assert_eq!((&first["reportingController"], &first["reportingInstance"]), (&json!(CONTROLLER), &json!("me")));
        assert_eq!((&first["regarding"]["uid"], &first["metadata"]["namespace"]), (&json!("x"), &json!("here")));
    }

    #[tokio::test]
    async fn an_event_that_could_not_be_written_is_told_anew_the_next_time() {
        let (events, written) = events(StatusCode::INTERNAL_SERVER_ERROR, true);
        for _ in 0..2 {
            events.tell(&cluster("x"), &Event::Paused).await;
        }
        assert!(written.lock().iter().all(|(method, _)| method == "POST") && written.lock().len() == 2);
    }

    #[tokio::test]
    async fn who_does_not_lead_tells_nothing() {
        let (events, written) = events(StatusCode::OK, false);
        events.tell(&cluster("x"), &Event::Paused).await;
        assert!(written.lock().is_empty());
    }

    #[tokio::test]
    async fn a_text_is_cut_to_what_kubernetes_takes() {
        let (events, written) = events(StatusCode::OK, true);
        let trouble = Event::Trouble(Reason::TopicRejected, "é".repeat(NOTE_LIMIT));
        events.tell(&cluster("x"), &trouble).await;
        assert_eq!(written.lock()[0].1["note"].as_str().unwrap().len(), NOTE_LIMIT);
    }
}
