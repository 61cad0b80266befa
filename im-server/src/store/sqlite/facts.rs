//! The facts a message is held against, and the order in which they stand against it.

use std::collections::HashMap;

use im_protocol::{ConversationId, ConversationKind, Seq, TimeMs, UserId};
use serde::Serialize;
use sqlx::{Row, SqliteConnection};

use super::rows::{from_json, from_name, id, json, parse};
use crate::store::tail::Tail;
use crate::store::{NewMessage, Refusal, Result, Role, Stint};

/// What is stored of a conversation.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    pub(super) tail: Tail,
    pub(super) members_version: u64,
    pub(super) large: bool,
    /// Only the owner and admins may speak.
    pub(super) muted: bool,
    pub(super) dissolved: bool,
}

impl Conversation {
    /// A direct conversation before its first message.
    pub(super) fn direct(id: ConversationId) -> Self {
        let members = id.ends().map_or(0, |(a, b)| if a == b { 1 } else { 2 });
        Self { tail: Tail::empty(id, members), members_version: 1, large: false, muted: false, dissolved: false }
    }
}

/// Whose message it is, and where: what facts are looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) conversation: ConversationId,
    pub(super) sender: UserId,
}

/// What is stored of a sender in a conversation.
#[derive(Clone, Debug, Default)]
pub(super) struct Sender {
    pub(super) stints: Vec<Stint>,
    /// Of the present stint.
    pub(super) role: Option<Role>,
    muted_until: TimeMs,
    /// How many of the sender's messages count as unread for others.
    pub(super) own_count: u64,
    /// Both ends of the direct conversation have accounts.
    ends_exist: bool,
    /// The other end has blocked the sender.
    blocked: bool,
    friends: bool,
    /// Conversations the sender, and the other end, have. Only looked up where a new one would be made.
    conversations: u32,
    peer_conversations: u32,
}

/// What is stored of these conversations.
pub(super) async fn conversations(
    on: &mut SqliteConnection,
    ids: &[&ConversationId],
) -> Result<HashMap<ConversationId, Conversation>> {
    let rows = sqlx::query(
        "select c.id, c.head, c.rev, c.incarnation, c.badge_count, c.last_time, c.members, c.members_version, c.large,
                coalesce(g.muted, 0) as muted, coalesce(g.dissolved, 0) as dissolved
         from json_each(?1) e cross join conversations c on c.id = e.value
         left join chat_groups g on g.conversation = c.id",
    )
    .bind(json(ids))
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            let id: ConversationId = id(row, "id")?;
            let tail = Tail {
                conversation: id.clone(),
                head: row.try_get("head")?,
                rev: row.try_get("rev")?,
                incarnation: row.try_get("incarnation")?,
                badge_count: row.try_get("badge_count")?,
                last_time: row.try_get("last_time")?,
                members: row.try_get("members")?,
            };
            let facts = Conversation {
                tail,
                members_version: row.try_get("members_version")?,
                large: row.try_get("large")?,
                muted: row.try_get("muted")?,
                dissolved: row.try_get("dissolved")?,
            };
            Ok((id, facts))
        })
        .collect()
}

/// A user's stints as the statements here give them: `[[joined, left], …]`, oldest first.
pub(super) fn stints(text: &str) -> Result<Vec<Stint>> {
    let pairs: Vec<(Seq, Option<Seq>)> = from_json(text)?;
    let mut stints: Vec<Stint> = pairs.into_iter().map(|(joined, left)| Stint { joined, left }).collect();
    stints.sort_by_key(|stint| stint.joined);
    Ok(stints)
}

#[derive(Serialize)]
struct Asked<'a> {
    conversation: &'a ConversationId,
    sender: &'a UserId,
    ends: Option<(UserId, UserId)>,
    peer: Option<UserId>,
    new: bool,
}

/// What is stored of these senders. `known` are the conversations that are there.
pub(super) async fn senders(
    on: &mut SqliteConnection,
    places: Vec<Place>,
    known: &HashMap<ConversationId, Conversation>,
) -> Result<HashMap<Place, Sender>> {
    let asked: Vec<Asked<'_>> = places
        .iter()
        .map(|Place { conversation, sender }| Asked {
            conversation,
            sender,
            ends: conversation.ends(),
            peer: conversation.peer(sender),
            new: conversation.kind() == ConversationKind::Direct && !known.contains_key(conversation),
        })
        .collect();
    let rows = sqlx::query(
        "with asked as materialized (
             select key as place, value ->> 'conversation' as conversation, value ->> 'sender' as sender,
                    value ->> 'peer' as peer, value ->> '$.ends[0]' as a, value ->> '$.ends[1]' as b,
                    value ->> 'new' as new
             from json_each(?1))
         select e.place, s.role, s.muted_until,
             (select json_group_array(json_array(joined_seq, left_seq)) from stints
              where conversation = e.conversation and user = e.sender) as stints,
             (select own_count from messages where conversation = e.conversation and sender = e.sender
              order by seq desc limit 1) as own_count,
             exists (select 1 from accounts where user = e.a) and exists (select 1 from accounts where user = e.b)
                 as ends_exist,
             exists (select 1 from blocks where user = e.peer and other = e.sender) as blocked,
             exists (select 1 from friends where user = e.sender and friend = e.peer) as friends,
             case when e.new then (select count(*) from user_conversations
                  where user = e.sender and removed is null and hidden = 0) else 0 end as conversations,
             case when e.new then (select count(*) from user_conversations
                  where user = e.peer and removed is null and hidden = 0) else 0 end as peer_conversations
         from asked e
         left join stints s on s.conversation = e.conversation and s.user = e.sender and s.left_seq is null
         order by e.place",
    )
    .bind(json(&asked))
    .fetch_all(on)
    .await?;
    places
        .iter()
        .zip(&rows)
        .map(|(place, row)| {
            let facts = Sender {
                stints: stints(row.try_get("stints")?)?,
                role: row.try_get::<Option<&str>, _>("role")?.map(from_name).transpose()?,
                muted_until: row.try_get::<Option<TimeMs>, _>("muted_until")?.unwrap_or(0),
                own_count: row.try_get::<Option<u64>, _>("own_count")?.unwrap_or(0),
                ends_exist: row.try_get("ends_exist")?,
                blocked: row.try_get("blocked")?,
                friends: row.try_get("friends")?,
                conversations: row.try_get("conversations")?,
                peer_conversations: row.try_get("peer_conversations")?,
            };
            Ok((place.clone(), facts))
        })
        .collect()
}

/// The users of these texts.
pub(super) fn users(found: &[String]) -> Result<Vec<UserId>> {
    found.iter().map(|user| parse(user)).collect()
}

/// The first fact that stands against a message. `stored` is its conversation as it is at this point of the batch,
/// `made` tells how many conversations the batch has made for a user so far.
pub(super) fn refusal(
    message: &NewMessage,
    now: TimeMs,
    stored: Option<&Conversation>,
    sender: &Sender,
    made: impl Fn(&UserId) -> u32,
) -> Option<Refusal> {
    let me = &message.sender;
    let covers = |seq: Seq| match message.conversation.kind() {
        ConversationKind::Group => sender.stints.iter().any(|stint| stint.covers(seq)),
        ConversationKind::Direct | ConversationKind::Room => Stint::ALWAYS.covers(seq),
    };
    let head = stored.map_or(0, |stored| stored.tail.head);
    let unknown_reply = message.body.reply_to.is_some_and(|seq| seq > head || !covers(seq));
    let unknown_reply = unknown_reply.then_some(Refusal::UnknownReply);
    match (message.conversation.kind(), stored) {
        (ConversationKind::Group | ConversationKind::Room, None) => Some(Refusal::NotFound),
        (ConversationKind::Room, Some(_)) => unknown_reply,
        (ConversationKind::Group, Some(group)) => match sender.role {
            _ if group.dissolved => Some(Refusal::Dissolved),
            None => Some(Refusal::NotAMember),
            Some(_) if sender.muted_until > now => Some(Refusal::Muted(sender.muted_until)),
            Some(Role::Member) if group.muted => Some(Refusal::GroupMuted),
            Some(_) => unknown_reply,
        },
        (ConversationKind::Direct, stored) => match message.conversation.peer(me) {
            _ if !sender.ends_exist => Some(Refusal::NotFound),
            None => Some(Refusal::NotAMember),
            Some(peer) if peer != *me && sender.blocked => Some(Refusal::Blocked),
            Some(peer) if peer != *me && message.friends_only && !sender.friends => Some(Refusal::NotFriends),
            Some(peer) => unknown_reply.or_else(|| {
                let full = |had: u32, user: &UserId| {
                    message.max_conversations > 0 && had + made(user) >= message.max_conversations
                };
                let new = stored.is_none();
                let full = new && (full(sender.conversations, me) || full(sender.peer_conversations, &peer));
                full.then_some(Refusal::TooManyConversations)
            }),
        },
    }
}
