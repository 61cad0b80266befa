//! Server identity.

use async_trait::async_trait;
use im_protocol::{Epoch, ServerId};
use im_sdk::registry::{Marker, Server};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::rows::{number, small};
use super::{PostgresStore, call, error};
use crate::store::{Holder, Renewal, Report, Result, ServerRow, Servers};

/// The columns that [`server`] reads.
macro_rules! server_columns {
    () => {
        "id, epoch, address, serving, announced, expires > im_clock_v1() as live"
    };
}

fn server(row: &PgRow) -> error::Result<ServerRow> {
    let server = Server {
        epoch: Epoch(number(row, "epoch")?),
        live: row.try_get("live")?,
        serving: row.try_get("serving")?,
        announced: row.try_get::<Option<i64>, _>("announced")?.map(|marker| Marker(marker.cast_unsigned())),
    };
    Ok(ServerRow { id: ServerId(small(row, "id")?), server, address: row.try_get("address")? })
}

#[async_trait]
impl Servers for PostgresStore {
    async fn take_epoch(&self, server: ServerId, address: &str, ttl_ms: i64) -> Result<Epoch> {
        let epoch: i64 = call!(self, "take_epoch", |on| sqlx::query_scalar(
            "insert into servers as s (id, epoch, address, expires) values ($1, 1, $2, im_clock_v1() + $3)
             on conflict (id) do update set epoch = s.epoch + 1, address = excluded.address,
                 expires = excluded.expires, serving = false, announced = null returning epoch"
        )
        .bind(i32::from(server.0))
        .bind(address)
        .bind(ttl_ms)
        .fetch_one(on));
        Ok(Epoch(epoch.cast_unsigned()))
    }

    async fn renew(&self, holder: Holder, report: Report, ttl_ms: i64) -> Result<Renewal> {
        // The table is as it was before the statement, the own row as it is after.
        let reserved = self.reserved();
        let rows = call!(reserved, "renew", |on| sqlx::query(concat!(
            "with own as (
                 update servers set expires = im_clock_v1() + $3, serving = $4, announced = $5
                 where id = $1 and epoch = $2
                 returning id, epoch, address, serving, announced, expires)
             select ",
            server_columns!(),
            " from (select * from own union all
                    select id, epoch, address, serving, announced, expires from servers
                    where id <> $1 and exists (select from own)) rows
              order by id"
        ))
        .bind(i32::from(holder.server.0))
        .bind(holder.epoch.0.cast_signed())
        .bind(ttl_ms)
        .bind(report.serving)
        .bind(report.announced.map(|marker| marker.0.cast_signed()))
        .fetch_all(on));
        if rows.is_empty() {
            return Ok(Renewal::Fenced);
        }
        Ok(Renewal::Held(rows.iter().map(server).collect::<error::Result<_>>()?))
    }

    async fn release(&self, holder: Holder) -> Result<()> {
        let reserved = self.reserved();
        call!(reserved, "release", |on| sqlx::query(
            "update servers set expires = 0, serving = false where id = $1 and epoch = $2"
        )
        .bind(i32::from(holder.server.0))
        .bind(holder.epoch.0.cast_signed())
        .execute(on));
        Ok(())
    }

    async fn servers(&self) -> Result<Vec<ServerRow>> {
        let rows = call!(self, "servers", |on| sqlx::query(concat!(
            "select ",
            server_columns!(),
            " from servers order by id"
        ))
        .fetch_all(on));
        Ok(rows.iter().map(server).collect::<error::Result<_>>()?)
    }
}
