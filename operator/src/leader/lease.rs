//! The `Lease` at the API server: looked at, and replaced if nobody else did.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use super::election::{Claim, LEASE, Seen};

/// How long a released lease lasts: as short as can be, for those who go by it.
const RELEASED: Duration = Duration::from_secs(1);

/// Where the lease is.
#[async_trait]
pub trait Leases: Send + 'static {
    /// The lease as it is; `None`: there is none.
    async fn look(&mut self) -> Result<Option<Seen>, LeaseError>;

    /// Writes it if its version is the one that the claim replaces, and gives it as it is then.
    async fn put(&mut self, claim: &Claim) -> Result<Seen, LeaseError>;
}

/// Why there is no answer to go by.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process wrote it first.
    #[error("another process wrote it first")]
    Conflict,
    /// This process may not.
    #[error("not allowed: a Role must give the operator get, create and update of leases.coordination.k8s.io there")]
    Forbidden,
    /// Anything else.
    #[error("{0}")]
    Api(kube::Error),
}

impl From<kube::Error> for LeaseError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 409 => Self::Conflict,
            kube::Error::Api(status) if status.is_forbidden() => Self::Forbidden,
            other => Self::Api(other),
        }
    }
}

/// The lease as an object of Kubernetes.
pub struct KubeLease {
    api: Api<Lease>,
    name: String,
    /// As it was in the last answer: what others keep in it (labels, owners) stays.
    last: Option<Lease>,
}

impl KubeLease {
    /// The lease of that name. The client tries nothing twice: an answer that comes late is of no use, and a second attempt
    /// after a lost answer would meet the first.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), last: None }
    }
}

#[async_trait]
impl Leases for KubeLease {
    async fn look(&mut self) -> Result<Option<Seen>, LeaseError> {
        self.last = self.api.get_opt(&self.name).await?;
        Ok(self.last.as_ref().map(seen))
    }

    async fn put(&mut self, claim: &Claim) -> Result<Seen, LeaseError> {
        let base = self.last.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            ..Lease::default()
        });
        let lease = claimed(base, claim, MicroTime(Timestamp::now()));
        let parameters = PostParams::default();
        let answer = match &claim.replaces {
            Some(_) => self.api.replace(&self.name, &parameters, &lease).await?,
            None => self.api.create(&parameters, &lease).await?,
        };
        Ok(seen(self.last.insert(answer)))
    }
}

fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Seen {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder,
        lasts: seconds.map_or(LEASE, Duration::from_secs),
    }
}

/// The lease after a claim. Its times are for people to read.
fn claimed(mut lease: Lease, claim: &Claim, now: MicroTime) -> Lease {
    let existed = lease.spec.is_some();
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if claim.takes_over {
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + i32::from(existed));
    }
    let lasts = if claim.holder.is_some() { LEASE } else { RELEASED };
    spec.holder_identity = Some(claim.holder.clone().unwrap_or_default());
    spec.lease_duration_seconds = i32::try_from(lasts.as_secs()).ok();
    spec.renew_time = Some(now);
    lease.metadata.resource_version.clone_from(&claim.replaces);
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> MicroTime {
        MicroTime(Timestamp::from_second(seconds).unwrap())
    }

    fn claim(replaces: Option<&str>, holder: Option<&str>, takes_over: bool) -> Claim {
        Claim { replaces: replaces.map(str::to_owned), holder: holder.map(str::to_owned), takes_over }
    }

    #[test]
    fn a_lease_says_who_has_it_since_when_and_how_often_it_changed_hands() {
        let made = claimed(Lease::default(), &claim(None, Some("a"), true), at(100));
        let renewed = claimed(made, &claim(Some("1"), Some("a"), false), at(102));
        let spec = renewed.spec.clone().unwrap();
        assert_eq!((spec.acquire_time, spec.renew_time), (Some(at(100)), Some(at(102))));
        assert_eq!((spec.lease_transitions, spec.lease_duration_seconds), (Some(0), Some(15)));
        assert_eq!(renewed.metadata.resource_version.as_deref(), Some("1"), "compared and set");
        let taken = claimed(renewed, &claim(Some("2"), Some("b"), true), at(120)).spec.unwrap();
        assert_eq!((taken.acquire_time, taken.lease_transitions), (Some(at(120)), Some(1)));
    }

    #[test]
    fn a_released_lease_has_no_holder() {
        let held = claimed(Lease::default(), &claim(None, Some("a"), true), at(100));
        assert_eq!(seen(&held).holder.as_deref(), Some("a"));
        let released = claimed(held, &claim(Some("1"), None, false), at(101));
        assert_eq!(seen(&released).holder, None);
    }

    #[test]
    fn a_lease_with_nonsense_in_it_lasts_as_long_as_ours() {
        let mut lease = Lease::default();
        assert_eq!(seen(&lease).lasts, LEASE);
        lease.spec = Some(LeaseSpec { lease_duration_seconds: Some(-3), ..LeaseSpec::default() });
        assert_eq!(seen(&lease).lasts, LEASE);
    }
}
