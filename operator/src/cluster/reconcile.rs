//! The steps in their order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imcluster_crds::conditions::Reason;
use imcluster_crds::{ImCluster, ImClusterStatus, ServerStatus, TopicOrigin, TopicPolicy};
use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};

use super::apply::{Applied, ApplyError, Owner};
use super::build::{self, Decision, Desired, Inputs, Kind, Plan};
use super::conditions::Verdict;
use super::context::Context;
use super::error::ReconcileError;
use super::look::Look;
use super::record::{self, FINALIZER, RecordError};
use super::status::{self, Outcome};
use super::validate::{self, References, Valid};
use super::{conflict, delete, names, news};
use crate::drain::gateways::{Answers, Ask, Token};
use crate::drain::{self, Situation, Step};
use crate::events::Event;
use crate::topics::{KafkaSettings, Report, Wish};
use crate::watch::im_clusters;

/// What is written while nothing changes is looked at again after so long, give or take a fifth.
const AUDIT: Duration = Duration::from_mins(10);

/// One that has to stand back for another looks so often whether that is gone.
const CONFLICT_LASTS: Duration = Duration::from_secs(10);

/// Records that are written one after the other, at most: each decides something new, and there is little to decide.
const RECORDS: usize = 8;

/// Makes of an `ImCluster` what it should be, as far as that can be done now.
pub async fn reconcile(cached: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    // Others lead: they write, and this process is woken when it does.
    if context.shared.writing.left().is_none() {
        return Ok(Action::await_change());
    }
    let object = context.shared.recorder.newest(&cached);
    let cluster = match record::parse(&object) {
        Ok(cluster) => cluster,
        Err(_) if object.metadata.deletion_timestamp.is_some() => {
            return delete::unreadable(&context, &object).await;
        }
        Err(problem) => return unreadable(&context, &object, &problem).await,
    };
    if cluster.metadata.deletion_timestamp.is_some() {
        return delete::delete(&context, object, cluster).await;
    }
    Reconcile { context: &context, object, cluster }.run().await
}

/// A resource that does not parse: stored under another definition, or with validation switched off. What runs goes on.
async fn unreadable(context: &Context, object: &DynamicObject, problem: &str) -> Result<Action, ReconcileError> {
    let before = object.data.get("status").cloned().unwrap_or_default();
    let before: ImClusterStatus = serde_json::from_value(before).unwrap_or_default();
    let refused = Verdict::no(Reason::InvalidSpec, problem);
    let status = status::refused(&before, &refused, object.metadata.generation, Timestamp::now());
    if status != before {
        context.shared.recorder.status(&*context.shared.writing, object, &status).await?;
        for event in news::of_status(&before, &status) {
            context.shared.events.publish(&object.object_ref(&im_clusters()), event);
        }
    }
    Ok(Action::await_change())
}

/// What Kafka and the gateways said last.
#[derive(Default, PartialEq)]
struct Heard {
    topics: Option<Arc<Report>>,
    answers: Answers,
}

struct Reconcile<'a> {
    context: &'a Context,
    object: DynamicObject,
    cluster: ImCluster,
}

impl Reconcile<'_> {
    async fn run(mut self) -> Result<Action, ReconcileError> {
        let shared = &self.context.shared;
        let namespace = self.cluster.namespace().unwrap_or_default();
        let paused = self.cluster.spec.paused;
        if paused {
            shared.topics.forget(&self.uid());
            shared.gateways.forget(&self.uid());
        }
        let referenced = validate::referenced(&self.cluster);
        let secrets = shared.secrets.read(&self.context.watched, &namespace, &referenced).await?;
        let valid = match validate::validate(&self.cluster, &secrets) {
            Ok(valid) => valid,
            Err(refusal) => {
                return self.rest(Verdict::no(refusal.reason(), refusal.to_string()), Action::await_change()).await;
            }
        };
        if let Some(conflict) = self.conflict() {
            // Nobody tells when the other one is gone.
            return self.rest(conflict, Action::requeue(CONFLICT_LASTS)).await;
        }
        let look = Look::cached(&self.context.watched, &self.cluster);
        let (accepted, resolved) = match valid.references() {
            References::Resolved(_) => {
                (Verdict::yes(Reason::Valid, "The spec is valid, and all that it refers to is there"), true)
            }
            References::Unresolved(refusal) => (Verdict::no(refusal.reason(), refusal.to_string()), false),
        };
        if paused || (!resolved && look.set.is_none()) {
            return self.rest(accepted, Action::await_change()).await;
        }
        self.carry_on(&valid, accepted, look).await
    }

    /// Nothing is changed but the status.
    async fn rest(&mut self, accepted: Verdict, then: Action) -> Result<Action, ReconcileError> {
        let look = Look::cached(&self.context.watched, &self.cluster);
        let before = self.cluster.status.clone().unwrap_or_default();
        let outcome = Outcome {
            accepted,
            look: &look,
            servers: &before.servers,
            topics: None,
            image: None,
            update_available: None,
            blocked: None,
            template_changes: false,
            connections: None,
        };
        self.tell(&outcome).await?;
        Ok(then)
    }

    async fn carry_on(&mut self, valid: &Valid, accepted: Verdict, mut look: Look) -> Result<Action, ReconcileError> {
        let shared = self.context.shared.clone();
        let resolved = match valid.references() {
            References::Resolved(resolved) => Some(&resolved.kafka),
            References::Unresolved(_) => None,
        };
        let kafka = shared.memories.kafka(&self.uid(), resolved);
        let token = self.token().await?;
        let live = look.set.clone();
        let inputs = Inputs {
            live: live.as_deref(),
            release: &shared.release,
            operator_namespace: &shared.operator_namespace,
            token: &token,
        };
        let plan = build::plan(valid, inputs);

        let mut heard = Heard::default();
        let mut rounds = 0..RECORDS;
        let mut step = loop {
            rounds.next().ok_or(ReconcileError::Restless)?;
            let step = self.step(&look, &heard, &plan);
            self.keep_finalizer(&step.servers, false).await?;
            if step.servers != self.servers() {
                self.record(&step.servers).await?;
                continue;
            }
            // What was heard may change what is decided, and what is asked follows from what was decided.
            let news = self.ask(kafka.as_ref(), &look, &step, &token);
            if news == heard {
                break step;
            }
            self.tell_of_topics(news.topics.as_ref());
            heard = news;
        };
        self.keep_finalizer(&step.servers, heard.topics.is_some()).await?;

        if look.live().is_some_and(|set| step.replicas < set.replicas) {
            // A pod that goes does not come back: what the caches say may be old.
            self.confirm_record().await?;
            look = Look::fresh(&shared.client, &self.cluster).await?;
            step = self.step(&look, &heard, &plan);
            if step.servers != self.servers() {
                return Err(RecordError::Changed.into());
            }
        }

        let changes_template = step.template == drain::TemplateGate::Open;
        let decision = Decision {
            replicas: step.replicas,
            change_template: changes_template,
            current: u16::try_from(look.pods.len()).unwrap_or(u16::MAX),
        };
        // What somebody has to do something about is told before it is tried again.
        let refused = match self.apply(&plan.objects(&decision)).await {
            Err(error) if error.verdict().is_none() => return Err(error.into()),
            Err(error) => Some(error),
            Ok(applied) => {
                self.publish(news::of_step(&step, applied, look.live().as_ref(), plan.roll));
                None
            }
        };
        let outcome = Outcome {
            accepted,
            look: &look,
            servers: &step.servers,
            topics: heard.topics.as_deref(),
            image: plan.image.clone(),
            update_available: Some(plan.update_available),
            blocked: refused.as_ref().and_then(ApplyError::verdict),
            template_changes: plan.template_changes,
            connections: heard.answers.connections,
        };
        self.tell(&outcome).await?;
        if let Some(error) = refused {
            return Err(error.into());
        }
        let audit = AUDIT.mul_f64(rand::random_range(0.8..1.2));
        let until = |at: Timestamp| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        let due = step.again_at.map(until);
        Ok(Action::requeue(due.map_or(audit, |due| due.min(audit))))
    }

    fn step(&self, look: &Look, heard: &Heard, plan: &Plan<'_>) -> Step {
        let spec = &self.cluster.spec;
        let now = Timestamp::now();
        let recorded = self.servers();
        let gone_since = self.context.shared.memories.gone_since(&self.uid(), look, &recorded, now);
        drain::step(&Situation {
            now,
            wanted: spec.gateways.replicas,
            deleting: false,
            limits: spec.gateways.drain,
            policy: spec.kafka.topics.policy,
            prefix: &self.cluster.topic_prefix(),
            recorded: &recorded,
            pods: &look.pods,
            reports: &heard.answers.reports,
            topics: heard.topics.as_deref(),
            gone_since: &gone_since,
            live: look.live(),
            template_changes: plan.template_changes,
        })
    }

    /// Says what is wanted of Kafka and of the gateways, and hears what they said last.
    fn ask(&self, kafka: Option<&KafkaSettings>, look: &Look, step: &Step, token: &str) -> Heard {
        let spec = &self.cluster.spec;
        let shared = &self.context.shared;
        let managed = spec.kafka.topics.policy != TopicPolicy::Unmanaged;
        let wish = Wish {
            watch: step.watch.clone(),
            create: step.create.clone(),
            delete: step.delete.clone(),
            config: if managed { spec.kafka.topics.resolved_config() } else { BTreeMap::new() },
            replication: spec.kafka.topics.replication_factor,
        };
        let gateways = drain::gateways::gateways(&look.pods, step, spec.gateways.drain, names::MANAGEMENT_PORT);
        let connections = self.cluster.status.as_ref().and_then(|status| status.connections);
        Heard {
            topics: kafka.and_then(|kafka| shared.topics.wish(&self.uid(), kafka, wish)),
            answers: shared.gateways.ask(&self.uid(), Ask { token: Token::new(token), gateways, connections }),
        }
    }

    /// The record that was read is the one that the API server has.
    async fn confirm_record(&self) -> Result<(), ReconcileError> {
        let fresh = self.context.shared.recorder.fresh(&self.object).await?.ok_or(RecordError::Changed)?;
        let recorded = record::parse(&fresh).ok().and_then(|fresh| fresh.status).map(|status| status.servers);
        let same = fresh.metadata.generation == self.object.metadata.generation
            && fresh.metadata.deletion_timestamp.is_none()
            && recorded == Some(self.servers());
        if same { Ok(()) } else { Err(RecordError::Changed.into()) }
    }

    /// The token of the management ports: the Secret's, or a new one.
    async fn token(&self) -> Result<String, ReconcileError> {
        let shared = &self.context.shared;
        let (namespace, name) =
            (self.cluster.namespace().unwrap_or_default(), names::management(&self.cluster.name_any()));
        let mut secret = shared.secrets.one(&self.context.watched, &namespace, &name).await?;
        if secret.is_none() {
            // Another than the one that is there would lock the operator out of the gateways that run.
            secret = shared.secrets.fresh(&namespace, &name).await?;
        }
        let token = secret.and_then(|secret| String::from_utf8(secret.get(names::TOKEN_KEY)?.clone()).ok());
        Ok(token.filter(|token| !token.is_empty()).unwrap_or_else(new_token))
    }

    /// The finalizer is there before a topic that the operator has to delete may be. It goes when that is settled: what is known of
    /// the topics, so that the one that was added right before the record of them was not written stays.
    async fn keep_finalizer(&mut self, servers: &[ServerStatus], settled: bool) -> Result<(), ReconcileError> {
        let wanted = self.cluster.spec.kafka.topics.policy == TopicPolicy::Delete && has_topics_of_ours(servers);
        let held = self.object.finalizers().iter().any(|name| name == FINALIZER);
        if wanted != held && (wanted || settled) {
            let shared = &self.context.shared;
            self.object = shared.recorder.finalizer(&*shared.writing, &self.object, wanted).await?;
        }
        Ok(())
    }

    async fn record(&mut self, servers: &[ServerStatus]) -> Result<(), ReconcileError> {
        let mut status = self.cluster.status.clone().unwrap_or_default();
        status.servers = servers.to_vec();
        status.topic_prefix.get_or_insert_with(|| self.cluster.topic_prefix());
        self.write(status).await
    }

    async fn tell(&mut self, outcome: &Outcome<'_>) -> Result<(), ReconcileError> {
        let status = status::of(&self.cluster, outcome, Timestamp::now());
        if self.cluster.status.as_ref() == Some(&status) {
            return Ok(());
        }
        self.write(status).await
    }

    async fn write(&mut self, status: ImClusterStatus) -> Result<(), ReconcileError> {
        let shared = &self.context.shared;
        self.object = shared.recorder.status(&*shared.writing, &self.object, &status).await?;
        let before = self.cluster.status.replace(status).unwrap_or_default();
        let after = self.cluster.status.as_ref().expect("it was just put there");
        self.publish(news::of_servers(&before.servers, &after.servers));
        self.publish(news::of_status(&before, after));
        Ok(())
    }

    /// Before what was heard is recorded: what the record says of the topics counts.
    fn tell_of_topics(&self, report: Option<&Arc<Report>>) {
        let Some(report) = report else { return };
        let before = self.context.shared.memories.heard(&self.uid(), report);
        self.publish(news::of_report(before.as_ref(), report, &self.servers()));
    }

    fn publish(&self, events: Vec<Event>) {
        let about = self.cluster.object_ref(&());
        for event in events {
            self.context.shared.events.publish(&about, event);
        }
    }

    /// Applies the objects in their order, and removes those of ours that should not be there. Gives what it came to for the last,
    /// the gateways.
    async fn apply(&self, desired: &[Desired]) -> Result<Applied, ApplyError> {
        let shared = &self.context.shared;
        let (namespace, name, uid) =
            (self.cluster.namespace().unwrap_or_default(), self.cluster.name_any(), self.uid());
        let owner = Owner { namespace: &namespace, name: &name, uid: &uid };
        for kind in Kind::ALL {
            for live in self.context.watched.owned_by(kind, &uid) {
                if !desired.iter().any(|desired| desired.kind == kind && desired.name == live.name_any()) {
                    shared.applier.remove(&*shared.writing, &namespace, kind, &live).await?;
                }
            }
        }
        let mut last = Applied::AsItWas;
        for desired in desired {
            let live = self.context.watched.owned(desired.kind, &namespace, &desired.name);
            last = shared.applier.apply(&*shared.writing, &owner, desired, live.as_deref()).await?;
        }
        Ok(last)
    }

    fn conflict(&self) -> Option<Verdict> {
        let prefix = self.cluster.topic_prefix();
        let namesakes = self.context.everywhere.iter().flat_map(|all| {
            // Every reconcile looks at all ImClusters: nearly all are told apart unread.
            all.state_filter(|object| conflict::has_prefix(object, &prefix))
        });
        let all: Vec<ImCluster> = namesakes.filter_map(|object| record::parse(&object).ok()).collect();
        conflict::owner(&self.cluster, &all).map(|owner| conflict::refusal(&self.cluster, owner))
    }

    fn servers(&self) -> Vec<ServerStatus> {
        self.cluster.status.as_ref().map(|status| status.servers.clone()).unwrap_or_default()
    }

    fn uid(&self) -> String {
        self.cluster.uid().unwrap_or_default()
    }
}

/// Whether there are topics that the operator made, or may have made.
pub(super) fn has_topics_of_ours(servers: &[ServerStatus]) -> bool {
    servers.iter().filter_map(|entry| entry.topic.as_ref()).any(|topic| topic.origin != TopicOrigin::Adopted)
}

/// 32 bytes that nobody guesses.
fn new_token() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}
