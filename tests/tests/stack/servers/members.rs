//! Members who come and go while messages are in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use imcluster_tests::client::Client;
use imcluster_tests::history::{Record, Recorder, View};
use imcluster_tests::load::report;
use imcluster_tests::stage::{Person, Stage};
use imcluster_tests::watcher::Watcher;
use imcluster_tests::witness::{check, members, read_again};
use rand::RngExt as _;
use serde_json::{Value, json};

use super::{cluster, crowd, history, told};

/// Members who stay: the owner and two more, one on each server, who write all the time.
const STAYING: usize = 3;
/// Members who come and go, in turn on all servers.
const MOVING: usize = 7;
/// Between two messages of one writer.
const PAUSE: Duration = Duration::from_millis(10);
/// People named in one call at most.
const PER_CALL: usize = 500;
/// A group is large from here on.
const LARGE: usize = 500;

/// Stays of the founders, as the notifications tell them.
fn stays(founders: &[&str], log: &[View]) -> BTreeMap<String, Vec<(u64, Option<u64>)>> {
    let mut stays: BTreeMap<String, Vec<(u64, Option<u64>)>> = BTreeMap::new();
    for founder in founders {
        stays.entry((*founder).to_owned()).or_default().push((1, None));
    }
    for view in log.iter().filter(|view| view.client_message_id.is_none()) {
        let content: Value = serde_json::from_str(&view.content).expect("JSON");
        let users = content["users"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for user in users {
            let Some(stays) = stays.get_mut(user) else { continue };
            match content["template"].as_str() {
                Some("group_invited") => stays.push((view.seq, None)),
                Some("group_kicked") => stays.last_mut().expect("who is kicked was there").1 = Some(view.seq),
                _ => {}
            }
        }
    }
    stays
}

fn covers(stays: &[(u64, Option<u64>)], seq: u64) -> bool {
    stays.iter().any(|(joined, left)| *joined <= seq && left.is_none_or(|left| seq < left))
}

/// What someone who came and went reads in the end is what was said during the stays, no less and no more. It completes
/// what the device showed, which forgets a conversation when it is taken away.
async fn read_stays(
    recorder: &Recorder,
    client: &Client,
    watcher: &Watcher,
    conversation: &str,
    stays: &[(u64, Option<u64>)],
    head: u64,
) {
    let (mut after, mut read) = (0, BTreeSet::new());
    loop {
        let frame = json!({"type": "sync", "conversation": conversation, "after": after, "limit": 200});
        let answer = client.expect(frame, "messages").await;
        for message in answer["messages"].as_array().expect("messages") {
            for name in watcher.names(conversation) {
                recorder.add(Record::Synced(View::of(&name, &watcher.user, message)));
            }
            after = message["seq"].as_u64().expect("a seq");
            read.insert(after);
        }
        if answer["more"] == false {
            break;
        }
    }
    let expected: BTreeSet<u64> = (1..=head).filter(|seq| covers(stays, *seq)).collect();
    assert_eq!(read, expected, "{} reads the stays {stays:?}", watcher.user);
    for seq in (1..=head).filter(|seq| !covers(stays, *seq)) {
        for name in watcher.names(conversation) {
            recorder.add(Record::Skipped { client: name, conversation: conversation.to_owned(), seq });
        }
    }
}

/// Kicks those who are in and invites those who are out, some of them each time.
async fn come_and_go(owner: &Person, group: &str, moving: &[String], crowd: &[String], changes: usize) {
    let path = format!("/v1/groups/{group}/members");
    let mut inside: BTreeSet<&String> = moving.iter().collect();
    for change in 0..changes {
        let chosen: Vec<&String> = moving.iter().filter(|_| rand::rng().random_ratio(1, 3)).collect();
        let (go, come): (Vec<&String>, Vec<&String>) = chosen.into_iter().partition(|user| inside.contains(user));
        for user in go {
            owner.http.delete(&format!("{path}/{user}")).await;
            inside.remove(user);
        }
        if !come.is_empty() {
            owner.http.post(&path, json!({"users": come})).await;
            inside.extend(come);
        }
        // Of those who are nowhere, too: the version rises, and no server has anyone to tell.
        if let Some(user) = crowd.get(change) {
            owner.http.delete(&format!("{path}/{user}")).await;
        }
    }
}

/// A group of so many in which members come and go so often while three others write.
async fn membership(size: usize, changes: usize, name: &str) {
    let cluster = cluster().await;
    let recorder = Recorder::default();
    let stages: Vec<Stage> = (0..3).map(|server| cluster.stage_on(server)).collect();
    let mut people = Vec::new();
    for n in 0..STAYING + MOVING {
        people.push(stages[n % 3].person().await);
    }
    let owner = &people[0];
    let (group, conversation) = owner.group(&people[1..].iter().collect::<Vec<_>>(), name).await;
    let crowd = crowd(&mut cluster.sql().await, &owner.id, size - people.len()).await;
    for some in crowd.chunks(PER_CALL) {
        owner.http.post(&format!("/v1/groups/{group}/members"), json!({"users": some})).await;
    }
    let view = owner.http.get(&format!("/v1/groups/{group}")).await;
    assert_eq!(view["members"], size, "{view}");
    let mut watchers = Vec::new();
    for (n, person) in people.iter().enumerate() {
        watchers
            .push(Watcher::connect(&recorder, &person.id, cluster.server(u16::try_from(n % 3).unwrap()).http).await);
    }

    let stop = Arc::new(AtomicBool::new(false));
    let writing = join_all(watchers[..STAYING].iter().map(|writer| async {
        let mut last = 0;
        for n in 0_u32.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            last = writer.say(&conversation, &format!("{} {n}", writer.user)).await.expect("a member may speak");
            tokio::time::sleep(PAUSE).await;
        }
        last
    }));
    let moving: Vec<String> = people[STAYING..].iter().map(|person| person.id.clone()).collect();
    let changing = async {
        come_and_go(owner, &group, &moving, &crowd, changes).await;
        stop.store(true, Ordering::Relaxed);
        Instant::now()
    };
    let (said, ended) = tokio::join!(writing, changing);

    // What comes after everything on every server: what is missing or too much then does not come late.
    let (_, fence) = owner.group(&people[1..].iter().collect::<Vec<_>>(), "fence").await;
    members(&recorder, &fence, &people);
    let log_reader = owner.connect("web").await;
    let log = read_again(&recorder, &log_reader, "log", owner, &conversation).await;
    let head = log.last().expect("messages").seq;
    assert!(said.iter().all(|last| *last <= head));
    let founders: Vec<&str> = people.iter().map(|person| person.id.as_str()).collect();
    let stays = stays(&founders, &log);
    for watcher in &watchers {
        let own = &stays[&watcher.user];
        for (joined, left) in own {
            let (conversation, user) = (conversation.clone(), watcher.user.clone());
            recorder.add(Record::Stint { conversation, user, joined: *joined, left: *left });
        }
        if covers(own, head) {
            watcher.sees(&conversation, head).await;
        }
    }
    let last = watchers[0].say(&fence, "the end").await.expect("the owner may speak");
    for watcher in &watchers {
        watcher.sees(&fence, last).await;
    }
    told(&format!("members kicked and joined in a group of {size}, until all have all"), ended);
    for (watcher, person) in watchers.iter().zip(&people).skip(STAYING) {
        let client = person.connect("web").await;
        read_stays(&recorder, &client, watcher, &conversation, &stays[&watcher.user], head).await;
        assert!(watcher.is_well());
    }
    let messages = log.iter().filter(|view| view.client_message_id.is_some()).count();
    report(&format!("{name}: {messages} messages, {} changes of members", log.len() - messages));
    check(&recorder, &history(name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn members_who_come_and_go_in_a_group_of_20_see_their_stays_and_nothing_else() {
    membership(20, 40, "members-of-20").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn members_who_come_and_go_in_a_group_of_2000_see_their_stays_and_nothing_else() {
    membership(4 * LARGE, 40, "members-of-2000").await;
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes minutes: make test-stack-full"]
    async fn members_who_come_and_go_a_thousand_times_see_their_stays_and_nothing_else() {
        membership(20, 500, "members-of-20-long").await;
        membership(4 * LARGE, 500, "members-of-2000-long").await;
    }
}
