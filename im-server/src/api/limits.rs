//! How often one address may knock.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use im_protocol::WireError;

use super::ApiState;
use super::auth::is_service;
use super::problem::Problem;

/// After so many calls, addresses that have not knocked for a while are forgotten.
const FORGET_EVERY: u32 = 4096;

/// Limits of calls per address. None by default.
#[derive(Default)]
pub struct AddressLimits {
    sign_ins: Option<Limit>,
    handshakes: Option<Limit>,
}

impl AddressLimits {
    /// Accounts and sign-ins per address and minute, by the protocol.
    pub const SIGN_INS: u32 = 60;
    /// Handshakes per address and minute, by the protocol.
    pub const HANDSHAKES: u32 = 600;

    /// `factor` times the limits of the protocol.
    pub fn times(factor: u32) -> Self {
        Self::per_minute(Self::SIGN_INS.saturating_mul(factor), Self::HANDSHAKES.saturating_mul(factor))
    }

    /// So many accounts and sign-ins, and handshakes, per minute; 0: no limit.
    pub fn per_minute(sign_ins: u32, handshakes: u32) -> Self {
        let limit = |per_minute: u32| NonZeroU32::new(per_minute).map(Limit::new);
        Self { sign_ins: limit(sign_ins), handshakes: limit(handshakes) }
    }

    /// No limits: for load tests.
    pub fn none() -> Self {
        Self::default()
    }

    /// Counts an account made or a sign-in.
    pub fn sign_in(&self, address: IpAddr) -> Result<(), WireError> {
        admit(self.sign_ins.as_ref(), address, "too many accounts and sign-ins from this address")
    }

    /// Counts a handshake.
    pub fn handshake(&self, address: IpAddr) -> Result<(), WireError> {
        admit(self.handshakes.as_ref(), address, "too many handshakes from this address")
    }
}

fn admit(limit: Option<&Limit>, address: IpAddr, refusal: &str) -> Result<(), WireError> {
    let wait = limit.and_then(|limit| limit.wait(address));
    wait.map_or(Ok(()), |wait| {
        Err(WireError::rate_limited(refusal, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    })
}

struct Limit {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    calls: AtomicU32,
}

impl Limit {
    fn new(per_minute: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::keyed(Quota::per_minute(per_minute)),
            clock: DefaultClock::default(),
            calls: AtomicU32::new(0),
        }
    }

    /// Counts a call. How long to wait, if it is one too many.
    fn wait(&self, address: IpAddr) -> Option<Duration> {
        if self.calls.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        let refused = self.limiter.check_key(&household(address)).err()?;
        Some(refused.wait_time_from(self.clock.now()))
    }
}

/// Whom an address stands for: of IPv6 its /64, which one household or one virtual machine has to itself.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A request that counts as a sign-in; backends are not counted.
pub(super) struct Counted;

impl FromRequestParts<ApiState> for Counted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        if !is_service(&parts.headers, state)
            && let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>()
        {
            state.limits.sign_in(peer.ip())?;
        }
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once() -> AddressLimits {
        AddressLimits::times(1)
    }

    #[test]
    fn the_sixty_first_sign_in_of_a_minute_has_to_wait() {
        let (limits, address) = (once(), IpAddr::from([10, 0, 0, 1]));
        for n in 0..60 {
            assert_eq!(limits.sign_in(address), Ok(()), "{n}");
        }
        let error = limits.sign_in(address).unwrap_err();
        assert!(error.retry_after_ms.is_some_and(|ms| (1..=1000).contains(&ms)), "{error:?}");
    }

    #[test]
    fn addresses_sign_ins_and_handshakes_are_counted_apart() {
        let (limits, address) = (once(), IpAddr::from([10, 0, 0, 1]));
        while limits.sign_in(address).is_ok() {}
        assert!(limits.sign_in(IpAddr::from([10, 0, 0, 2])).is_ok());
        assert!(limits.handshake(address).is_ok());
    }

    #[test]
    fn an_ipv6_household_is_counted_as_one() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(household(parse("2001:db8::1")), household(parse("2001:db8::ffff:1")));
        assert_ne!(household(parse("2001:db8::1")), household(parse("2001:db8:0:1::1")));
        assert_eq!(household(parse("::ffff:10.0.0.1")), household(parse("10.0.0.1")));
    }

    #[test]
    fn without_limits_nobody_waits() {
        let limits = AddressLimits::none();
        assert!((0..1000).all(|_| limits.handshake(IpAddr::from([10, 0, 0, 1])).is_ok()));
    }
}
