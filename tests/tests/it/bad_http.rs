//! HTTP requests that are wrong in themselves: each is answered by a problem.

use imcluster_tests::client::fresh;
use imcluster_tests::stage::{Stage, direct};
use serde_json::{Value, json};

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let stage = Stage::shared();
    for path in ["/nowhere", "/v1/nowhere", "/v1/users/a/b/c"] {
        stage.http.call("GET", path, &Value::Null).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_not_allowed() {
    let stage = Stage::shared();
    for (method, path) in [("PUT", "/v1/accounts"), ("DELETE", "/v1/messages"), ("POST", "/v1/users/me")] {
        stage.http.call(method, path, &Value::Null).await.problem(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn broken_json_is_a_400_and_wrong_types_are_a_422() {
    let alice = Stage::shared().person().await;
    for broken in ["{", "not json", "{\"name\":}"] {
        alice.http.call_raw("POST", "/v1/groups", broken.to_owned()).await.problem(400, "invalid_frame");
    }
    for (path, body) in [
        ("/v1/groups", json!({"name": 7, "members": []})),
        ("/v1/groups", json!({"members": "bob"})),
        ("/v1/groups", json!([1])),
        ("/v1/messages", json!({"to": 1, "client_message_id": "x", "kind": "text", "content": {"text": "x"}})),
        ("/v1/messages", json!({"to": "bob", "client_message_id": "x", "kind": "text", "content": "x"})),
        ("/v1/friend-requests", json!({"user": []})),
        ("/v1/accounts", json!({"user": {}, "password": "x", "name": "x"})),
    ] {
        let reply = alice.http.call("POST", path, &body).await;
        let code = if reply.body["code"] == "invalid_field" { "invalid_field" } else { "invalid_frame" };
        reply.problem(422, code);
    }
}

#[tokio::test]
async fn without_a_good_token_every_path_of_a_user_is_unauthorized() {
    let stage = Stage::shared();
    for http in [stage.http.clone(), stage.http.with_token("rubbish"), stage.http.with_token("a.b.c")] {
        for path in ["/v1/users/me", "/v1/friends", "/v1/groups", "/v1/conversations", "/v1/sessions", "/v1/blocks"] {
            http.call("GET", path, &Value::Null).await.problem(401, "unauthorized");
        }
        http.call("POST", "/v1/messages", &json!({})).await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_account_look_the_same() {
    let stage = Stage::shared();
    let alice = stage.account().await;
    for user in [alice, fresh("nobody")] {
        let body = json!({"user": user, "password": "wrong", "terminal": "web", "device": "d"});
        stage.http.call("POST", "/v1/sessions", &body).await.problem(401, "invalid_credentials");
    }
}

#[tokio::test]
async fn an_account_is_made_once_whatever_the_case() {
    let stage = Stage::shared();
    let alice = stage.account().await;
    for user in [alice.clone(), alice.to_uppercase()] {
        let body = json!({"user": user, "password": "x", "name": "x"});
        stage.http.call("POST", "/v1/accounts", &body).await.problem(409, "already_exists");
    }
    let body = json!({"user": alice.to_uppercase(), "password": alice, "terminal": "web", "device": "d"});
    stage.http.call("POST", "/v1/sessions", &body).await.expect(200, "signing in in another case");
}

#[tokio::test]
async fn user_ids_that_are_not_allowed_are_invalid_fields() {
    let stage = Stage::shared();
    for user in ["", "a b", &"x".repeat(65), "a:b", "é", "a/b", "\u{0}", "me"] {
        let body = json!({"user": user, "password": "longenough", "name": "x"});
        let problem = stage.http.call("POST", "/v1/accounts", &body).await.problem(422, "invalid_field");
        assert_eq!(problem["field"], "user", "{problem}");
    }
}

#[tokio::test]
async fn names_of_control_characters_are_invalid_fields() {
    let alice = Stage::shared().person().await;
    for name in ["\u{0}", "a\u{7}b", "\u{1b}[2J", "tab\tin a name", "\u{85}"] {
        let in_a_body = json!({"name": name});
        for (method, path) in [("POST", "/v1/groups"), ("POST", "/v1/rooms"), ("PATCH", "/v1/users/me")] {
            let problem = alice.http.call(method, path, &in_a_body).await.problem(422, "invalid_field");
            assert_eq!(problem["field"], "name", "{method} {path} {name:?}: {problem}");
        }
    }
    assert_eq!(alice.http.get("/v1/groups").await["items"], json!([]), "nothing was made");
}

#[tokio::test]
async fn ten_thousand_members_in_one_call_are_too_large() {
    let alice = Stage::shared().person().await;
    for count in [10_000, 501] {
        let members: Vec<_> = (0..count).map(|n| format!("u{n}")).collect();
        alice.http.call("POST", "/v1/groups", &json!({"members": members})).await.problem(413, "too_large");
    }
    assert_eq!(alice.http.get("/v1/groups").await["items"], json!([]), "nothing was made");
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large() {
    let [alice, bob] = Stage::shared().friends().await;
    let send = |bytes: usize| json!({"to": bob.id, "client_message_id": fresh("m"), "kind": "text", "content": {"text": "x".repeat(bytes)}});
    alice.http.call("POST", "/v1/messages", &send(65 * 1024)).await.problem(413, "too_large");
    alice.http.call("POST", "/v1/messages", &send(1024 * 1024)).await.problem(413, "too_large");
    alice.http.call("POST", "/v1/messages", &send(60 * 1024)).await.expect(200, "below the limit");
}

#[tokio::test]
async fn an_address_that_signs_in_too_often_is_told_when_to_come_back() {
    let stage = Stage::own(&[]);
    // Ten times the sixty a minute of production: sign-ins with a password that is refused count as well.
    let body = json!({"user": "no such user id", "password": "x", "terminal": "web", "device": "d"});
    let mut refused = None;
    for _ in 0..=700 {
        let reply = stage.http.call("POST", "/v1/sessions", &body).await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("the 601st sign-in of a minute is one too many");
    let retry_after = refused.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    assert!(retry_after.is_some_and(|seconds| seconds > 0), "{:?}", refused.headers);
    let problem = refused.problem(429, "rate_limited");
    assert!(problem["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{problem}");
    let elsewhere = Stage::on(stage.server.clone());
    elsewhere.person().await;
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let alice = Stage::shared().person().await;
    for (method, path) in [
        ("GET", "/v1/users/nobody-of-this-name".to_owned()),
        ("GET", "/v1/groups/01J0000000000000000000000".to_owned()),
        ("DELETE", "/v1/sessions/made-up".to_owned()),
        ("POST", "/v1/friend-requests/made-up/accept".to_owned()),
        ("PUT", "/v1/blocks/nobody-of-this-name".to_owned()),
    ] {
        let reply = alice.http.call(method, &path, &Value::Null).await;
        assert_eq!(reply.clone().problem(404, "not_found")["code"], "not_found", "{method} {path}");
    }
    let to_nobody =
        json!({"to": "nobody-of-this-name", "client_message_id": "x", "kind": "text", "content": {"text": "x"}});
    alice.http.call("POST", "/v1/messages", &to_nobody).await.problem(404, "not_found");
}

#[tokio::test]
async fn the_page_and_the_documentation_are_served() {
    let stage = Stage::shared();
    let page = stage.http.call("GET", "/", &Value::Null).await;
    assert_eq!(page.status, 200);
    let policy = page.headers["content-security-policy"].to_str().expect("a text").to_owned();
    assert!(!policy.contains("unsafe-inline") && !policy.contains("unsafe-eval"), "{policy}");
    let document = stage.http.get("/openapi.json").await;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
    assert_eq!(stage.http.call("GET", "/docs", &Value::Null).await.status, 200);
}

#[tokio::test]
async fn the_management_port_shows_its_status_to_its_token_only() {
    let stage = Stage::shared();
    let management = stage.management();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(management.call("GET", path, &Value::Null).await.status, 200, "{path}");
    }
    management.call("GET", "/status", &Value::Null).await.problem(401, "unauthorized");
    management.with_token("wrong").call("GET", "/status", &Value::Null).await.problem(401, "unauthorized");
    let status = management.with_token(imcluster_tests::server::MANAGEMENT_TOKEN).get("/status").await;
    assert_eq!(status["phase"], "serving", "{status}");
    for field in ["server", "epoch", "connections"] {
        assert!(status[field].is_u64(), "no {field} in {status}");
    }
}

#[tokio::test]
async fn a_message_by_http_has_the_same_rules_as_by_socket() {
    let stage = Stage::shared();
    let [alice, bob, carol] = stage.people().await;
    alice.befriend(&bob).await;
    let send = |to: &str| json!({"to": to, "client_message_id": "one", "kind": "text", "content": {"text": "x"}});
    alice.http.call("POST", "/v1/messages", &send(&carol.id)).await.problem(403, "not_friends");
    alice.http.post("/v1/messages", send(&bob.id)).await;
    let mut other = send(&bob.id);
    other["content"]["text"] = "y".into();
    alice.http.call("POST", "/v1/messages", &other).await.problem(409, "client_message_id_reused");
    let mut for_another = send(&bob.id);
    for_another["sender"] = carol.id.clone().into();
    let reply = alice.http.call("POST", "/v1/messages", &for_another).await;
    assert!(
        [200, 403, 422].contains(&reply.status),
        "a user's token never speaks for another user: {} {}",
        reply.status,
        reply.body
    );
    let history = alice.http.get(&format!("/v1/conversations/{}/messages", direct(&alice, &bob))).await;
    let senders: Vec<_> = history["messages"].as_array().expect("messages").iter().map(|m| &m["sender"]).collect();
    assert_eq!(senders, [&json!(alice.id)]);
}
