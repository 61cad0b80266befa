//! From work to jobs: who has not got a message, and which devices are told.

use std::collections::{BTreeMap, HashMap};

use im_protocol::{ConversationId, DeviceId, Epoch, Message, Seq, ServerId, Terminal, TimeMs, UserId};

use super::decide::{Skip, Told, Verdict, in_doubt, notice, targets};
use super::presence::Presence;
use super::{CLAIM_MS, Push, places};
use crate::store::{
    Asked, Candidate, CommittedMessage, JobKey, NewWork, Notice, PushItem, Rest, Result, Settled, Stamp, Work,
};

/// Pieces of work claimed at once.
const CLAIMED: u32 = 256;

/// Conversations whose members are looked up in one statement.
const TOGETHER: usize = 16;

/// Members of each that are looked up at once.
const PAGE: u32 = 500;

/// Conversations of one user that a broken connection may have left in doubt; beyond, the newest.
const IN_DOUBT: u32 = 100;

/// The store's clock and this server's may differ by so much: milliseconds.
const SKEW_MS: TimeMs = 2_000;

/// Messages of one conversation that are looked at together, from the same member on.
struct Pass {
    conversation: ConversationId,
    cursor: Option<String>,
    messages: Vec<Message>,
    large: bool,
    work: Vec<Work>,
}

/// What is known of users.
struct Known {
    places: HashMap<UserId, usize>,
    presences: Vec<Presence>,
    devices: Vec<Vec<DeviceId>>,
}

impl Known {
    fn of(&self, user: &UserId) -> (&Presence, &[DeviceId]) {
        let place = self.places[user];
        (&self.presences[place], &self.devices[place])
    }
}

impl Push {
    /// Looks at work that is due at `now` (Unix milliseconds). True if there may be more.
    pub async fn look(&self, now: TimeMs) -> Result<bool> {
        let claimed = self.store.claim_push_work(now, now + CLAIM_MS, CLAIMED).await?;
        let more = claimed.len() >= CLAIMED as usize;
        let (mut messages, mut users) = (Vec::new(), Vec::new());
        for work in claimed {
            match &work.item {
                PushItem::Message(..) => messages.push(work),
                PushItem::User(user, terminal) => users.push((user.clone(), *terminal, work)),
                PushItem::Server(server, epoch) => {
                    let (server, epoch) = (*server, *epoch);
                    self.look_at_server(server, epoch, work, now).await?;
                }
            }
        }
        self.look_at_messages(messages, now).await?;
        self.look_at_users(users, now).await?;
        Ok(more)
    }

    async fn known(&self, users: impl IntoIterator<Item = UserId>, now: TimeMs) -> Result<Known> {
        let (users, places) = places(users);
        let presences = self.presences(&users).await;
        let devices = if users.is_empty() { Vec::new() } else { self.store.push_devices(&users, now).await? };
        Ok(Known { places, presences, devices })
    }

    /// Stores what came of work. What another has taken over meanwhile is left to it.
    async fn settle(
        &self,
        settled: &[Settled],
        jobs: &[(JobKey, Notice)],
        more: &[NewWork],
        now: TimeMs,
    ) -> Result<bool> {
        let held = self.store.settle_push_work(settled, jobs, more, now).await?;
        if !held {
            tracing::debug!("another worker has taken push work over");
        } else if !jobs.is_empty() {
            self.jobs.notify_waiters();
        }
        Ok(held)
    }

    async fn look_at_messages(&self, work: Vec<Work>, now: TimeMs) -> Result<()> {
        if work.is_empty() {
            return Ok(());
        }
        let wanted: Vec<_> = work.iter().filter_map(|work| message_of(&work.item)).collect();
        let found = self.store.committed(&wanted).await?;
        let mut passes = passes(work, found);
        while !passes.is_empty() {
            let mut together = passes.split_off(passes.len().saturating_sub(TOGETHER));
            while !together.is_empty() {
                together = self.look_at_page(together, now).await?;
            }
        }
        Ok(())
    }

    /// Looks at a page of members of each pass. Returns the passes that go on.
    async fn look_at_page(&self, passes: Vec<Pass>, now: TimeMs) -> Result<Vec<Pass>> {
        let asked: Vec<_> = passes.iter().map(|pass| asked(pass, self.config.wanted.large_mentions_only)).collect();
        let candidates = self.store.push_candidates(&asked, PAGE).await?;
        let known = self.known(candidates.iter().flatten().map(|member| member.user.clone()), now).await?;
        let (mut settled, mut jobs, mut going_on) = (Vec::new(), Vec::new(), Vec::new());
        for ((pass, asked), members) in passes.into_iter().zip(asked).zip(candidates) {
            let told =
                Told { messages: &pass.messages, mentions_only: pass.large && self.config.wanted.large_mentions_only };
            let rest = match jobs_of(&pass.conversation, &told, &members, &known) {
                None => {
                    let claims = pass.work.iter().map(|work| work.claims).max().unwrap_or(1);
                    Some(Rest { cursor: pass.cursor.clone(), due: Self::put_off(claims, now) })
                }
                Some(found) => {
                    jobs.extend(found);
                    let full = asked.among.is_none() && members.len() >= PAGE as usize;
                    let last = members.last().filter(|_| full).map(|member| member.user.to_string());
                    last.map(|last| Rest { cursor: Some(last), due: now + CLAIM_MS })
                }
            };
            settled.extend(pass.work.iter().map(|work| Settled { work: work.clone(), rest: rest.clone() }));
            // One that was put off stays where it was.
            if let Some(rest) = rest.filter(|rest| rest.cursor != pass.cursor) {
                going_on.push(Pass { cursor: rest.cursor, ..pass });
            }
        }
        let held = self.settle(&settled, &jobs, &[], now).await?;
        Ok(if held { going_on } else { Vec::new() })
    }

    async fn look_at_users(&self, users: Vec<(UserId, Option<Terminal>, Work)>, now: TimeMs) -> Result<()> {
        if users.is_empty() {
            return Ok(());
        }
        let known = self.known(users.iter().map(|(user, ..)| user.clone()), now).await?;
        let (mut settled, mut jobs) = (Vec::new(), Vec::new());
        for (user, terminal, work) in users {
            let (presence, devices) = known.of(&user);
            let told = terminal.is_some_and(|terminal| terminal != Terminal::Mobile) && !devices.is_empty();
            let verdict = if told { Verdict::Skip(Skip::Told) } else { targets(presence, devices) };
            let rest = match verdict {
                Verdict::Unknown => Some(Rest { cursor: None, due: Self::put_off(work.claims, now) }),
                Verdict::Skip(skip) => {
                    Self::skipped(skip);
                    None
                }
                Verdict::Push(targets) => {
                    jobs.extend(self.in_doubt(&user, &targets, work.time).await?);
                    None
                }
            };
            settled.push(Settled { work, rest });
        }
        self.settle(&settled, &jobs, &[], now).await.map(drop)
    }

    /// What a user may have missed since a time.
    async fn in_doubt(
        &self,
        user: &UserId,
        targets: &[Option<DeviceId>],
        since: TimeMs,
    ) -> Result<Vec<(JobKey, Notice)>> {
        // Stamps are times, by the store's clock.
        let since = since - SKEW_MS;
        let rows = self.store.list(user, Some(Stamp(since)), None, IN_DOUBT, &[]).await?.rows;
        let mut jobs = Vec::new();
        for row in rows {
            match in_doubt(user, &row.state, since) {
                Verdict::Push(notice) => jobs.extend(each(user, targets, &row.conversation, notice)),
                Verdict::Skip(skip) => Self::skipped(skip),
                Verdict::Unknown => {}
            }
        }
        Ok(jobs)
    }

    /// Leaves work for the users of a server that died.
    async fn look_at_server(&self, server: ServerId, epoch: Epoch, mut work: Work, now: TimeMs) -> Result<()> {
        loop {
            // A cursor that is no number was never stored.
            let cursor = work.cursor.as_deref().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
            let (next, users) = match self.registry.users_of(server, epoch, cursor).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, %server, "the users of a dead server cannot be read yet");
                    let rest = Rest { cursor: work.cursor.clone(), due: Self::put_off(work.claims, now) };
                    return self.settle(&[Settled { work, rest: Some(rest) }], &[], &[], now).await.map(drop);
                }
            };
            let of_user = |user| NewWork { item: PushItem::User(user, None), time: work.time, due: now };
            let more: Vec<_> = users.into_iter().map(of_user).collect();
            let rest = (next != 0).then(|| Rest { cursor: Some(next.to_string()), due: now + CLAIM_MS });
            let cursor = rest.as_ref().and_then(|rest| rest.cursor.clone());
            if !self.settle(&[Settled { work: work.clone(), rest }], &[], &more, now).await? {
                return Ok(());
            }
            work.cursor = cursor;
            if next == 0 {
                break;
            }
        }
        if let Err(error) = self.registry.forget_users_of(server, epoch).await {
            // It is void, and small.
            tracing::debug!(%error, %server, "the users of a dead server could not be forgotten");
        }
        Ok(())
    }
}

fn message_of(item: &PushItem) -> Option<(ConversationId, Seq)> {
    match item {
        PushItem::Message(conversation, seq) => Some((conversation.clone(), *seq)),
        PushItem::User(..) | PushItem::Server(..) => None,
    }
}

/// Work on the same conversation from the same member on is looked at in one pass.
fn passes(work: Vec<Work>, found: Vec<CommittedMessage>) -> Vec<Pass> {
    let mut found: HashMap<_, _> =
        found.into_iter().map(|found| ((found.message.conversation.clone(), found.message.seq), found)).collect();
    let mut passes = BTreeMap::<(ConversationId, Option<String>), Pass>::new();
    for work in work {
        let Some(place) = message_of(&work.item) else { continue };
        let pass = passes.entry((place.0.clone(), work.cursor.clone())).or_insert_with(|| Pass {
            conversation: place.0.clone(),
            cursor: work.cursor.clone(),
            messages: Vec::new(),
            large: false,
            work: Vec::new(),
        });
        // One that is gone has nothing to tell; its work ends with the pass.
        if let Some(committed) = found.remove(&place) {
            pass.large = committed.large;
            pass.messages.push(committed.message);
        }
        pass.work.push(work);
    }
    let mut passes: Vec<_> = passes.into_values().collect();
    for pass in &mut passes {
        pass.messages.sort_by_key(|message| message.seq);
    }
    passes
}

/// Whom a pass asks for: where only mentions count and they are by name, those who are mentioned.
fn asked(pass: &Pass, large_mentions_only: bool) -> Asked {
    let conversation = pass.conversation.clone();
    let among = if let Some((a, b)) = conversation.ends() {
        Some(vec![a, b])
    } else if pass.large && large_mentions_only && !pass.messages.iter().any(|message| message.mention_all) {
        Some(places(pass.messages.iter().flat_map(|message| message.mentions.iter().cloned())).0)
    } else {
        None
    };
    let after = pass.cursor.as_deref().and_then(|cursor| cursor.parse().ok()).filter(|_| among.is_none());
    Asked { conversation, among, after }
}

/// The jobs of a page of members; `None` if of one of them nobody can say yet whether they are connected.
fn jobs_of(
    conversation: &ConversationId,
    told: &Told<'_>,
    members: &[Candidate],
    known: &Known,
) -> Option<Vec<(JobKey, Notice)>> {
    let mut jobs = Vec::new();
    for member in members {
        let (presence, devices) = known.of(&member.user);
        let notice = match notice(member, told, presence) {
            Verdict::Push(notice) => notice,
            Verdict::Skip(skip) => {
                Push::skipped(skip);
                continue;
            }
            Verdict::Unknown => return None,
        };
        match targets(presence, devices) {
            Verdict::Push(targets) => jobs.extend(each(&member.user, &targets, conversation, notice)),
            Verdict::Skip(skip) => Push::skipped(skip),
            Verdict::Unknown => return None,
        }
    }
    Some(jobs)
}

/// The same notice for each device.
fn each(
    user: &UserId,
    targets: &[Option<DeviceId>],
    conversation: &ConversationId,
    notice: Notice,
) -> Vec<(JobKey, Notice)> {
    let key = |device: &Option<DeviceId>| JobKey {
        user: user.clone(),
        device: device.clone(),
        conversation: conversation.clone(),
    };
    targets.iter().map(|device| (key(device), notice)).collect()
}
