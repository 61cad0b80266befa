//! What people are told: the differences between what was and what is, as events. Pure.

use std::collections::{BTreeMap, BTreeSet};

use imcluster_crds::conditions::{ConditionType, Reason};
use imcluster_crds::{ImClusterStatus, ServerId, ServerPhase, ServerStatus, TopicOrigin};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::build::RollReason;
use super::conditions::{self, UNDER_WAY};
use crate::drain::{LiveSet, Release, Step, TemplateGate};
use crate::events::Event;
use crate::topics::Report;

/// What a record tells when it takes the place of another.
pub(super) fn of_servers(before: &[ServerStatus], after: &[ServerStatus]) -> Vec<Event> {
    let old: BTreeMap<ServerId, &ServerStatus> = before.iter().map(|entry| (entry.id, entry)).collect();
    let new: BTreeMap<ServerId, &ServerStatus> = after.iter().map(|entry| (entry.id, entry)).collect();
    let became = |phase: ServerPhase| -> BTreeSet<ServerId> {
        let is = |entry: Option<&&ServerStatus>| entry.is_some_and(|entry| entry.phase == phase);
        new.keys().copied().filter(|id| is(new.get(id)) && !is(old.get(id))).collect()
    };
    let origin = |entry: Option<&&ServerStatus>| entry.and_then(|entry| entry.topic.as_ref()).map(|topic| topic.origin);
    let names = |told: &dyn Fn(ServerId) -> bool, of: &BTreeMap<ServerId, &ServerStatus>| -> BTreeSet<String> {
        let topics = of.iter().filter(|(id, _)| told(**id)).filter_map(|(_, entry)| entry.topic.as_ref());
        topics.map(|topic| topic.name.clone()).collect()
    };
    let made = names(
        &|id| origin(new.get(&id)) == Some(TopicOrigin::Created) && origin(old.get(&id)) == Some(TopicOrigin::Creating),
        &new,
    );
    let again = names(
        &|id| origin(new.get(&id)) == Some(TopicOrigin::Creating) && origin(old.get(&id)) == Some(TopicOrigin::Created),
        &new,
    );
    let adopted =
        names(&|id| origin(new.get(&id)) == Some(TopicOrigin::Adopted) && origin(old.get(&id)).is_none(), &new);
    let deleted = names(
        &|id| {
            let retired = old.get(&id).is_some_and(|entry| entry.phase == ServerPhase::Retired);
            retired && origin(old.get(&id)) == Some(TopicOrigin::Created) && origin(new.get(&id)).is_none()
        },
        &old,
    );
    let undone: BTreeSet<_> = old
        .values()
        .filter(|entry| entry.phase == ServerPhase::Draining)
        .filter(|entry| new.get(&entry.id).is_some_and(|entry| entry.phase == ServerPhase::Serving))
        .map(|entry| entry.id)
        .collect();
    let all = [
        (made.is_empty(), Event::TopicsCreated(made)),
        (again.is_empty(), Event::TopicsRecreated(again)),
        (adopted.is_empty(), Event::TopicsAdopted(adopted)),
        (deleted.is_empty(), Event::TopicsDeleted(deleted)),
    ];
    let draining = became(ServerPhase::Draining);
    let drains =
        [(draining.is_empty(), Event::DrainStarted(draining)), (undone.is_empty(), Event::DrainUndone(undone))];
    all.into_iter().chain(drains).filter(|(nothing, _)| !nothing).map(|(_, event)| event).collect()
}

/// What a step tells when it was done.
pub(super) fn of_step(
    step: &Step,
    live: Option<&LiveSet>,
    roll: Option<RollReason>,
    topics: Option<&Report>,
) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some(live) = live.filter(|live| live.replicas != step.replicas) {
        let left = |why: &Release| matches!(why, Release::Drained | Release::DeadlinePassed);
        let left: BTreeSet<_> = step.released.iter().filter(|(_, why)| left(why)).map(|(id, _)| *id).collect();
        if !left.is_empty() {
            events.push(Event::DrainFinished(left));
        }
        events.push(Event::GatewaysScaled { from: live.replicas, to: step.replicas });
    }
    if let Some(reason) = roll.filter(|_| step.template == TemplateGate::Open) {
        events.push(Event::RollStarted(reason));
    }
    events.extend(step.presumed_dead.iter().map(|id| Event::PodPresumedDead(*id)));
    if topics.is_some_and(|report| report.auto_create) {
        events.push(Event::TopicCreationByBrokers);
    }
    events
}

/// What a status tells when it takes the place of another: conditions that turned bad, and the switch of the pause.
pub(super) fn of_status(before: &ImClusterStatus, after: &ImClusterStatus) -> Vec<Event> {
    let find = |status: &ImClusterStatus, kind: ConditionType| -> Option<Condition> {
        status.conditions.iter().find(|condition| condition.type_ == kind.as_str()).cloned()
    };
    let mut events = Vec::new();
    for kind in [ConditionType::Accepted, ConditionType::TopicsReady, ConditionType::GatewaysReady] {
        let Some(now) = find(after, kind).filter(|now| now.status == "False") else { continue };
        let same = find(before, kind).is_some_and(|was| was.status == now.status && was.reason == now.reason);
        if !same && let Some(reason) = conditions::reason(&now.reason).filter(|reason| !UNDER_WAY.contains(reason)) {
            events.push(Event::Trouble(reason, now.message));
        }
    }
    let rolling =
        |status| find(status, ConditionType::GatewaysReady).is_some_and(|it| it.reason == Reason::Rolling.as_str());
    let done =
        find(after, ConditionType::GatewaysReady).is_some_and(|it| it.reason == Reason::GatewaysInPlace.as_str());
    if rolling(before) && done {
        events.push(Event::RollFinished);
    }
    let paused = |status| find(status, ConditionType::Paused).is_some_and(|condition| condition.status == "True");
    match (paused(before), paused(after)) {
        (false, true) => events.push(Event::Paused),
        (true, false) => events.push(Event::Resumed),
        _ => {}
    }
    events
}
