//! An identity provider: makes tokens, and publishes its keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A key of a provider.
pub(crate) struct ProviderKey {
    id: &'static str,
    key: EncodingKey,
}

impl ProviderKey {
    /// A fresh one of this id.
    pub(crate) fn new(id: &'static str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        Self { id, key: EncodingKey::from_ec_der(&key.serialize_der()) }
    }

    fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap()).unwrap();
        jwk["kid"] = json!(self.id);
        jwk
    }

    /// A token of a user that lives for five minutes, with further claims.
    pub(crate) fn token(&self, user: &str, more: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({"sub": user, "exp": now + 300});
        claims.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

/// What these keys are published as.
pub(crate) fn key_set(keys: &[&ProviderKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// The place where a provider publishes its keys.
pub(crate) struct Publisher {
    pub(crate) address: SocketAddr,
    text: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Publisher {
    /// Publishes keys, on whatever thread runs the test.
    pub(crate) async fn start(keys: &[&ProviderKey]) -> Self {
        let text = Arc::new(Mutex::new(key_set(keys)));
        let asked = Arc::new(AtomicUsize::new(0));
        let answer = {
            let (text, asked) = (text.clone(), asked.clone());
            async move || {
                asked.fetch_add(1, Ordering::Relaxed);
                text.lock().clone()
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/jwks", get(answer));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, text, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks", self.address)
    }

    /// Publishes other keys from now on.
    pub(crate) fn publish(&self, keys: &[&ProviderKey]) {
        *self.text.lock() = key_set(keys);
    }

    /// How often somebody looked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}
