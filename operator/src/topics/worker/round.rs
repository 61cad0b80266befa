//! One round of a task: look at the topics of all who are due, write what is missing, look at what was written.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::board::{Due, Ended, Wishes};
use super::task::Task;
use crate::leader::{NotWritten, write};
use crate::topics::Wish;
use crate::topics::admin::{AdminError, Created, Each, KafkaAdmin, Settings, Shape};
use crate::topics::plan::{Found, Plan, Sight, plan, to_describe};
use crate::topics::trouble::{Act, Problem, Problems};

/// How long a question to Kafka, or to who confirms a deletion, may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Topics whose settings are asked for in one call: an answer of some hundred kilobytes.
const DESCRIBED_AT_ONCE: usize = 500;

/// Topics that are written in one call: Kafka does so many well within the time that a write has.
const WRITTEN_AT_ONCE: usize = 100;

/// An `Err` is about Kafka as a whole: the round has ended with it.
pub(super) async fn run(task: &Task, admin: &dyn KafkaAdmin, due: &Wishes) -> Result<(), AdminError> {
    let mut sights = look(admin, due).await?;
    let mut written = Vec::new();
    for (cluster, wish) in due {
        let sight = sights.remove(cluster).unwrap_or_default();
        let plan = plan(wish, &sight);
        task.shared.board.saw(&task.settings, cluster, sight);
        let mut writer = Writer { task, admin, cluster, wish, outcome: Outcome::default() };
        writer.carry_out(&plan).await?;
        let outcome = writer.outcome;
        if outcome.wrote {
            written.push((cluster, wish, outcome));
        } else {
            end(task, cluster, wish, outcome);
        }
    }
    let again = written.iter().map(|(cluster, wish, _)| ((*cluster).clone(), Arc::clone(wish))).collect();
    let mut sights = look(admin, &again).await?;
    for (cluster, wish, mut outcome) in written {
        let sight = sights.remove(cluster).unwrap_or_default();
        for topic in outcome.existed.iter().filter(|topic| sight.get(*topic).is_some_and(Option::is_none)) {
            outcome.problems.add(Problem::Hidden, topic);
        }
        task.shared.board.saw(&task.settings, cluster, sight);
        end(task, cluster, wish, outcome);
    }
    Ok(())
}

fn end(task: &Task, cluster: &str, wish: &Arc<Wish>, outcome: Outcome) {
    let due = outcome.not_leading.then_some(Due::WhenLeading);
    let Outcome { problems, made, .. } = outcome;
    task.end(cluster, Ended { wish, problems, made, auto_create: task.auto_create, due });
}

/// Waits for an answer as long as one may take.
pub(super) async fn answered<T>(call: impl Future<Output = Result<T, AdminError>>) -> Result<T, AdminError> {
    timeout(ANSWER, call).await.unwrap_or(Err(AdminError::Unavailable))
}

/// What there is of the topics that are wished for, by `ImCluster`.
async fn look(admin: &dyn KafkaAdmin, wishes: &Wishes) -> Result<BTreeMap<String, Sight>, AdminError> {
    if wishes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let shapes = answered(admin.topics()).await?;
    let described = wishes.values().flat_map(|wish| to_describe(wish, |topic| shapes.contains_key(topic)));
    let described: Vec<&String> = described.collect();
    let names: BTreeSet<String> = wishes.values().flat_map(|wish| wish.config.keys().cloned()).collect();
    let mut settings = Each::new();
    for some in described.chunks(DESCRIBED_AT_ONCE) {
        let some = some.iter().map(|&topic| topic.clone()).collect();
        settings.extend(answered(admin.settings(&some, &names)).await?);
    }
    let sight =
        |wish: &Wish| wish.watch.iter().map(|topic| (topic.clone(), found(topic, &shapes, &settings))).collect();
    Ok(wishes.iter().map(|(cluster, wish)| (cluster.clone(), sight(wish))).collect())
}

fn found(topic: &str, shapes: &BTreeMap<String, Shape>, settings: &Each<Settings>) -> Option<Found> {
    let settings = settings.get(topic).cloned();
    // Between the two questions it went, or the second broker has not heard of it yet.
    if settings == Some(Err(AdminError::NoTopic)) {
        return None;
    }
    shapes.get(topic).map(|&shape| Found { shape, settings })
}

#[derive(Default)]
struct Outcome {
    problems: Problems,
    /// Something may be other than before.
    wrote: bool,
    /// What was made.
    made: BTreeSet<String>,
    /// What was to be made, and was there.
    existed: BTreeSet<String>,
    /// Something is left for the leader.
    not_leading: bool,
}

/// Carries out the plan of one `ImCluster`.
struct Writer<'a> {
    task: &'a Task,
    admin: &'a dyn KafkaAdmin,
    cluster: &'a str,
    wish: &'a Arc<Wish>,
    outcome: Outcome,
}

impl Writer<'_> {
    /// Stops where no more may be written.
    async fn carry_out(&mut self, plan: &Plan) -> Result<(), AdminError> {
        for topics in parts(&plan.create) {
            let call = self.admin.create(&topics, self.wish.replication, &self.wish.config);
            let Some(each) = self.write(&topics, call).await? else { return Ok(()) };
            let those = |created| {
                each.iter().filter(move |(_, result)| **result == Ok(created)).map(|(topic, _)| topic.clone())
            };
            self.outcome.made.extend(those(Created::New));
            self.outcome.existed.extend(those(Created::Existed));
            self.done(Act::Create, each);
        }
        for topics in parts(&plan.repair.keys().cloned().collect()) {
            let changes = topics.iter().map(|topic| (topic.clone(), plan.repair[topic].clone())).collect();
            let Some(each) = self.write(&topics, self.admin.set(&changes)).await? else { return Ok(()) };
            self.done(Act::Alter, each);
        }
        for topics in parts(&plan.delete) {
            let topics = self.confirmed(&topics).await;
            if topics.is_empty() {
                continue;
            }
            let Some(each) = self.write(&topics, self.admin.delete(&topics)).await? else { return Ok(()) };
            self.done(Act::Delete, each);
        }
        Ok(())
    }

    /// Makes a write, if the wish still holds and this operator leads. `None`: it is not to be made.
    async fn write<T>(
        &mut self,
        topics: &BTreeSet<String>,
        call: impl Future<Output = Result<Each<T>, AdminError>>,
    ) -> Result<Option<Each<T>>, AdminError> {
        let shared = &self.task.shared;
        if self.task.stopped() || !shared.board.holds(&self.task.settings, self.cluster, self.wish) {
            return Ok(None);
        }
        let written = write(&*shared.writing, call).await;
        if let Err(NotWritten::NotLeading) = written {
            self.outcome.not_leading = true;
            return Ok(None);
        }
        self.outcome.wrote = true;
        // It may have landed, whatever the answer: what was seen before is not true any more.
        shared.board.unsee(&self.task.settings, self.cluster, topics);
        written.unwrap_or(Err(AdminError::Unavailable)).map(Some)
    }

    /// Of topics that are to be deleted, those that may be.
    async fn confirmed(&self, topics: &BTreeSet<String>) -> BTreeSet<String> {
        // The write is going to be refused, so nobody need be asked.
        if self.task.shared.writing.left().is_none() {
            return topics.clone();
        }
        let confirmed = timeout(ANSWER, self.task.shared.confirm.may_delete(self.cluster, topics)).await;
        confirmed.map(|confirmed| &confirmed & topics).unwrap_or_default()
    }

    fn done<T>(&mut self, act: Act, each: Each<T>) {
        let mut topics = Vec::new();
        for (topic, result) in each {
            match result {
                Ok(_) => topics.push(topic),
                Err(error) => self.outcome.problems.add(Problem::Refused(error, act), &topic),
            }
        }
        if !topics.is_empty() {
            tracing::info!(cluster = self.cluster, ?act, ?topics, "done with topics");
        }
    }
}

fn parts(topics: &BTreeSet<String>) -> Vec<BTreeSet<String>> {
    let topics: Vec<&String> = topics.iter().collect();
    topics.chunks(WRITTEN_AT_ONCE).map(|part| part.iter().map(|&topic| topic.clone()).collect()).collect()
}
