//! The promises of read positions.

use im_protocol::Seq;
use im_sdk::reads::{Read, ReadPositions};

use crate::given::{conversation, user};

fn read(name: &str, of: &str, seq: Seq) -> Read {
    Read { conversation: conversation(of), user: user(name), seq }
}

async fn advance(positions: &dyn ReadPositions, reads: &[Read]) -> Vec<Option<Seq>> {
    positions.advance(reads).await.unwrap()
}

pub(crate) async fn a_position_moves_forward_and_never_back(positions: &dyn ReadPositions) {
    assert_eq!(advance(positions, &[read("alice", "g:1", 5)]).await, [None]);
    assert_eq!(advance(positions, &[read("alice", "g:1", 3)]).await, [Some(5)]);
    assert_eq!(advance(positions, &[read("alice", "g:1", 9)]).await, [Some(5)]);
    assert_eq!(advance(positions, &[read("alice", "g:1", 0)]).await, [Some(9)]);
}

pub(crate) async fn many_positions_move_at_once_and_tell_where_they_were(positions: &dyn ReadPositions) {
    advance(positions, &[read("bob", "g:1", 7)]).await;
    let reads = [read("alice", "g:1", 5), read("bob", "g:1", 8), read("alice", "g:2", 1), read("alice", "g:1", 6)];
    assert_eq!(advance(positions, &reads).await, [None, Some(7), None, Some(5)]);
    assert_eq!(advance(positions, &[]).await, []);
}

pub(crate) async fn what_someone_has_read_lately_is_known_in_all_their_conversations(positions: &dyn ReadPositions) {
    assert_eq!(positions.recent(&user("alice")).await.unwrap(), []);
    advance(positions, &[read("alice", "g:1", 5), read("alice", "d:alice:bob", 2), read("bob", "g:1", 9)]).await;
    advance(positions, &[read("alice", "g:1", 4)]).await;
    let mut recent = positions.recent(&user("alice")).await.unwrap();
    recent.sort();
    assert_eq!(recent, [(conversation("d:alice:bob"), 2), (conversation("g:1"), 5)]);
}

pub(crate) async fn who_has_read_so_far_is_known(positions: &dyn ReadPositions) {
    advance(positions, &[read("alice", "g:1", 5), read("bob", "g:1", 7), read("carol", "g:1", 4)]).await;
    advance(positions, &[read("alice", "g:2", 9)]).await;
    let mut readers = positions.readers(&conversation("g:1"), 5).await.unwrap();
    readers.sort();
    assert_eq!(readers, [(user("alice"), 5), (user("bob"), 7)]);
    assert_eq!(positions.readers(&conversation("g:3"), 1).await.unwrap(), []);
}

async fn count(positions: &dyn ReadPositions, version: u64, seq: Seq, except: &str) -> Option<u64> {
    positions.count(&conversation("g:1"), version, seq, &user(except)).await.unwrap()
}

async fn fill(positions: &dyn ReadPositions, version: u64, of: &[(&str, Seq)]) {
    let of: Vec<_> = of.iter().map(|&(name, seq)| (user(name), seq)).collect();
    positions.fill(&conversation("g:1"), version, &of).await.unwrap();
}

pub(crate) async fn readers_are_counted_once_everyone_is_there(positions: &dyn ReadPositions) {
    advance(positions, &[read("alice", "g:1", 5)]).await;
    assert_eq!(count(positions, 1, 5, "carol").await, None, "others may have read it long ago");
    fill(positions, 1, &[("alice", 0), ("bob", 5), ("carol", 5)]).await;
    assert_eq!(count(positions, 1, 5, "carol").await, Some(2));
    assert_eq!(count(positions, 1, 6, "carol").await, Some(0));
    advance(positions, &[read("bob", "g:1", 6)]).await;
    assert_eq!(count(positions, 1, 6, "carol").await, Some(1));
    assert_eq!(count(positions, 1, 6, "bob").await, Some(0));
}

pub(crate) async fn filling_in_keeps_who_is_further_and_forgets_who_has_left(positions: &dyn ReadPositions) {
    advance(positions, &[read("alice", "g:1", 9), read("gone", "g:1", 9)]).await;
    fill(positions, 1, &[("alice", 2), ("bob", 3)]).await;
    assert_eq!(count(positions, 1, 1, "nobody").await, Some(2));
    assert_eq!(advance(positions, &[read("alice", "g:1", 1)]).await, [Some(9)]);
}

pub(crate) async fn another_version_of_the_membership_is_not_complete(positions: &dyn ReadPositions) {
    fill(positions, 1, &[("alice", 2)]).await;
    assert_eq!(count(positions, 2, 1, "nobody").await, None);
    fill(positions, 2, &[("alice", 2), ("bob", 2)]).await;
    assert_eq!(count(positions, 1, 1, "nobody").await, None);
    assert_eq!(count(positions, 2, 1, "nobody").await, Some(2));
}
