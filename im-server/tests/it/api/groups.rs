//! Groups by HTTP.

use serde_json::{Value, json};

use super::harness::{Api, each};

/// A group of `alice`, `bob` and `cid`, and a token for each of them.
async fn group(api: &Api) -> (String, [String; 3]) {
    let people = [api.person("alice").await, api.person("bob").await, api.person("cid").await];
    let made = api.post("/v1/groups", &people[0], json!({"name": "Club", "members": ["bob", "cid"]})).await.ok();
    (format!("/v1/groups/{}", made["group"].as_str().unwrap()), people)
}

#[tokio::test]
async fn a_group_without_a_name_is_called_by_its_members() {
    let api = Api::new().await;
    let (alice, bob) = (api.person("alice").await, api.person("Bob").await);
    let made = api.post("/v1/groups", &alice, json!({"members": ["bob", "ALICE", "Bob"]})).await;
    assert_eq!(made.status, 201);
    let (group, conversation) = (made.body["group"].as_str().unwrap(), made.body["conversation"].as_str().unwrap());
    assert_eq!(conversation, format!("g:{group}"));
    let shown = api.get(&format!("/v1/groups/{group}"), &bob).await.ok();
    assert_eq!(
        (&shown["name"], &shown["owner"], &shown["members"]),
        (&json!("N alice, N Bob"), &json!("alice"), &json!(2))
    );
    let messages = api.get(&format!("/v1/conversations/{conversation}/messages"), &bob).await.ok();
    let content = &messages["messages"][0]["content"];
    assert_eq!((&content["template"], &content["users"]), (&json!("group_created"), &json!(["Bob"])));
}

#[tokio::test]
async fn members_must_exist_and_be_few_enough() {
    let api = Api::new().await;
    let alice = api.person("alice").await;
    let nobody = api.post("/v1/groups", &alice, json!({"members": ["alice", "nobody"]})).await;
    assert_eq!((nobody.problem(), &nobody.body["field"]), ((404, "not_found"), &json!("members[1]")));
    let many: Vec<String> = (0..501).map(|n| format!("u{n}")).collect();
    assert_eq!(api.post("/v1/groups", &alice, json!({"members": many})).await.problem(), (413, "too_large"));
    let name = json!({"name": "a\u{0}b", "members": []});
    assert_eq!(api.post("/v1/groups", &alice, name).await.body["field"], "name");
}

#[tokio::test]
async fn members_see_the_members_and_strangers_do_not() {
    let api = Api::new().await;
    let (group, [_, bob, _]) = group(&api).await;
    let stranger = api.person("eve").await;
    let members = api.get(&format!("{group}/members"), &bob).await.ok();
    assert_eq!(each(&members, "user"), ["alice", "bob", "cid"]);
    assert_eq!(each(&members, "role"), ["owner", "member", "member"]);
    let first = api.get(&format!("{group}/members?limit=2"), &bob).await.ok();
    let cursor = first["next"].as_str().unwrap();
    assert_eq!(each(&api.get(&format!("{group}/members?cursor={cursor}"), &bob).await.ok(), "user"), ["cid"]);
    assert_eq!(api.get(&format!("{group}/members"), &stranger).await.problem(), (403, "not_a_member"));
    assert_eq!(api.get(&group, &stranger).await.status, 200);
    assert_eq!(api.get("/v1/groups/nothing/members", &bob).await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn groups_are_listed_and_found() {
    let api = Api::new().await;
    let (_, [alice, bob, _]) = group(&api).await;
    api.post("/v1/groups", &alice, json!({"name": "群聊测试"})).await.ok();
    assert_eq!(api.get("/v1/groups", &alice).await.ok()["items"].as_array().unwrap().len(), 2);
    assert_eq!(each(&api.get("/v1/groups", &bob).await.ok(), "name"), ["Club"]);
    let found = api.get("/v1/groups/search?query=%E8%81%8A%E6%B5%8B", &bob).await.ok();
    assert_eq!(each(&found, "name"), ["群聊测试"]);
    assert_eq!(each(&api.get("/v1/groups/search?query=CLUB", &bob).await.ok(), "name"), ["Club"]);
}

#[tokio::test]
async fn the_owner_changes_the_group_and_what_is_the_same_is_not_told() {
    let api = Api::new().await;
    let (group, [alice, bob, _]) = group(&api).await;
    api.published.take();
    let change = json!({"name": "Guild", "announcement": "Line 1\nLine 2", "join": "open", "muted": true});
    let changed = api.patch(&group, &alice, change.clone()).await.ok();
    assert_eq!(
        (&changed["name"], &changed["join"], &changed["muted"]),
        (&json!("Guild"), &json!("open"), &json!(true))
    );
    assert_eq!(api.published.take().len(), 3);
    assert_eq!(api.patch(&group, &alice, change).await.status, 200);
    assert!(api.published.take().is_empty());
    assert_eq!(api.patch(&group, &bob, json!({"name": "x"})).await.problem(), (403, "forbidden"));
    assert_eq!(api.patch(&group, &alice, json!({"join": "never"})).await.body["field"], "join");
    assert_eq!(
        api.patch(&group, &alice, json!({"announcement": "x".repeat(4001)})).await.body["field"],
        "announcement"
    );
}

#[tokio::test]
async fn people_are_invited_promoted_muted_and_removed() {
    let api = Api::new().await;
    let (group, [alice, bob, cid]) = group(&api).await;
    let eve = api.person("Eve").await;
    assert_eq!(api.post(&format!("{group}/members"), &bob, json!({"users": ["eve", "cid"]})).await.status, 204);
    assert_eq!(api.get(&format!("{group}/members"), &eve).await.ok()["items"].as_array().unwrap().len(), 4);

    let member = |user: &str| format!("{group}/members/{user}");
    assert_eq!(api.patch(&member("bob"), &alice, json!({"role": "admin"})).await.status, 204);
    assert_eq!(api.patch(&member("cid"), &eve, json!({"muted_until": 1})).await.status, 204, "it changes nothing");
    let until = 9_000_000_000_000_i64;
    assert_eq!(api.patch(&member("cid"), &eve, json!({"muted_until": until})).await.problem(), (403, "forbidden"));
    assert_eq!(api.patch(&member("cid"), &bob, json!({"muted_until": until})).await.status, 204);
    let conversation = group.replace("/v1/groups/", "g:");
    let message =
        json!({"conversation": conversation, "client_message_id": "1", "kind": "text", "content": {"text": "x"}});
    assert_eq!(api.post("/v1/messages", &cid, message.clone()).await.problem(), (403, "muted"));
    assert_eq!(api.patch(&member("me"), &cid, json!({"alias": "C."})).await.status, 204);
    assert_eq!(api.patch(&member("nobody"), &alice, json!({"alias": "C."})).await.problem(), (404, "not_found"));

    assert_eq!(api.delete(&member("EVE"), &bob).await.status, 204);
    assert_eq!(api.post("/v1/messages", &eve, message.clone()).await.problem(), (403, "not_a_member"));
    assert_eq!(api.delete(&member("alice"), &eve).await.problem(), (403, "not_a_member"));
    assert_eq!(api.delete(&member("alice"), &alice).await.problem(), (409, "conflict"));
    assert_eq!(api.delete(&member("me"), &cid).await.status, 204);

    assert_eq!(api.delete(&group, &bob).await.problem(), (403, "forbidden"));
    assert_eq!(api.delete(&group, &alice).await.status, 204);
    assert_eq!(api.post("/v1/messages", &alice, message).await.problem(), (409, "group_dissolved"));
    assert_eq!(api.patch(&group, &alice, json!({"name": "x"})).await.problem(), (409, "group_dissolved"));
}

#[tokio::test]
async fn who_is_muted_and_becomes_the_owner_may_speak_again() {
    let api = Api::new().await;
    let (group, [alice, bob, _]) = group(&api).await;
    let member = format!("{group}/members/bob");
    api.patch(&member, &alice, json!({"muted_until": 9_000_000_000_000_i64})).await.ok();
    api.patch(&member, &alice, json!({"role": "owner"})).await.ok();
    let conversation = group.replace("/v1/groups/", "g:");
    let message =
        json!({"conversation": conversation, "client_message_id": "1", "kind": "text", "content": {"text": "x"}});
    assert_eq!(api.post("/v1/messages", &bob, message).await.status, 200);
}

#[tokio::test]
async fn one_asks_to_join_and_a_manager_answers() {
    let api = Api::new().await;
    let (group, [alice, bob, _]) = group(&api).await;
    let (eve, fay) = (api.person("eve").await, api.person("fay").await);
    let requests = format!("{group}/join-requests");
    api.published.take();
    let asked = api.post(&requests, &eve, json!({"message": "let me in"})).await.ok();
    assert_eq!(asked["joined"], false);
    assert_eq!(api.published.take(), ["alice conversation_changed"]);
    api.post(&requests, &fay, json!({})).await.ok();
    assert_eq!(api.post(&requests, &bob, json!({})).await.problem(), (409, "already_exists"));

    assert_eq!(api.get(&requests, &bob).await.problem(), (403, "forbidden"));
    assert_eq!(api.get(&requests, &eve).await.problem(), (403, "not_a_member"));
    let open = api.get(&requests, &alice).await.ok();
    assert_eq!(each(&open, "user"), ["fay", "eve"], "newest first");
    let (fays, eves) = (open["items"][0]["id"].as_str().unwrap(), open["items"][1]["id"].as_str().unwrap());
    let accept = format!("{requests}/{eves}/accept");
    assert_eq!(api.post(&accept, &bob, Value::Null).await.problem(), (403, "forbidden"));
    assert_eq!(api.post(&accept, &alice, Value::Null).await.status, 204);
    assert_eq!(api.post(&accept, &alice, Value::Null).await.problem(), (404, "not_found"));
    assert_eq!(api.post(&format!("{requests}/{fays}/reject"), &alice, Value::Null).await.status, 204);
    let members = api.get(&format!("{group}/members"), &eve).await.ok();
    assert_eq!(each(&members, "user"), ["alice", "bob", "cid", "eve"]);

    api.patch(&group, &alice, json!({"join": "open"})).await.ok();
    assert_eq!(api.post(&requests, &fay, json!({})).await.ok()["joined"], true);
    api.patch(&group, &alice, json!({"join": "invite"})).await.ok();
    let gus = api.person("gus").await;
    assert_eq!(api.post(&requests, &gus, json!({})).await.problem(), (403, "forbidden"));
}
