//! Pages: conversations, what changed since, sync, history.

use imcluster_tests::client::{Client, seqs, text_to};
use imcluster_tests::stage::{Stage, direct};
use serde_json::{Value, json};

fn names(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| item["conversation"].as_str().expect("a conversation").to_owned()).collect()
}

async fn sync(client: &Client, conversation: &str, after: u64, limit: u64) -> Value {
    client
        .expect(json!({"type": "sync", "conversation": conversation, "after": after, "limit": limit}), "messages")
        .await
}

fn page(answer: &Value) -> Vec<u64> {
    seqs(answer["messages"].as_array().expect("messages"))
}

#[tokio::test]
async fn conversations_are_paged_newest_first_each_once() {
    let alice = Stage::shared().person().await;
    let mut made = Vec::new();
    for n in 0..7 {
        made.push(alice.group(&[], &format!("group {n}")).await.1);
    }
    let a = alice.connect("web").await;
    a.say(&made[2], "the newest now").await;
    let newest = made.remove(2);
    made.push(newest);
    made.reverse();
    let (mut cursor, mut listed, mut pages) = (Value::Null, Vec::new(), 0);
    loop {
        let page = a.expect(json!({"type": "conversations", "cursor": cursor, "limit": 3}), "conversations").await;
        assert!(page["since"].is_string(), "{page}");
        listed.extend(names(&page));
        pages += 1;
        cursor = page["next"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!((listed, pages), (made.clone(), 3));
    let by_http = alice.http.get("/v1/conversations?limit=3").await;
    assert_eq!(names(&by_http), made[..3]);
    let rest = alice
        .http
        .get(&format!("/v1/conversations?limit=200&cursor={}", by_http["next"].as_str().expect("a cursor")))
        .await;
    assert_eq!(names(&rest), made[3..]);
    a.refused(json!({"type": "conversations", "cursor": "rubbish"}), "invalid_field").await;
}

#[tokio::test]
async fn after_a_reconnect_only_what_changed_comes() {
    let stage = Stage::shared();
    let [alice, bob] = stage.friends().await;
    let conversation = direct(&alice, &bob);
    let (_, quiet) = alice.group(&[&bob], "quiet").await;
    let (left_group, left) = alice.group(&[&bob], "left").await;
    let a = alice.connect("web").await;
    a.say(&conversation, "before").await;
    let session = stage.sign_in(&bob.id, "mobile", "phone").await;
    let hello =
        |since: &Value| json!({"token": session.access, "terminal": "mobile", "device": "phone", "since": since});
    let b = bob.connect_with(hello(&Value::Null)).await;
    let since = b.welcome["since"].clone();
    b.leave().await;

    let b = bob.connect_with(hello(&since)).await;
    assert_eq!(b.welcome["changes"], json!({"items": [], "next": null, "reset": false}), "nothing has changed");
    b.leave().await;
    let seq = a.say(&conversation, "while away").await;
    bob.http.delete(&format!("/v1/groups/{left_group}/members/{}", bob.id)).await;
    let b = bob.connect_with(hello(&since)).await;
    let changes = &b.welcome["changes"];
    assert_eq!((&changes["next"], &changes["reset"]), (&Value::Null, &json!(false)), "{changes}");
    let items = changes["items"].as_array().expect("items");
    assert_eq!(items.len(), 2, "{changes}");
    let of = |name: &str| items.iter().find(|item| item["conversation"] == name).expect("the conversation");
    assert_eq!(
        (&of(&conversation)["head"], &of(&conversation)["last"]["content"]["text"]),
        (&json!(seq), &json!("while away"))
    );
    assert_eq!(*of(&left), json!({"conversation": left, "removed": true, "reason": "left"}));
    assert!(items.iter().all(|item| item["conversation"] != quiet.as_str()));

    let same = b.expect(json!({"type": "conversations", "since": since}), "conversations").await;
    assert_eq!(names(&same).len(), 2, "{same}");
    let newer = b.expect(json!({"type": "conversations", "since": b.welcome["since"]}), "conversations").await;
    assert_eq!(newer["items"], json!([]), "{newer}");
}

#[tokio::test]
async fn a_since_that_nobody_gave_resets_the_list() {
    let stage = Stage::shared();
    let alice = stage.person().await;
    let (_, conversation) = alice.group(&[], "here").await;
    let hello = json!({"token": alice.token(), "terminal": "bot", "device": "http", "since": "rubbish"});
    let client = alice.connect_with(hello).await;
    assert_eq!(client.welcome["changes"]["reset"], true, "{}", client.welcome);
    let page = client.expect(json!({"type": "conversations", "since": "rubbish"}), "conversations").await;
    assert_eq!(page["reset"], true, "{page}");
    let whole = client.expect(json!({"type": "conversations"}), "conversations").await;
    assert_eq!(names(&whole), [conversation]);
}

#[tokio::test]
async fn sync_and_history_walk_a_conversation_from_both_ends() {
    let [alice, bob] = Stage::shared().friends().await;
    let conversation = direct(&alice, &bob);
    let (a, b) = (alice.connect_on(0, "web").await, bob.connect_on(1, "web").await);
    for n in 1..=30 {
        a.say(&conversation, &n.to_string()).await;
    }
    let first = sync(&b, &conversation, 0, 12).await;
    assert_eq!(page(&first), (1..=12).collect::<Vec<_>>());
    assert_eq!(
        (&first["head"], &first["more"], &first["gaps"], &first["changed"]),
        (&json!(30), &json!(true), &json!([]), &json!([]))
    );
    let last = sync(&b, &conversation, 24, 12).await;
    assert_eq!(page(&last), (25..=30).collect::<Vec<_>>());
    assert_eq!(last["more"], false);
    assert_eq!(page(&sync(&b, &conversation, 30, 12).await), [0; 0]);
    let beyond = sync(&b, &conversation, 99, 12).await;
    assert_eq!((page(&beyond), &beyond["head"], &beyond["more"]), (vec![], &json!(30), &json!(false)));

    let newest = b.expect(json!({"type": "history", "conversation": conversation, "limit": 20}), "messages").await;
    assert_eq!(page(&newest), (11..=30).collect::<Vec<_>>());
    assert_eq!(newest["more"], true);
    let older =
        b.expect(json!({"type": "history", "conversation": conversation, "before": 11, "limit": 20}), "messages").await;
    assert_eq!(page(&older), (1..=10).collect::<Vec<_>>());
    assert_eq!(older["more"], false);

    let path = format!("/v1/conversations/{conversation}/messages");
    assert_eq!(page(&bob.http.get(&format!("{path}?after=27")).await), [28, 29, 30]);
    assert_eq!(page(&bob.http.get(&format!("{path}?before=4")).await), [1, 2, 3]);
    assert_eq!(page(&bob.http.get(&format!("{path}?limit=2")).await), [29, 30]);
}

#[tokio::test]
async fn limits_default_to_50_and_are_clamped_at_200() {
    let stage = Stage::own(&["--no-limits"]);
    let [alice, bob] = stage.friends().await;
    let conversation = direct(&alice, &bob);
    let a = alice.connect("web").await;
    let mut last = String::new();
    for n in 0..230 {
        last = a.submit(text_to(&conversation, &n.to_string())).await;
    }
    a.answer(&last).await;
    let asked = async |frame: Value| page(&a.expect(frame, "messages").await).len();
    assert_eq!(asked(json!({"type": "history", "conversation": conversation})).await, 50);
    assert_eq!(asked(json!({"type": "sync", "conversation": conversation, "after": 0})).await, 50);
    assert_eq!(asked(json!({"type": "history", "conversation": conversation, "limit": 100_000})).await, 200);
    assert_eq!(asked(json!({"type": "sync", "conversation": conversation, "after": 0, "limit": 201})).await, 200);
    let path = format!("/v1/conversations/{conversation}/messages");
    assert_eq!(page(&alice.http.get(&path).await).len(), 50);
    assert_eq!(page(&alice.http.get(&format!("{path}?limit=9999")).await).len(), 200);
}

#[tokio::test]
async fn one_sync_frame_asks_for_several_conversations() {
    let [alice, bob] = Stage::shared().people().await;
    let a = alice.connect("web").await;
    let (_, one) = alice.group(&[&bob], "one").await;
    let (_, two) = alice.group(&[&bob], "two").await;
    a.say(&one, "1").await;
    let nowhere = "g:01J0000000000000000000000";
    let items = json!([{"conversation": one, "after": 1}, {"conversation": nowhere, "after": 0}, {"conversation": two, "after": 0, "rev": 0}]);
    let id = a.submit(json!({"type": "sync", "items": items})).await;
    a.wait_for("the last answer", |frame| frame["id"] == id.as_str() && frame["last"] == true).await;
    let answers = a.frames(|frame| frame["id"] == id.as_str());
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(
        (&answers[0]["type"], &answers[0]["conversation"], page(&answers[0])),
        (&json!("messages"), &json!(one), vec![2])
    );
    assert_eq!((&answers[1]["type"], &answers[1]["conversation"]), (&json!("error"), &json!(nowhere)));
    assert_eq!((&answers[2]["type"], page(&answers[2])), (&json!("messages"), vec![1]));
    for answer in &answers[..2] {
        assert_ne!(answer["last"], true, "{answer}");
    }
    a.refused(json!({"type": "sync", "items": []}), "invalid_field").await;
    let too_many: Vec<_> = (0..51).map(|_| json!({"conversation": one, "after": 0})).collect();
    let error = a.ask(json!({"type": "sync", "items": too_many})).await;
    assert_eq!((&error["type"], &error["field"]), (&json!("error"), &json!("items")), "{error}");
}

#[tokio::test]
async fn an_answer_ends_at_256_kib_and_says_that_there_is_more() {
    let [alice, bob] = Stage::shared().friends().await;
    let conversation = direct(&alice, &bob);
    let (a, b) = (alice.connect("web").await, bob.connect("web").await);
    for n in 0..8 {
        a.say(&conversation, &n.to_string().repeat(60_000)).await;
    }
    let (mut after, mut got, mut answers) = (0, Vec::new(), 0);
    loop {
        let answer = sync(&b, &conversation, after, 200).await;
        assert!(answer.to_string().len() <= 256 * 1024, "{} bytes", answer.to_string().len());
        let seqs = page(&answer);
        assert!(!seqs.is_empty(), "at least one");
        after = *seqs.last().expect("at least one");
        got.extend(seqs);
        answers += 1;
        if answer["more"] == false {
            break;
        }
    }
    assert_eq!((got, answers), ((1..=8).collect::<Vec<_>>(), 2));
    let newest = b.expect(json!({"type": "history", "conversation": conversation}), "messages").await;
    assert_eq!((page(&newest), &newest["more"]), (vec![5, 6, 7, 8], &json!(true)));
}

#[tokio::test]
async fn changes_come_oldest_first_and_a_cut_list_says_where_to_go_on() {
    let [alice, bob] = Stage::shared().friends().await;
    let conversation = direct(&alice, &bob);
    let (a, b) = (alice.connect("web").await, bob.connect("web").await);
    for n in 1..=5 {
        a.say(&conversation, &n.to_string()).await;
    }
    for seq in [4, 2, 5] {
        alice.http.delete(&format!("/v1/conversations/{conversation}/messages/{seq}")).await;
    }
    let (mut rev, mut changed) = (0, Vec::new());
    loop {
        let answer =
            b.expect(json!({"type": "sync", "conversation": conversation, "after": 4, "rev": rev}), "messages").await;
        assert_eq!(page(&answer), [5]);
        let got = seqs(answer["changed"].as_array().expect("changed"));
        rev = answer["rev"].as_u64().expect("a rev");
        if got.is_empty() {
            break;
        }
        changed.extend(got);
    }
    assert_eq!(changed, [4, 2], "with seq up to the asked one, oldest change first; 5 comes as a message");
    assert_eq!(rev, 3);
}
