//! Reading messages.

use im_protocol::{ConversationId, Seq};
use im_server::store::{Page, Slice, Stint};

use super::world::{Db, commit, group, make_group, page, people, recall, say, text};

fn seqs(page: &Page) -> Vec<Seq> {
    page.messages.iter().map(|message| message.seq).collect()
}

/// A group with the seqs 1 to 10.
async fn ten(store: &Db) -> ConversationId {
    let [alice] = people(store, ["alice"]).await;
    let tea = group(store, "tea", &alice, &[]).await;
    commit(store, (2..=10).map(|n| text(&tea, &alice, &n.to_string())).collect()).await;
    tea
}

async fn a_page_is_oldest_first_and_tells_whether_there_is_more(store: Db) {
    let tea = ten(&store).await;
    let alice = super::world::id("alice");
    for (slice, limit, expected, more) in [
        (Slice::After(0), 3, vec![1, 2, 3], true),
        (Slice::After(7), 3, vec![8, 9, 10], false),
        (Slice::After(8), 3, vec![9, 10], false),
        (Slice::After(10), 3, vec![], false),
        (Slice::After(u64::MAX), 3, vec![], false),
        (Slice::Before(4), 2, vec![2, 3], true),
        (Slice::Before(3), 2, vec![1, 2], false),
        (Slice::Before(1), 2, vec![], false),
        (Slice::Before(99), 2, vec![9, 10], true),
        (Slice::Newest, 4, vec![7, 8, 9, 10], true),
        (Slice::Newest, 10, vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10], false),
    ] {
        let page = page(&store, &alice, &tea, slice, limit).await;
        assert_eq!((seqs(&page), page.more), (expected, more), "{slice:?} {limit}");
    }
}

async fn a_page_holds_only_what_the_stints_cover(store: Db) {
    let tea = ten(&store).await;
    let stints = [Stint { joined: 2, left: Some(4) }, Stint { joined: 7, left: Some(9) }];
    for (slice, limit, expected, more) in [
        (Slice::After(0), 3, vec![2, 3, 7], true),
        (Slice::After(2), 3, vec![3, 7, 8], false),
        (Slice::After(3), 2, vec![7, 8], false),
        (Slice::After(5), 1, vec![7], true),
        (Slice::Before(8), 2, vec![3, 7], true),
        (Slice::Before(7), 5, vec![2, 3], false),
        (Slice::Newest, 2, vec![7, 8], true),
        (Slice::Newest, 3, vec![3, 7, 8], true),
        (Slice::Newest, 4, vec![2, 3, 7, 8], false),
    ] {
        let page = store.page(&tea, &stints, slice, limit, usize::MAX).await.unwrap();
        assert_eq!((seqs(&page), page.more), (expected, more), "{slice:?} {limit}");
    }
    let none = store.page(&tea, &[], Slice::Newest, 10, usize::MAX).await.unwrap();
    assert_eq!((seqs(&none), none.more), (vec![], false));
}

async fn a_page_ends_before_its_bytes_with_at_least_one_message(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let chat = ConversationId::direct(&alice, &alice);
    // {"text":"xxxxx"} is 16 bytes.
    commit(&store, (0..4).map(|_| text(&chat, &alice, "xxxxx")).collect()).await;
    let read = async |slice, bytes| store.page(&chat, &[Stint::ALWAYS], slice, 10, bytes).await.unwrap();
    for (slice, bytes, expected, more) in [
        (Slice::After(0), 0, vec![1], true),
        (Slice::After(0), 31, vec![1], true),
        (Slice::After(0), 32, vec![1, 2], true),
        (Slice::After(0), 64, vec![1, 2, 3, 4], false),
        (Slice::After(3), 0, vec![4], false),
        (Slice::Newest, 40, vec![3, 4], true),
        (Slice::Before(3), 16, vec![2], true),
    ] {
        let page = read(slice, bytes).await;
        assert_eq!((seqs(&page), page.more), (expected, more), "{slice:?} {bytes}");
    }
}

async fn changed_messages_come_oldest_change_first(store: Db) {
    let tea = ten(&store).await;
    let alice = super::world::id("alice");
    for seq in [9, 3, 6] {
        recall(&store, &tea, seq, &alice).await;
    }
    let changed = async |after, rev, limit| {
        let (messages, more) = store.changed(&tea, &[Stint::ALWAYS], after, rev, limit).await.unwrap();
        (messages.iter().map(|message| (message.seq, message.rev)).collect::<Vec<_>>(), more)
    };
    assert_eq!(changed(10, 0, 10).await, (vec![(9, 1), (3, 2), (6, 3)], false));
    assert_eq!(changed(10, 0, 2).await, (vec![(9, 1), (3, 2)], true));
    assert_eq!(changed(10, 1, 2).await, (vec![(3, 2), (6, 3)], false));
    assert_eq!(changed(6, 0, 10).await, (vec![(3, 2), (6, 3)], false));
    assert_eq!(changed(u64::MAX, 2, 10).await, (vec![(6, 3)], false));
    assert_eq!(changed(5, 2, 10).await, (vec![], false));
    let stints = [Stint { joined: 4, left: Some(9) }];
    let (messages, more) = store.changed(&tea, &stints, 10, 0, 1).await.unwrap();
    assert_eq!((messages.len(), messages[0].seq, more), (1, 6, false));
}

async fn committed_messages_are_read_as_they_are_now(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let made = make_group(&store, "tea", &alice, &[&bob]).await;
    let tea = ConversationId::parse("g:tea").unwrap();
    let chat = ConversationId::direct(&alice, &carol);
    say(&store, &tea, &alice, "hi").await;
    say(&store, &chat, &carol, "hi").await;
    recall(&store, &tea, 2, &alice).await;
    let items = [(tea.clone(), 2), (chat.clone(), 1), (tea.clone(), 1), (tea.clone(), 9)];
    let found = store.committed(&items).await.unwrap();
    let names: Vec<_> = found.iter().map(|c| (c.message.conversation.clone(), c.message.seq)).collect();
    assert_eq!(names, items[..3]);
    assert!(found[0].message.recalled);
    assert_eq!(found[0].message.rev, 1);
    assert_eq!(found[2], made.messages[0]);
}

contract!(
    a_page_is_oldest_first_and_tells_whether_there_is_more,
    a_page_holds_only_what_the_stints_cover,
    a_page_ends_before_its_bytes_with_at_least_one_message,
    changed_messages_come_oldest_change_first,
    committed_messages_are_read_as_they_are_now,
);
