//! Who gets a record: plain values in, a plan out. Nothing here waits, so every rule can be tested without a server.
//!
//! The rule behind all of it is that *unknown is not offline*. Somebody is offline only when no valid route of theirs
//! is known **and** every live server has announced all it holds. Until then the servers that have not announced get
//! every record, and people found nowhere are unknown: their push has to wait.

use std::collections::{BTreeMap, HashSet};

use im_protocol::{ConnectionId, Epoch, ServerId, UserId};

use crate::registry::{Marker, Route, ServerTable};

/// Where a record for some people has to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// One batch per server id.
    pub batches: BTreeMap<ServerId, Batch>,
    /// Those without a connection anywhere.
    pub offline: Vec<UserId>,
    /// Those without a known connection while some server has not announced its own: they may be there.
    pub unknown: Vec<UserId>,
    /// Routes that are void and can be deleted.
    pub stale: Vec<(UserId, ConnectionId)>,
    /// A route told of an epoch the table does not know: it has to be loaded again.
    pub refresh: bool,
}

/// What one server gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The epoch the record is made for.
    pub epoch: Epoch,
    /// Whom the server may hold a connection of, in the order of the recipients, without duplicates.
    pub users: Vec<UserId>,
}

/// Where a record has to go whose recipients each server finds for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterestPlan {
    /// The servers, and the epoch the record is made for.
    pub servers: BTreeMap<ServerId, Epoch>,
    /// An interest told of an epoch the table does not know: it has to be loaded again.
    pub refresh: bool,
}

/// Plans one record per server for `users`, whose routes are `routes`, in the same order, read under `marker`.
///
/// - A route of a lower epoch than the highest one known of its server, or of a server that is gone, is stale.
/// - A route of an epoch the table does not know is used and asks for a refresh. Until then nobody can say what else
///   that server holds, so it counts as one that has not announced.
/// - Every live server that has not announced gets everyone.
pub fn plan(users: &[UserId], routes: &[impl AsRef<[Route]>], marker: Marker, table: &ServerTable) -> Plan {
    let known = Known::of(table, marker, routes.iter().flat_map(AsRef::as_ref).map(|r| (r.server, r.epoch)));
    let mut plan = Plan { refresh: known.refresh, ..Plan::default() };
    for (&server, &epoch) in &known.silent {
        plan.batches.insert(server, Batch { epoch, users: Vec::new() });
    }
    let mut seen = HashSet::with_capacity(users.len());
    for (user, routes) in users.iter().zip(routes) {
        if !seen.insert(user) {
            continue;
        }
        let mut found = false;
        for route in routes.as_ref() {
            if !known.is_valid(route.server, route.epoch) {
                plan.stale.push((user.clone(), route.connection));
                continue;
            }
            found = true;
            let batch =
                plan.batches.entry(route.server).or_insert_with(|| Batch { epoch: route.epoch, users: Vec::new() });
            batch.add(user);
        }
        for server in known.silent.keys() {
            if let Some(batch) = plan.batches.get_mut(server) {
                batch.add(user);
            }
        }
        match found {
            true => {}
            false if known.silent.is_empty() => plan.offline.push(user.clone()),
            false => plan.unknown.push(user.clone()),
        }
    }
    plan.batches.retain(|_, batch| !batch.users.is_empty());
    plan
}

/// Plans one record per server that is interested, by the index `interested` read under `marker`, or that may be without having said so.
///
/// An entry of a lower epoch than the table's, or of a server that is gone, is void. One of an epoch the table does not
/// know is used and asks for a refresh. Every live server that has not announced is a target too; with `everyone` (there
/// is no index yet) every live server is.
pub fn plan_interest(
    interested: &BTreeMap<ServerId, Epoch>,
    marker: Marker,
    table: &ServerTable,
    everyone: bool,
) -> InterestPlan {
    let known = Known::of(table, marker, interested.iter().map(|(&server, &epoch)| (server, epoch)));
    let entries = interested.iter().map(|(&server, &epoch)| (server, epoch));
    let mut servers: BTreeMap<_, _> = entries.filter(|&(server, epoch)| known.is_valid(server, epoch)).collect();
    let live = table.live().filter(|(_, server)| everyone || server.announced != Some(marker));
    for (id, server) in live {
        // An interest of a higher epoch stays: that process has taken the id from the one the table knows.
        servers.entry(id).or_insert(server.epoch);
    }
    InterestPlan { servers, refresh: known.refresh }
}

impl Batch {
    /// People come one after the other, so a duplicate can only be the last one.
    fn add(&mut self, user: &UserId) {
        if self.users.last() != Some(user) {
            self.users.push(user.clone());
        }
    }
}

/// What the table knows, bettered by epochs met on the way.
struct Known<'a> {
    table: &'a ServerTable,
    /// Servers met with an epoch above the table's, or that it does not list: the highest epoch met.
    newer: BTreeMap<ServerId, Epoch>,
    /// Live servers that have not announced, with their epoch.
    silent: BTreeMap<ServerId, Epoch>,
    refresh: bool,
}

impl<'a> Known<'a> {
    fn of(table: &'a ServerTable, marker: Marker, met: impl Iterator<Item = (ServerId, Epoch)>) -> Self {
        let mut newer = BTreeMap::<ServerId, Epoch>::new();
        for (server, epoch) in met {
            if table.get(server).is_none_or(|known| known.epoch < epoch) {
                let highest = newer.entry(server).or_insert(epoch);
                *highest = epoch.max(*highest);
            }
        }
        let silent = table.live().filter(|(_, server)| server.announced != Some(marker));
        let mut silent: BTreeMap<_, _> = silent.map(|(id, server)| (id, server.epoch)).collect();
        silent.extend(&newer);
        Self { table, refresh: !newer.is_empty(), newer, silent }
    }

    fn is_valid(&self, server: ServerId, epoch: Epoch) -> bool {
        match self.newer.get(&server) {
            Some(&newest) => epoch == newest,
            None => self.table.get(server).is_some_and(|known| known.live && known.epoch == epoch),
        }
    }
}
