//! What the Secrets say that a resource refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use imcluster_crds::{CERTIFICATE_KEYS, ImCluster, Sasl, Tls};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::{Refusal, Secrets};
use crate::cluster::hash::hex;
use crate::topics::{self, KafkaSettings};

/// Characters of a key that signs tokens, at least: im-server takes none that can be guessed.
const SIGNING_CHARS: usize = 32;

const CA: &str = "spec.kafka.tls.caSecretRef";
const CERTIFICATE: &str = "spec.kafka.tls.certificateSecretRef";
const LOGIN: &str = "spec.kafka.sasl.secretRef";
const KEYS: &str = "spec.auth.jwt.keysSecretRef";
const SIGNING_KEY: &str = "spec.auth.jwt.signingKey";

/// What came of the references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum References {
    /// All is there, and can be used.
    Resolved(Resolved),
    /// Something is missing or cannot be used. Nothing is created for such a resource; what runs stays as it is, since pods of
    /// another template could not start.
    Unresolved(Refusal),
}

/// What the Secrets say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// How Kafka is reached.
    pub kafka: KafkaSettings,
    /// Which keys the Secrets have, where there is a choice.
    pub layout: Layout,
    /// What pods read at their start.
    pub content: Content,
}

/// Which keys the Secrets have, where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Keys of the certificate for Kafka and its private key.
    pub certificate: Option<(&'static str, &'static str)>,
    /// The Kafka user stands under a key; else the Secret has the user's name.
    pub user_has_key: bool,
}

/// The content of the keys that pods read at their start: those of tokens are not in it, which gateways read again.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Content(BTreeMap<(String, String), Vec<u8>>);

impl Content {
    /// Tells this content from any other. Who does not know `salt` cannot use it to try passwords.
    pub fn fingerprint(&self, salt: &str) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(salt.as_bytes());
        for ((name, key), value) in &self.0 {
            part(name.as_bytes());
            part(key.as_bytes());
            part(value);
        }
        hex(hash)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The Secrets that a resource refers to.
pub fn referenced(cluster: &ImCluster) -> BTreeSet<String> {
    let spec = &cluster.spec;
    let tls = spec.kafka.tls.as_ref();
    let names = [
        Some(&spec.redis.url_secret_ref.name),
        Some(&spec.database.url_secret_ref.name),
        tls.and_then(|tls| tls.ca_secret_ref.as_ref()).map(|ca| &ca.name),
        tls.and_then(|tls| tls.certificate_secret_ref.as_ref()).map(|certificate| &certificate.name),
        spec.kafka.sasl.as_ref().map(|sasl| &sasl.secret_ref.name),
        spec.auth.jwt.as_ref().map(|jwt| &jwt.keys_secret_ref.name),
    ];
    names.into_iter().flatten().cloned().collect()
}

pub(super) fn resolve(cluster: &ImCluster, secrets: &Secrets) -> References {
    let mut reader = Reader { secrets, layout: Layout::default(), content: Content::default() };
    match reader.all(cluster) {
        Ok(kafka) => References::Resolved(Resolved { kafka, layout: reader.layout, content: reader.content }),
        Err(refusal) => References::Unresolved(refusal),
    }
}

struct Reader<'a> {
    secrets: &'a Secrets,
    layout: Layout,
    content: Content,
}

impl<'a> Reader<'a> {
    fn all(&mut self, cluster: &ImCluster) -> Result<KafkaSettings, Refusal> {
        let spec = &cluster.spec;
        let redis = &spec.redis.url_secret_ref;
        self.url("spec.redis.urlSecretRef", &redis.name, &redis.key, is_redis, REDIS_FORMS)?;
        let database = &spec.database.url_secret_ref;
        self.url("spec.database.urlSecretRef", &database.name, &database.key, is_postgres, POSTGRES_FORMS)?;
        self.tokens(cluster)?;
        Ok(KafkaSettings {
            brokers: cluster.bootstrap_servers(),
            tls: spec.kafka.tls.as_ref().map(|tls| self.tls(tls)).transpose()?,
            sasl: spec.kafka.sasl.as_ref().map(|sasl| self.sasl(sasl)).transpose()?,
        })
    }

    fn secret(&self, field: &'static str, name: &str) -> Result<&'a BTreeMap<String, Vec<u8>>, Refusal> {
        let secret = self.secrets.get(name).and_then(Option::as_ref);
        secret.ok_or_else(|| Refusal::SecretNotFound { field, name: name.to_owned() })
    }

    /// A key that pods read, as text.
    fn text(&mut self, field: &'static str, name: &str, key: &str) -> Result<&'a str, Refusal> {
        let value = self.secret(field, name)?.get(key);
        let value = value.ok_or_else(|| Refusal::KeyNotFound { field, name: name.to_owned(), key: key.to_owned() })?;
        self.content.0.insert((name.to_owned(), key.to_owned()), value.clone());
        let text = std::str::from_utf8(value).map_err(|_| unusable(field, name, key, "is no text: write it again"))?;
        // As im-server reads a file.
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() { Err(unusable(field, name, key, "is empty: write it again")) } else { Ok(text) }
    }

    fn url(
        &mut self,
        field: &'static str,
        name: &str,
        key: &str,
        is_one: fn(&str) -> bool,
        forms: &'static str,
    ) -> Result<(), Refusal> {
        let url = self.text(field, name, key)?;
        if is_one(url) { Ok(()) } else { Err(unusable(field, name, key, forms)) }
    }

    /// Keys of tokens are no content of pods: they may change at any time.
    fn tokens(&self, cluster: &ImCluster) -> Result<(), Refusal> {
        let Some(jwt) = &cluster.spec.auth.jwt else { return Ok(()) };
        let name = &jwt.keys_secret_ref.name;
        let keys = self.secret(KEYS, name)?;
        if !keys.contains_key(&jwt.signing_key) {
            let key = jwt.signing_key.clone();
            return Err(Refusal::KeyNotFound { field: SIGNING_KEY, name: name.clone(), key });
        }
        for (key, value) in keys {
            let chars = std::str::from_utf8(value).map(|text| text.trim_end_matches(['\r', '\n']).len());
            if chars.unwrap_or_default() < SIGNING_CHARS {
                let problem = "is no text of at least 32 characters, as a key that signs has to be: make one with \
                               `openssl rand -hex 32`";
                return Err(unusable(KEYS, name, key, problem));
            }
        }
        Ok(())
    }

    fn tls(&mut self, tls: &Tls) -> Result<topics::Tls, Refusal> {
        let ca = match &tls.ca_secret_ref {
            Some(ca) => Some(self.certificates(CA, &ca.name, &ca.key)?),
            None => None,
        };
        let identity = match &tls.certificate_secret_ref {
            Some(certificate) => Some(self.identity(&certificate.name)?),
            None => None,
        };
        Ok(topics::Tls { ca, identity })
    }

    fn certificates(&mut self, field: &'static str, name: &str, key: &str) -> Result<String, Refusal> {
        let text = self.text(field, name, key)?;
        let problem = "is no certificate as PEM: it begins with -----BEGIN CERTIFICATE-----";
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let added = certificate.map(|certificate| store.add(certificate));
            if !matches!(added, Ok(Ok(()))) {
                return Err(unusable(field, name, key, problem));
            }
        }
        if store.is_empty() { Err(unusable(field, name, key, problem)) } else { Ok(text.to_owned()) }
    }

    fn identity(&mut self, name: &str) -> Result<(String, String), Refusal> {
        let secret = self.secret(CERTIFICATE, name)?;
        let pair = CERTIFICATE_KEYS
            .into_iter()
            .find(|(certificate, key)| secret.contains_key(*certificate) && secret.contains_key(*key));
        let Some((certificate, key)) = pair else {
            let pairs =
                CERTIFICATE_KEYS.map(|(certificate, key)| format!("{certificate} with {key}")).join(", and no ");
            return Err(Refusal::KeyNotFound { field: CERTIFICATE, name: name.to_owned(), key: pairs });
        };
        self.layout.certificate = Some((certificate, key));
        let chain = self.certificates(CERTIFICATE, name, certificate)?;
        let private = self.text(CERTIFICATE, name, key)?;
        if PrivateKeyDer::from_pem_slice(private.as_bytes()).is_err() {
            let problem = "is no private key as PEM, or one that is encrypted: write it as -----BEGIN PRIVATE KEY-----";
            return Err(unusable(CERTIFICATE, name, key, problem));
        }
        Ok((chain, private.to_owned()))
    }

    fn sasl(&mut self, sasl: &Sasl) -> Result<topics::Sasl, Refusal> {
        let login = &sasl.secret_ref;
        let name = &login.name;
        self.layout.user_has_key = self.secret(LOGIN, name)?.contains_key(&login.username_key);
        let user = if self.layout.user_has_key {
            let key = &login.username_key;
            let user = self.text(LOGIN, name, key)?;
            // Pods get it as an environment variable, with all that stands there.
            if self.content.0.get(&(name.clone(), key.clone())).is_none_or(|value| value != user.as_bytes()) {
                let problem = "ends with a line break: write it again without one, for instance with `printf`";
                return Err(unusable(LOGIN, name, key, problem));
            }
            user.to_owned()
        } else {
            name.clone()
        };
        let password = self.text(LOGIN, name, &login.password_key)?.to_owned();
        Ok(topics::Sasl { mechanism: sasl.mechanism, user, password })
    }
}

fn unusable(field: &'static str, name: &str, key: &str, problem: &'static str) -> Refusal {
    Refusal::Unusable { field, name: name.to_owned(), key: key.to_owned(), problem }
}

const REDIS_FORMS: &str = "is no URL of Redis: it looks like redis://USER:PASSWORD@HOST:PORT/DATABASE, \
                           redis+sentinel://HOST,HOST/MASTER or redis+cluster://HOST,HOST, with rediss for TLS";

const POSTGRES_FORMS: &str = "is no URL of PostgreSQL: it looks like postgres://USER:PASSWORD@HOST:PORT/DATABASE";

fn is_redis(url: &str) -> bool {
    let schemes = ["redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"];
    has_host(url, &schemes)
}

/// Not SQLite: gateways share their database.
fn is_postgres(url: &str) -> bool {
    has_host(url, &["postgres", "postgresql"])
}

fn has_host(url: &str, schemes: &[&str]) -> bool {
    let Some((scheme, rest)) = url.trim().split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    schemes.contains(&scheme) && !host.is_empty() && !host.starts_with(':') && !url.trim().contains(char::is_whitespace)
}
