//! Waiting at start for what the server rests on. What is down may come up, so the process stays, says what it waits for,
//! and tries again; what no waiting changes ends it.

use std::fmt::Display;
use std::time::Duration;

use im_sdk::bus::BusError;
use im_sdk::bus::kafka::KafkaConnectError;
use im_sdk::registry::RegistryError;
use im_sdk::registry::redis::ConnectError as RedisConnectError;

use crate::api::Management;
use crate::store::StoreError;
use crate::store::postgres::OpenError as PostgresError;

/// First pause between attempts; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause: a database that comes back is found within it, and one that is overloaded is left alone as long.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A start that can only go on with other settings.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongSettings(pub String);

/// Whether another attempt may go better.
pub trait Hope {
    /// False if only other settings help.
    fn may_pass(&self) -> bool;
}

impl Hope for KafkaConnectError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl Hope for RedisConnectError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unusable { .. })
    }
}

impl Hope for RegistryError {
    fn may_pass(&self) -> bool {
        true
    }
}

impl Hope for StoreError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl Hope for PostgresError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Store(StoreError::Unavailable(_)))
    }
}

impl Hope for BusError {
    fn may_pass(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// Tries until it works. `what` is what is waited for meanwhile, as `/readyz` says it.
pub async fn until<T, E: Hope + Display>(
    management: &Management,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, WrongSettings> {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match attempt().await {
            Ok(done) => {
                management.waits_for(None);
                return Ok(done);
            }
            Err(error) => error,
        };
        if !error.may_pass() {
            return Err(WrongSettings(error.to_string()));
        }
        tracing::warn!(%error, retry_in = ?pause, "waiting for {what}");
        management.waits_for(Some(format!("{what}: {error}")));
        // Servers that started together must not all knock together.
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.8..1.2))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use im_protocol::ServerId;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::api::Phase;

    #[derive(Debug, Clone, Copy)]
    enum Down {
        ForNow,
        ForEver,
    }

    impl Hope for Down {
        fn may_pass(&self) -> bool {
            matches!(self, Self::ForNow)
        }
    }

    impl fmt::Display for Down {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{self:?}")
        }
    }

    #[tokio::test]
    async fn what_is_down_is_waited_for_and_said() {
        let management = Management::new(ServerId(0), None, PrometheusBuilder::new().build_recorder().handle());
        let mut attempts = 0;
        let seen = management.clone();
        let value = until(&management, "the database", async || {
            attempts += 1;
            if attempts > 1 {
                assert_eq!(seen.status().phase, Phase::Starting);
                assert_eq!(seen.status().waits_for.as_deref(), Some("the database: ForNow"));
            }
            if attempts == 2 { Ok(attempts) } else { Err(Down::ForNow) }
        });
        assert_eq!(value.await.unwrap(), 2);
        assert_eq!(management.status().waits_for, None);
    }

    #[tokio::test]
    async fn what_no_waiting_changes_ends_the_start() {
        let management = Management::new(ServerId(0), None, PrometheusBuilder::new().build_recorder().handle());
        let refused = until(&management, "the database", async || Err::<(), _>(Down::ForEver)).await;
        assert_eq!(refused.unwrap_err().to_string(), "ForEver");
    }
}
