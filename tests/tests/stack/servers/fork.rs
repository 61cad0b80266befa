//! Two servers that commit to one conversation, one of which dies.

use std::collections::HashMap;
use std::time::Instant;

use imcluster_tests::client::{Client, DEADLINE, fresh};
use imcluster_tests::history::{Record, Recorder};
use imcluster_tests::load::{Load, Plan};
use imcluster_tests::stack::Cluster;
use imcluster_tests::stage::Person;
use imcluster_tests::watcher::Watcher;
use imcluster_tests::witness::{members, read_again};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{cluster, history, restore, told};

/// Sends everything at once, and after a reconnect what was not acked again.
struct Pipeline {
    person: Person,
    conversation: String,
    frames: Vec<Value>,
    /// Seq by `client_message_id`.
    acked: HashMap<String, u64>,
}

impl Pipeline {
    fn new(recorder: &Recorder, person: Person, conversation: &str, messages: usize) -> Self {
        let frames = (0..messages).map(|n| {
            let (client_message_id, content) = (fresh("m"), json!({"text": format!("{} {n}", person.id)}));
            recorder.add(Record::Sent {
                conversation: conversation.to_owned(),
                user: person.id.clone(),
                client_message_id: client_message_id.clone(),
                content: content.to_string(),
            });
            json!({
                "type": "send", "id": client_message_id, "conversation": conversation,
                "client_message_id": client_message_id, "kind": "text", "content": content
            })
        });
        Self { frames: frames.collect(), person, conversation: conversation.to_owned(), acked: HashMap::new() }
    }

    /// Sends until all is acked or the connection ends; `progress` is told the number of acks.
    async fn run(&mut self, client: &Client, recorder: &Recorder, progress: &watch::Sender<usize>) {
        let left = self.frames.iter().filter(|frame| !self.acked.contains_key(id(frame)));
        let mut expected = 0;
        for frame in left {
            client.post(frame.clone()).await;
            expected += 1;
        }
        let mut acks = HashMap::new();
        let done = |frame: &Value| {
            if frame["type"] == "sent" {
                acks.insert(id(frame).to_owned(), frame["seq"].as_u64().expect("a seq"));
                progress.send_modify(|acks| *acks += 1);
            }
            acks.len() == expected
        };
        client.wait_within(DEADLINE * 2, done).await;
        for (client_message_id, seq) in acks {
            recorder.add(Record::Acked {
                conversation: self.conversation.clone(),
                user: self.person.id.clone(),
                client_message_id: client_message_id.clone(),
                seq,
            });
            self.acked.insert(client_message_id, seq);
        }
    }

    fn is_done(&self) -> bool {
        self.acked.len() == self.frames.len()
    }
}

fn id(frame: &Value) -> &str {
    frame["client_message_id"].as_str().expect("an id")
}

/// Two senders on two servers, `each` messages; the first server dies in the middle.
async fn two_servers(cluster: &Cluster, each: usize, name: &str) {
    let mut load = Load::start(&cluster.stage_on(1), Plan::default()).await;
    let recorder = load.recorder.clone();
    let people: [Person; 3] = cluster.stage_on(2).people().await;
    let [alice, bob, carol] = &people;
    let (_, conversation) = alice.group(&[bob, carol], "fork").await;
    members(&recorder, &conversation, &people);
    let watcher = Watcher::connect(&recorder, &carol.id, cluster.server(2).http).await;
    let mut dying = Pipeline::new(&recorder, alice.on(&cluster.stage_on(0)), &conversation, each);
    let mut living = Pipeline::new(&recorder, bob.on(&cluster.stage_on(1)), &conversation, each);
    let (one, other) = (dying.person.connect_device("web", "one").await, living.person.connect("web").await);

    let (progress, mut acks) = watch::channel(0);
    let nothing = watch::Sender::new(0);
    let killing = async {
        acks.wait_for(|acks| *acks >= each / 4).await.expect("the sender is at work");
        cluster.server(0).kill();
        Instant::now()
    };
    let ((), killed, ()) =
        tokio::join!(dying.run(&one, &recorder, &progress), killing, living.run(&other, &recorder, &nothing));
    assert!(!dying.is_done(), "the kill came in the middle");
    assert!(living.is_done(), "the other server goes on");
    dying.person = dying.person.on(&cluster.stage_on(2));
    let again = dying.person.connect_device("web", "one").await;
    dying.run(&again, &recorder, &progress).await;
    assert!(dying.is_done(), "everything is acked in the end");
    let head = dying.acked.values().chain(living.acked.values()).max().copied().expect("acks");
    watcher.sees(&conversation, head).await;
    told("kill -9 of one of two servers that commit to one conversation", killed);
    assert_eq!(head, 1 + 2 * each as u64, "dense: the notification and every message");

    restore(cluster, cluster.server(0)).await;
    load.settle().await;
    let client = carol.connect("web").await;
    let stored = read_again(&recorder, &client, "after", carol, &conversation).await;
    assert_eq!(stored.len(), 1 + 2 * each);
    assert!(watcher.is_well());
    load.check(&cluster.stage_on(1), &history(name)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn two_servers_that_commit_to_one_conversation_leave_no_hole_and_no_fork_when_one_dies() {
    two_servers(&*cluster().await, 500, "two-servers").await;
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes minutes: make test-stack-full"]
    async fn two_servers_that_commit_to_one_conversation_leave_no_hole_and_no_fork_however_often_one_dies() {
        let cluster = cluster().await;
        for round in 0..8 {
            two_servers(&cluster, 2_000, &format!("two-servers-{round}")).await;
        }
    }
}
