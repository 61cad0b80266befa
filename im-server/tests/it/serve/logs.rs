//! The log of a run.

use serde_json::json;

use super::{Device, JWT_SECRET, MANAGEMENT_TOKEN, SERVICE_TOKEN, Serve, client};

/// What no log may hold, of a run that uses all of it.
#[tokio::test]
async fn no_secret_is_logged_however_much_is() {
    let serve = Serve::start(&[("IM_LOG", "trace")]);
    let tokens = serve.person("alice").await;
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let wrong = json!({"user": "alice", "password": "wrong-password-33f1", "terminal": "web", "device": "d"});
    assert_eq!(serve.post("/v1/sessions", None, &wrong).await.0, 401);
    assert_eq!(serve.post("/v1/groups", Some("made-up-token-88d2"), &json!({"members": []})).await.0, 401);
    let text = "a-private-sentence-c4e1";
    let message =
        |n: u32| json!({"to": "alice", "client_message_id": n.to_string(), "kind": "text", "content": {"text": text}});
    assert_eq!(serve.post("/v1/messages", Some(access), &message(1)).await.0, 200);
    let mut of_backend = message(2);
    of_backend["sender"] = json!("alice");
    assert_eq!(serve.post("/v1/messages", Some(SERVICE_TOKEN), &of_backend).await.0, 200);
    let (status, renewed) = serve.post("/v1/sessions/refresh", None, &json!({"refresh_token": refresh})).await;
    assert_eq!(status, 200, "{renewed}");
    let mut device = Device::welcomed(serve.tcp, access, "d1").await;
    device.say(&json!({"type": "send", "id": "1", "to": "alice", "client_message_id": "3", "kind": "text", "content": {"text": text}})).await;
    device.next("sent").await;
    let status = client().get(format!("http://{}/status", serve.management)).bearer_auth(MANAGEMENT_TOKEN).send().await;
    assert_eq!(status.unwrap().status(), 200);

    let (ended, log) = tokio::task::spawn_blocking(move || serve.stop()).await.unwrap();
    assert!(ended.success());
    assert!(log.iter().any(|entry| entry["level"] == "DEBUG"), "the log is as loud as it gets");
    let objects = log.iter().all(|entry| entry["level"].is_string() && entry["target"].is_string());
    assert!(objects, "every line is an object: {log:#?}");
    let fresh = [renewed["access_token"].as_str().unwrap(), renewed["refresh_token"].as_str().unwrap()];
    let secrets = [
        JWT_SECRET,
        MANAGEMENT_TOKEN,
        SERVICE_TOKEN,
        access,
        refresh,
        fresh[0],
        fresh[1],
        text,
        "password-of-alice",
        "wrong-password-33f1",
        "made-up-token-88d2",
    ];
    for entry in &log {
        let line = entry.to_string();
        for secret in secrets {
            assert!(!line.contains(secret), "{secret} is in {line}");
        }
    }
}
