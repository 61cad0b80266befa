//! Several servers over one database: a read on one of them is known to all at once, and without what they share it is
//! known when the database has it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_protocol::server::ConversationItem;
use im_protocol::{ConversationId, Seq, UserId};
use im_sdk::reads::{MemoryReadPositions, Read, ReadPositions};
use im_sdk::registry::{MemoryRegistry, RegistryError};
use im_server::chat::{Background, Chat, Parts, Passwords, Secret, Settings, Tokens};
use im_server::store::sqlite::SqliteStore;
use tokio::task::JoinSet;

use crate::api::harness::Recorder;
use crate::store::world::{self, Db, commit_one, group, people, text};
use crate::wait::until_within;

/// A server whose tasks do not run: the database does not learn anything from it by itself.
struct Server {
    chat: Arc<Chat>,
    background: Background,
    published: Arc<Recorder>,
}

fn server(store: &Db, positions: Arc<dyn ReadPositions>) -> Server {
    // Groups of three are large here.
    server_with(store, positions, 2)
}

fn server_with(store: &Db, positions: Arc<dyn ReadPositions>, receipts_up_to: u32) -> Server {
    let published = Arc::new(Recorder::default());
    let (chat, background) = Chat::new(Parts {
        store: store.clone(),
        registry: Arc::new(MemoryRegistry::new()),
        positions,
        servers: Arc::new(Arc::default),
        publish: published.clone(),
        settings: Settings { receipts_up_to, ..Settings::default() },
        committers: 1,
        tokens: Tokens::new(Secret::new("a signing secret of a test")),
        passwords: Passwords::new(),
    });
    Server { chat, background, published }
}

struct World {
    store: Db,
    group: ConversationId,
    alice: UserId,
    bob: UserId,
    head: Seq,
    _folder: tempfile::TempDir,
}

/// Alice has sent three messages to a group with Bob and Carol.
async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store: Db = Arc::new(SqliteStore::open(&folder.path().join("im.db")).await.unwrap());
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let group = group(&store, "tea", &alice, &[&bob, &carol]).await;
    let mut head = 0;
    for word in ["one", "two", "three"] {
        head = world::committed(&commit_one(&store, text(&group, &alice, word)).await).message.seq;
    }
    World { store, group, alice, bob, head, _folder: folder }
}

impl World {
    async fn read(&self, server: &Server, seq: Seq) {
        server.chat.read(&self.bob, &self.group, seq, None).await.unwrap();
    }

    /// What Bob has not read, by the list that a server gives.
    async fn unread(&self, server: &Server) -> u64 {
        let items = server.chat.conversations(&self.bob, None, None, 10).await.unwrap().items;
        unread(&items.into_iter().find(|item| *item.conversation() == self.group).expect("the group is in the list"))
    }
}

fn unread(item: &ConversationItem) -> u64 {
    match item {
        ConversationItem::Present(view) => view.unread,
        ConversationItem::Removed(_) => panic!("{item:?}"),
    }
}

#[tokio::test]
async fn a_read_on_one_server_shows_in_the_list_of_another_before_the_database_has_it() {
    let world = world().await;
    let positions = Arc::new(MemoryReadPositions::default());
    let [one, other] = [(); 2].map(|()| server(&world.store, positions.clone()));
    assert_eq!(world.unread(&other).await, 3);
    world.read(&one, world.head - 1).await;
    assert_eq!(world.unread(&other).await, 1);
    assert_eq!(unread(&other.chat.conversation(&world.bob, &world.group).await.unwrap()), 1);
    let stored = world.store.position(&world.group, &world.bob).await.unwrap().unwrap();
    assert_eq!(stored.read, 0, "the database does not have it yet");
}

#[tokio::test]
async fn what_was_read_on_another_server_is_not_told_again_and_moves_nothing_back() {
    let world = world().await;
    let positions = Arc::new(MemoryReadPositions::default());
    let [one, other] = [(); 2].map(|()| server(&world.store, positions.clone()));
    world.read(&one, world.head).await;
    assert_eq!(one.published.take(), ["bob read_elsewhere"]);
    world.read(&other, world.head - 1).await;
    world.read(&other, world.head).await;
    assert_eq!(other.published.take(), Vec::<String>::new());
    other.chat.finish().await.unwrap();
    assert_eq!(world.unread(&one).await, 0);
    one.chat.finish().await.unwrap();
    assert_eq!(world.store.position(&world.group, &world.bob).await.unwrap().unwrap().read, world.head);
}

/// Who has read the last message, by the list that a server gives a page at a time.
async fn readers(world: &World, server: &Server, limit: u32) -> Vec<String> {
    let (mut readers, mut after) = (Vec::new(), None);
    loop {
        let page = server.chat.readers(&world.alice, &world.group, world.head, after.as_ref(), limit).await;
        let (page, more) = page.unwrap();
        assert!(page.iter().all(|reader| reader.read == world.head), "{page:?}");
        readers.extend(page.iter().map(|reader| reader.user.to_string()));
        after = page.last().map(|reader| reader.user.clone());
        if !more {
            return readers;
        }
    }
}

#[tokio::test]
async fn who_reads_on_one_server_is_listed_by_another_before_the_database_has_it() {
    let world = world().await;
    let positions = Arc::new(MemoryReadPositions::default());
    // Groups of three are small here.
    let [one, other] = [(); 2].map(|()| server_with(&world.store, positions.clone(), 3));
    world.read(&one, world.head).await;
    let read = |user: &UserId| Read { conversation: world.group.clone(), user: user.clone(), seq: world.head };
    // The sender is no reader, and a stranger never was a member.
    positions.advance(&[read(&world.alice), read(&"stranger".parse().unwrap())]).await.unwrap();
    assert_eq!(readers(&world, &other, 10).await, ["bob"]);
    one.chat.read(&"carol".parse().unwrap(), &world.group, world.head, None).await.unwrap();
    assert_eq!(readers(&world, &other, 1).await, ["bob", "carol"]);
    one.chat.finish().await.unwrap();
    assert_eq!(readers(&world, &other, 10).await, ["bob", "carol"], "each once");
}

struct Away;

#[async_trait]
impl ReadPositions for Away {
    async fn advance(&self, _: &[Read]) -> Result<Vec<Option<Seq>>, RegistryError> {
        Err(RegistryError::Unavailable("away".to_owned()))
    }
    async fn recent(&self, _: &UserId) -> Result<Vec<(ConversationId, Seq)>, RegistryError> {
        Err(RegistryError::Unavailable("away".to_owned()))
    }
    async fn readers(&self, _: &ConversationId, _: Seq) -> Result<Vec<(UserId, Seq)>, RegistryError> {
        Err(RegistryError::Unavailable("away".to_owned()))
    }
    async fn count(&self, _: &ConversationId, _: u64, _: Seq, _: &UserId) -> Result<Option<u64>, RegistryError> {
        Err(RegistryError::Unavailable("away".to_owned()))
    }
    async fn fill(&self, _: &ConversationId, _: u64, _: &[(UserId, Seq)]) -> Result<(), RegistryError> {
        Err(RegistryError::Unavailable("away".to_owned()))
    }
}

#[tokio::test]
async fn without_what_they_share_a_read_is_known_here_at_once_and_elsewhere_once_it_is_stored() {
    let world = world().await;
    let [one, other] = [(); 2].map(|()| server(&world.store, Arc::new(Away)));
    world.read(&one, world.head).await;
    assert_eq!(world.unread(&one).await, 0);
    assert_eq!(world.unread(&other).await, 3);
    one.chat.finish().await.unwrap();
    assert_eq!(world.unread(&other).await, 0);
}

/// Bob reads; whether Alice is told how many have, within a few seconds.
async fn is_counted(positions: Arc<dyn ReadPositions>) -> World {
    let world = world().await;
    let server = server(&world.store, positions);
    let mut tasks = JoinSet::new();
    world.read(&server, world.head).await;
    server.background.start(&mut tasks);
    let told = async || server.published.take().iter().any(|said| said == "alice read_count");
    until_within(Duration::from_secs(20), "the sender is told", told).await;
    world
}

#[tokio::test]
async fn the_readers_of_a_large_group_are_counted_where_positions_are_shared() {
    let positions = Arc::new(MemoryReadPositions::default());
    let world = is_counted(positions.clone()).await;
    let version = world.store.access(&world.alice, &world.group).await.unwrap().unwrap().members_version;
    let count = positions.count(&world.group, version, world.head, &world.alice).await.unwrap();
    assert_eq!(count, Some(1), "filled in from the database: nobody has to ask it again");
}

#[tokio::test]
async fn the_database_counts_readers_while_what_is_shared_is_away() {
    is_counted(Arc::new(Away)).await;
}
