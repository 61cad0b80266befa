use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, json};

use super::*;
use crate::chat::now_ms;

/// Made for these tests, as `openssl genrsa -traditional` writes it: the libraries here make no RSA keys.
const RSA: &str = "\
    MIIEowIBAAKCAQEAzJ8gf95xXD51Lvmen7I4rOf3fwvKxq75Q4C/VPft3/n7cVZ9TDwxb/7ei8DMng+4FlWyDlX3F0OFMaIAJ3eJ+Fd+6yzHF9\
    ZrPmyR1VD4qFVWjhSrothahHk2uJ6m/IhmLICLrKaFJshFzqxlFGZnGpl6vKwyZx7Yd1JUN1f3wqtHbJAxxP+Yf0oFf7iGxvvySHV2EenVQRsz\
    c4IS30XfpvqVioGrbquBPM9+OKvwbCxCDd4Obi0GeF+pGUoQS4+WNm2HEO6EQhzGkV/VOnrR0TEh5J/Wvs22c087DcNkxWVWwE8kvUY3cbhKoP\
    qCAAeuF7Ks8JflEYGXjbQgFl3XiQIDAQABAoIBAARHIOCve7b6GszRPOjZiuAJhvX13wbFlnI79TQPbV6Q/TnevSacfQuafFhXXufAjCCSaNMu\
    JqjquVSC7qYklIK3wJBl2qEz00DmN+vJ4jLxusokYjy4sXbCyns0XOkbaGhuhQ0GW7MGfZgfKEtTgz0N/6AFaRXZEh03gEl6ajR8guG7YjRHHV\
    kg6xLpsexgu29gSBK3C9jqO35PitE/Z4KuK1WYOxkRH5hTsZE/Xuqo3tCR+K7onL9LrVZp2tcQ+PMAk2FcD/QmiLXHDDluhnmdSEL6fZSHBsn8\
    XQSenJBFd/Wy0H/blGREYqMPI0JoRtvBeUtpy53f9H/ZcaH+yzECgYEA7Q2/lBLFBvTx89oSpnVb/x23IAiXPYvyQ2bNG8V8vCeGvfo1TcUh1R\
    972908U81gaKVkFkTaFDtgS6EeIQzHoj56rvG6Ry4HhT5qBzxB4GdRdMAnpWa82chmdMMIGZXjE7qzWpa1ajaTef5ui2yCfeHVyLSfvLY7L175\
    Ws4cF1ECgYEA3PnMolZP2GEGZ0zMyzcWU8q8MmWCChZB4AsExUCnk0L5jLrc/nrDEsV6tFQdKNFgoPgJQUNnVHEwG0lI0x3WjBx41WDGFQHeNX\
    inkDK5yiB3RuPSK7BIe4GckJPPalEofJXfBEAaD/CQhnfZI/KYCIX0/CviSpBfQeSEKzGdnrkCgYAMTixluVu08r4klGtnbKwr4BUDeq6vKTaY\
    PRvklynUcpDSB80Ajn0lHQ9G6IMbLowUopFBfq17Y2GqS2DPAmTSjT+9GRs8Wq1VQ1opqf0ZcwONdfQY5+5ht79pzD39ZgR1n7lzuGMOcmrRaF\
    3Aqw9TDYgVdRrdpvAHk3yKNCzNIQKBgCtEPe0LOVcEqFxRjUe84YJGj9LOTUfsU7mqbqSwpB8RXgtQCzVIlCl4wS3NymfTlzftWOKOcAz4nJK7\
    JqcvkHKeoIonCKHUW83ccfKp+/a3pKMcuGoVehu0pRMp3dLTUToTnjcW1gOI9sNddAa12U7R68X0UbqHyh78v2Q1sscBAoGBAJkk/NtHsBh5I7\
    dEZXtdmK+zw/B7kVroqLrRdQAt4Fwi96hdhQWfp41fJ011RURXaHW8aN2MMi3f50NmabmDfqwQOfo9RZy3Iob+c5hhOF33tBqiYB5k2pHeK2J1\
    j8pDp21/YAo6EGkBtvv19E0ngwsDdNNIV2A8B/KTbD8q+oxJ";

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410 §7).
const ED25519: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Someone who signs.
struct Signer {
    id: Option<&'static str>,
    algorithm: Algorithm,
    key: EncodingKey,
}

fn ec(id: &'static str) -> Signer {
    let key = rcgen::KeyPair::generate().unwrap();
    Signer { id: Some(id), algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(&key.serialize_der()) }
}

fn ed(id: &'static str) -> Signer {
    let key = [ED25519.to_vec(), rand::random::<[u8; 32]>().to_vec()].concat();
    Signer { id: Some(id), algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(&key) }
}

fn rsa(id: &'static str) -> Signer {
    let key = STANDARD.decode(RSA).unwrap();
    Signer { id: Some(id), algorithm: Algorithm::RS256, key: EncodingKey::from_rsa_der(&key) }
}

impl Signer {
    /// Its public key.
    fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token of `alice` that lives for a minute, with other claims as well, or none where they are null.
    fn token(&self, more: &Value) -> String {
        let now = now_ms() / 1000;
        let mut claims = json!({"sub": "alice", "exp": now + 60, "iat": now});
        let more = more.as_object().cloned().unwrap_or_default();
        claims.as_object_mut().unwrap().extend(more);
        let claims: Map<_, _> =
            claims.as_object().unwrap().clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
        let header = Header { kid: self.id.map(str::to_owned), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

fn keys(jwks: &[Value]) -> ProviderKeys {
    ProviderKeys::parse(json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
}

/// Longer than any test.
const FAR: Duration = Duration::from_hours(1);

/// Who asks gets a look.
const AT_ONCE: Rhythm = Rhythm { look: FAR, ask: Duration::ZERO, patience: FAR };

fn set_of(signers: &[&Signer]) -> ProviderKeys {
    keys(&signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>())
}

fn provider(signers: &[&Signer], checks: &Checks) -> (ProviderTokens, Refresher) {
    ProviderTokens::new(set_of(signers), checks, Rhythm::DEFAULT)
}

fn with_rhythm(signers: &[&Signer], rhythm: Rhythm) -> (ProviderTokens, Refresher) {
    ProviderTokens::new(set_of(signers), &Checks::default(), rhythm)
}

async fn verdict(signer: &Signer, more: Value, checks: &Checks) -> Result<Identity, BadToken> {
    provider(&[signer], checks).0.verify(&signer.token(&more)).await
}

/// The EC key that most tests sign with: making one takes a while.
fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| ec("k1"))
}

#[tokio::test]
async fn each_kind_of_key_verifies_the_tokens_of_its_algorithm() {
    let signers = [ec("ec"), ed("ed"), rsa("rsa")];
    let (tokens, _refresher) = provider(&signers.each_ref(), &Checks::default());
    for signer in &signers {
        let identity = tokens.verify(&signer.token(&json!({"name": "Alice A."}))).await.unwrap();
        assert_eq!(identity.user.as_str(), "alice");
        assert_eq!(identity.grant, Grant::Provider { name: Some("Alice A.".to_owned()) });
        assert!((1..=60_000).contains(&(identity.expires - now_ms())), "{}", identity.expires);
        let token = signer.token(&Value::Null);
        let (body, _) = token.rsplit_once('.').unwrap();
        assert_eq!(tokens.verify(&format!("{body}.AAAA")).await, Err(BadToken::Invalid), "{:?}", signer.id);
    }
}

/// RFC 8725 §2.1: whoever knows the public key must not be able to use it as a secret.
#[tokio::test]
async fn a_token_s_own_word_on_its_algorithm_does_not_count() {
    let (tokens, _refresher) = provider(&[&rsa("k")], &Checks::default());
    let public = rsa("k").jwk()["n"].as_str().unwrap().to_owned();
    let forged =
        Signer { id: Some("k"), algorithm: Algorithm::HS256, key: EncodingKey::from_secret(public.as_bytes()) };
    assert_eq!(tokens.verify(&forged.token(&Value::Null)).await, Err(BadToken::Invalid));
    let other = Signer { id: Some("k"), ..ec("ec") };
    assert_eq!(tokens.verify(&other.token(&Value::Null)).await, Err(BadToken::Invalid));
}

#[test]
fn keys_that_are_not_understood_or_not_for_signing_are_left_out() {
    let with = |field: &str, value: Value| {
        let mut jwk = signer().jwk();
        jwk[field] = value;
        jwk
    };
    let secret = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"});
    let jwks = [
        signer().jwk(),
        with("use", json!("enc")),
        with("alg", json!("ES384")),
        with("crv", json!("P-521")),
        with("x", json!(7)),
        json!({"kty": "new", "kid": "n"}),
        json!("nonsense"),
        secret,
    ];
    assert_eq!(keys(&jwks).count(), 1);
    let mut plain = signer().jwk();
    plain.as_object_mut().unwrap().retain(|field, _| field != "alg" && field != "use");
    assert_eq!(keys(&[plain]).count(), 1, "alg and use may be left out");
    for text in ["", "[]", "{}", "<html>", r#"{"keys": {}}"#] {
        assert!(ProviderKeys::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_token_without_a_key_id_is_held_against_the_only_key() {
    let nameless = Signer { id: None, ..ec("k1") };
    let mut key = nameless.jwk();
    key["kid"] = json!("k1");
    let (one, _refresher) = ProviderTokens::new(keys(&[key.clone()]), &Checks::default(), Rhythm::DEFAULT);
    assert!(one.verify(&nameless.token(&Value::Null)).await.is_ok());
    let (two, _refresher) = ProviderTokens::new(keys(&[key, ec("k2").jwk()]), &Checks::default(), Rhythm::DEFAULT);
    assert_eq!(two.verify(&nameless.token(&Value::Null)).await, Err(BadToken::UnknownKey));
}

#[tokio::test]
async fn the_times_in_a_token_count() {
    let now = now_ms() / 1000;
    let verdict = async |more| verdict(signer(), more, &Checks::default()).await.map(|identity| identity.expires);
    assert_eq!(verdict(json!({"exp": now})).await, Err(BadToken::Expired), "from its very second on");
    assert_eq!(verdict(json!({"exp": null})).await, Err(BadToken::Claim("exp".to_owned())));
    assert_eq!(verdict(json!({"exp": "soon"})).await, Err(BadToken::Claim("exp".to_owned())));
    assert_eq!(verdict(json!({"nbf": now + 300})).await, Err(BadToken::Early));
    assert!(verdict(json!({"nbf": now + 10})).await.is_ok(), "another clock may be a little ahead");
    assert_eq!(verdict(json!({"exp": f64::from(u32::MAX) + 0.5})).await, Ok(4_294_967_295_500));
}

#[tokio::test]
async fn the_audience_and_the_issuer_count_where_they_are_set() {
    let checks = Checks {
        audiences: vec!["chat-web".to_owned(), "chat-mobile".to_owned()],
        issuer: Some("https://id.example.com".to_owned()),
    };
    let claims = |aud: Value, iss: Value| json!({"aud": aud, "iss": iss});
    let issuer = || json!("https://id.example.com");
    let set = async |more| verdict(signer(), more, &checks).await.map(drop);
    assert_eq!(set(claims(json!("chat-mobile"), issuer())).await, Ok(()));
    assert_eq!(set(claims(json!(["mail", "chat-web"]), issuer())).await, Ok(()));
    assert_eq!(set(claims(json!("mail"), issuer())).await, Err(BadToken::Audience));
    assert_eq!(set(claims(Value::Null, issuer())).await, Err(BadToken::Claim("aud".to_owned())));
    assert_eq!(set(claims(json!("chat-web"), json!("https://evil"))).await, Err(BadToken::Issuer));
    assert_eq!(set(claims(json!("chat-web"), Value::Null)).await, Err(BadToken::Claim("iss".to_owned())));
    let none = Checks::default();
    assert!(verdict(signer(), claims(json!("mail"), json!("https://evil")), &none).await.is_ok());
}

#[tokio::test]
async fn whom_a_token_names_must_fit_as_a_user() {
    let verdict = async |sub| verdict(signer(), json!({ "sub": sub }), &Checks::default()).await;
    let id = "248289761001@id.example.com";
    assert_eq!(verdict(json!(id)).await.unwrap().user.as_str(), id);
    for bad in [json!("auth0|5f7c8ec7c33c6c004bbafe82"), json!(""), json!("me"), json!("x".repeat(65))] {
        assert_eq!(verdict(bad.clone()).await.unwrap_err().reason(), "subject", "{bad}");
    }
    assert_eq!(verdict(Value::Null).await, Err(BadToken::Claim("sub".to_owned())));
}

/// Answers one wish for a look.
async fn answer(refresher: &Refresher, keys: Option<ProviderKeys>) {
    refresher.due().await;
    refresher.looked(keys);
}

#[tokio::test]
async fn a_key_that_is_not_known_yet_is_asked_for() {
    let (old, new) = (ec("old"), ec("new"));
    let (tokens, refresher) = with_rhythm(&[&old], AT_ONCE);
    let token = new.token(&Value::Null);
    let found = Some(keys(&[old.jwk(), new.jwk()]));
    let (identity, ()) = tokio::join!(tokens.verify(&token), answer(&refresher, found));
    assert!(identity.is_ok());
}

#[tokio::test]
async fn made_up_tokens_do_not_make_the_server_ask_again_and_again() {
    let made_up = ec("made-up").token(&Value::Null);
    let (tokens, refresher) = with_rhythm(&[signer()], Rhythm { ask: FAR, ..AT_ONCE });
    assert_eq!(tokens.verify(&made_up).await, Err(BadToken::UnknownKey));
    assert_eq!(refresher.due().now_or_never(), None, "just after the last look");
    refresher.wanted.notify_one();
    assert_eq!(refresher.due().now_or_never(), None, "nor for one that asked while that look was under way");

    let (tokens, refresher) = with_rhythm(&[signer()], AT_ONCE);
    let same = Some(keys(&[signer().jwk()]));
    let (verdict, ()) = tokio::join!(tokens.verify(&made_up), answer(&refresher, same));
    assert_eq!(verdict, Err(BadToken::UnknownKey));
}

#[tokio::test]
async fn a_provider_that_is_away_is_told_from_a_bad_token_and_its_last_keys_stay() {
    let unknown = ec("other").token(&Value::Null);
    let (tokens, refresher) = with_rhythm(&[signer()], AT_ONCE);
    let (verdict, ()) = tokio::join!(tokens.verify(&unknown), answer(&refresher, None));
    assert_eq!(verdict, Err(BadToken::ProviderAway));
    assert!(tokens.verify(&signer().token(&Value::Null)).await.is_ok());
    let (tokens, _refresher) = with_rhythm(&[signer()], Rhythm { patience: Duration::ZERO, ..AT_ONCE });
    assert_eq!(tokens.verify(&unknown).await, Err(BadToken::ProviderAway), "a look takes too long");
}

#[tokio::test]
async fn a_key_that_the_provider_takes_away_is_gone_with_the_next_look() {
    let (old, new) = (ec("old"), ec("new"));
    let (tokens, refresher) = with_rhythm(&[&old, &new], Rhythm { look: Duration::ZERO, ask: FAR, patience: FAR });
    assert!(tokens.verify(&old.token(&Value::Null)).await.is_ok());
    answer(&refresher, Some(keys(&[new.jwk()]))).await;
    assert_eq!(tokens.verify(&old.token(&Value::Null)).await, Err(BadToken::UnknownKey));
    assert!(tokens.verify(&new.token(&Value::Null)).await.is_ok());
}
