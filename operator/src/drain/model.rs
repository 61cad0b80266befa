//! A small world in which the machine is played: pods, the controller of the `StatefulSet`, gateways, Kafka, and an operator that
//! dies between any two things that it does. Whatever it does is checked against what is really there.

use std::collections::{BTreeMap, BTreeSet};

use imcluster_crds::{ServerId, ServerPhase, ServerStatus, TopicPolicy};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;

use super::scene::{Scene, pod, topic};
use super::{DrainReport, GatewayPod, LiveSet, Step, TOPIC_STAYS, TemplateGate, note_gone};
use crate::topics::{Report, Seen, Wish};

/// Seconds that a pod has to go.
const GRACE: i64 = 30;

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Seconds pass.
    Pass(i64),
    /// The spec wants another number.
    Want(u16),
    /// The spec has another deadline, in seconds.
    Deadline(u32),
    /// The spec has another template.
    Template,
    /// The resource is deleted.
    Delete,
    /// The status is lost, and the operator begins anew.
    LoseStatus,
    /// The operator does what a step says, in an order that begins anywhere; it may die after having done so much.
    Reconcile { first: Index, dies_after: Option<usize> },
    /// The operator begins anew; what its worker was about to do lands, or not.
    Restart { lands: bool },
    /// The controller of the `StatefulSet` looks at it.
    Control,
    /// A node does what is due for a pod.
    Node(Index),
    /// A pod is told to go by somebody else.
    Evict(Index),
    /// A pod that is not ready turns out not to be able to run.
    CannotRun(Index),
    /// A gateway goes on with its drain.
    Move(Index),
    /// The operator hears a gateway.
    Hear(Index),
    /// Kafka answers from now on, or does not.
    Kafka(bool),
    /// The worker begins with what there is to do in Kafka, or it lands.
    Work,
    /// The worker looks at the topics.
    Look,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let index = any::<Index>;
    let event = prop_oneof![
        5 => (1_i64..40).prop_map(Event::Pass),
        5 => (0_u16..6).prop_map(Event::Want),
        1 => (0_u32..60).prop_map(Event::Deadline),
        2 => Just(Event::Template),
        1 => prop_oneof![9 => Just(Event::Kafka(false)), 2 => Just(Event::Delete), 1 => Just(Event::LoseStatus)],
        1 => Just(Event::Kafka(true)),
        25 => (index(), prop_oneof![4 => Just(None), 1 => (0_usize..5).prop_map(Some)])
            .prop_map(|(first, dies_after)| Event::Reconcile { first, dies_after }),
        1 => any::<bool>().prop_map(|lands| Event::Restart { lands }),
        8 => Just(Event::Control),
        12 => index().prop_map(Event::Node),
        2 => index().prop_map(Event::Evict),
        2 => index().prop_map(Event::CannotRun),
        4 => index().prop_map(Event::Move),
        6 => index().prop_map(Event::Hear),
        8 => Just(Event::Work),
        8 => Just(Event::Look),
    ];
    prop::collection::vec(event, 1..250)
}

/// Who made a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    Operator,
    SomebodyElse,
}

/// What the worker is doing in Kafka.
#[derive(Clone, Debug)]
enum Work {
    Make(BTreeSet<String>),
    Remove(BTreeSet<String>),
}

/// Something that the operator does.
#[derive(Clone, Debug)]
enum Effect {
    Record(Vec<ServerStatus>),
    Scale(u16),
    Template,
    Drain(BTreeSet<ServerId>),
    Undrain(BTreeSet<ServerId>),
    Wish(Wish),
}

#[derive(Clone, Debug)]
struct World {
    /// What the API server has, and what the operator knows besides.
    scene: Scene,
    /// What gateways do, by pod UID.
    gateways: BTreeMap<String, DrainReport>,
    /// Since when drains are recorded without a break, by pod UID.
    drains: BTreeMap<String, Timestamp>,
    /// Since when ids have no pod that may live.
    empty: BTreeMap<ServerId, Timestamp>,
    kafka: BTreeMap<String, Maker>,
    kafka_answers: bool,
    wish: Wish,
    work: Option<Work>,
    /// Version of the template that the spec asks for.
    template: u32,
    /// UIDs given.
    given: u32,
    status_was_lost: bool,
}

impl World {
    fn new(wanted: u16, policy: TopicPolicy, others: BTreeSet<u16>) -> Self {
        Self {
            scene: Scene::of(wanted).policy(policy),
            gateways: BTreeMap::new(),
            drains: BTreeMap::new(),
            empty: BTreeMap::new(),
            kafka: others.into_iter().map(|id| (topic(id), Maker::SomebodyElse)).collect(),
            kafka_answers: true,
            wish: Wish::default(),
            work: None,
            template: 0,
            given: 0,
            status_was_lost: false,
        }
    }

    fn revision(&self) -> String {
        self.template.to_string()
    }

    fn living(&self, id: ServerId) -> Option<&GatewayPod> {
        self.scene.pods.get(&id).filter(|pod| pod.presumed_dead_at().is_none_or(|dead| self.scene.now < dead))
    }

    fn nth_pod(&self, nth: Index) -> Option<ServerId> {
        (!self.scene.pods.is_empty()).then(|| *nth.get(&self.scene.pods.keys().copied().collect::<Vec<_>>()))
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Pass(seconds) => self.passes(seconds),
            Event::Want(wanted) => self.scene.wanted = wanted,
            Event::Deadline(seconds) => self.scene.limits.deadline_seconds = seconds,
            Event::Template => self.template += 1,
            Event::Delete => self.scene.deleting = true,
            Event::LoseStatus => {
                self.scene.recorded.clear();
                self.drains.clear();
                self.status_was_lost = true;
                self.restarts(false);
            }
            Event::Reconcile { first, dies_after } => self.reconciles(Some(first), dies_after),
            Event::Restart { lands } => self.restarts(lands),
            Event::Control => self.controls(),
            Event::Node(nth) => self.nth_pod(nth).into_iter().for_each(|id| self.node_acts(id)),
            Event::Evict(nth) => self.nth_pod(nth).into_iter().for_each(|id| self.terminates(id)),
            Event::CannotRun(nth) => {
                let pod = self.nth_pod(nth).and_then(|id| self.scene.pods.get_mut(&id));
                if let Some(pod) = pod.filter(|pod| !pod.ready && !self.gateways.contains_key(&pod.uid)) {
                    pod.cannot_run = true;
                }
            }
            Event::Move(nth) => self.nth_pod(nth).into_iter().for_each(|id| self.moves(id)),
            Event::Hear(nth) => self.nth_pod(nth).into_iter().for_each(|id| self.hears(id)),
            Event::Kafka(answers) => self.kafka_answers = answers,
            Event::Work => self.works(),
            Event::Look => self.looks(),
        }
        self.sees_who_is_there();
    }

    fn passes(&mut self, seconds: i64) {
        self.scene.now += SignedDuration::from_secs(seconds);
    }

    fn sees_who_is_there(&mut self) {
        let ids: Vec<_> = (0..10).map(ServerId).collect();
        for id in ids {
            if self.living(id).is_some() {
                self.empty.remove(&id);
            } else {
                self.empty.entry(id).or_insert(self.scene.now);
            }
        }
        self.scene.template_changes = self.scene.live.as_ref().is_none_or(|set| set.update_revision != self.revision());
    }

    fn step(&self) -> Step {
        self.scene.step()
    }

    fn reconciles(&mut self, first: Option<Index>, dies_after: Option<usize>) {
        let scene = &mut self.scene;
        note_gone(&mut scene.gone_since, &scene.recorded, &scene.pods, scene.live.as_ref(), scene.now);
        let step = self.step();
        self.is_the_same_until_it_is_due(&step);
        let mut effects = self.effects(&step);
        if let Some(first) = first.filter(|_| !effects.is_empty()) {
            let first = first.index(effects.len());
            effects.rotate_left(first);
        }
        for effect in effects.into_iter().take(dies_after.unwrap_or(usize::MAX)) {
            self.does(effect);
        }
        if let Some(after) = dies_after {
            self.restarts(after % 2 == 0);
        }
    }

    fn is_the_same_until_it_is_due(&self, step: &Step) {
        if step.servers == self.scene.recorded {
            let due = step.again_at.unwrap_or(self.scene.now + SignedDuration::from_hours(9));
            let mut later = self.scene.clone();
            later.now = due - SignedDuration::from_secs(1);
            assert!(later.now < self.scene.now || later.step() == *step, "it changes before it is due");
        }
    }

    fn effects(&self, step: &Step) -> Vec<Effect> {
        let scene = &self.scene;
        let mut effects = Vec::new();
        if step.servers != scene.recorded {
            effects.push(Effect::Record(step.servers.clone()));
        }
        match &scene.live {
            None if !scene.deleting => effects.push(Effect::Scale(step.replicas)),
            Some(set) if step.replicas != set.replicas => {
                assert_ne!(step.template, TemplateGate::Open, "template and replicas move together");
                effects.push(Effect::Scale(step.replicas));
            }
            _ => {}
        }
        if scene.live.is_some() && step.template == TemplateGate::Open {
            effects.push(Effect::Template);
        }
        if !step.drain.is_empty() {
            effects.push(Effect::Drain(step.drain.clone()));
        }
        if !step.undrain.is_empty() {
            effects.push(Effect::Undrain(step.undrain.clone()));
        }
        let Step { watch, create, delete, .. } = step.clone();
        let wish = Wish { watch, create, delete, ..Wish::default() };
        if wish != self.wish {
            effects.push(Effect::Wish(wish));
        }
        effects
    }

    fn does(&mut self, effect: Effect) {
        match effect {
            Effect::Record(servers) => {
                let draining = servers.iter().filter(|entry| entry.phase == ServerPhase::Draining);
                let drains: BTreeSet<_> = draining.filter_map(|entry| entry.pod_uid.clone()).collect();
                self.drains.retain(|uid, _| drains.contains(uid));
                for uid in drains {
                    self.drains.entry(uid).or_insert(self.scene.now);
                }
                self.scene.recorded = servers;
            }
            Effect::Scale(replicas) => self.scales(replicas),
            Effect::Template => {
                let moved = |entry: &&ServerStatus| entry.phase == ServerPhase::Draining;
                let mut draining = self.scene.recorded.iter().filter(moved).filter_map(|entry| self.living(entry.id));
                assert!(draining.all(|pod| pod.cannot_run), "the template changes while clients are moved");
                let update_revision = self.revision();
                let set = self.scene.live.as_mut().expect("it is there");
                (set.update_revision, set.observed) = (update_revision, false);
            }
            Effect::Drain(ids) => {
                for id in ids {
                    if let Some(state) = self.gateways.get_mut(&self.scene.pods[&id].uid)
                        && *state == DrainReport::Serving
                    {
                        *state = DrainReport::Draining;
                    }
                }
            }
            Effect::Undrain(ids) => {
                for id in ids {
                    let uid = &self.scene.pods[&id].uid;
                    self.scene.reports.remove(uid);
                    self.gateways.insert(uid.clone(), DrainReport::Serving);
                }
            }
            Effect::Wish(wish) => {
                self.scene.topics = self.scene.topics.take().map(|report| report.under(&wish));
                self.wish = wish;
            }
        }
    }

    fn scales(&mut self, replicas: u16) {
        let before = self.scene.live.as_ref().map_or(0, |set| set.replicas);
        for id in (replicas..before).map(ServerId) {
            self.may_lose(id);
        }
        for id in (before..replicas).map(ServerId) {
            assert!(self.kafka.contains_key(&topic(id.0)), "{id} gets a pod without its topic");
        }
        let update_revision = self.revision();
        let set = self.scene.live.get_or_insert(LiveSet { replicas, observed: false, update_revision });
        (set.replicas, set.observed) = (replicas, false);
    }

    fn may_lose(&self, id: ServerId) {
        let Some(pod) = self.living(id).filter(|pod| pod.stays()) else { return };
        let deadline = SignedDuration::from_secs(self.scene.limits.deadline_seconds.into());
        let drained = self.gateways.get(&pod.uid) == Some(&DrainReport::Drained);
        let late = self.drains.get(&pod.uid).is_some_and(|start| self.scene.now >= *start + deadline);
        assert!(drained || late || self.scene.deleting, "{id} goes with clients on it");
    }

    fn restarts(&mut self, lands: bool) {
        if lands && self.work.is_some() {
            self.works();
        }
        self.work = None;
        self.wish = Wish::default();
        self.scene.topics = None;
        self.scene.reports.clear();
        self.scene.gone_since.clear();
    }

    fn controls(&mut self) {
        let Some(set) = self.scene.live.as_mut() else { return };
        set.observed = true;
        let LiveSet { replicas, update_revision, .. } = set.clone();
        let have: Vec<_> = self.scene.pods.keys().copied().collect();
        for id in have.iter().copied().filter(|id| id.0 >= replicas) {
            self.terminates(id);
        }
        for id in (0..replicas).map(ServerId).filter(|id| !have.contains(id)) {
            assert!(self.kafka.contains_key(&topic(id.0)), "{id} gets a pod without its topic");
            self.given += 1;
            let made = pod(&self.given.to_string());
            self.scene.pods.insert(id, GatewayPod { ready: false, revision: update_revision.clone(), ..made });
        }
        let mut old = self.scene.pods.iter().rev().filter(|(_, pod)| pod.revision != update_revision);
        let broken = |pod: &GatewayPod| !pod.ready && pod.revision == update_revision;
        if let Some(id) = old.next().map(|(id, _)| *id).filter(|_| !self.scene.pods.values().any(broken)) {
            self.terminates(id);
        }
    }

    fn terminates(&mut self, id: ServerId) {
        let end = self.scene.now + SignedDuration::from_secs(GRACE);
        let pod = self.scene.pods.get_mut(&id).expect("it is there");
        pod.ready = false;
        pod.deletion_time.get_or_insert(end);
    }

    fn node_acts(&mut self, id: ServerId) {
        let pod = self.scene.pods.get_mut(&id).expect("it is there");
        if pod.terminating() {
            self.gateways.remove(&pod.uid);
            self.scene.pods.remove(&id);
        } else if !pod.cannot_run {
            let state = self.gateways.entry(pod.uid.clone()).or_insert(DrainReport::Serving);
            pod.ready = *state == DrainReport::Serving;
        }
    }

    fn moves(&mut self, id: ServerId) {
        if let Some(state) = self.gateways.get_mut(&self.scene.pods[&id].uid)
            && *state == DrainReport::Draining
        {
            *state = DrainReport::Drained;
        }
    }

    fn hears(&mut self, id: ServerId) {
        let uid = &self.scene.pods[&id].uid;
        if let Some(state) = self.gateways.get(uid) {
            self.scene.reports.insert(uid.clone(), *state);
        }
    }

    fn works(&mut self) {
        if !self.kafka_answers {
            return;
        }
        match self.work.take() {
            Some(Work::Make(names)) => {
                for name in names {
                    self.kafka.entry(name).or_insert(Maker::Operator);
                }
            }
            Some(Work::Remove(names)) => {
                for name in names {
                    self.may_be_deleted(&name);
                    self.kafka.remove(&name);
                }
            }
            None => self.work = self.planned(),
        }
    }

    fn planned(&self) -> Option<Work> {
        let missing: BTreeSet<_> =
            self.wish.create.iter().filter(|name| !self.kafka.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            return Some(Work::Make(missing));
        }
        // Right before, it is looked up again what may go.
        let confirmed = self.step().delete;
        let there = self.wish.delete.iter().filter(|name| confirmed.contains(*name) && self.kafka.contains_key(*name));
        let there: BTreeSet<_> = there.cloned().collect();
        (!there.is_empty()).then_some(Work::Remove(there))
    }

    fn may_be_deleted(&self, name: &str) {
        let id = (0..10).map(ServerId).find(|id| topic(id.0) == name).expect("it is of an id");
        let empty = self.empty.get(&id).is_some_and(|since| self.scene.now >= *since + TOPIC_STAYS);
        assert!(empty, "the topic of {id} goes while its pod may live, or too soon after");
        assert_ne!(self.kafka.get(name), Some(&Maker::SomebodyElse), "the topic of {id} was somebody else's");
    }

    fn looks(&mut self) {
        if !self.kafka_answers || self.work.is_some() {
            return;
        }
        let seen = |name: &String| {
            let there = self.kafka.contains_key(name);
            (name.clone(), if there { Seen::Present { as_wished: true } } else { Seen::Absent })
        };
        let topics = self.wish.watch.iter().map(seen).collect();
        self.scene.topics = Some(Report { wish: self.wish.clone(), topics, ..Report::default() });
    }

    /// The spec rests, and everybody does what is to be done.
    fn settles(&mut self) {
        self.kafka_answers = true;
        for pod in self.scene.pods.values_mut() {
            pod.cannot_run = false;
        }
        let mut resting = 0;
        for _ in 0..500 {
            let before = self.clone();
            // Each step follows at once on the one that wrote something.
            for _ in 0..4 {
                self.reconciles(None, None);
                self.sees_who_is_there();
            }
            self.controls();
            let ids: Vec<_> = self.scene.pods.keys().copied().collect();
            for id in ids {
                self.moves(id);
                self.hears(id);
                self.node_acts(id);
            }
            self.works();
            self.works();
            self.looks();
            // A round later than the last one in which something was still to come.
            resting = if self.step().again_at.is_none() && self.has_the_same_as(&before) { resting + 1 } else { 0 };
            if resting == 2 {
                return;
            }
            self.passes(5);
            self.reconciles(None, None);
            self.sees_who_is_there();
        }
        panic!("it does not come to rest: {:?}", self.effects(&self.step()));
    }

    fn has_the_same_as(&self, other: &Self) -> bool {
        let (scene, others) = (&self.scene, &other.scene);
        (&scene.recorded, &scene.pods, &scene.live, &self.kafka, &self.gateways)
            == (&others.recorded, &others.pods, &others.live, &other.kafka, &other.gateways)
    }

    fn is_what_the_spec_wants(&self) {
        let step = self.step();
        assert_eq!(step.again_at, None, "something is still to come");
        assert!(self.effects(&step).is_empty(), "it does not rest: {:?}", self.effects(&step));
        let scene = &self.scene;
        let mut count = if scene.deleting { 0 } else { scene.wanted };
        if scene.policy == TopicPolicy::Unmanaged {
            count = (0..count).find(|id| !self.kafka.contains_key(&topic(*id))).unwrap_or(count);
        }
        assert_eq!(scene.live.as_ref().map_or(0, |set| set.replicas), count);
        assert!(scene.pods.keys().copied().eq((0..count).map(ServerId)), "pods {:?}", scene.pods);
        let current = |pod: &GatewayPod| pod.ready && pod.revision == self.revision();
        assert!(scene.pods.values().all(current), "pods {:?}", scene.pods);
        let serving = scene.recorded.iter().filter(|entry| entry.phase == ServerPhase::Serving);
        assert!(serving.map(|entry| entry.id).eq((0..count).map(ServerId)), "recorded {:?}", scene.recorded);
        assert!(
            scene.recorded.iter().all(|entry| matches!(entry.phase, ServerPhase::Serving | ServerPhase::Provisioning))
        );
        if scene.policy == TopicPolicy::Delete && !self.status_was_lost {
            let made = self.kafka.iter().filter(|(_, maker)| **maker == Maker::Operator);
            let wanted: BTreeSet<_> = (0..count).map(topic).collect();
            for (name, _) in made {
                assert!(wanted.contains(name), "{name} is left behind");
            }
        }
    }
}

fn policies() -> impl Strategy<Value = TopicPolicy> {
    prop_oneof![4 => Just(TopicPolicy::Delete), 1 => Just(TopicPolicy::Retain), 1 => Just(TopicPolicy::Unmanaged)]
}

proptest! {
    #[test]
    fn whatever_happens_nothing_is_lost_and_in_the_end_there_is_what_the_spec_wants(
        wanted in 0_u16..6, policy in policies(), others in prop::collection::btree_set(0_u16..6, 0..4), events in events(),
    ) {
        let others_topics: Vec<_> = others.iter().copied().map(topic).collect();
        let mut world = World::new(wanted, policy, others);
        world.sees_who_is_there();
        for event in events {
            world.happens(event);
        }
        world.settles();
        world.is_what_the_spec_wants();
        for name in others_topics {
            prop_assert_eq!(world.kafka.get(&name), Some(&Maker::SomebodyElse));
        }
    }
}
