//! Server ids and their leases.

use im_protocol::{Epoch, ServerId};
use im_sdk::registry::{Marker, Server};
use im_server::store::{Holder, Renewal, Report, ServerRow};

use super::world::Db;

/// Longer than any test.
const LONG: i64 = 600_000;

async fn hold(store: &Db, server: u16, ttl_ms: i64) -> Holder {
    let server = ServerId(server);
    Holder { server, epoch: store.take_epoch(server, "10.0.0.1:9090", ttl_ms).await.unwrap() }
}

async fn an_epoch_rises_every_time_a_server_id_is_taken(store: Db) {
    assert_eq!(hold(&store, 3, LONG).await.epoch, Epoch(1));
    assert_eq!(hold(&store, 3, LONG).await.epoch, Epoch(2));
    assert_eq!(hold(&store, 0, LONG).await.epoch, Epoch(1));
}

async fn a_server_is_listed_with_what_it_last_reported(store: Db) {
    let holder = hold(&store, 2, LONG).await;
    let taken = Server { epoch: Epoch(1), live: true, serving: false, announced: None };
    let row = |server| ServerRow { id: ServerId(2), server, address: "10.0.0.1:9090".to_owned() };
    assert_eq!(store.servers().await.unwrap(), [row(taken.clone())]);
    // The highest bit is not lost on the way through a signed column.
    let report = Report { serving: true, announced: Some(Marker(u64::MAX)) };
    let reported = row(Server { serving: true, announced: report.announced, ..taken.clone() });
    assert_eq!(store.renew(holder, report, LONG).await.unwrap(), Renewal::Held(vec![reported]));
    hold(&store, 2, LONG).await;
    let taken_again = row(Server { epoch: Epoch(2), ..taken });
    assert_eq!(store.servers().await.unwrap(), [taken_again], "who takes an id has announced nothing yet");
}

async fn who_took_an_id_later_fences_the_earlier(store: Db) {
    let earlier = hold(&store, 1, LONG).await;
    let later = hold(&store, 1, LONG).await;
    let report = Report { serving: true, announced: None };
    assert_eq!(store.renew(earlier, report, LONG).await.unwrap(), Renewal::Fenced);
    store.release(earlier).await.unwrap();
    let [row] = &store.servers().await.unwrap()[..] else { panic!("one server") };
    assert_eq!((row.server.epoch, row.server.live, row.server.serving), (later.epoch, true, false));
}

async fn a_lease_that_ran_out_is_over_until_it_is_renewed(store: Db) {
    let (lapsed, other) = (hold(&store, 1, 0).await, hold(&store, 2, LONG).await);
    let live = |rows: Vec<ServerRow>| rows.into_iter().map(|row| row.server.live).collect::<Vec<_>>();
    assert_eq!(live(store.servers().await.unwrap()), [false, true]);
    let Renewal::Held(rows) = store.renew(lapsed, Report::default(), LONG).await.unwrap() else { panic!("not fenced") };
    assert_eq!(live(rows), [true, true]);
    store.release(other).await.unwrap();
    assert_eq!(live(store.servers().await.unwrap()), [true, false]);
}

contract!(
    an_epoch_rises_every_time_a_server_id_is_taken,
    a_server_is_listed_with_what_it_last_reported,
    who_took_an_id_later_fences_the_earlier,
    a_lease_that_ran_out_is_over_until_it_is_renewed,
);
