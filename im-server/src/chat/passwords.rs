//! Passwords: argon2id, on the blocking pool, never more at once than there are cores.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use im_protocol::{ErrorCode, WireError};
use tokio::sync::Semaphore;

use super::Result;

/// How many may wait for a core, per core, before the next one is sent away: some five seconds of work.
const WAITING_PER_CORE: usize = 128;

/// What the password of someone who does not exist is held against, so that the answer takes as long as for someone who
/// does. No password is known for it, and a match would not count.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$aW0tc2VydmVyLWRlY295$3q2+78r+ur4BI0VniavN7/7cuph2VDIQ8OHSw7SlloY";

/// Stands where the PHC string would, for an account that nobody signs in to with a password; as in /etc/shadow.
pub(super) const NO_PASSWORD: &str = "*";

/// Hashes and checks passwords. One hash takes 19 MiB and some 20 ms of a core: the parameters that OWASP's Password
/// Storage Cheat Sheet gives for argon2id, which are the crate's defaults.
#[derive(Clone)]
pub struct Passwords {
    cores: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

impl Passwords {
    /// As many at once as this machine has cores.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            places: Arc::new(Semaphore::new(cores * (WAITING_PER_CORE + 1))),
        }
    }

    /// The PHC string of a password.
    pub(super) async fn hash(&self, password: String) -> Result<String> {
        self.work(move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()))
            .await?
            .map_err(|error| {
                tracing::error!(%error, "a password could not be hashed");
                WireError::new(ErrorCode::Internal, "the server has a fault; its log has the details")
            })
    }

    /// Whether this is the password of that PHC string. Without one it is not, and that takes as long to find out.
    pub(super) async fn verify(&self, password: String, phc: Option<String>) -> Result<bool> {
        self.work(move || {
            let phc = phc.filter(|phc| phc != NO_PASSWORD);
            let known = phc.is_some();
            let phc = phc.as_deref().unwrap_or(DECOY);
            let matches = PasswordHash::new(phc)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
            known && matches
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let busy = || WireError::new(ErrorCode::Unavailable, "too many people sign in at this moment: try again");
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| busy())?;
        // The permits go with the work: someone who hangs up does not make room for more work than there are cores.
        let done = tokio::task::spawn_blocking(move || {
            let _permits = (place, core);
            work()
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "password work ended early");
            WireError::new(ErrorCode::Internal, "the server has a fault; its log has the details")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_another_is_not() {
        let passwords = Passwords::new();
        let phc = passwords.hash("correct horse".into()).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(passwords.verify("correct horse".into(), Some(phc.clone())).await.unwrap());
        assert!(!passwords.verify("battery staple".into(), Some(phc)).await.unwrap());
    }

    #[test]
    fn the_decoy_costs_what_a_real_one_costs() {
        let decoy = PasswordHash::new(DECOY).unwrap();
        let real = Argon2::default().hash_password(b"x").unwrap();
        assert_eq!((decoy.algorithm, decoy.version, &decoy.params), (real.algorithm, real.version, &real.params));
        assert_eq!(decoy.hash.unwrap().len(), real.hash.unwrap().len());
    }

    #[tokio::test]
    async fn nobody_has_the_password_of_someone_who_does_not_exist() {
        assert!(!Passwords::new().verify("anything".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn no_password_is_that_of_an_account_without_one() {
        for tried in ["", NO_PASSWORD] {
            assert!(!Passwords::new().verify(tried.into(), Some(NO_PASSWORD.into())).await.unwrap(), "{tried:?}");
        }
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_sent_away() {
        let passwords = Passwords { cores: Arc::new(Semaphore::new(1)), places: Arc::new(Semaphore::new(0)) };
        let error = passwords.verify("x".into(), None).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
    }
}
