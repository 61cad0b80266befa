//! A change of a group: the facts, the decision, the effects, in one transaction.

use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, UserId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::append::{insert, save_tail};
use super::error::{Fault, Result};
use super::facts::{self, Conversation};
use super::groups::{group, group_columns, join_request, member, member_columns, save_settings};
use super::outbox::remember;
use super::rows::{number, texts, to_name};
use super::session::Write;
use super::stays::{add, remove, remove_everyone};
use super::{PostgresStore, transact};
use crate::store::change::{Before, concerns_members, dissolves, removed_by_reason};
use crate::store::moves::{Arrival, Departure, Moves};
use crate::store::tail::{Draft, notification_body};
use crate::store::{Committed, Decide, GroupChange, GroupChanged, GroupEffects, GroupFacts, LargeGroups, Subject};

/// The facts for a decision; `None` if there is no such group.
async fn look_up(
    on: &mut PgConnection,
    conversation: &ConversationId,
    change: &GroupChange,
) -> Result<Option<GroupFacts>> {
    let row = sqlx::query(concat!(
        "select ",
        group_columns!(),
        " from chat_groups g join conversations c on c.id = g.conversation where g.conversation = $1"
    ))
    .bind(conversation.as_str())
    .fetch_optional(&mut *on)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let group = group(&row)?;
    let actor = sqlx::query(concat!(
        "select ",
        member_columns!(),
        " from stints s where s.conversation = $1 and s.user_id = $2 and s.left_seq is null"
    ))
    .bind(conversation.as_str())
    .bind(change.actor.as_str())
    .fetch_optional(&mut *on)
    .await?;
    let rows = sqlx::query(concat!(
        "select ",
        member_columns!(),
        ", exists (select from accounts a where a.user_id = e.user_id) as account,
           (select count(*) from user_conversations uc
            where uc.user_id = e.user_id and uc.removed is null and not uc.hidden) as conversations
         from unnest($2::text[]) with ordinality e (user_id, n)
         left join stints s on s.conversation = $1 and s.user_id = e.user_id and s.left_seq is null
         order by e.n"
    ))
    .bind(conversation.as_str())
    .bind(texts(&change.subjects))
    .fetch_all(&mut *on)
    .await?;
    let subject = |(user, row): (&UserId, &PgRow)| {
        let is_member = row.try_get::<Option<&str>, _>("user_id")?.is_some();
        Ok(Subject {
            user: user.clone(),
            exists: row.try_get("account")?,
            member: is_member.then(|| member(row)).transpose()?,
            conversations: number(row, "conversations")?,
        })
    };
    let subjects = change.subjects.iter().zip(&rows).map(subject).collect::<Result<_>>()?;
    let request = match &change.request {
        None => None,
        Some(id) => {
            sqlx::query(
                "select id, conversation, user_id, message, time from join_requests
                 where id = $1 and conversation = $2",
            )
            .bind(id.as_str())
            .bind(conversation.as_str())
            .fetch_optional(on)
            .await?
        }
    };
    Ok(Some(GroupFacts {
        group,
        actor: actor.as_ref().map(member).transpose()?,
        subjects,
        request: request.as_ref().map(join_request).transpose()?,
    }))
}

/// Sets columns of present members.
async fn save_attributes(on: &mut PgConnection, conversation: &ConversationId, effects: &GroupEffects) -> Result<()> {
    let (users, roles): (Vec<&str>, Vec<String>) =
        effects.roles.iter().map(|(user, role)| (user.as_str(), to_name(role))).unzip();
    if !users.is_empty() {
        sqlx::query(
            "update stints s set role = e.role from unnest($2::text[], $3::text[]) e (user_id, role)
             where s.conversation = $1 and s.user_id = e.user_id and s.left_seq is null",
        )
        .bind(conversation.as_str())
        .bind(&users)
        .bind(&roles)
        .execute(&mut *on)
        .await?;
    }
    let (users, mutes): (Vec<&str>, Vec<i64>) =
        effects.mutes.iter().map(|(user, until)| (user.as_str(), *until)).unzip();
    if !users.is_empty() {
        sqlx::query(
            "update stints s set muted_until = e.until from unnest($2::text[], $3::bigint[]) e (user_id, until)
             where s.conversation = $1 and s.user_id = e.user_id and s.left_seq is null",
        )
        .bind(conversation.as_str())
        .bind(&users)
        .bind(&mutes)
        .execute(&mut *on)
        .await?;
    }
    let (users, aliases): (Vec<&str>, Vec<&str>) =
        effects.aliases.iter().map(|(user, alias)| (user.as_str(), alias.as_str())).unzip();
    if !users.is_empty() {
        sqlx::query(
            "update stints s set alias = e.alias from unnest($2::text[], $3::text[]) e (user_id, alias)
             where s.conversation = $1 and s.user_id = e.user_id and s.left_seq is null",
        )
        .bind(conversation.as_str())
        .bind(&users)
        .bind(&aliases)
        .execute(on)
        .await?;
    }
    Ok(())
}

async fn save_requests(
    on: &mut PgConnection,
    conversation: &ConversationId,
    change: &GroupChange,
    effects: &GroupEffects,
    moves: &Moves,
) -> Result<()> {
    // A request of someone who is in, or to a group that is over, is moot.
    sqlx::query("delete from join_requests where conversation = $1 and ($2 or id = $3 or user_id = any ($4))")
        .bind(conversation.as_str())
        .bind(moves.dissolving)
        .bind(effects.close_request.as_deref())
        .bind(texts(&moves.added))
        .execute(&mut *on)
        .await?;
    if let Some(request) = &effects.request {
        sqlx::query(
            "insert into join_requests (id, conversation, user_id, message, time) values ($1, $2, $3, $4, $5)
             on conflict (conversation, user_id) do update set id = excluded.id, message = excluded.message,
                 time = excluded.time",
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
    on: &mut PgConnection,
    stored: &mut Conversation,
    change: &GroupChange,
    effects: &GroupEffects,
) -> Result<Vec<Draft>> {
    let mut drafts = Vec::with_capacity(effects.notifications.len());
    for notification in &effects.notifications {
        // A notification does not count as unread, so that the actor's count stays as it is stored.
        let mut own_count = facts::acting(&mut *on, &stored.tail.conversation, &notification.actor).await?.own_count;
        let body = notification_body(notification);
        drafts.push(stored.tail.append(change.time, &notification.actor, &mut own_count, None, body));
    }
    insert(on, &drafts).await?;
    Ok(drafts)
}

/// Writes effects and tells what they were. `stored` is the conversation as it was.
async fn apply(
    write: &mut Write<'_>,
    mut stored: Conversation,
    facts: &GroupFacts,
    change: &GroupChange,
    effects: &GroupEffects,
    sizes: LargeGroups,
) -> Result<Committed> {
    let conversation = stored.tail.conversation.clone();
    let (stamp, time) = (write.stamp().await?, change.time);
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
        save_tail(write.on(), &stored.tail, stamp).await?;
    }
    if !after.moves.none() {
        sqlx::query(
            "update conversations set members = $2, members_version = members_version + 1, large = $3 where id = $1",
        )
        .bind(conversation.as_str())
        .bind(i32::try_from(after.members).unwrap_or(i32::MAX))
        .bind(after.large)
        .execute(write.on())
        .await?;
    }
    let outbox = remember(write, time, &after.items()).await?;
    Ok(after.committed(outbox))
}

impl PostgresStore {
    pub(super) async fn change(&self, change: &GroupChange, decide: Decide<'_>) -> crate::store::Result<GroupChanged> {
        let conversation = ConversationId::group(&change.group);
        let changed = transact!(self, "change_group", |write| {
            facts::lock(write.on(), &conversation).await?;
            let Some(facts) = look_up(write.on(), &conversation, change).await? else {
                return Ok(GroupChanged::NotFound);
            };
            let effects = match decide(&facts) {
                Ok(effects) => effects,
                Err(error) => return Ok(GroupChanged::Refused(error)),
            };
            let stored = facts::conversation(write.on(), &conversation).await?;
            let stored = stored.ok_or_else(|| Fault::broken(format!("{conversation} has no conversation")))?;
            let committed = apply(&mut write, stored, &facts, change, &effects, self.large).await?;
            GroupChanged::Done(Box::new(facts), committed)
        });
        Ok(changed)
    }
}
