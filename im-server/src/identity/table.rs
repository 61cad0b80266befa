//! Who lives: from the store's rows to the table that records are routed by. Pure.

use im_protocol::{Epoch, ServerId};
use im_sdk::registry::{Server, ServerTable};

use crate::store::{Holder, ServerRow};

/// The table as the store's rows tell it.
///
/// A lease that has run out ends its holder only if this process `may_judge`; until then the last verdict on that epoch
/// stands: that of the registry's mirror, else the known one, else that it lives. No epoch goes back, nobody is
/// forgotten.
pub(super) fn seen(
    rows: &[ServerRow],
    known: &ServerTable,
    mirror: Option<&ServerTable>,
    may_judge: bool,
) -> ServerTable {
    let mut table = known.clone();
    for ServerRow { id, server, .. } in rows {
        let same = |table: &ServerTable| table.get(*id).filter(|other| other.epoch == server.epoch).map(|it| it.live);
        let verdict = || mirror.and_then(same).or_else(|| same(known)).unwrap_or(true);
        let live = server.live || (!may_judge && verdict());
        table.observe(*id, Server { live, ..server.clone() });
    }
    table
}

/// The epochs that were over in `after` and not in `before`. Of a server that was not known there are none.
pub(super) fn deaths(before: &ServerTable, after: &ServerTable) -> Vec<(ServerId, Epoch)> {
    let mut deaths = Vec::new();
    for (id, now) in after.iter() {
        let Some(known) = before.get(id) else { continue };
        let first = if known.live { known.epoch.0 } else { known.epoch.0 + 1 };
        let end = if now.live { now.epoch.0 } else { now.epoch.0 + 1 };
        deaths.extend((first..end).map(|epoch| (id, Epoch(epoch))));
    }
    deaths
}

/// How many server ids have been taken again.
pub(super) fn taken_again(before: &ServerTable, after: &ServerTable) -> u64 {
    let risen = |(id, now): &(ServerId, &Server)| before.get(*id).is_some_and(|known| known.epoch < now.epoch);
    after.iter().filter(risen).count() as u64
}

/// The one that does for all what has to be done once: the living server with the lowest id.
pub(super) fn is_first(table: &ServerTable, server: ServerId) -> bool {
    table.live().next().is_some_and(|(id, _)| id == server)
}

/// What the registry's mirror lacks: servers it does not know, or of an older epoch, and ends. What a living server
/// says of itself is its own to write, so nothing is claimed of what it has announced.
pub(super) fn missing(table: &ServerTable, mirror: &ServerTable, holder: Holder) -> Vec<(ServerId, Server)> {
    let lacks = |id: ServerId, server: &Server| match mirror.get(id) {
        Some(mirrored) if mirrored.epoch == server.epoch => mirrored.live && !server.live,
        Some(mirrored) => mirrored.epoch < server.epoch,
        None => true,
    };
    table
        .iter()
        .filter(|&(id, server)| id != holder.server && lacks(id, server))
        .map(|(id, server)| (id, Server { announced: None, ..server.clone() }))
        .collect()
}

#[cfg(test)]
mod tests {
    use im_sdk::registry::Marker;
    use proptest::prelude::*;

    use super::*;

    fn server(epoch: u64, live: bool) -> Server {
        Server { epoch: Epoch(epoch), live, serving: true, announced: Some(Marker(1)) }
    }

    fn row(id: u16, epoch: u64, live: bool) -> ServerRow {
        ServerRow { id: ServerId(id), server: server(epoch, live), address: String::new() }
    }

    fn table(servers: &[(u16, u64, bool)]) -> ServerTable {
        let mut table = ServerTable::default();
        for &(id, epoch, live) in servers {
            table.observe(ServerId(id), server(epoch, live));
        }
        table
    }

    #[test]
    fn a_lease_that_ran_out_ends_its_holder_only_if_this_process_may_judge() {
        let known = table(&[(1, 4, true)]);
        let rows = [row(1, 4, false)];
        assert_eq!(seen(&rows, &known, None, false), known);
        assert_eq!(seen(&rows, &known, None, true), table(&[(1, 4, false)]));
    }

    #[test]
    fn who_may_not_judge_goes_by_the_last_verdict() {
        let rows = [row(1, 4, false)];
        let unknown = ServerTable::default();
        assert_eq!(seen(&rows, &unknown, None, false), table(&[(1, 4, true)]), "nobody knows: it lives");
        let dead = table(&[(1, 4, false)]);
        assert_eq!(seen(&rows, &unknown, Some(&dead), false), dead);
        let earlier = table(&[(1, 3, false)]);
        assert_eq!(seen(&rows, &earlier, Some(&earlier), false), table(&[(1, 4, true)]), "that was another epoch");
        assert_eq!(seen(&[row(1, 4, true)], &dead, Some(&dead), false), table(&[(1, 4, true)]), "the lease runs");
    }

    #[test]
    fn an_epoch_that_is_over_is_a_death_once() {
        let before = table(&[(1, 4, true), (2, 1, true), (3, 7, false), (4, 2, false)]);
        let after = table(&[(1, 4, false), (2, 2, true), (3, 7, false), (4, 4, true), (5, 9, false)]);
        let died = [(1, 4), (2, 1), (4, 3)].map(|(id, epoch)| (ServerId(id), Epoch(epoch)));
        assert_eq!(deaths(&before, &after), died);
        assert_eq!(deaths(&after, &after), []);
        assert_eq!(taken_again(&before, &after), 2);
    }

    #[test]
    fn the_mirror_is_told_of_strangers_and_ends_and_never_what_others_have_announced() {
        let holder = Holder { server: ServerId(0), epoch: Epoch(1) };
        let known = table(&[(0, 1, true), (1, 4, false), (2, 2, true), (3, 1, true), (4, 1, true), (5, 1, false)]);
        let mirror = table(&[(1, 4, true), (2, 1, true), (4, 1, false), (5, 1, false)]);
        let silent = |epoch, live| Server { announced: None, ..server(epoch, live) };
        let expected = [(1, silent(4, false)), (2, silent(2, true)), (3, silent(1, true))];
        assert_eq!(missing(&known, &mirror, holder), expected.map(|(id, server)| (ServerId(id), server)));
    }

    fn any_table() -> impl Strategy<Value = Vec<(u16, u64, bool)>> {
        prop::collection::vec((0_u16..5, 1_u64..4, any::<bool>()), 0..6)
    }

    proptest! {
        #[test]
        fn no_epoch_goes_back_nobody_is_forgotten_and_only_judges_end_a_life(
            rows in any_table(), known in any_table(), mirror in proptest::option::of(any_table()), judge in any::<bool>(),
        ) {
            let rows: Vec<_> = table(&rows).iter().map(|(id, it)| row(id.0, it.epoch.0, it.live)).collect();
            let (known, mirror) = (table(&known), mirror.map(|servers| table(&servers)));
            let after = seen(&rows, &known, mirror.as_ref(), judge);
            for (id, before) in known.iter() {
                let now = after.get(id).expect("nobody is forgotten");
                prop_assert!(now.epoch >= before.epoch);
                let told = mirror.as_ref().and_then(|mirror| mirror.get(id)).is_some_and(|it| it.epoch == now.epoch && !it.live);
                if now.epoch == before.epoch && before.live && !now.live {
                    prop_assert!(judge || told);
                }
            }
            for row in rows.iter().filter(|row| row.server.live) {
                if known.get(row.id).is_none_or(|known| known.epoch <= row.server.epoch) {
                    prop_assert!(after.get(row.id).unwrap().live, "a lease that runs is a life");
                }
            }
        }

        #[test]
        fn every_epoch_that_lived_dies_once_on_the_way(steps in prop::collection::vec((1_u64..3, any::<bool>()), 1..12)) {
            let mut now = table(&[(1, 1, true)]);
            let mut died = Vec::new();
            let (mut epoch, mut live) = (1, true);
            for (rise, lives) in steps {
                // An epoch that is over does not come back in this walk.
                epoch += if live { rise - 1 } else { rise };
                live = lives;
                let next = table(&[(1, epoch, live)]);
                died.extend(deaths(&now, &next).into_iter().map(|(_, epoch)| epoch.0));
                now = next;
            }
            let over = if live { epoch } else { epoch + 1 };
            prop_assert_eq!(died, (1..over).collect::<Vec<_>>());
        }
    }
}
