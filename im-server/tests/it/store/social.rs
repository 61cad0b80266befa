//! Friends, friend requests and blocks.

use im_protocol::UserId;
use im_server::store::{Answered, Friend, FriendRequest, Requested};

use super::world::{Db, NOW, befriend, people};

fn request(id: &str, from: &UserId, to: &UserId, message: &str) -> FriendRequest {
    FriendRequest { id: id.to_owned(), from: from.clone(), to: to.clone(), message: message.to_owned(), time: NOW }
}

async fn ask(store: &Db, request: &FriendRequest) -> Requested {
    store.request_friend(request.clone()).await.unwrap()
}

async fn a_request_twice_is_one_with_the_newer_message(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let first = request("1", &alice, &bob, "hi");
    assert_eq!(ask(&store, &first).await, Requested::Open(first.clone()));
    let newer = FriendRequest { message: "please".to_owned(), ..first };
    assert_eq!(ask(&store, &request("2", &alice, &bob, "please")).await, Requested::Open(newer.clone()));
    assert_eq!(store.friend_requests(&bob, None, 10).await.unwrap(), [newer]);
}

async fn open_requests_come_newest_first_before_one(store: Db) {
    let [alice, bob, carol, dave] = people(&store, ["alice", "bob", "carol", "dave"]).await;
    let requests = [request("1", &bob, &alice, ""), request("2", &carol, &alice, ""), request("3", &dave, &alice, "")];
    for request in &requests {
        ask(&store, request).await;
    }
    let [one, two, three] = requests;
    assert_eq!(store.friend_requests(&alice, None, 2).await.unwrap(), [three, two]);
    assert_eq!(store.friend_requests(&alice, Some("2"), 2).await.unwrap(), [one]);
    assert_eq!(store.friend_requests(&bob, None, 2).await.unwrap(), []);
}

async fn accepting_makes_both_friends_and_closes_requests_both_ways(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let theirs = request("1", &alice, &bob, "");
    ask(&store, &theirs).await;
    ask(&store, &request("2", &bob, &alice, "")).await;
    assert_eq!(store.answer_friend_request(&bob, "1", true, NOW).await.unwrap(), Answered::Done(theirs));
    assert_eq!(store.friend_requests(&alice, None, 10).await.unwrap(), []);
    assert_eq!(store.friend_requests(&bob, None, 10).await.unwrap(), []);
    for (user, friend) in [(&alice, &bob), (&bob, &alice)] {
        let expected = Friend { user: friend.clone(), name: format!("{friend}'s name"), remark: String::new() };
        assert_eq!(store.friends(user, None, 10).await.unwrap(), [expected]);
    }
    assert_eq!(ask(&store, &request("3", &alice, &bob, "")).await, Requested::AlreadyFriends);
}

async fn rejecting_closes_the_request_and_no_more(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let (first, second) = (request("1", &alice, &bob, ""), request("2", &alice, &bob, ""));
    ask(&store, &first).await;
    assert_eq!(store.answer_friend_request(&bob, "1", false, NOW).await.unwrap(), Answered::Done(first));
    assert_eq!(store.friends(&alice, None, 10).await.unwrap(), []);
    assert_eq!(store.answer_friend_request(&bob, "1", true, NOW).await.unwrap(), Answered::NotFound);
    assert_eq!(ask(&store, &second).await, Requested::Open(second.clone()));
}

async fn only_the_asked_one_can_answer(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    ask(&store, &request("1", &alice, &bob, "")).await;
    for user in [&alice, &carol] {
        assert_eq!(store.answer_friend_request(user, "1", true, NOW).await.unwrap(), Answered::NotFound);
    }
    assert_eq!(store.friend_requests(&bob, None, 10).await.unwrap().len(), 1);
}

async fn the_blocked_cannot_ask(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    store.set_block(&bob, &alice, true, NOW).await.unwrap();
    assert_eq!(ask(&store, &request("1", &alice, &bob, "")).await, Requested::Blocked);
    assert!(matches!(ask(&store, &request("2", &bob, &alice, "")).await, Requested::Open(_)));
    assert_eq!(store.friend_requests(&bob, None, 10).await.unwrap(), []);
}

async fn a_remark_is_mine_and_ends_with_the_friendship(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    assert!(!store.set_remark(&alice, &bob, "Bobby").await.unwrap());
    befriend(&store, &alice, &bob).await;
    assert!(store.set_remark(&alice, &bob, "Bobby").await.unwrap());
    assert_eq!(store.friends(&alice, None, 10).await.unwrap()[0].remark, "Bobby");
    assert_eq!(store.friends(&bob, None, 10).await.unwrap()[0].remark, "");
    assert!(store.remove_friend(&bob, &alice).await.unwrap());
    assert!(!store.remove_friend(&bob, &alice).await.unwrap());
    for user in [&alice, &bob] {
        assert_eq!(store.friends(user, None, 10).await.unwrap(), []);
    }
    befriend(&store, &bob, &alice).await;
    assert_eq!(store.friends(&alice, None, 10).await.unwrap()[0].remark, "");
}

async fn friends_come_by_id_after_one(store: Db) {
    let [alice, bob, carol, dave] = people(&store, ["alice", "bob", "carol", "dave"]).await;
    for friend in [&dave, &bob, &carol] {
        befriend(&store, &alice, friend).await;
    }
    let users = async |after, limit| {
        let friends = store.friends(&alice, after, limit).await.unwrap();
        friends.into_iter().map(|friend| friend.user).collect::<Vec<_>>()
    };
    assert_eq!(users(None, 2).await, [bob.clone(), carol.clone()]);
    assert_eq!(users(Some(&bob), 2).await, [carol.clone(), dave.clone()]);
    let among = store.friends_among(&carol, &[bob, alice.clone(), dave]).await.unwrap();
    assert_eq!(among, [alice]);
}

async fn blocks_come_by_id_and_can_be_asked_from_the_other_side(store: Db) {
    let [alice, bob, carol, dave] = people(&store, ["alice", "bob", "carol", "dave"]).await;
    for other in [&dave, &bob, &carol, &bob] {
        store.set_block(&alice, other, true, NOW).await.unwrap();
    }
    for _ in 0..2 {
        store.set_block(&alice, &carol, false, NOW).await.unwrap();
    }
    let users = async |after, limit| {
        let blocks = store.blocks(&alice, after, limit).await.unwrap();
        blocks.into_iter().map(|account| account.user).collect::<Vec<_>>()
    };
    assert_eq!(users(None, 10).await, [bob.clone(), dave.clone()]);
    assert_eq!(users(Some(&bob), 10).await, [dave]);
    assert_eq!(users(None, 1).await, std::slice::from_ref(&bob));
    assert_eq!(store.blocked_by(&bob, &[carol.clone(), alice.clone()]).await.unwrap(), std::slice::from_ref(&alice));
    assert_eq!(store.blocked_by(&carol, &[bob, alice]).await.unwrap(), []);
}

contract!(
    a_request_twice_is_one_with_the_newer_message,
    open_requests_come_newest_first_before_one,
    accepting_makes_both_friends_and_closes_requests_both_ways,
    rejecting_closes_the_request_and_no_more,
    only_the_asked_one_can_answer,
    the_blocked_cannot_ask,
    a_remark_is_mine_and_ends_with_the_friendship,
    friends_come_by_id_after_one,
    blocks_come_by_id_and_can_be_asked_from_the_other_side,
);
