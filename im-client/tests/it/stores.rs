//! What every local store must do.

use std::sync::Arc;

use im_client::cursor::Position;
use im_client::{LocalStore, MemoryStore, SqliteStore, Target, Unsent};
use im_protocol::message::Body;
use im_protocol::{Content, Kind, Message};

use crate::model::{conversation, message};

/// Runs the suite on a store that is empty.
macro_rules! contract {
    ($name:ident, $open:expr) => {
        mod $name {
            use super::*;

            #[tokio::test]
            async fn messages_and_position_move_together() {
                let (_kept, store) = $open.await;
                super::messages_and_position_move_together(&*store).await;
            }
            #[tokio::test]
            async fn a_change_replaces_only_an_older_version_that_is_there() {
                let (_kept, store) = $open.await;
                super::a_change_replaces_only_an_older_version_that_is_there(&*store).await;
            }
            #[tokio::test]
            async fn pages_go_back_from_the_newest() {
                let (_kept, store) = $open.await;
                super::pages_go_back_from_the_newest(&*store).await;
            }
            #[tokio::test]
            async fn a_forgotten_conversation_leaves_nothing() {
                let (_kept, store) = $open.await;
                super::a_forgotten_conversation_leaves_nothing(&*store).await;
            }
            #[tokio::test]
            async fn the_unsent_queue_keeps_its_order_and_its_words() {
                let (_kept, store) = $open.await;
                super::the_unsent_queue_keeps_its_order_and_its_words(&*store).await;
            }
            #[tokio::test]
            async fn the_since_token_is_the_last_one_set() {
                let (_kept, store) = $open.await;
                assert_eq!(store.since().await.unwrap(), None);
                store.set_since("a").await.unwrap();
                store.set_since("b").await.unwrap();
                assert_eq!(store.since().await.unwrap().as_deref(), Some("b"));
            }
        }
    };
}

contract!(memory, async { ((), Arc::new(MemoryStore::default()) as Arc<dyn LocalStore>) });
contract!(sqlite, async {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("im.db")).await.unwrap();
    (dir, Arc::new(store) as Arc<dyn LocalStore>)
});

fn at(seq: u64, rev: u64) -> Position {
    Position { seq, rev, incarnation: 1 }
}

async fn all(store: &dyn LocalStore) -> Vec<Message> {
    store.messages(&conversation(), None, 1000).await.unwrap()
}

async fn messages_and_position_move_together(store: &dyn LocalStore) {
    store.apply(&conversation(), at(2, 0), &[message(1, 0), message(2, 0)], &[]).await.unwrap();
    store.apply(&conversation(), at(3, 1), &[message(3, 1)], &[]).await.unwrap();
    assert_eq!(store.positions().await.unwrap(), [(conversation(), at(3, 1))]);
    assert_eq!(all(store).await, [message(1, 0), message(2, 0), message(3, 1)]);
}

async fn a_change_replaces_only_an_older_version_that_is_there(store: &dyn LocalStore) {
    store.apply(&conversation(), at(1, 0), &[message(1, 0)], &[]).await.unwrap();
    store.apply(&conversation(), at(1, 5), &[], &[message(1, 5), message(9, 5)]).await.unwrap();
    store.apply(&conversation(), at(1, 5), &[message(1, 2)], &[message(1, 3)]).await.unwrap();
    assert_eq!(all(store).await, [message(1, 5)]);
}

async fn pages_go_back_from_the_newest(store: &dyn LocalStore) {
    let messages: Vec<Message> = (1..=9).map(|seq| message(seq, 0)).collect();
    store.apply(&conversation(), at(9, 0), &messages, &[]).await.unwrap();
    assert_eq!(store.messages(&conversation(), None, 2).await.unwrap(), messages[7..]);
    assert_eq!(store.messages(&conversation(), Some(8), 3).await.unwrap(), messages[4..7]);
    assert!(store.messages(&"g:other".parse().unwrap(), None, 3).await.unwrap().is_empty());
}

async fn a_forgotten_conversation_leaves_nothing(store: &dyn LocalStore) {
    store.apply(&conversation(), at(1, 0), &[message(1, 0)], &[]).await.unwrap();
    store.forget(&conversation()).await.unwrap();
    assert!(all(store).await.is_empty());
    assert!(store.positions().await.unwrap().is_empty());
}

async fn the_unsent_queue_keeps_its_order_and_its_words(store: &dyn LocalStore) {
    let bob = Target::User("bob".parse().unwrap());
    let group = Target::Conversation(conversation());
    // One id in two conversations is two messages.
    let queue = [unsent(&bob, "x"), unsent(&group, "x"), unsent(&group, "a")];
    for unsent in &queue {
        store.put_unsent(unsent).await.unwrap();
    }
    assert_eq!(store.unsent().await.unwrap(), queue);
    store.drop_unsent(&group, &"x".parse().unwrap()).await.unwrap();
    store.put_unsent(&queue[1]).await.unwrap();
    assert_eq!(store.unsent().await.unwrap(), [queue[0].clone(), queue[2].clone(), queue[1].clone()]);
}

fn unsent(target: &Target, id: &str) -> Unsent {
    Unsent {
        target: target.clone(),
        client_message_id: id.parse().unwrap(),
        body: Body {
            kind: Kind::Text,
            content: Content::text("hällo\n\"you\""),
            mentions: vec!["carol".parse().unwrap()],
            mention_all: true,
            reply_to: Some(4),
        },
    }
}

#[tokio::test]
async fn a_file_that_is_opened_again_holds_what_was_put_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("im.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.apply(&conversation(), at(1, 0), &[message(1, 0)], &[]).await.unwrap();
    store.put_unsent(&unsent(&Target::Conversation(conversation()), "a")).await.unwrap();
    store.set_since("token").await.unwrap();
    store.close().await;
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(all(&store).await, [message(1, 0)]);
    assert_eq!(store.unsent().await.unwrap().len(), 1);
    assert_eq!(store.since().await.unwrap().as_deref(), Some("token"));
}
