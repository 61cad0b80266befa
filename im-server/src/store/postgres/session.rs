//! One call on one connection: bounded in time, counted, and tried again where it lost to another one.

use std::time::Duration;

use rand::RngExt;
use sqlx::pool::PoolConnection;
use sqlx::{Acquire, PgConnection, Postgres, Transaction};
use tokio::time::error::Elapsed;

use super::error::{Fault, Kind, Result};
use crate::store::{Holder, Stamp};

/// How often a transaction that the server undid in favour of another one is tried in all. Those that collide are apart
/// by a random pause, so that a third try hardly ever collides again.
const TRIES: u32 = 5;

/// The longest pause before the first of them.
const PAUSE: Duration = Duration::from_millis(10);

/// A connection for one call.
pub(super) struct Lease {
    connection: PoolConnection<Postgres>,
    operation: &'static str,
}

impl Lease {
    pub(super) fn new(connection: PoolConnection<Postgres>, operation: &'static str) -> Self {
        Self { connection, operation }
    }

    /// Where one statement goes.
    pub(super) fn on(&mut self) -> &mut PgConnection {
        count(self.operation);
        &mut self.connection
    }

    /// Begins a transaction. Dropped, it is rolled back.
    pub(super) async fn begin(&mut self, holder: Option<Holder>) -> Result<Write<'_>> {
        count(self.operation);
        Ok(Write { tx: self.connection.begin().await?, operation: self.operation, stamp: None, holder })
    }

    /// What a call came to that was given a time. A connection that did not answer in time is in the middle of
    /// something, or cut off; one that says it cannot may lead to a server that was replaced. It is closed, and the pool
    /// makes another one.
    pub(super) fn settled<T, E: Into<Fault>>(
        &mut self,
        outcome: std::result::Result<std::result::Result<T, E>, Elapsed>,
    ) -> Result<T> {
        let outcome = match outcome {
            Ok(outcome) => outcome.map_err(Into::into),
            Err(_) => Err(Fault::unavailable(format!("no answer to {:?}", self.operation))),
        };
        if matches!(outcome, Err(Fault { kind: Kind::Unavailable, .. })) {
            self.connection.close_on_drop();
        }
        outcome
    }
}

/// Statements by what they are for: what runs per message and for the relay stands among them.
fn count(operation: &'static str) {
    metrics::counter!("im_sql_statements_total", "operation" => operation).increment(1);
}

/// A write transaction.
pub(super) struct Write<'c> {
    tx: Transaction<'c, Postgres>,
    operation: &'static str,
    stamp: Option<Stamp>,
    /// Whose its outbox row is.
    pub(super) holder: Option<Holder>,
}

impl Write<'_> {
    /// Where statements go.
    pub(super) fn on(&mut self) -> &mut PgConnection {
        count(self.operation);
        &mut self.tx
    }

    /// What the rows it touches are stamped with.
    pub(super) async fn stamp(&mut self) -> Result<Stamp> {
        if let Some(stamp) = self.stamp {
            return Ok(stamp);
        }
        let stamp = Stamp(sqlx::query_scalar("select im_stamp_v1()").fetch_one(self.on()).await?);
        self.stamp = Some(stamp);
        Ok(stamp)
    }

    /// A transaction within it, which can be undone alone.
    pub(super) async fn part(&mut self) -> Result<Transaction<'_, Postgres>> {
        count(self.operation);
        Ok(self.tx.begin().await?)
    }

    /// Makes it last.
    pub(super) async fn commit(self) -> Result<()> {
        count(self.operation);
        Ok(self.tx.commit().await?)
    }
}

/// Whether a transaction is worth another try after `tries`; waits for it.
pub(super) async fn again<T>(outcome: &Result<T>, tries: u32) -> bool {
    let conflict = matches!(outcome, Err(Fault { kind: Kind::Conflict, .. }));
    if !conflict || tries >= TRIES {
        return false;
    }
    metrics::counter!("im_sql_conflicts_total").increment(1);
    let longest = PAUSE * 2_u32.pow(tries);
    let pause = rand::rng().random_range(Duration::ZERO..longest);
    tokio::time::sleep(pause).await;
    true
}

/// The value of one call on one connection: `call!(store, "operation", |on| future)`.
macro_rules! call {
    ($store:expr, $operation:literal, |$on:ident| $call:expr) => {{
        let mut lease = $store.lease($operation).await?;
        let outcome = {
            let $on = lease.on();
            tokio::time::timeout($store.patience, $call).await
        };
        lease.settled(outcome)?
    }};
}
pub(super) use call;

/// The value of a transaction: `transact!(store, "operation", |write| { …; value })`. The block may run more than once. A
/// `return` in it leaves without a commit.
macro_rules! transact {
    ($store:expr, $operation:literal, |$write:ident| $block:block) => {{
        let mut tries = 0;
        loop {
            let mut lease = $store.lease($operation).await?;
            let outcome = tokio::time::timeout($store.patience, async {
                #[allow(unused_mut)]
                let mut $write = lease.begin($store.holder()).await?;
                let value = $block;
                $write.commit().await?;
                Ok::<_, $crate::store::postgres::Fault>(value)
            })
            .await;
            let outcome = lease.settled(outcome);
            drop(lease);
            tries += 1;
            if !$crate::store::postgres::session::again(&outcome, tries).await {
                break outcome?;
            }
        }
    }};
}
pub(super) use transact;
