//! Where the keys of access tokens come from: a secret, a folder of keys, or an identity provider; and what follows their
//! changes while the server runs.

mod directory;
mod jwks;

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use directory::{Directory, DirectoryError};
pub use jwks::{Jwks, JwksError, JwksUrl, JwksUrlError};

use crate::api::Management;
use crate::chat::{Checks, Secret, Tokens};
use crate::startup::{self, Hope, WrongSettings};

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A single secret, for as long as the server runs.
    Secret(Secret),
    /// A folder of keys.
    Directory(Directory),
    /// An identity provider.
    Provider(JwksUrl, Checks),
}

type Following = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What checks tokens, and what follows its keys.
pub struct Keyring {
    tokens: Tokens,
    following: Option<Following>,
}

impl Keyring {
    /// A single secret.
    pub fn fixed(secret: Secret) -> Self {
        Self { tokens: Tokens::new(secret), following: None }
    }

    /// Reads the keys for the first time. An identity provider that cannot be reached is waited for: nobody could be let in.
    pub async fn open(source: Source, management: &Management) -> Result<Self, WrongSettings> {
        match source {
            Source::Secret(secret) => Ok(Self::fixed(secret)),
            Source::Directory(directory) => {
                let keys = directory.read().await.map_err(|error| WrongSettings(error.to_string()))?;
                let (publish, keys) = watch::channel(Arc::new(keys));
                let tokens = Tokens::following(keys);
                Ok(Self { tokens, following: Some(Box::pin(directory.follow(publish))) })
            }
            Source::Provider(url, checks) => {
                if checks.audiences.is_empty() {
                    tracing::warn!(
                        "jwks-audience is not set: every token of the identity provider is taken, whatever it was made for"
                    );
                }
                let jwks = Jwks::new(url).map_err(|error| WrongSettings(error.to_string()))?;
                let keys = startup::until(management, "the identity provider", async || jwks.fetch().await).await?;
                let (tokens, refresher) = Tokens::of_provider(keys, &checks);
                Ok(Self { tokens, following: Some(Box::pin(jwks.follow(refresher))) })
            }
        }
    }

    /// Follows the keys from now on.
    pub fn start(self, tasks: &mut JoinSet<()>) -> Tokens {
        if let Some(following) = self.following {
            tasks.spawn(following);
        }
        self.tokens
    }
}

impl Hope for JwksError {
    fn may_pass(&self) -> bool {
        !matches!(self, Self::Client(_))
    }
}

/// Says whether the keys could be looked at.
fn fresh(are: bool) {
    metrics::gauge!("im_token_keys_stale").set(if are { 0.0 } else { 1.0 });
}
