//! The contract of the store: what every implementation promises, sentence by sentence.
//!
//! Each test is a function of a fresh store; `contract!` runs those it names against every implementation. A new
//! implementation is one line there.

/// Runs the named tests against every implementation.
macro_rules! contract {
    ($($sentence:ident),+ $(,)?) => {
        contract!(sqlite, cfg(all()): $($sentence),+);
        contract!(postgres, ignore = "needs PostgreSQL: make test-stack": $($sentence),+);
    };
    ($implementation:ident, $attribute:meta: $($sentence:ident),+) => {
        mod $implementation {
            $(
                #[tokio::test]
                #[$attribute]
                async fn $sentence() {
                    let fresh = crate::store::fresh::$implementation().await;
                    super::$sentence(fresh.store.clone()).await;
                    fresh.end().await;
                }
            )+
        }
    };
}

mod accounts;
mod commit;
mod conversations;
pub(crate) mod fresh;
mod groups;
mod large;
mod members;
mod messages;
mod model;
mod outbox;
mod postgres_commit;
mod postgres_faults;
mod postgres_open;
mod postgres_plans;
mod postgres_stamps;
mod push;
mod recall;
mod refusals;
mod servers;
mod sessions;
mod social;
mod sqlite_only;
mod sqlite_plans;
mod unread;
pub(crate) mod world;
