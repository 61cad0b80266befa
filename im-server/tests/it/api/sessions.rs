//! Sessions and tokens.

use serde_json::{Value, json};

use super::harness::{Api, password};

fn sign_in(user: &str, password: &str) -> Value {
    json!({"user": user, "password": password, "terminal": "web", "device": "d1"})
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let api = Api::new().await;
    api.person("alice").await;
    let wrong = api.post("/v1/sessions", "", sign_in("alice", "wrong password")).await;
    let unknown = api.post("/v1/sessions", "", sign_in("nobody", "wrong password")).await;
    assert_eq!(wrong.problem(), (401, "invalid_credentials"));
    assert_eq!(wrong.body, unknown.body);
}

#[tokio::test]
async fn the_user_signs_in_whatever_the_case_of_the_id() {
    let api = Api::new().await;
    api.person("Alice").await;
    let tokens = api.post("/v1/sessions", "", sign_in("ALICE", &password("Alice"))).await.ok();
    assert_eq!(tokens["expires_in"], 900);
    let me = api.get("/v1/users/me", tokens["access_token"].as_str().unwrap()).await.ok();
    assert_eq!(me["user"], "Alice");
}

#[tokio::test]
async fn what_does_not_fit_in_a_sign_in_is_named() {
    let api = Api::new().await;
    for (body, field) in [
        (json!({"user": "a", "password": "", "terminal": "web", "device": "d"}), "password"),
        (json!({"user": "a", "password": "x", "terminal": "toaster", "device": "d"}), "terminal"),
        (json!({"user": "a", "password": "x", "terminal": "web", "device": ""}), "device"),
        (json!({"user": "a", "password": 1, "terminal": "web", "device": "d"}), "password"),
    ] {
        let answer = api.post("/v1/sessions", "", body).await;
        assert_eq!((answer.problem(), &answer.body["field"]), ((422, "invalid_field"), &json!(field)));
    }
}

#[tokio::test]
async fn nothing_is_said_without_a_good_token() {
    let api = Api::new().await;
    for token in ["", "rubbish", "a.b.c"] {
        let answer = api.get("/v1/users/me", token).await;
        assert_eq!(answer.problem(), (401, "unauthorized"), "{token:?}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    let token = api.person("alice").await;
    let in_the_url = api.get(&format!("/v1/users/me?access_token={token}&token={token}"), "").await;
    assert_eq!(in_the_url.status, 401);
}

#[tokio::test]
async fn the_last_refresh_token_answers_again_and_an_older_one_ends_the_session() {
    let api = Api::new().await;
    api.person("alice").await;
    let first = api.sign_in("alice", "d2").await;
    let refresh = async |token: &Value| api.post("/v1/sessions/refresh", "", json!({"refresh_token": token})).await;
    let second = refresh(&first["refresh_token"]).await.ok();
    let again = refresh(&first["refresh_token"]).await.ok();
    assert_eq!(second["refresh_token"], again["refresh_token"], "an answer that got lost is given again");
    let third = refresh(&second["refresh_token"]).await.ok();
    let access = third["access_token"].as_str().unwrap();
    assert_eq!(api.get("/v1/users/me", access).await.status, 200);

    api.published.take();
    assert_eq!(refresh(&first["refresh_token"]).await.problem(), (401, "unauthorized"));
    assert_eq!(api.published.take(), ["disconnect alice Unauthorized"]);
    assert_eq!(api.get("/v1/users/me", access).await.problem(), (401, "unauthorized"));
    assert_eq!(refresh(&third["refresh_token"]).await.status, 401);
    assert_eq!(refresh(&json!("nonsense")).await.status, 401);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one() {
    let api = Api::new().await;
    let mine = api.person("alice").await;
    let other = api.sign_in("alice", "d2").await["access_token"].as_str().unwrap().to_owned();
    let stranger = api.person("bob").await;

    let page = api.get("/v1/sessions", &mine).await.ok();
    let sessions = page["items"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let current = |session: &&Value| session["current"] == true;
    assert_eq!(sessions.iter().filter(current).map(|one| &one["device"]).collect::<Vec<_>>(), ["d1"]);
    let path = format!("/v1/sessions/{}", sessions.iter().find(|one| !current(one)).unwrap()["id"].as_str().unwrap());

    assert_eq!(api.delete(&path, &stranger).await.problem(), (404, "not_found"));
    assert_eq!(api.get("/v1/users/me", &other).await.status, 200);
    api.published.take();
    assert_eq!(api.delete(&path, &mine).await.status, 204);
    assert_eq!(api.published.take(), ["disconnect alice Unauthorized"]);
    assert_eq!(api.get("/v1/users/me", &other).await.status, 401);
    assert_eq!(api.delete(&path, &mine).await.status, 404);

    assert_eq!(api.delete("/v1/sessions/current", &mine).await.status, 204);
    assert_eq!(api.get("/v1/users/me", &mine).await.status, 401);
}
