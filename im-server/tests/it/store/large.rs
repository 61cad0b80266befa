//! Large groups: from five members up, and no more below three, in these tests.

use im_protocol::server::RemovedReason;
use im_protocol::{DeviceId, Terminal};
use im_server::store::{Arriving, Committed, MemberChange, SessionId, Stint};

use super::world::{Db, NOW, add, commit_one, committed, dissolve, make_group, people, remove, text};

fn change(user: &im_protocol::UserId, joined: u64, left: Option<u64>) -> MemberChange {
    let conversation = im_protocol::ConversationId::parse("g:tea").unwrap();
    MemberChange { conversation, user: user.clone(), joined, left }
}

fn large(told: &Committed) -> bool {
    told.messages[0].large
}

async fn a_group_grows_large_and_shrinks_back_at_different_sizes(store: Db) {
    let [ann, ben, cem, dan, eve, fay] = people(&store, ["ann", "ben", "cem", "dan", "eve", "fay"]).await;
    let tea = im_protocol::ConversationId::parse("g:tea").unwrap();
    assert!(!large(&make_group(&store, "tea", &ann, &[&ben, &cem]).await));
    assert!(!large(&add(&store, &tea, &ann, &dan).await));
    assert!(large(&add(&store, &tea, &ann, &eve).await));
    assert!(large(&add(&store, &tea, &ann, &fay).await));
    assert!(committed(&commit_one(&store, text(&tea, &ann, "hi")).await).large);
    assert!(store.access(&ann, &tea).await.unwrap().unwrap().large);
    for user in [&fay, &eve, &dan] {
        assert!(large(&remove(&store, &tea, &ann, user, RemovedReason::Left).await));
    }
    assert!(!large(&remove(&store, &tea, &ann, &cem, RemovedReason::Left).await));
    assert!(!large(&add(&store, &tea, &ann, &cem).await));
    assert!(!committed(&commit_one(&store, text(&tea, &ann, "hi")).await).large);
}

async fn a_group_can_be_born_large_and_names_its_members(store: Db) {
    let [ann, ben, cem, dan, eve] = people(&store, ["ann", "ben", "cem", "dan", "eve"]).await;
    let told = make_group(&store, "tea", &ann, &[&ben, &cem, &dan, &eve]).await;
    assert!(large(&told));
    let expected: Vec<_> = [&ann, &ben, &cem, &dan, &eve].map(|user| change(user, 1, None)).into();
    assert_eq!(told.messages[0].changes, expected);
}

async fn comings_and_goings_of_large_groups_are_named_with_the_first_notification(store: Db) {
    let [ann, ben, cem, dan, eve, fay] = people(&store, ["ann", "ben", "cem", "dan", "eve", "fay"]).await;
    let tea = im_protocol::ConversationId::parse("g:tea").unwrap();
    make_group(&store, "tea", &ann, &[&ben, &cem]).await;
    assert_eq!(add(&store, &tea, &ann, &dan).await.messages[0].changes, []);
    assert_eq!(add(&store, &tea, &ann, &eve).await.messages[0].changes, [change(&eve, 3, None)]);
    assert_eq!(add(&store, &tea, &ann, &fay).await.messages[0].changes, [change(&fay, 4, None)]);
    let told = remove(&store, &tea, &ann, &eve, RemovedReason::Kicked).await;
    assert_eq!(told.messages[0].changes, [change(&eve, 3, Some(5))]);
    // A group that ends goes the way it went, to the list as it was.
    let before = store.member_list(&tea, 0).await.unwrap().unwrap().version;
    let told = dissolve(&store, &tea, &ann).await;
    assert_eq!((told.messages[0].changes.len(), told.messages[0].members_version), (0, before));
    assert!(large(&told));
    assert_eq!(told.removed[0].users, [ann, ben, cem, dan, fay]);
}

async fn large_groups(store: &Db, user: &im_protocol::UserId) -> Vec<(im_protocol::ConversationId, u64, Stint)> {
    let session = SessionId("s1".to_owned());
    let device = DeviceId::parse("d1").unwrap();
    let arriving = Arriving { user, session: &session, terminal: Terminal::Web, device: &device };
    store.arrival(arriving, NOW).await.unwrap().large
}

async fn the_large_groups_of_a_user_are_those_they_are_in_now(store: Db) {
    let [ann, ben, cem, dan, eve] = people(&store, ["ann", "ben", "cem", "dan", "eve"]).await;
    make_group(&store, "tea", &ann, &[&ben, &cem, &dan]).await;
    make_group(&store, "coffee", &ann, &[&ben]).await;
    let tea = im_protocol::ConversationId::parse("g:tea").unwrap();
    assert_eq!(large_groups(&store, &eve).await, []);
    assert_eq!(large_groups(&store, &ann).await, []);
    add(&store, &tea, &ann, &eve).await;
    assert_eq!(large_groups(&store, &eve).await, [(tea.clone(), 2, Stint { joined: 2, left: None })]);
    assert_eq!(large_groups(&store, &ann).await, [(tea.clone(), 2, Stint::ALWAYS)]);
    remove(&store, &tea, &ann, &eve, RemovedReason::Left).await;
    assert_eq!(large_groups(&store, &eve).await, []);
    assert_eq!(large_groups(&store, &ann).await, [(tea, 3, Stint::ALWAYS)]);
}

contract!(
    a_group_grows_large_and_shrinks_back_at_different_sizes,
    a_group_can_be_born_large_and_names_its_members,
    comings_and_goings_of_large_groups_are_named_with_the_first_notification,
    the_large_groups_of_a_user_are_those_they_are_in_now,
);
