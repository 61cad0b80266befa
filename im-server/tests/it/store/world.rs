//! People, groups and messages for the tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use im_protocol::message::Body;
use im_protocol::notification::{Notification, Template};
use im_protocol::server::RemovedReason;
use im_protocol::{ClientMessageId, Content, ConversationId, GroupId, Kind, Seq, TimeMs, UserId};
use im_server::store::{
    Committed, CommittedMessage, GroupChange, GroupChanged, GroupEffects, GroupFacts, GroupSettings, JoinMode,
    NewAccount, NewGroup, NewMessage, Outcome, Page, RecallFacts, Recalled, Refusal, Row, RowState, Slice, Store,
};

pub(crate) type Db = Arc<dyn Store>;

/// When the tests play: Unix milliseconds.
pub(crate) const NOW: TimeMs = 1_700_000_000_000;

pub(crate) fn id(name: &str) -> UserId {
    UserId::parse(name).expect("a user id")
}

pub(crate) fn group_id(name: &str) -> GroupId {
    GroupId::parse(name).expect("a group id")
}

pub(crate) fn account(name: &str) -> NewAccount {
    NewAccount {
        user: id(name),
        name: format!("{name}'s name"),
        password_hash: format!("hash of {name}"),
        created: NOW,
    }
}

/// Makes accounts.
pub(crate) async fn people<const N: usize>(store: &Db, names: [&str; N]) -> [UserId; N] {
    for name in names {
        assert!(store.create_account(account(name)).await.unwrap());
    }
    names.map(id)
}

pub(crate) fn settings(owner: &UserId) -> GroupSettings {
    GroupSettings {
        name: "tea".to_owned(),
        owner: owner.clone(),
        announcement: String::new(),
        join: JoinMode::Approval,
        muted: false,
        dissolved: false,
    }
}

pub(crate) fn notification(template: Template, actor: &UserId, users: &[UserId]) -> Notification {
    Notification::new(template, actor.clone(), users, "")
}

pub(crate) async fn make_group(store: &Db, name: &str, owner: &UserId, members: &[&UserId]) -> Committed {
    let members: Vec<UserId> = members.iter().map(|&user| user.clone()).collect();
    let group = NewGroup {
        group: group_id(name),
        settings: settings(owner),
        notification: notification(Template::GroupCreated, owner, &members),
        members,
        time: NOW,
    };
    store.create_group(group).await.unwrap()
}

/// Makes a group; message 1 is its notification.
pub(crate) async fn group(store: &Db, name: &str, owner: &UserId, members: &[&UserId]) -> ConversationId {
    make_group(store, name, owner, members).await;
    ConversationId::group(&group_id(name))
}

/// Asks for a change by `actor` that is decided to have these effects.
pub(crate) async fn change_with_facts(
    store: &Db,
    conversation: &ConversationId,
    actor: &UserId,
    subjects: &[&UserId],
    effects: GroupEffects,
) -> (GroupFacts, Committed) {
    let change = GroupChange {
        group: conversation.as_group().unwrap(),
        actor: actor.clone(),
        subjects: subjects.iter().map(|&user| user.clone()).collect(),
        request: None,
        time: NOW,
    };
    match store.change_group(change, &|_| Ok(effects.clone())).await.unwrap() {
        GroupChanged::Done(facts, committed) => (*facts, committed),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn change(
    store: &Db,
    conversation: &ConversationId,
    actor: &UserId,
    effects: GroupEffects,
) -> Committed {
    change_with_facts(store, conversation, actor, &[], effects).await.1
}

pub(crate) async fn add(store: &Db, conversation: &ConversationId, actor: &UserId, user: &UserId) -> Committed {
    let effects = GroupEffects {
        add: vec![user.clone()],
        notifications: vec![notification(Template::GroupInvited, actor, std::slice::from_ref(user))],
        ..GroupEffects::default()
    };
    change(store, conversation, actor, effects).await
}

pub(crate) async fn remove(
    store: &Db,
    conversation: &ConversationId,
    actor: &UserId,
    user: &UserId,
    reason: RemovedReason,
) -> Committed {
    let effects = GroupEffects {
        remove: vec![(user.clone(), reason)],
        notifications: vec![notification(Template::GroupKicked, actor, std::slice::from_ref(user))],
        ..GroupEffects::default()
    };
    change(store, conversation, actor, effects).await
}

pub(crate) async fn dissolve(store: &Db, conversation: &ConversationId, owner: &UserId) -> Committed {
    let effects = GroupEffects {
        settings: Some(GroupSettings { dissolved: true, ..settings(owner) }),
        notifications: vec![notification(Template::GroupDissolved, owner, &[])],
        ..GroupEffects::default()
    };
    change(store, conversation, owner, effects).await
}

pub(crate) async fn befriend(store: &Db, a: &UserId, b: &UserId) {
    use im_server::store::FriendRequest;
    let id = format!("request of {a} to {b}");
    let request = FriendRequest { id: id.clone(), from: a.clone(), to: b.clone(), message: String::new(), time: NOW };
    store.request_friend(request).await.unwrap();
    store.answer_friend_request(b, &id, true, NOW).await.unwrap();
}

pub(crate) fn client_id(text: &str) -> ClientMessageId {
    ClientMessageId::parse(text).expect("a client message id")
}

pub(crate) fn body(text: &str) -> Body {
    Body { kind: Kind::Text, content: Content::text(text), mentions: Vec::new(), mention_all: false, reply_to: None }
}

/// A message with an id of its own.
pub(crate) fn text(conversation: &ConversationId, sender: &UserId, text: &str) -> NewMessage {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NewMessage {
        conversation: conversation.clone(),
        sender: sender.clone(),
        client_message_id: client_id(&format!("own-{}", NEXT.fetch_add(1, Ordering::Relaxed))),
        body: body(text),
        friends_only: false,
        max_conversations: 0,
    }
}

/// The same message under another id.
pub(crate) fn with_id(id: &str, message: NewMessage) -> NewMessage {
    NewMessage { client_message_id: client_id(id), ..message }
}

pub(crate) async fn commit(store: &Db, batch: Vec<NewMessage>) -> Vec<Outcome> {
    store.commit(batch, NOW).await.unwrap().1
}

pub(crate) async fn commit_one(store: &Db, message: NewMessage) -> Outcome {
    commit(store, vec![message]).await.pop().unwrap()
}

pub(crate) fn committed(outcome: &Outcome) -> &CommittedMessage {
    match outcome {
        Outcome::Committed(committed) => committed,
        other => panic!("{other:?}"),
    }
}

/// Why it was refused; `None` if it was not.
pub(crate) async fn refusal(store: &Db, message: NewMessage) -> Option<Refusal> {
    match commit_one(store, message).await {
        Outcome::Refused(refusal) => Some(refusal),
        Outcome::Committed(_) => None,
        other => panic!("{other:?}"),
    }
}

/// Sends a text that has to be committed; its seq.
pub(crate) async fn say(store: &Db, conversation: &ConversationId, sender: &UserId, what: &str) -> Seq {
    committed(&commit_one(store, text(conversation, sender, what)).await).message.seq
}

pub(crate) async fn recall(store: &Db, conversation: &ConversationId, seq: Seq, actor: &UserId) -> Committed {
    match store.recall(conversation, seq, actor, NOW, &|_: &RecallFacts| Ok(())).await.unwrap() {
        Recalled::Done(committed) => committed,
        other => panic!("{other:?}"),
    }
}

/// What a user sees of a conversation by their stints.
pub(crate) async fn page(store: &Db, user: &UserId, conversation: &ConversationId, slice: Slice, limit: u32) -> Page {
    let access = store.access(user, conversation).await.unwrap().expect("a conversation");
    store.page(conversation, &access.stints, slice, limit, usize::MAX).await.unwrap()
}

/// The seqs a user sees.
pub(crate) async fn seqs(store: &Db, user: &UserId, conversation: &ConversationId) -> Vec<Seq> {
    page(store, user, conversation, Slice::Newest, 1000).await.messages.iter().map(|message| message.seq).collect()
}

/// A user's row, which has to be there.
pub(crate) async fn row(store: &Db, user: &UserId, conversation: &ConversationId) -> Row {
    store.row(user, conversation, None).await.unwrap().expect("a row")
}

/// A row's unread count.
pub(crate) async fn unread(store: &Db, user: &UserId, conversation: &ConversationId) -> u64 {
    match row(store, user, conversation).await.state {
        RowState::Present { unread, .. } => unread,
        removed @ RowState::Removed(_) => panic!("{removed:?}"),
    }
}

/// A row's title.
pub(crate) async fn title(store: &Db, user: &UserId, conversation: &ConversationId) -> String {
    match row(store, user, conversation).await.state {
        RowState::Present { title, .. } => title,
        removed @ RowState::Removed(_) => panic!("{removed:?}"),
    }
}
