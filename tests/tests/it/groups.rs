//! Groups: their making, their members' coming and going, and who sees what of it.

use imcluster_tests::client::{Client, seqs, text_to};
use imcluster_tests::stage::{Person, Stage, listed};
use serde_json::{Value, json};

/// Three people on alternating server ids, and a group that the first has made; message 1 has come to all.
async fn three() -> ([Person; 3], [Client; 3], String, String) {
    let people = Stage::shared().people().await;
    let clients = [
        people[0].connect_on(0, "web").await,
        people[1].connect_on(1, "web").await,
        people[2].connect_on(0, "web").await,
    ];
    let (group, conversation) = people[0].group(&[&people[1], &people[2]], "three").await;
    for client in &clients {
        client.message(&conversation, 1).await;
    }
    (people, clients, group, conversation)
}

/// The notification under a seq, checked for who acted, on whom, and in whose name it stands.
async fn notified(
    client: &Client,
    conversation: &str,
    seq: u64,
    template: &str,
    actor: &Person,
    users: &[&Person],
) -> Value {
    let message = client.message(conversation, seq).await;
    assert_eq!((&message["kind"], &message["sender"]), (&json!("notification"), &json!(actor.id)), "{message}");
    assert_eq!(message.get("client_message_id").unwrap_or(&Value::Null), &Value::Null, "{message}");
    let content = &message["content"];
    assert_eq!((&content["template"], &content["actor"]), (&json!(template), &json!(actor.id)), "{message}");
    let mut named: Vec<_> =
        content["users"].as_array().expect("users").iter().map(|user| user.as_str().expect("an id")).collect();
    let mut wanted: Vec<_> = users.iter().map(|person| person.id.as_str()).collect();
    named.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(named, wanted, "{message}");
    assert_eq!(content["count"], users.len(), "{message}");
    assert!(content["text"].is_string(), "{message}");
    message
}

async fn history(client: &Client, conversation: &str) -> Vec<Value> {
    let page = client.expect(json!({"type": "history", "conversation": conversation, "limit": 200}), "messages").await;
    page["messages"].as_array().expect("messages").clone()
}

#[tokio::test]
async fn a_new_group_has_a_made_up_name_and_its_notification_is_message_1_for_everyone() {
    let people: [Person; 3] = Stage::shared().people().await;
    let [alice, bob, carol] = &people;
    let clients = [alice.connect_on(0, "web").await, bob.connect_on(1, "web").await, carol.connect_on(0, "web").await];
    let (group, conversation) = alice.group(&[bob, carol], "").await;
    assert_eq!(conversation, format!("g:{group}"));
    for client in &clients {
        notified(client, &conversation, 1, "group_created", alice, &[bob, carol]).await;
    }
    let view = alice.http.get(&format!("/v1/groups/{group}")).await;
    let name = view["name"].as_str().expect("a name");
    assert!(
        people.iter().all(|person| name.contains(&person.id)) || name.chars().count() <= 100 && !name.is_empty(),
        "{view}"
    );
    assert_eq!(
        (&view["owner"], &view["members"], &view["muted"]),
        (&json!(alice.id), &json!(3), &json!(false)),
        "{view}"
    );
    assert_eq!(view["conversation"], conversation.as_str());
    for person in &people {
        let item = listed(person, &conversation).await;
        assert_eq!((&item["title"], &item["head"], &item["unread"]), (&view["name"], &json!(1), &json!(0)), "{item}");
        let mine = person.http.get("/v1/groups").await;
        assert_eq!(mine["items"][0]["group"], group.as_str(), "{mine}");
    }
}

#[tokio::test]
async fn six_people_who_speak_at_once_see_one_order() {
    let people: [Person; 6] = Stage::shared().people().await;
    let mut clients = Vec::new();
    for (n, person) in people.iter().enumerate() {
        clients.push(person.connect_on(n as u64 % 2, "web").await);
    }
    let others: Vec<_> = people[1..].iter().collect();
    let (_, conversation) = people[0].group(&others, "order").await;
    let speaking = clients.iter().enumerate().map(|(who, client)| {
        let conversation = &conversation;
        async move {
            let mut ids = Vec::new();
            for n in 0..20 {
                ids.push(client.submit(text_to(conversation, &format!("{who}:{n}"))).await);
            }
            for id in ids {
                assert_eq!(client.answer(&id).await["type"], "sent");
            }
        }
    });
    futures_util::future::join_all(speaking).await;
    let head = 1 + 6 * 20;
    let mut orders = Vec::new();
    for client in &clients {
        for seq in 1..=head {
            client.message(&conversation, seq).await;
        }
        let messages = client.messages(&conversation);
        assert_eq!(seqs(&messages), (1..=head).collect::<Vec<_>>(), "each once, in order");
        orders.push(messages);
    }
    assert!(orders.iter().all(|order| *order == orders[0]), "the same for everyone");
    for who in 0..6 {
        let own: Vec<_> =
            orders[0].iter().filter_map(|m| m["content"]["text"].as_str()?.strip_prefix(&format!("{who}:"))).collect();
        assert_eq!(own, (0..20).map(|n| n.to_string()).collect::<Vec<_>>(), "each sender's own order");
    }
}

#[tokio::test]
async fn an_invited_member_sees_nothing_from_before() {
    let ([alice, bob, _], [a, b, _c], group, conversation) = three().await;
    let dave = Stage::shared().person().await;
    let d = dave.connect_on(1, "web").await;
    let before = a.say(&conversation, "before dave").await;
    alice.http.post(&format!("/v1/groups/{group}/members"), json!({"users": [dave.id]})).await;
    let joined = before + 1;
    for client in [&a, &b, &d] {
        notified(client, &conversation, joined, "group_invited", &alice, &[&dave]).await;
    }
    let seq = b.say(&conversation, "welcome").await;
    d.message(&conversation, seq).await;
    assert_eq!(d.seqs(&conversation), [joined, seq]);
    assert_eq!(seqs(&history(&d, &conversation).await), [joined, seq]);
    let synced = d.expect(json!({"type": "sync", "conversation": conversation, "after": 0}), "messages").await;
    assert_eq!(seqs(synced["messages"].as_array().expect("messages")), [joined, seq]);
    assert_eq!(
        (&synced["gaps"], &synced["head"], &synced["more"]),
        (&json!([[1, before]]), &json!(seq), &json!(false)),
        "{synced}"
    );
    let item = listed(&dave, &conversation).await;
    assert_eq!((&item["head"], &item["unread"]), (&json!(seq), &json!(1)), "{item}");
    let again = bob.http.call("POST", &format!("/v1/groups/{group}/members"), &json!({"users": [dave.id]})).await;
    assert!(again.status < 300 || again.body["code"] == "already_exists", "{again:?}");
    assert_eq!(listed(&dave, &conversation).await["head"], seq, "who is a member already is not invited again");
}

#[tokio::test]
async fn a_kicked_member_sees_nothing_from_then_on() {
    let ([alice, bob, carol], [a, b, c], group, conversation) = three().await;
    let before = a.say(&conversation, "before").await;
    b.message(&conversation, before).await;
    carol
        .http
        .call("DELETE", &format!("/v1/groups/{group}/members/{}", bob.id), &Value::Null)
        .await
        .problem(403, "forbidden");
    alice.http.delete(&format!("/v1/groups/{group}/members/{}", bob.id)).await;
    let left = before + 1;
    notified(&c, &conversation, left, "group_kicked", &alice, &[&bob]).await;
    let removed = b.event("conversation_removed", |data| data["conversation"] == conversation.as_str()).await;
    assert_eq!(removed["reason"], "kicked");
    let after = a.say(&conversation, "without bob").await;
    c.message(&conversation, after).await;
    b.refused(text_to(&conversation, "x"), "not_a_member").await;
    // What an ex-member asks for is refused or ends where the stay ended.
    for frame in [
        json!({"type": "history", "conversation": conversation}),
        json!({"type": "sync", "conversation": conversation, "after": 0}),
    ] {
        let answer = b.ask(frame).await;
        if answer["type"] == "messages" {
            assert!(answer["head"].as_u64() <= Some(left), "{answer}");
            assert!(seqs(answer["messages"].as_array().expect("messages")).iter().all(|seq| *seq < left), "{answer}");
        } else {
            assert_eq!(answer["code"], "not_a_member", "{answer}");
        }
    }
    let list = b.expect(json!({"type": "conversations"}), "conversations").await;
    assert_eq!(list["items"], json!([]), "{list}");
    let changes = b.expect(json!({"type": "conversations", "since": b.welcome["since"]}), "conversations").await;
    assert_eq!(
        changes["items"],
        json!([{"conversation": conversation, "removed": true, "reason": "kicked"}]),
        "{changes}"
    );
    // Something else that reaches Bob later shows that what is missing does not come late.
    let (_, fence) = alice.group(&[&bob], "fence").await;
    b.message(&fence, 1).await;
    assert!(b.seqs(&conversation).iter().all(|seq| *seq < left), "{:?}", b.seqs(&conversation));
}

#[tokio::test]
async fn one_who_leaves_and_comes_back_has_two_stints_and_a_gap() {
    let ([alice, bob, _], [a, b, c], group, conversation) = three().await;
    bob.http.delete(&format!("/v1/groups/{group}/members/{}", bob.id)).await;
    notified(&c, &conversation, 2, "group_left", &bob, &[&bob]).await;
    let removed = b.event("conversation_removed", |data| data["conversation"] == conversation.as_str()).await;
    assert_eq!(removed["reason"], "left");
    let meanwhile = a.say(&conversation, "meanwhile").await;
    alice.http.post(&format!("/v1/groups/{group}/members"), json!({"users": [bob.id]})).await;
    let back = meanwhile + 1;
    b.message(&conversation, back).await;
    let synced = b.expect(json!({"type": "sync", "conversation": conversation, "after": 0}), "messages").await;
    assert_eq!(seqs(synced["messages"].as_array().expect("messages")), [1, back], "{synced}");
    assert_eq!(synced["gaps"], json!([[2, meanwhile]]), "{synced}");
}

#[tokio::test]
async fn the_owner_transfers_before_leaving() {
    let ([alice, bob, _], [a, b, _c], group, conversation) = three().await;
    let own = format!("/v1/groups/{group}/members/{}", alice.id);
    let refused = alice.http.call("DELETE", &own, &Value::Null).await;
    assert!([403, 409].contains(&refused.status), "{refused:?}");
    let bobs = format!("/v1/groups/{group}/members/{}", bob.id);
    bob.http.call("PATCH", &bobs, &json!({"role": "owner"})).await.problem(403, "forbidden");
    alice.http.patch(&bobs, json!({"role": "owner"})).await;
    for client in [&a, &b] {
        notified(client, &conversation, 2, "owner_changed", &alice, &[&bob]).await;
    }
    assert_eq!(alice.http.get(&format!("/v1/groups/{group}")).await["owner"], bob.id.as_str());
    alice.http.delete(&own).await;
    notified(&b, &conversation, 3, "group_left", &alice, &[&alice]).await;
    let members = bob.http.get(&format!("/v1/groups/{group}/members")).await;
    let roles: Vec<_> =
        members["items"].as_array().expect("items").iter().map(|m| (m["user"].clone(), m["role"].clone())).collect();
    assert_eq!(roles.len(), 2, "{members}");
    assert!(roles.contains(&(json!(bob.id), json!("owner"))), "{members}");
}

#[tokio::test]
async fn roles_aliases_and_mutes_are_shown_and_notified() {
    let ([alice, bob, carol], [a, ..], group, conversation) = three().await;
    let member = |person: &Person| format!("/v1/groups/{group}/members/{}", person.id);
    alice.http.patch(&member(&bob), json!({"role": "admin"})).await;
    notified(&a, &conversation, 2, "role_changed", &alice, &[&bob]).await;
    bob.http.patch(&member(&carol), json!({"muted_until": 4_000_000_000_000_u64})).await;
    notified(&a, &conversation, 3, "member_muted", &bob, &[&carol]).await;
    bob.http.patch(&member(&carol), json!({"muted_until": 0})).await;
    notified(&a, &conversation, 4, "member_unmuted", &bob, &[&carol]).await;
    carol.http.patch(&member(&carol), json!({"alias": "C."})).await;
    carol.http.call("PATCH", &member(&bob), &json!({"role": "member"})).await.problem(403, "forbidden");
    bob.http
        .call("PATCH", &member(&alice), &json!({"muted_until": 4_000_000_000_000_u64}))
        .await
        .problem(403, "forbidden");
    let members = alice.http.get(&format!("/v1/groups/{group}/members")).await;
    let of = |person: &Person| {
        let items = members["items"].as_array().expect("items");
        items.iter().find(|item| item["user"] == person.id.as_str()).expect("a member").clone()
    };
    assert_eq!(of(&bob)["role"], "admin");
    assert_eq!((&of(&carol)["alias"], &of(&carol)["role"]), (&json!("C."), &json!("member")));
    assert_eq!(of(&alice)["role"], "owner");
    assert_eq!(of(&carol)["name"], format!("N {}", carol.id));
}

#[tokio::test]
async fn a_renamed_group_its_announcement_and_a_mute_for_all_are_notified() {
    let ([alice, bob, carol], [_a, b, _c], group, conversation) = three().await;
    let path = format!("/v1/groups/{group}");
    bob.http.call("PATCH", &path, &json!({"name": "mine"})).await.problem(403, "forbidden");
    alice.http.patch(&path, json!({"name": "renamed"})).await;
    assert_eq!(notified(&b, &conversation, 2, "group_renamed", &alice, &[]).await["content"]["text"], "renamed");
    alice.http.patch(&path, json!({"announcement": "read this\nall of you"})).await;
    assert_eq!(
        notified(&b, &conversation, 3, "announcement", &alice, &[]).await["content"]["text"],
        "read this\nall of you"
    );
    alice.http.patch(&path, json!({"muted": true})).await;
    notified(&b, &conversation, 4, "group_muted", &alice, &[]).await;
    alice.http.patch(&path, json!({"muted": false})).await;
    notified(&b, &conversation, 5, "group_unmuted", &alice, &[]).await;
    let view = carol.http.get(&path).await;
    assert_eq!((&view["name"], &view["announcement"]), (&json!("renamed"), &json!("read this\nall of you")), "{view}");
    let item = listed(&carol, &conversation).await;
    assert_eq!((&item["title"], &item["unread"], &item["head"]), (&json!("renamed"), &json!(0), &json!(5)), "{item}");
}

#[tokio::test]
async fn a_dissolved_group_is_over_for_everyone() {
    let ([alice, bob, carol], [a, b, c], group, conversation) = three().await;
    bob.http.call("DELETE", &format!("/v1/groups/{group}"), &Value::Null).await.problem(403, "forbidden");
    alice.http.delete(&format!("/v1/groups/{group}")).await;
    for client in [&a, &b, &c] {
        let removed = client.event("conversation_removed", |data| data["conversation"] == conversation.as_str()).await;
        assert_eq!(removed["reason"], "dissolved");
    }
    b.refused(text_to(&conversation, "x"), "group_dissolved").await;
    assert_eq!(carol.http.get("/v1/groups").await["items"], json!([]));
    let changes = c.expect(json!({"type": "conversations", "since": c.welcome["since"]}), "conversations").await;
    assert_eq!(
        changes["items"],
        json!([{"conversation": conversation, "removed": true, "reason": "dissolved"}]),
        "{changes}"
    );
    let eve = Stage::shared().person().await;
    let found = eve.http.get("/v1/groups/search?query=three").await;
    assert!(!found.to_string().contains(&group), "{found}");
}

#[tokio::test]
async fn a_group_is_joined_by_approval() {
    let ([alice, bob, carol], [a, ..], group, conversation) = three().await;
    let stage = Stage::shared();
    let [dave, eve] = stage.people().await;
    let d = dave.connect_on(1, "web").await;
    let requests = format!("/v1/groups/{group}/join-requests");
    alice.http.patch(&format!("/v1/groups/{group}"), json!({"join": "approval"})).await;
    for person in [&dave, &eve] {
        let reply = person.http.call("POST", &requests, &json!({"message": "let me in"})).await;
        assert!([200, 201, 204].contains(&reply.status), "{reply:?}");
    }
    carol.http.call("GET", &requests, &Value::Null).await.problem(403, "forbidden");
    alice.http.patch(&format!("/v1/groups/{group}/members/{}", bob.id), json!({"role": "admin"})).await;
    let open = bob.http.get(&requests).await;
    let id_of = |person: &Person| {
        let items = open["items"].as_array().expect("items");
        let request = items.iter().find(|item| item.to_string().contains(&person.id)).expect("a request");
        request["id"].as_str().expect("an id").to_owned()
    };
    carol
        .http
        .call("POST", &format!("{requests}/{}/accept", id_of(&dave)), &Value::Null)
        .await
        .problem(403, "forbidden");
    bob.http.post(&format!("{requests}/{}/accept", id_of(&dave)), Value::Null).await;
    bob.http.post(&format!("{requests}/{}/reject", id_of(&eve)), Value::Null).await;
    assert_eq!(bob.http.get(&requests).await["items"], json!([]));
    let joined = d
        .wait_for("the group", |frame| frame["type"] == "message" && frame["conversation"] == conversation.as_str())
        .await;
    assert_eq!(joined["content"]["template"], "group_joined", "{joined}");
    let seq = d.say(&conversation, "thanks").await;
    a.message(&conversation, seq).await;
    eve.connect("web").await.refused(text_to(&conversation, "x"), "not_a_member").await;
}

#[tokio::test]
async fn an_open_group_is_joined_at_once_and_one_by_invitation_not_at_all() {
    let ([alice, ..], _, group, conversation) = three().await;
    let [dave, eve] = Stage::shared().people().await;
    let requests = format!("/v1/groups/{group}/join-requests");
    alice.http.patch(&format!("/v1/groups/{group}"), json!({"join": "open"})).await;
    let d = dave.connect("web").await;
    dave.http.post(&requests, json!({"message": ""})).await;
    d.wait_for("the group", |frame| frame["type"] == "message" && frame["conversation"] == conversation.as_str()).await;
    alice.http.patch(&format!("/v1/groups/{group}"), json!({"join": "invite"})).await;
    eve.http.call("POST", &requests, &json!({"message": ""})).await.problem(403, "forbidden");
}

#[tokio::test]
async fn who_is_mentioned_is_told_so_until_they_read() {
    let ([_, bob, carol], [a, b, _c], _, conversation) = three().await;
    let mut frame = text_to(&conversation, "@bob look");
    frame["mentions"] = json!([bob.id]);
    let sent = a.expect(frame, "sent").await;
    let seq = sent["seq"].as_u64().expect("a seq");
    assert_eq!(b.message(&conversation, seq).await["mentions"], json!([bob.id]));
    assert_eq!(listed(&bob, &conversation).await["mentioned"], true);
    assert_eq!(listed(&carol, &conversation).await["mentioned"], false);
    let mut frame = text_to(&conversation, "@all look");
    frame["mention_all"] = json!(true);
    a.expect(frame, "sent").await;
    assert_eq!(listed(&carol, &conversation).await["mentioned"], true);
    b.expect(json!({"type": "read", "conversation": conversation, "seq": seq + 1}), "ok").await;
    assert_eq!(listed(&bob, &conversation).await["mentioned"], false);
}

#[tokio::test]
async fn a_small_group_shows_receipts_readers_and_typing() {
    let ([alice, bob, carol], [a, b, c], _, conversation) = three().await;
    let seq = a.say(&conversation, "read me").await;
    for client in [&b, &c] {
        client.message(&conversation, seq).await;
    }
    b.expect(json!({"type": "read", "conversation": conversation, "seq": seq}), "ok").await;
    for client in [&a, &c] {
        let is_bobs =
            |frame: &Value| frame["type"] == "receipt" && frame["user"] == bob.id.as_str() && frame["read"] == seq;
        client.wait_for("bob's receipt", is_bobs).await;
    }
    c.expect(json!({"type": "read", "conversation": conversation, "seq": seq}), "ok").await;
    let readers = alice.http.get(&format!("/v1/conversations/{conversation}/messages/{seq}/readers")).await;
    let mut names: Vec<_> =
        readers["items"].as_array().expect("items").iter().map(|item| item["user"].as_str().expect("an id")).collect();
    let mut wanted = [bob.id.as_str(), carol.id.as_str()];
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted, "{readers}");
    a.post(json!({"type": "typing", "conversation": conversation})).await;
    for client in [&b, &c] {
        client.wait_for("typing", |frame| frame["type"] == "typing" && frame["user"] == alice.id.as_str()).await;
    }
}

#[tokio::test]
async fn owner_and_admins_recall_what_others_sent() {
    let ([alice, _, carol], [_a, b, c], _, conversation) = three().await;
    let seq = c.say(&conversation, "improper").await;
    b.message(&conversation, seq).await;
    alice.http.delete(&format!("/v1/conversations/{conversation}/messages/{seq}")).await;
    let changed = b.event("message_changed", |data| data["seq"] == seq).await;
    assert_eq!(
        (&changed["message"]["recalled"], &changed["message"]["sender"]),
        (&json!(true), &json!(carol.id)),
        "{changed}"
    );
}
