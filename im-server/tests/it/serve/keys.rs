//! Keys of tokens that are exchanged while the server runs.

use std::fs;
use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{Device, PATIENCE, Serve, client};
use crate::wait::until_within;

const OLD: &str = "old-key-1f0c2f6a7d1b4d5e9a3b8c7d6e5f4a3b";
const NEW: &str = "new-key-9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b";
const NEWER: &str = "newer-key-0a1b2c3d4e5f60718293a4b5c6d7e8";

/// A token that says what another says, signed with another key.
fn resigned(token: &str, id: &str, key: &str) -> String {
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(token).unwrap().claims;
    let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(key.as_bytes())).unwrap()
}

async fn status_of(serve: &Serve, token: &str) -> u16 {
    let call = client().get(format!("http://{}/v1/users/me", serve.http)).bearer_auth(token);
    call.send().await.unwrap().status().as_u16()
}

async fn metrics(serve: &Serve) -> String {
    let call = client().get(format!("http://{}/metrics", serve.management));
    call.send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn keys_are_exchanged_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, key: &str| fs::write(folder.path().join(name), format!("{key}\n")).unwrap();
    put("old", OLD);
    put("new", NEW);
    let path = folder.path().to_str().unwrap();
    let settings =
        [("IM_JWT_SECRET", ""), ("IM_JWT_KEYS_DIR", path), ("IM_JWT_SIGNING_KEY", "new"), ("IM_LOG", "trace")];
    let serve = Serve::start(&settings);
    let tokens = serve.person("alice").await;
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    assert_eq!(jsonwebtoken::decode_header(access).unwrap().kid.as_deref(), Some("new"));
    let old = resigned(access, "old", OLD);
    let newer = resigned(access, "newer", NEWER);
    assert_eq!((status_of(&serve, access).await, status_of(&serve, &old).await), (200, 200));
    assert_eq!(status_of(&serve, &newer).await, 401);
    Device::welcomed(serve.tcp, &old, "d1").await;

    put("newer", NEWER);
    until_within(PATIENCE, "a new key verifies", async || status_of(&serve, &newer).await == 200).await;
    remove(folder.path(), "old");
    until_within(PATIENCE, "a removed one does not", async || status_of(&serve, &old).await == 401).await;
    let mut refused = Device::connect(serve.tcp).await;
    refused.say(&json!({"type": "hello", "token": old, "terminal": "mobile", "device": "d1"})).await;
    assert_eq!(refused.next("error").await["code"], "unauthorized");
    assert_eq!(status_of(&serve, access).await, 200);

    remove(folder.path(), "new");
    let stale = async || metrics(&serve).await.contains("\nim_token_keys_stale 1\n");
    until_within(PATIENCE, "it is told that the signing key is missing", stale).await;
    assert_eq!(status_of(&serve, access).await, 200, "the last good keys stay");
    let (status, renewed) = serve.post("/v1/sessions/refresh", None, &json!({"refresh_token": refresh})).await;
    assert_eq!(status, 200, "{renewed}");
    assert!(metrics(&serve).await.contains("im_tokens_refused_total{reason=\"unknown_key\"}"));

    let (ended, log) = tokio::task::spawn_blocking(move || serve.stop()).await.unwrap();
    assert!(ended.success());
    let said = |what: &str| log.iter().any(|entry| entry["message"] == what);
    assert!(said("the keys of tokens have changed"));
    assert!(said("the keys of tokens cannot be used: the last good ones stay"));
    for secret in [OLD, NEW, NEWER, access, &old, &newer] {
        assert!(!log.iter().any(|entry| entry.to_string().contains(secret)), "{secret} is in the log");
    }
}

fn remove(folder: &Path, name: &str) {
    fs::remove_file(folder.join(name)).unwrap();
}
