//! Read positions in the registry's Redis.
//!
//! | key | type | content | expires |
//! |---|---|---|---|
//! | `r:<conversation>` | sorted set | user → seq | a day after the last read |
//! | `rc:<conversation>` | string | the version of the membership of which everyone is in that set | 10 minutes after it was filled |
//! | `ru:<user>` | sorted set | conversation → seq, read lately | 10 minutes after the last read |

use std::sync::Arc;

use ::redis::{Cmd, Value};
use async_trait::async_trait;
use im_protocol::{ConversationId, Seq, UserId};

use super::{Read, ReadPositions};
use crate::redis::{Batch, Bucket, RedisClient, Script, value};
use crate::registry::RegistryError;
use crate::registry::redis::RedisRegistry;

/// Nobody has read for so long: who comes back is loaded from the database. Seconds.
const POSITIONS_FOR: u32 = 24 * 3600;

/// The database has a read within a second; while it is down the servers that took the reads know them. Seconds.
const RECENT_FOR: i64 = 600;

/// A set may have lost reads without a trace, when Redis came back with an older snapshot: a count is off for so long at
/// most. Seconds.
const COMPLETE_FOR: u32 = 600;

/// Replaces a set by everyone's positions from the database, keeping what is further. KEYS: the set, its mark. ARGV:
/// version, how long the mark and the set live, then pairs of seq and user.
static FILL: Script = Script::new(
    "local fresh = {}
    for at = 4, #ARGV, 2 do
        local known = redis.call('ZSCORE', KEYS[1], ARGV[at + 1])
        if known and tonumber(known) > tonumber(ARGV[at]) then fresh[at] = known else fresh[at] = ARGV[at] end
    end
    redis.call('DEL', KEYS[1])
    for at = 4, #ARGV, 2 do redis.call('ZADD', KEYS[1], fresh[at], ARGV[at + 1]) end
    redis.call('EXPIRE', KEYS[1], ARGV[3])
    redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
    return 1",
);

/// Read positions beside the routes.
pub struct RedisReadPositions(Arc<RedisClient>);

impl RedisReadPositions {
    /// In the Redis of a registry, over its connection.
    pub fn beside(registry: &RedisRegistry) -> Self {
        Self(registry.client().clone())
    }

    fn bucket(&self, name: &str) -> Bucket {
        self.0.buckets().of(name)
    }

    fn key(&self, bucket: Bucket, kind: &str, name: &str) -> String {
        self.0.buckets().key(bucket, format_args!("{kind}:{name}"))
    }
}

/// What moves a member of a sorted set forward.
fn forward(key: &str, seq: Seq, member: &str) -> Cmd {
    let mut command = ::redis::cmd("ZADD");
    command.arg(key).arg("GT").arg(seq).arg(member);
    command
}

#[async_trait]
impl ReadPositions for RedisReadPositions {
    async fn advance(&self, reads: &[Read]) -> Result<Vec<Option<Seq>>, RegistryError> {
        let mut batches = std::collections::BTreeMap::<Bucket, (Batch, usize)>::new();
        // Where the answer with the position before stands: in the batch of a bucket, at a place.
        let mut places = Vec::with_capacity(reads.len());
        for Read { conversation, user, seq } in reads {
            let bucket = self.bucket(conversation.as_str());
            let key = self.key(bucket, "r", conversation.as_str());
            let (batch, length) = batches.entry(bucket).or_insert_with(|| (Batch::new(bucket), 0));
            batch.add(Cmd::zscore(&key, user.as_str()));
            batch.add(forward(&key, *seq, user.as_str()));
            batch.add(Cmd::expire(&key, i64::from(POSITIONS_FOR)));
            places.push((bucket, *length));
            *length += 3;
            let bucket = self.bucket(user.as_str());
            let key = self.key(bucket, "ru", user.as_str());
            let (batch, length) = batches.entry(bucket).or_insert_with(|| (Batch::new(bucket), 0));
            batch.add(forward(&key, *seq, conversation.as_str()));
            batch.add(Cmd::expire(&key, RECENT_FOR));
            *length += 2;
        }
        let (buckets, batches): (Vec<_>, Vec<_>) =
            batches.into_iter().map(|(bucket, (batch, _))| (bucket, batch)).unzip();
        let mut answers = self.0.run("advance_reads", &batches).await?;
        let before = |(bucket, place): (Bucket, usize)| {
            let at = buckets.binary_search(&bucket).ok()?;
            answers.get_mut(at)?.get_mut(place).map(std::mem::take)
        };
        places.into_iter().map(before).map(|answer| seq(answer.unwrap_or_default())).collect()
    }

    async fn recent(&self, user: &UserId) -> Result<Vec<(ConversationId, Seq)>, RegistryError> {
        let bucket = self.bucket(user.as_str());
        let mut batch = Batch::new(bucket);
        batch.add(Cmd::zrange_withscores(self.key(bucket, "ru", user.as_str()), 0, -1));
        let mut answers = self.0.run("recent_reads", &[batch]).await?.into_iter().flatten();
        let recent: Vec<(String, f64)> = value(answers.next().unwrap_or_default())?;
        let known = |(conversation, score): (String, f64)| Some((conversation.parse().ok()?, whole(score)));
        Ok(recent.into_iter().filter_map(known).collect())
    }

    async fn readers(&self, conversation: &ConversationId, seq: Seq) -> Result<Vec<(UserId, Seq)>, RegistryError> {
        let bucket = self.bucket(conversation.as_str());
        let mut batch = Batch::new(bucket);
        let key = self.key(bucket, "r", conversation.as_str());
        batch.add(Cmd::zrangebyscore_withscores(key, seq, "+inf"));
        let mut answers = self.0.run("readers", &[batch]).await?.into_iter().flatten();
        let readers: Vec<(String, f64)> = value(answers.next().unwrap_or_default())?;
        let known = |(user, score): (String, f64)| Some((user.parse().ok()?, whole(score)));
        Ok(readers.into_iter().filter_map(known).collect())
    }

    async fn count(
        &self,
        conversation: &ConversationId,
        version: u64,
        seq: Seq,
        except: &UserId,
    ) -> Result<Option<u64>, RegistryError> {
        let bucket = self.bucket(conversation.as_str());
        let key = self.key(bucket, "r", conversation.as_str());
        let mut batch = Batch::new(bucket);
        batch.add(Cmd::get(self.key(bucket, "rc", conversation.as_str())));
        batch.add(Cmd::zcount(&key, seq, "+inf"));
        batch.add(Cmd::zscore(&key, except.as_str()));
        let mut answers = self.0.run("count_reads", &[batch]).await?.into_iter().flatten();
        let mut next = || answers.next().unwrap_or_default();
        let complete: Option<u64> = value(next())?;
        let count: u64 = value(next())?;
        let own = self::seq(next())?.is_some_and(|read| read >= seq);
        Ok((complete == Some(version)).then(|| count.saturating_sub(u64::from(own))))
    }

    async fn fill(
        &self,
        conversation: &ConversationId,
        version: u64,
        positions: &[(UserId, Seq)],
    ) -> Result<(), RegistryError> {
        let bucket = self.bucket(conversation.as_str());
        let keys = ["r", "rc"].map(|kind| self.key(bucket, kind, conversation.as_str()));
        let mut command = FILL.call(&keys);
        command.arg(version).arg(COMPLETE_FOR).arg(POSITIONS_FOR);
        for (user, seq) in positions {
            command.arg(*seq).arg(user.as_str());
        }
        let mut batch = Batch::running(bucket, &FILL);
        batch.add(command);
        self.0.run("fill_reads", &[batch]).await.map(drop)
    }
}

fn seq(answer: Value) -> Result<Option<Seq>, RegistryError> {
    Ok(value::<Option<f64>>(answer)?.map(whole))
}

/// Scores are seqs: whole, and below 2⁵³, where a double is exact.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(score: f64) -> Seq {
    score as Seq
}
