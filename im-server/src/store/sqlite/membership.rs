//! A change of a group: the facts, the decision, the effects, in one transaction.

use std::collections::HashMap;

use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, UserId};
use serde::Serialize;
use sqlx::{Row, SqliteConnection};

use super::append::{insert, save_tails};
use super::facts::{self, Conversation, Place};
use super::groups::{group, group_columns, join_request, member, member_columns, save_settings};
use super::outbox::remember;
use super::rows::json;
use super::stays::{add, remove, remove_everyone};
use super::{SqliteStore, Write};
use crate::store::change::{Before, concerns_members, dissolves, removed_by_reason};
use crate::store::moves::{Arrival, Departure, Moves};
use crate::store::tail::{Draft, notification_body};
use crate::store::{
    Committed, Decide, GroupChange, GroupChanged, GroupEffects, GroupFacts, LargeGroups, Result, Subject,
};

/// The facts for a decision; `None` if there is no such group.
async fn look_up(
    on: &mut SqliteConnection,
    conversation: &ConversationId,
    change: &GroupChange,
) -> Result<Option<GroupFacts>> {
    let row = sqlx::query(concat!(
        "select ",
        group_columns!(),
        " from chat_groups g cross join conversations c on c.id = g.conversation where g.conversation = ?1"
    ))
    .bind(conversation.as_str())
    .fetch_optional(&mut *on)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let group = group(&row)?;
    let actor = sqlx::query(concat!(
        "select ",
        member_columns!(),
        " from stints s where s.conversation = ?1 and s.user = ?2 and s.left_seq is null"
    ))
    .bind(conversation.as_str())
    .bind(change.actor.as_str())
    .fetch_optional(&mut *on)
    .await?;
    let rows = sqlx::query(concat!(
        "select ",
        member_columns!(),
        ", exists (select 1 from accounts a where a.user = e.value) as account,
           (select count(*) from user_conversations uc
            where uc.user = e.value and uc.removed is null and uc.hidden = 0) as conversations
         from json_each(?2) e
         left join stints s on s.conversation = ?1 and s.user = e.value and s.left_seq is null
         order by e.key"
    ))
    .bind(conversation.as_str())
    .bind(json(&change.subjects))
    .fetch_all(&mut *on)
    .await?;
    let subject = |(user, row): (&UserId, &sqlx::sqlite::SqliteRow)| {
        let is_member = row.try_get::<Option<&str>, _>("user")?.is_some();
        Ok(Subject {
            user: user.clone(),
            exists: row.try_get("account")?,
            member: is_member.then(|| member(row)).transpose()?,
            conversations: row.try_get("conversations")?,
        })
    };
    let subjects = change.subjects.iter().zip(&rows).map(subject).collect::<Result<_>>()?;
    let request =
        match &change.request {
            None => None,
            Some(id) => sqlx::query(
                "select id, conversation, user, message, time from join_requests where id = ?1 and conversation = ?2",
            )
            .bind(id.as_str())
            .bind(conversation.as_str())
            .fetch_optional(on)
            .await?,
        };
    Ok(Some(GroupFacts {
        group,
        actor: actor.as_ref().map(member).transpose()?,
        subjects,
        request: request.as_ref().map(join_request).transpose()?,
    }))
}

/// Sets one column of present members.
async fn set_column<T: Serialize>(
    on: &mut SqliteConnection,
    statement: &'static str,
    conversation: &ConversationId,
    values: &[(UserId, T)],
) -> Result<()> {
    if !values.is_empty() {
        sqlx::query(statement).bind(conversation.as_str()).bind(json(values)).execute(on).await?;
    }
    Ok(())
}

async fn save_attributes(
    on: &mut SqliteConnection,
    conversation: &ConversationId,
    effects: &GroupEffects,
) -> Result<()> {
    let roles = "update stints set role = e.value ->> 1 from json_each(?2) e
                 where conversation = ?1 and user = e.value ->> 0 and left_seq is null";
    let mutes = "update stints set muted_until = e.value ->> 1 from json_each(?2) e
                 where conversation = ?1 and user = e.value ->> 0 and left_seq is null";
    let aliases = "update stints set alias = e.value ->> 1 from json_each(?2) e
                   where conversation = ?1 and user = e.value ->> 0 and left_seq is null";
    set_column(&mut *on, roles, conversation, &effects.roles).await?;
    set_column(&mut *on, mutes, conversation, &effects.mutes).await?;
    set_column(on, aliases, conversation, &effects.aliases).await
}

async fn save_requests(
    on: &mut SqliteConnection,
    conversation: &ConversationId,
    change: &GroupChange,
    effects: &GroupEffects,
    moves: &Moves,
) -> Result<()> {
    // A request of someone who is in, or to a group that is over, is moot.
    sqlx::query(
        "delete from join_requests
         where conversation = ?1 and (?2 or id = ?3 or user in (select value from json_each(?4)))",
    )
    .bind(conversation.as_str())
    .bind(moves.dissolving)
    .bind(effects.close_request.as_deref())
    .bind(json(&moves.added))
    .execute(&mut *on)
    .await?;
    if let Some(request) = &effects.request {
        sqlx::query(
            "insert or replace into join_requests (id, conversation, user, message, time) values (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(request.id.as_str())
        .bind(conversation.as_str())
        .bind(request.user.as_str())
        .bind(request.message.as_str())
        .bind(change.time)
        .execute(on)
        .await?;
    }
    Ok(())
}

/// Gives the notifications their seqs.
async fn notify(
    on: &mut SqliteConnection,
    stored: &mut Conversation,
    change: &GroupChange,
    effects: &GroupEffects,
) -> Result<Vec<Draft>> {
    if effects.notifications.is_empty() {
        return Ok(Vec::new());
    }
    let conversation = stored.tail.conversation.clone();
    let place = |actor: &UserId| Place { conversation: conversation.clone(), sender: actor.clone() };
    let actors = effects.notifications.iter().map(|notification| place(&notification.actor)).collect();
    let known = HashMap::from([(conversation.clone(), stored.clone())]);
    let mut senders = facts::senders(&mut *on, actors, &known).await?;
    let drafts: Vec<Draft> = effects
        .notifications
        .iter()
        .map(|notification| {
            let sender = senders.entry(place(&notification.actor)).or_default();
            let body = notification_body(notification);
            stored.tail.append(change.time, &notification.actor, &mut sender.own_count, None, body)
        })
        .collect();
    insert(on, &drafts).await?;
    Ok(drafts)
}

/// Writes effects and tells what they were. `stored` is the conversation as it was.
async fn apply(
    mut write: Write,
    mut stored: Conversation,
    facts: &GroupFacts,
    change: &GroupChange,
    effects: &GroupEffects,
    sizes: LargeGroups,
) -> Result<Committed> {
    let conversation = stored.tail.conversation.clone();
    let (stamp, time) = (write.stamp, change.time);
    let before = Before {
        conversation: conversation.clone(),
        first: stored.tail.head + 1,
        members: stored.tail.members,
        members_version: stored.members_version,
        large: stored.large,
    };
    let mut moves = Moves { dissolving: dissolves(facts, effects), ..Moves::default() };

    let drafts = notify(write.on(), &mut stored, change, effects).await?;
    if let Some(settings) = &effects.settings {
        save_settings(write.on(), &conversation, settings).await?;
    }
    let departure = Departure { conversation: &conversation, seq: before.first, time, stamp };
    for (reason, users) in removed_by_reason(effects) {
        let gone = remove(write.on(), departure, &users, reason).await?;
        moves.removed.extend(gone.into_iter().map(|gone| (gone, reason)));
    }
    if !effects.add.is_empty() {
        let arrival = Arrival { conversation: &conversation, seq: before.first, time, stamp };
        moves.added = add(write.on(), arrival, &effects.add).await?;
    }
    save_attributes(write.on(), &conversation, effects).await?;
    if moves.dissolving {
        let departure = Departure { seq: stored.tail.head + 1, ..departure };
        moves.dissolved = remove_everyone(write.on(), departure, RemovedReason::Dissolved).await?;
    }
    save_requests(write.on(), &conversation, change, effects, &moves).await?;

    let after = before.after(moves, drafts, sizes);
    if concerns_members(effects) {
        save_tails(write.on(), [&stored.tail], stamp).await?;
    }
    if !after.moves.none() {
        sqlx::query(
            "update conversations set members = ?2, members_version = members_version + 1, large = ?3 where id = ?1",
        )
        .bind(conversation.as_str())
        .bind(after.members)
        .bind(after.large)
        .execute(write.on())
        .await?;
    }
    let outbox = remember(&mut write, time, &after.items()).await?;
    write.commit().await?;
    Ok(after.committed(outbox))
}

impl SqliteStore {
    pub(super) async fn change(&self, change: GroupChange, decide: Decide<'_>) -> Result<GroupChanged> {
        let conversation = ConversationId::group(&change.group);
        let mut write = self.write().await?;
        let Some(facts) = look_up(write.on(), &conversation, &change).await? else {
            return Ok(GroupChanged::NotFound);
        };
        let effects = match decide(&facts) {
            Ok(effects) => effects,
            Err(error) => return Ok(GroupChanged::Refused(error)),
        };
        let stored = facts::conversations(write.on(), &[&conversation]).await?.remove(&conversation);
        let stored = stored.ok_or(sqlx::Error::RowNotFound)?;
        let committed = apply(write, stored, &facts, &change, &effects, self.large).await?;
        Ok(GroupChanged::Done(Box::new(facts), committed))
    }
}
