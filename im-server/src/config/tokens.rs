//! The settings of access tokens, of which one way is chosen: a secret, a folder of keys, or an identity provider.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::values::signing_secret;
use crate::chat::{Checks, Secret};
use crate::keyring::{Directory, JwksUrl, Source};

/// How access tokens are verified.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tokens")]
pub struct TokenSettings {
    /// Signs access tokens and derives refresh tokens: at least 32 characters, the same on every server. Exactly one of this,
    /// jwt-keys-dir and jwks-url has to be set
    #[arg(long, value_name = "SECRET", value_parser = signing_secret, hide_env_values = true)]
    pub jwt_secret: Option<Secret>,
    /// Folder of such secrets, as Kubernetes mounts them: each file is a key, its name the key's id. Every key verifies;
    /// changes are read without a restart
    #[arg(long, value_name = "DIR")]
    pub jwt_keys_dir: Option<PathBuf>,
    /// Name of the file in jwt-keys-dir with the key that signs
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub jwt_signing_key: Option<String>,
    /// Where an identity provider publishes its keys, by https: it signs people in, and its access tokens are taken
    #[arg(long, value_name = "URL")]
    pub jwks_url: Option<JwksUrl>,
    /// Tokens of the identity provider are taken if their aud has one of these; without it whatever their aud is
    #[arg(long, value_name = "NAME,…")]
    pub jwks_audience: Option<Audiences>,
    /// Tokens of the identity provider are taken if this is their iss; without it whatever their iss is
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub jwks_issuer: Option<String>,
}

/// Said of a list of audiences without one: it would let everybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected names with commas between them")]
pub struct NoAudience;

/// For whom tokens may be made: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audiences(Vec<String>);

impl FromStr for Audiences {
    type Err = NoAudience;

    fn from_str(text: &str) -> Result<Self, NoAudience> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<_> = names.map(str::to_owned).collect();
        if names.is_empty() { Err(NoAudience) } else { Ok(Self(names)) }
    }
}

impl TokenSettings {
    /// Where the keys come from, or what is wrong with values that are each fine alone. A folder is looked into.
    pub fn source(&self) -> Result<Source, Vec<String>> {
        let mut wrong = Vec::new();
        let chosen: Vec<_> = [
            ("jwt-secret", self.jwt_secret.is_some()),
            ("jwt-keys-dir", self.jwt_keys_dir.is_some()),
            ("jwks-url", self.jwks_url.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect();
        if chosen.len() > 1 {
            wrong.push(format!(
                "{} are set: set exactly one of jwt-secret, jwt-keys-dir and jwks-url",
                chosen.join(" and ")
            ));
        }
        if self.jwt_signing_key.is_some() && self.jwt_keys_dir.is_none() {
            wrong.push("jwt-signing-key is one of the keys in jwt-keys-dir: set that as well".to_owned());
        }
        if (self.jwks_audience.is_some() || self.jwks_issuer.is_some()) && self.jwks_url.is_none() {
            wrong.push("jwks-audience and jwks-issuer are about the tokens of jwks-url: set that as well".to_owned());
        }
        let source = match (&self.jwt_secret, &self.jwt_keys_dir, &self.jwks_url) {
            (Some(secret), ..) => Some(Source::Secret(secret.clone())),
            (_, Some(path), _) => {
                if let Some(signing) = &self.jwt_signing_key {
                    let directory = Directory { path: path.clone(), signing: signing.clone() };
                    wrong.extend(directory.read_blocking().err().map(|error| format!("jwt-keys-dir: {error}")));
                    Some(Source::Directory(directory))
                } else {
                    wrong.push(
                        "missing: jwt-signing-key (--jwt-signing-key, IM_JWT_SIGNING_KEY): jwt-keys-dir needs it to know \
                         which key signs"
                            .to_owned(),
                    );
                    None
                }
            }
            (.., Some(url)) => {
                let audiences = self.jwks_audience.clone().map(|Audiences(names)| names).unwrap_or_default();
                Some(Source::Provider(url.clone(), Checks { audiences, issuer: self.jwks_issuer.clone() }))
            }
            (None, None, None) => {
                wrong.push(
                    "missing: exactly one of jwt-secret (--jwt-secret, IM_JWT_SECRET, IM_JWT_SECRET_FILE), jwt-keys-dir \
                     (--jwt-keys-dir, IM_JWT_KEYS_DIR) and jwks-url (--jwks-url, IM_JWKS_URL): a secret or keys for tokens \
                     of this server's own, or an identity provider whose tokens it takes"
                        .to_owned(),
                );
                None
            }
        };
        source.filter(|_| wrong.is_empty()).ok_or(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audiences_are_a_list() {
        let list = |text: &str| text.parse::<Audiences>().map(|Audiences(names)| names);
        assert_eq!(list("chat-web, chat-mobile,").unwrap(), ["chat-web", "chat-mobile"]);
        assert_eq!(list("https://chat.example.com").unwrap(), ["https://chat.example.com"]);
        assert_eq!(list(" , "), Err(NoAudience));
    }
}
