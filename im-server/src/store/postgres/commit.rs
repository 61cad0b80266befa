//! The commit of a batch: one call of one function, with a token by which it can be asked for again.
//!
//! A connection that is lost during the call leaves open whether it was committed. The call is repeated on another
//! connection under the same token: it waits for the locks of the first, if that still runs, and answers with what the
//! first one committed, or commits. So nothing is answered before it is known.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use im_protocol::message::Body;
use im_protocol::{ClientMessageId, ConversationId, Message, TimeMs, UserId};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};
use tokio::time::Instant;

use super::error::{Fault, Kind, Result};
use super::outbox;
use super::rows::{body, content, int, json, mentions, unsigned};
use super::session::Lease;
use super::{PostgresStore, call};
use crate::store::values::parse;
use crate::store::{CommittedMessage, Holder, NewMessage, OutboxId, Outcome, Refusal};

/// For how long a batch is tried. Above the second or two of a restart, below the time a client waits for its ack.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one try may take. Batches take milliseconds: by then the connection is cut off, and another one may not be.
const TRY: Duration = Duration::from_secs(2);

/// Pauses between tries: doubled from the first up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// By what a message is known: conversation, sender, the sender's id for it.
type KnownId<'a> = (&'a ConversationId, &'a UserId, &'a ClientMessageId);

/// What became of a message with this id and `stored` body, for a message with the body `repeated`.
fn known_outcome(seq: u64, time: TimeMs, stored: Option<&Body>, repeated: &Body) -> Outcome {
    // Once recalled, what it said is gone, and every repetition is taken for the same.
    if stored.is_none_or(|stored| stored == repeated) { Outcome::Duplicate { seq, time } } else { Outcome::Reused }
}

/// A batch as arrays: one column each of conversations (`c_`), senders in them (`s_`) and messages (`i_`). Places count
/// from 1.
#[derive(Default)]
struct Arrays<'a> {
    c_id: Vec<&'a str>,
    c_a: Vec<Option<String>>,
    c_b: Vec<Option<String>>,
    s_conversation: Vec<i32>,
    s_sender: Vec<&'a str>,
    s_peer: Vec<Option<String>>,
    i_place: Vec<i32>,
    i_earlier: Vec<Option<i32>>,
    i_client_message_id: Vec<&'a str>,
    i_kind: Vec<&'a str>,
    i_badges: Vec<i32>,
    i_content: Vec<&'a str>,
    i_mentions: Vec<Option<String>>,
    i_mention_all: Vec<bool>,
    i_reply_to: Vec<Option<i64>>,
    i_friends_only: Vec<bool>,
    i_max_conversations: Vec<i64>,
}

/// The number of elements, which is the place of the last one. Batches are far below 2^31.
fn place<T>(of: &[T]) -> i32 {
    i32::try_from(of.len()).unwrap_or(i32::MAX)
}

impl<'a> Arrays<'a> {
    fn of(batch: &'a [NewMessage]) -> Self {
        let mut arrays = Self::default();
        let mut conversations: BTreeMap<&ConversationId, i32> =
            batch.iter().map(|message| (&message.conversation, 0)).collect();
        for (id, at) in &mut conversations {
            arrays.c_id.push(id.as_str());
            let (a, b) = id.ends().map(|(a, b)| (a.to_string(), b.to_string())).unzip();
            arrays.c_a.push(a);
            arrays.c_b.push(b);
            *at = place(&arrays.c_id);
        }
        let mut senders: HashMap<(&ConversationId, &UserId), i32> = HashMap::new();
        let mut earlier: HashMap<KnownId<'_>, i32> = HashMap::new();
        for NewMessage { conversation, sender, client_message_id, body, friends_only, max_conversations } in batch {
            let at = *senders.entry((conversation, sender)).or_insert_with(|| {
                arrays.s_conversation.push(conversations[conversation]);
                arrays.s_sender.push(sender.as_str());
                arrays.s_peer.push(conversation.peer(sender).map(|peer| peer.to_string()));
                place(&arrays.s_sender)
            });
            arrays.i_place.push(at);
            arrays.i_earlier.push(earlier.insert((conversation, sender, client_message_id), place(&arrays.i_place)));
            arrays.i_client_message_id.push(client_message_id.as_str());
            arrays.i_kind.push(body.kind.as_str());
            arrays.i_badges.push(body.kind.badges().into());
            arrays.i_content.push(body.content.as_str());
            arrays.i_mentions.push((!body.mentions.is_empty()).then(|| json(&body.mentions)));
            arrays.i_mention_all.push(body.mention_all);
            arrays.i_reply_to.push(body.reply_to.map(int));
            arrays.i_friends_only.push(*friends_only);
            arrays.i_max_conversations.push((*max_conversations).into());
        }
        arrays
    }

    /// The call. `again`: a call with this token may have been committed.
    fn call(&self, holder: Option<Holder>, token: i64, again: bool, now: TimeMs) -> Query<'_, Postgres, PgArguments> {
        let (server, epoch) = outbox::columns(holder);
        sqlx::query(
            "select * from im_commit_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                                        $19, $20, $21, $22)",
        )
        .bind(now)
        .bind(server)
        .bind(epoch)
        .bind(token)
        .bind(again)
        .bind(&self.c_id)
        .bind(&self.c_a)
        .bind(&self.c_b)
        .bind(&self.s_conversation)
        .bind(&self.s_sender)
        .bind(&self.s_peer)
        .bind(&self.i_place)
        .bind(&self.i_earlier)
        .bind(&self.i_client_message_id)
        .bind(&self.i_kind)
        .bind(&self.i_badges)
        .bind(&self.i_content)
        .bind(&self.i_mentions)
        .bind(&self.i_mention_all)
        .bind(&self.i_reply_to)
        .bind(&self.i_friends_only)
        .bind(&self.i_max_conversations)
    }
}

/// What the database could not take, by its number in the function.
fn refusal(code: i32, until: TimeMs) -> Result<Refusal> {
    Ok(match code {
        -1 => Refusal::NotFound,
        -2 => Refusal::Dissolved,
        -3 => Refusal::NotAMember,
        -4 => Refusal::Muted(until),
        -5 => Refusal::GroupMuted,
        -6 => Refusal::Blocked,
        -7 => Refusal::NotFriends,
        -8 => Refusal::UnknownReply,
        -9 => Refusal::TooManyConversations,
        code => return Err(Fault::broken(format!("a message was refused for {code}"))),
    })
}

/// What goes with the messages of a conversation.
struct Told {
    time: Vec<i64>,
    rev: Vec<i64>,
    incarnation: Vec<i32>,
    members_version: Vec<i64>,
    large: Vec<bool>,
}

impl Told {
    /// A message of the conversation at `at`, as it is stored.
    fn committed(&self, at: usize, seq: i64, message: &NewMessage) -> Result<CommittedMessage> {
        let NewMessage { conversation, sender, client_message_id, body, .. } = message;
        let body = body.clone();
        Ok(CommittedMessage {
            message: Message {
                conversation: conversation.clone(),
                seq: unsigned(seq)?,
                rev: unsigned(self.rev[at])?,
                incarnation: unsigned(self.incarnation[at].into())?,
                sender: sender.clone(),
                client_message_id: Some(client_message_id.clone()),
                time: self.time[at],
                kind: body.kind,
                content: body.content,
                mentions: body.mentions,
                mention_all: body.mention_all,
                reply_to: body.reply_to,
                forwarded_from: None,
                recalled: false,
                edited: None,
                reactions: BTreeMap::new(),
            },
            members_version: unsigned(self.members_version[at])?,
            large: self.large[at],
            changes: Vec::new(),
        })
    }
}

/// Outcomes of messages that were known before the batch, by their places in it.
fn known_before(row: &PgRow, batch: &[NewMessage]) -> Result<HashMap<usize, Outcome>> {
    let Some(places) = row.try_get::<Option<Vec<i32>>, _>("k_place")? else { return Ok(HashMap::new()) };
    let seqs: Vec<i64> = row.try_get("k_seq")?;
    let times: Vec<i64> = row.try_get("k_time")?;
    let recalled: Vec<bool> = row.try_get("k_recalled")?;
    let kinds: Vec<String> = row.try_get("k_kind")?;
    let contents: Vec<String> = row.try_get("k_content")?;
    let all_mentions: Vec<Option<String>> = row.try_get("k_mentions")?;
    let mention_all: Vec<bool> = row.try_get("k_mention_all")?;
    let reply_to: Vec<Option<i64>> = row.try_get("k_reply_to")?;
    let outcome = |(n, (at, text)): (usize, (i32, String))| {
        let at: usize = unsigned(i64::from(at) - 1)?;
        let stored = Body {
            kind: parse(&kinds[n])?,
            content: content(text)?,
            mentions: mentions(all_mentions[n].as_deref())?,
            mention_all: mention_all[n],
            reply_to: reply_to[n].map(unsigned).transpose()?,
        };
        let stored = (!recalled[n]).then_some(&stored);
        Ok((at, known_outcome(unsigned(seqs[n])?, times[n], stored, &batch[at].body)))
    };
    places.into_iter().zip(contents).enumerate().map(outcome).collect()
}

/// What the function answered.
fn answer(row: &PgRow, batch: &[NewMessage], arrays: &Arrays<'_>) -> Result<(Option<OutboxId>, Vec<Outcome>)> {
    let outbox = row.try_get::<Option<i64>, _>("outbox_id")?.map(OutboxId);
    let codes: Vec<i32> = row.try_get("outcomes")?;
    let numbers: Vec<i64> = row.try_get("numbers")?;
    let told = Told {
        time: row.try_get("c_time")?,
        rev: row.try_get("c_rev")?,
        incarnation: row.try_get("c_incarnation")?,
        members_version: row.try_get("c_members_version")?,
        large: row.try_get("c_large")?,
    };
    let mut known = known_before(row, batch)?;
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(batch.len());
    for (n, (message, (&code, &number))) in batch.iter().zip(codes.iter().zip(&numbers)).enumerate() {
        let outcome = match code {
            0 => {
                let sender: usize = unsigned(i64::from(arrays.i_place[n]) - 1)?;
                let at: usize = unsigned(i64::from(arrays.s_conversation[sender]) - 1)?;
                Outcome::Committed(Box::new(told.committed(at, number, message)?))
            }
            1 => known.remove(&n).ok_or_else(|| Fault::broken("a known message is not told"))?,
            2 => {
                let first: usize = unsigned(number - 1)?;
                let Some(Outcome::Committed(committed)) = outcomes.get(first) else {
                    return Err(Fault::broken("a repeated message repeats none"));
                };
                let stored = &committed.message;
                known_outcome(stored.seq, stored.time, Some(&batch[first].body), &message.body)
            }
            code => Outcome::Refused(refusal(code, number)?),
        };
        outcomes.push(outcome);
    }
    Ok((outbox, outcomes))
}

impl PostgresStore {
    pub(super) async fn commit_batch(
        &self,
        batch: Vec<NewMessage>,
        now: TimeMs,
    ) -> Result<(Option<OutboxId>, Vec<Outcome>)> {
        match self.commit_all(&batch, now).await {
            Err(Fault { kind: Kind::Data, text }) => {
                tracing::error!(messages = batch.len(), "the database cannot take every message of a batch: {text}");
                self.commit_rest(batch, now).await
            }
            committed => committed,
        }
    }

    /// Commits a batch, or says why it cannot be.
    async fn commit_all(&self, batch: &[NewMessage], now: TimeMs) -> Result<(Option<OutboxId>, Vec<Outcome>)> {
        if batch.is_empty() {
            return Ok((None, Vec::new()));
        }
        let arrays = Arrays::of(batch);
        let token: i64 = rand::random();
        let deadline = Instant::now() + PATIENCE;
        let (mut again, mut pause) = (false, FIRST_PAUSE);
        loop {
            match self.try_commit(&arrays, token, again, now).await {
                Ok(row) => return answer(&row, batch, &arrays),
                Err(fault) => {
                    let passing = matches!(fault.kind, Kind::Unavailable | Kind::Conflict);
                    if !passing || Instant::now() + pause >= deadline {
                        return Err(fault);
                    }
                    metrics::counter!("im_sql_batch_retries_total").increment(1);
                    tracing::warn!("a batch is tried again: {}", fault.text);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                    again = true;
                }
            }
        }
    }

    async fn try_commit(&self, arrays: &Arrays<'_>, token: i64, again: bool, now: TimeMs) -> Result<PgRow> {
        let mut lease = tokio::time::timeout(TRY, self.lease("commit"))
            .await
            .map_err(|_| Fault::unavailable("no connection to spare"))??;
        let call = arrays.call(self.holder(), token, again, now);
        let outcome = tokio::time::timeout(TRY, call.fetch_one(lease.on())).await;
        lease.settled(outcome)
    }

    /// Commits a batch without the messages that the database cannot take: each is tried alone, and undone, first.
    async fn commit_rest(&self, batch: Vec<NewMessage>, now: TimeMs) -> Result<(Option<OutboxId>, Vec<Outcome>)> {
        let mut lease: Lease = self.lease("commit_rest").await?;
        let sifted = tokio::time::timeout(self.patience, async {
            let mut write = lease.begin(None).await?;
            let mut bad = Vec::with_capacity(batch.len());
            for message in &batch {
                let arrays = Arrays::of(std::slice::from_ref(message));
                let mut part = write.part().await?;
                let tried = arrays.call(None, rand::random(), false, now).fetch_one(&mut *part).await;
                part.rollback().await?;
                bad.push(match tried.map_err(Fault::from) {
                    Ok(_) => false,
                    Err(fault) if fault.kind == Kind::Data => true,
                    Err(fault) => return Err(fault),
                });
            }
            Ok(bad)
        })
        .await;
        let bad = lease.settled(sifted)?;
        drop(lease);
        let mut good = batch;
        let mut place = bad.iter();
        good.retain(|_| !*place.next().expect("one for each message"));
        let (outbox, outcomes) = self.commit_all(&good, now).await?;
        let mut outcomes = outcomes.into_iter();
        let outcome = |bad| if bad { Outcome::Unstorable } else { outcomes.next().expect("one for each good message") };
        Ok((outbox, bad.into_iter().map(outcome).collect()))
    }

    pub(super) async fn look_up(
        &self,
        conversation: &ConversationId,
        sender: &UserId,
        id: &ClientMessageId,
        repeated: &Body,
    ) -> Result<Option<Outcome>> {
        let row = call!(self, "known", |on| sqlx::query(
            "select seq, time, recalled, kind, content, mentions, mention_all, reply_to from messages
             where conversation = $1 and sender = $2 and client_message_id = $3",
        )
        .bind(conversation.as_str())
        .bind(sender.as_str())
        .bind(id.as_str())
        .fetch_optional(on));
        let Some(row) = row else { return Ok(None) };
        let recalled: bool = row.try_get("recalled")?;
        let stored = if recalled { None } else { Some(body(&row)?) };
        let (seq, time) = (unsigned(row.try_get("seq")?)?, row.try_get("time")?);
        Ok(Some(known_outcome(seq, time, stored.as_ref(), repeated)))
    }
}
