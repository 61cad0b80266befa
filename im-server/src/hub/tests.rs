//! The hub with recorders for sockets.

use std::sync::Arc;

use im_protocol::close::CloseReason;
use im_protocol::record::{Audience, Push};
use im_protocol::server::Answer;
use im_protocol::server::GoAway;
use im_protocol::{
    ConnectionId, ConversationId, DeviceId, Epoch, Frame, ServerFrame, ServerId, Terminal, TimeMs, UserId,
};
use im_sdk::registry::{MemoryRegistry, Registry, Topic};
use parking_lot::Mutex;

use super::{Begun, Connection, Hub, SharedFrame, Sink};
use crate::store::{MemberList, SessionId, Stint};

/// A sink that counts.
#[derive(Default)]
struct Recorder {
    queued: Mutex<usize>,
    closed: Mutex<Option<CloseReason>>,
}

impl Sink for Recorder {
    fn enqueue(&self, _: &SharedFrame) -> bool {
        let mut queued = self.queued.lock();
        *queued += 1;
        *queued == 1
    }
    fn flush(&self) {}
    fn close(&self, reason: CloseReason) {
        *self.closed.lock() = Some(reason);
    }
    fn send_away(&self, _: GoAway) {
        self.close(CloseReason::GoingAway);
    }
    fn check(&self, _: TimeMs) {}
    fn queued(&self) -> usize {
        *self.queued.lock()
    }
    fn session(&self) -> SessionId {
        SessionId("s".into())
    }
}

struct Rig {
    hub: Arc<Hub>,
    registry: Arc<MemoryRegistry>,
    #[allow(dead_code, reason = "held, not used: the task goes on")]
    begun: Begun,
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn conversation(id: &str) -> ConversationId {
    ConversationId::parse(id).unwrap()
}

impl Rig {
    fn new() -> Self {
        let (hub, interest, begun) = Hub::new(ServerId(3), Epoch(7));
        let registry = Arc::new(MemoryRegistry::new());
        tokio::spawn(interest.run(hub.clone(), registry.clone()));
        Self { hub, registry, begun }
    }

    fn connect(&self, name: &str, id: u64) -> (Arc<Connection>, Arc<Recorder>) {
        let recorder = Arc::new(Recorder::default());
        let connection = Arc::new(Connection {
            id: ConnectionId(id),
            user: user(name),
            terminal: Terminal::Web,
            device: DeviceId::parse("d").unwrap(),
            since: 0,
            sink: recorder.clone(),
        });
        self.hub.attach(&connection);
        (connection, recorder)
    }

    fn push(&self, audience: Audience) -> usize {
        let mut touched = Vec::new();
        let frame = Frame::encode(&ServerFrame::Ok(Answer { id: None }));
        self.hub.push(&Push { audience, frame, about: None }, &mut touched);
        touched.len()
    }

    async fn is_interested(&self, topic: Topic) -> bool {
        !self.registry.interested(&[topic]).await.unwrap().of[0].is_empty()
    }
}

#[tokio::test]
async fn a_push_reaches_every_connection_of_a_user_but_the_excepted_one() {
    let rig = Rig::new();
    let (_, first) = rig.connect("alice", 1);
    let (_, second) = rig.connect("alice", 2);
    let (_, other) = rig.connect("bob", 3);
    let users = vec![user("alice"), user("nobody")];
    assert_eq!(rig.push(Audience::Users { users, except: Some(ConnectionId(1)) }), 1);
    assert_eq!((*first.queued.lock(), *second.queued.lock(), *other.queued.lock()), (0, 1, 0));
}

#[tokio::test]
async fn a_connection_touched_twice_is_flushed_once() {
    let rig = Rig::new();
    let _alice = rig.connect("alice", 1);
    let audience = || Audience::Users { users: vec![user("alice")], except: None };
    assert_eq!(rig.push(audience()) + rig.push(audience()), 1);
}

#[tokio::test]
async fn a_large_group_expands_by_stint_and_only_to_who_is_connected() {
    let rig = Rig::new();
    let (_, alice) = rig.connect("alice", 1);
    let (_, bob) = rig.connect("bob", 2);
    let group = conversation("g:large");
    let member = |name, joined, left| (user(name), Stint { joined, left });
    let members = vec![member("alice", 1, None), member("bob", 1, Some(5)), member("carol", 1, None)];
    assert!(!rig.hub.knows_members(&group, 4));
    rig.hub.load_members(&group, &MemberList { version: 4, members }).await;
    assert!(rig.hub.knows_members(&group, 4) && !rig.hub.knows_members(&group, 5));

    let at = |seq| Audience::Members { conversation: group.clone(), seq, members_version: 4 };
    rig.push(at(4));
    rig.push(at(5));
    assert_eq!((*alice.queued.lock(), *bob.queued.lock()), (2, 1));
}

#[tokio::test]
async fn interest_in_a_large_group_lasts_from_its_first_member_here_to_its_last() {
    let rig = Rig::new();
    let group = conversation("g:large");
    let (one, _) = rig.connect("alice", 1);
    let (two, _) = rig.connect("alice", 2);
    rig.hub.enter_groups(&user("alice"), vec![(group.clone(), 1, Stint::ALWAYS)]).await;
    assert!(rig.is_interested(Topic::Conversation(group.clone())).await);
    rig.hub.detach(&one).await;
    assert!(rig.is_interested(Topic::Conversation(group.clone())).await);
    rig.hub.detach(&two).await;
    assert!(!rig.is_interested(Topic::Conversation(group)).await);
}

#[tokio::test]
async fn a_newcomer_does_not_make_an_index_whole() {
    let rig = Rig::new();
    let group = conversation("g:large");
    // Alice was here before the group became large: nobody has put her into an index.
    let _alice = rig.connect("alice", 1);
    let _bob = rig.connect("bob", 2);
    rig.hub.enter_groups(&user("bob"), vec![(group.clone(), 4, Stint::ALWAYS)]).await;
    assert!(!rig.hub.knows_members(&group, 4));
}

#[tokio::test]
async fn a_stay_that_was_read_before_a_kick_is_not_believed() {
    let rig = Rig::new();
    let group = conversation("g:large");
    let _bob = rig.connect("bob", 1);
    let members = vec![(user("bob"), Stint { joined: 1, left: Some(5) })];
    rig.hub.load_members(&group, &MemberList { version: 4, members }).await;
    rig.hub.enter_groups(&user("bob"), vec![(group.clone(), 3, Stint::ALWAYS)]).await;
    assert!(!rig.hub.knows_members(&group, 4));
}

#[tokio::test]
async fn a_room_holds_a_connection_until_it_leaves_or_ends() {
    let rig = Rig::new();
    let room = conversation("r:lobby");
    let (one, first) = rig.connect("alice", 1);
    let (two, second) = rig.connect("bob", 2);
    rig.hub.enter_room(&room, &one).await;
    rig.hub.enter_room(&room, &one).await;
    rig.hub.enter_room(&room, &two).await;
    rig.push(Audience::Room { conversation: room.clone() });
    assert_eq!((*first.queued.lock(), *second.queued.lock()), (1, 1));
    assert!(rig.hub.leave_room(&room, &one).await);
    assert!(!rig.hub.leave_room(&room, &one).await);
    assert!(!rig.is_interested(Topic::Inside(room.clone(), user("alice"))).await);
    rig.push(Audience::Room { conversation: room.clone() });
    assert_eq!((*first.queued.lock(), *second.queued.lock()), (1, 2));
    rig.hub.detach(&two).await;
    assert!(!rig.hub.is_inside(&room, two.id));
    assert!(!rig.is_interested(Topic::Conversation(room)).await);
}

#[tokio::test]
async fn watchers_hear_of_a_user_until_they_stop_watching() {
    let rig = Rig::new();
    let (watcher, heard) = rig.connect("alice", 1);
    let bob = [user("bob")];
    rig.hub.watch(&bob, &watcher).await;
    rig.push(Audience::Watchers { user: user("bob") });
    rig.push(Audience::Watchers { user: user("carol") });
    rig.hub.unwatch(&bob, &watcher).await;
    rig.push(Audience::Watchers { user: user("bob") });
    assert_eq!(*heard.queued.lock(), 1);
    assert!(!rig.is_interested(Topic::Presence(user("bob"))).await);
}

#[tokio::test]
async fn only_the_named_connections_are_ended() {
    let rig = Rig::new();
    let (_, first) = rig.connect("alice", 1);
    let (_, second) = rig.connect("alice", 2);
    rig.hub.disconnect(&im_protocol::record::Disconnect {
        user: user("alice"),
        connections: vec![ConnectionId(2), ConnectionId(9)],
        reason: CloseReason::Kicked,
    });
    assert_eq!((*first.closed.lock(), *second.closed.lock()), (None, Some(CloseReason::Kicked)));
}
