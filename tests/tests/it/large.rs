//! Groups of 500 members and more: no list of recipients travels, each server knows its own.

use futures_util::StreamExt;
use futures_util::stream;
use imcluster_tests::client::{Client, seqs, text_to};
use imcluster_tests::stage::{Person, Stage, listed};
use serde_json::{Value, json};

/// Members besides those who are watched.
const CROWD: usize = 515;

/// Fresh accounts without sessions.
async fn crowd(stage: &Stage) -> Vec<String> {
    stream::iter(0..CROWD).map(|_| stage.account()).buffer_unordered(8).collect().await
}

/// A group of one's own and a crowd, made with one call and grown with more.
async fn large_group(owner: &Person, crowd: &[String], others: &[&Person]) -> (String, String) {
    let (group, conversation) = owner.group(others, "large").await;
    for some in crowd.chunks(300) {
        owner.http.post(&format!("/v1/groups/{group}/members"), json!({"users": some})).await;
    }
    let view = owner.http.get(&format!("/v1/groups/{group}")).await;
    assert_eq!(view["members"], 1 + others.len() + crowd.len(), "{view}");
    (group, conversation)
}

async fn head(person: &Person, conversation: &str) -> u64 {
    listed(person, conversation).await["head"].as_u64().expect("a head")
}

/// Says texts one after the other, all under way at once, and returns the first and the last seq.
async fn say_many(client: &Client, conversation: &str, count: usize) -> (u64, u64) {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(client.submit(text_to(conversation, &n.to_string())).await);
    }
    let mut seqs = Vec::new();
    for id in ids {
        seqs.push(client.answer(&id).await["seq"].as_u64().expect("a seq"));
    }
    (seqs[0], *seqs.last().expect("some were sent"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_520_is_delivered_across_both_server_ids_and_its_stints_hold() {
    let stage = Stage::own(&["--no-limits"]);
    let [owner, bob, carol, coming, going] = stage.people().await;
    let crowd = crowd(&stage).await;
    // Bob is there before the group is large, Carol connects when it is.
    let (o, b) = (owner.connect_on(0, "web").await, bob.connect_on(1, "web").await);
    let (group, conversation) = large_group(&owner, &crowd, &[&bob, &carol, &going]).await;
    let c = carol.connect_on(0, "web").await;
    let (comes, goes) = (coming.connect_on(1, "web").await, going.connect_on(1, "web").await);

    let (first, last) = say_many(&o, &conversation, 30).await;
    for client in [&o, &b, &c, &goes] {
        client.message(&conversation, last).await;
        let got: Vec<_> = client.seqs(&conversation).into_iter().filter(|seq| *seq >= first).collect();
        assert_eq!(got, (first..=last).collect::<Vec<_>>(), "each once, in order");
    }
    assert_eq!(listed(&carol, &conversation).await["unread"], 30);

    // Members come and go while messages fly.
    let members = format!("/v1/groups/{group}/members");
    let kicked = format!("{members}/{}", going.id);
    let changing = async {
        bob.http.call("DELETE", &kicked, &Value::Null).await.problem(403, "forbidden");
        owner.http.post(&members, json!({"users": [coming.id]})).await;
        owner.http.delete(&kicked).await;
    };
    let ((first, last), ()) = tokio::join!(say_many(&o, &conversation, 400), changing);
    let end = head(&owner, &conversation).await.max(last);
    let page = o
        .expect(json!({"type": "sync", "conversation": conversation, "after": first - 1, "limit": 200}), "messages")
        .await;
    let mut all = page["messages"].as_array().expect("messages").clone();
    while all.len() as u64 + first <= end {
        let after = seqs(&all).pop().expect("some");
        let frame = json!({"type": "sync", "conversation": conversation, "after": after, "limit": 200});
        let page = o.expect(frame, "messages").await;
        all.extend(page["messages"].as_array().expect("messages").iter().cloned());
    }
    assert_eq!(seqs(&all), (first..=end).collect::<Vec<_>>());
    let of = |template: &str, person: &Person| {
        let is_it = |message: &&Value| {
            message["content"]["template"] == template && message["content"]["users"][0] == person.id.as_str()
        };
        all.iter().find(is_it).unwrap_or_else(|| panic!("no {template}"))["seq"].as_u64().expect("a seq")
    };
    let (joined, left) = (of("group_invited", &coming), of("group_kicked", &going));

    comes.message(&conversation, end).await;
    assert_eq!(comes.seqs(&conversation), (joined..=end).collect::<Vec<_>>(), "from the first of the stint on");
    if left > first {
        goes.message(&conversation, left - 1).await;
    }
    goes.event("conversation_removed", |data| data["conversation"] == conversation.as_str()).await;
    // What reaches the kicked one later shows that what is missing does not come late.
    let (_, fence) = owner.group(&[&going], "fence").await;
    goes.message(&fence, 1).await;
    let got = goes.seqs(&conversation);
    assert_eq!(got.last(), Some(&(left - 1)), "up to the last of the stint");
    b.message(&conversation, end).await;
    let got: Vec<_> = b.seqs(&conversation).into_iter().filter(|seq| *seq >= first).collect();
    assert_eq!(got, (first..=end).collect::<Vec<_>>());

    // Above fifty members the sender is told a count instead of who has read.
    b.expect(json!({"type": "read", "conversation": conversation, "seq": end}), "ok").await;
    let count = o.event("read_count", |data| data["conversation"] == conversation.as_str()).await;
    assert!(count["seq"].is_u64() && count["count"].as_u64() >= Some(1), "{count}");
    assert!(o.frames(|frame| frame["type"] == "receipt").is_empty(), "no receipts in large groups");
}
