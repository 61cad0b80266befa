//! Tokens of an identity provider.

use serde_json::{Value, json};

use super::{Device, PATIENCE, SERVICE_TOKEN, Serve, answer, client};
use crate::provider::{ProviderKey, Publisher};
use crate::wait::until_within;

fn claims() -> Value {
    json!({"aud": "chat", "iss": "https://id.example.com"})
}

async fn devices(serve: &Serve, token: &str) -> Vec<(String, String)> {
    let (status, sessions) =
        answer(client().get(format!("http://{}/v1/sessions", serve.http)).bearer_auth(token)).await;
    assert_eq!(status, 200, "{sessions}");
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    sessions["items"].as_array().unwrap().iter().map(|item| (text(item, "device"), text(item, "id"))).collect()
}

#[tokio::test]
async fn people_of_an_identity_provider_talk() {
    let key = ProviderKey::new("k1");
    let publisher = Publisher::start(&[&key]).await;
    let url = publisher.url();
    let settings = [
        ("IM_JWT_SECRET", ""),
        ("IM_JWKS_URL", url.as_str()),
        ("IM_JWKS_AUDIENCE", "mail,chat"),
        ("IM_JWKS_ISSUER", "https://id.example.com"),
        ("IM_LOG", "trace"),
    ];
    let serve = tokio::task::spawn_blocking({
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        move || Serve::start(&settings.each_ref().map(|(name, value)| (name.as_str(), value.as_str())))
    });
    let serve = serve.await.unwrap();
    let (alice, bob) = (key.token("alice", &claims()), key.token("bob", &claims()));
    let mut phone = Device::welcomed(serve.tcp, &alice, "d1").await;
    let mut bobs = Device::welcomed(serve.tcp, &bob, "d1").await;
    let text = "a-private-sentence-7b3d";
    phone.say(&json!({"type": "send", "id": "1", "to": "bob", "client_message_id": "1", "kind": "text", "content": {"text": text}})).await;
    phone.next("sent").await;
    assert_eq!(bobs.next("message").await["content"]["text"], text);
    let of_backend =
        json!({"sender": "bob", "to": "alice", "client_message_id": "2", "kind": "text", "content": {"text": text}});
    assert_eq!(serve.post("/v1/messages", Some(SERVICE_TOKEN), &of_backend).await.0, 200);

    phone.say(&json!({"type": "auth", "id": "2", "token": key.token("alice", &claims())})).await;
    phone.next("ok").await;
    phone.say(&json!({"type": "auth", "id": "3", "token": bob})).await;
    assert_eq!(phone.next("error").await["code"], "unauthorized");
    for wrong in
        [json!({"aud": "wiki", "iss": "https://id.example.com"}), json!({"aud": "chat", "iss": "https://evil"})]
    {
        let mut refused = Device::connect(serve.tcp).await;
        let hello = json!({"type": "hello", "token": key.token("alice", &wrong), "terminal": "web", "device": "d9"});
        refused.say(&hello).await;
        assert_eq!(refused.next("error").await["code"], "unauthorized");
    }

    // A device is known from its hello on, and once.
    drop(bobs);
    let _again = Device::welcomed(serve.tcp, &bob, "d1").await;
    assert_eq!(devices(&serve, &bob).await.len(), 1);
    let [(device, id)] = &devices(&serve, &alice).await[..] else { panic!("one device") };
    assert_eq!(device, "d1");
    // A second one of the class takes its place.
    let mut second = Device::welcomed(serve.tcp, &alice, "d2").await;
    assert_eq!(phone.next("kicked").await["reason"], "another_device");
    let after = devices(&serve, &alice).await;
    assert!(after.len() == 1 && after[0].0 == "d2" && after[0].1 != *id, "{after:?}");
    let end = client().delete(format!("http://{}/v1/sessions/{}", serve.http, after[0].1)).bearer_auth(&alice);
    assert_eq!(end.send().await.unwrap().status(), 204);
    assert_eq!(second.next("error").await["code"], "unauthorized");

    // Made-up keys do not make the server look again and again.
    let other = ProviderKey::new("k2");
    publisher.publish(&[&key, &other]);
    for _ in 0..3 {
        let call = client().get(format!("http://{}/v1/users/me", serve.http));
        assert_eq!(answer(call.bearer_auth(other.token("alice", &claims()))).await.0, 401);
    }
    assert_eq!(publisher.asked(), 1);
    let refused = async || {
        let metrics = client().get(format!("http://{}/metrics", serve.management)).send().await.unwrap();
        metrics.text().await.unwrap().contains("im_tokens_refused_total{reason=\"audience\"} 1\n")
    };
    until_within(PATIENCE, "what was refused is counted", refused).await;

    let (ended, log) = tokio::task::spawn_blocking(move || serve.stop()).await.unwrap();
    assert!(ended.success());
    for secret in [&alice, &bob, text] {
        assert!(!log.iter().any(|entry| entry.to_string().contains(secret)), "{secret} is in the log");
    }
}
