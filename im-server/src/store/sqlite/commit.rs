//! The commit of a batch: a fixed number of statements for any number of messages.

use std::collections::{HashMap, HashSet};

use im_protocol::message::Body;
use im_protocol::{ClientMessageId, ConversationId, Seq, TimeMs, UserId};
use sqlx::{Row, SqliteConnection};

use super::append::{insert, save_tails};
use super::facts::{self, Conversation, Place, Sender};
use super::outbox::remember;
use super::rows::{body, json, message_columns};
use super::{SqliteStore, Write};
use crate::store::tail::Draft;
use crate::store::{CommittedMessage, NewMessage, OutboxId, OutboxItem, Outcome, Result, Stamp};

/// By what a message is known: conversation, sender, the sender's id for it.
type KnownId = (ConversationId, UserId, ClientMessageId);

/// A stored message that a repeated id is held against.
struct Known {
    seq: Seq,
    time: TimeMs,
    /// `None` once recalled: what it said is gone, and every repetition is taken for the same.
    body: Option<Body>,
}

impl Known {
    fn outcome(&self, repeated: &Body) -> Outcome {
        if self.body.as_ref().is_none_or(|body| body == repeated) {
            Outcome::Duplicate { seq: self.seq, time: self.time }
        } else {
            Outcome::Reused
        }
    }
}

/// The stored messages of these ids, by their place among them.
async fn known(on: &mut SqliteConnection, ids: &[KnownId]) -> Result<HashMap<usize, Known>> {
    let rows = sqlx::query(concat!(
        "select e.key as place, ",
        message_columns!(),
        " from json_each(?1) e
          cross join messages m on m.conversation = e.value ->> 0 and m.sender = e.value ->> 1
              and m.client_message_id = e.value ->> 2
          cross join conversations c on c.id = m.conversation"
    ))
    .bind(json(ids))
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            let recalled: bool = row.try_get("recalled")?;
            let body = if recalled { None } else { Some(body(row)?) };
            let known = Known { seq: row.try_get("seq")?, time: row.try_get("time")?, body };
            Ok((row.try_get::<u32, _>("place")? as usize, known))
        })
        .collect()
}

/// What a batch has done so far.
struct Batch {
    now: TimeMs,
    conversations: HashMap<ConversationId, Conversation>,
    senders: HashMap<Place, Sender>,
    /// Conversations that the batch makes.
    new: Vec<ConversationId>,
    /// How many of them each user has.
    made: HashMap<UserId, u32>,
    /// Conversations that got a message.
    touched: HashSet<ConversationId>,
    fresh: HashMap<KnownId, Known>,
    drafts: Vec<Draft>,
}

impl Batch {
    /// Decides one message, after all before it.
    fn take(&mut self, message: NewMessage) -> Outcome {
        let known_id = (message.conversation.clone(), message.sender.clone(), message.client_message_id.clone());
        if let Some(known) = self.fresh.get(&known_id) {
            return known.outcome(&message.body);
        }
        let place = Place { conversation: message.conversation.clone(), sender: message.sender.clone() };
        let sender = self.senders.entry(place).or_default();
        let stored = self.conversations.get(&message.conversation);
        let made = |user: &UserId| self.made.get(user).copied().unwrap_or(0);
        if let Some(refusal) = facts::refusal(&message, self.now, stored, sender, made) {
            return Outcome::Refused(refusal);
        }
        let conversation = self.conversations.entry(message.conversation.clone()).or_insert_with_key(|id| {
            for user in ends(id) {
                *self.made.entry(user).or_default() += 1;
            }
            self.new.push(id.clone());
            Conversation::direct(id.clone())
        });
        let NewMessage { sender: user, client_message_id, body, .. } = message;
        let draft =
            conversation.tail.append(self.now, &user, &mut sender.own_count, Some(client_message_id), body.clone());
        let stored = Known { seq: draft.message.seq, time: draft.message.time, body: Some(body) };
        self.fresh.insert(known_id, stored);
        self.touched.insert(draft.message.conversation.clone());
        let committed = CommittedMessage {
            message: draft.message.clone(),
            members_version: conversation.members_version,
            large: conversation.large,
            changes: Vec::new(),
        };
        self.drafts.push(draft);
        Outcome::Committed(Box::new(committed))
    }

    /// Writes what it decided.
    async fn store(self, mut write: Write) -> Result<Option<OutboxId>> {
        if self.drafts.is_empty() {
            return Ok(None);
        }
        let stamp = write.stamp;
        let touched = self.touched.iter().filter_map(|id| self.conversations.get(id)).map(|facts| &facts.tail);
        save_tails(write.on(), touched, stamp).await?;
        if !self.new.is_empty() {
            make_direct(write.on(), &self.new, self.now, stamp).await?;
        }
        insert(write.on(), &self.drafts).await?;
        let items: Vec<OutboxItem> = self
            .drafts
            .iter()
            .map(|draft| OutboxItem::Message(draft.message.conversation.clone(), draft.message.seq))
            .collect();
        let outbox = remember(&mut write, self.now, &items).await?;
        write.commit().await?;
        Ok(outbox)
    }
}

/// The users of a direct conversation, each once.
fn ends(conversation: &ConversationId) -> Vec<UserId> {
    match conversation.ends() {
        Some((a, b)) if a == b => vec![a],
        Some((a, b)) => vec![a, b],
        None => Vec::new(),
    }
}

/// Puts direct conversations into the lists of both ends.
async fn make_direct(on: &mut SqliteConnection, new: &[ConversationId], now: TimeMs, stamp: Stamp) -> Result<()> {
    let members: Vec<(&ConversationId, UserId)> =
        new.iter().flat_map(|id| ends(id).into_iter().map(move |user| (id, user))).collect();
    let members = json(&members);
    sqlx::query(
        "insert into stints (conversation, user, joined_seq, joined_time)
         select value ->> 0, value ->> 1, 1, ?2 from json_each(?1)",
    )
    .bind(&members)
    .bind(now)
    .execute(&mut *on)
    .await?;
    sqlx::query(
        "insert into user_conversations (conversation, user, time, stamp)
         select value ->> 0, value ->> 1, ?2, ?3 from json_each(?1)",
    )
    .bind(&members)
    .bind(now)
    .bind(stamp.0)
    .execute(on)
    .await?;
    Ok(())
}

impl SqliteStore {
    pub(super) async fn commit_batch(
        &self,
        batch: Vec<NewMessage>,
        now: TimeMs,
    ) -> Result<(Option<OutboxId>, Vec<Outcome>)> {
        let ids: Vec<KnownId> = batch
            .iter()
            .map(|message| (message.conversation.clone(), message.sender.clone(), message.client_message_id.clone()))
            .collect();
        let mut write = self.write().await?;
        let known = known(write.on(), &ids).await?;
        let wanted: HashSet<&ConversationId> = ids.iter().map(|(conversation, ..)| conversation).collect();
        let wanted: Vec<&ConversationId> = wanted.into_iter().collect();
        let conversations = facts::conversations(write.on(), &wanted).await?;
        let places: HashSet<Place> = ids
            .iter()
            .map(|(conversation, sender, _)| Place { conversation: conversation.clone(), sender: sender.clone() })
            .collect();
        let senders = facts::senders(write.on(), places.into_iter().collect(), &conversations).await?;
        let mut batch_state = Batch {
            now,
            conversations,
            senders,
            new: Vec::new(),
            made: HashMap::new(),
            touched: HashSet::new(),
            fresh: HashMap::new(),
            drafts: Vec::with_capacity(batch.len()),
        };
        let outcomes = batch
            .into_iter()
            .enumerate()
            .map(|(place, message)| match known.get(&place) {
                Some(known) => known.outcome(&message.body),
                None => batch_state.take(message),
            })
            .collect();
        let outbox = batch_state.store(write).await?;
        Ok((outbox, outcomes))
    }

    pub(super) async fn look_up(&self, id: KnownId, body: &Body) -> Result<Option<Outcome>> {
        let mut reader = self.readers.acquire().await.map_err(crate::store::StoreError::from)?;
        let found = known(&mut reader, &[id]).await?;
        Ok(found.get(&0).map(|known| known.outcome(body)))
    }
}
