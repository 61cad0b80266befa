//! What people are told: the differences between what was and what is, as events. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imcluster_crds::conditions::{ConditionType, Reason};
use imcluster_crds::{ImClusterStatus, ServerId, ServerPhase, ServerStatus, TopicOrigin};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::apply::Applied;
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
        (adopted.is_empty(), Event::TopicsAdopted(adopted)),
        (deleted.is_empty(), Event::TopicsDeleted(deleted)),
    ];
    let draining = became(ServerPhase::Draining);
    let drains =
        [(draining.is_empty(), Event::DrainStarted(draining)), (undone.is_empty(), Event::DrainUndone(undone))];
    all.into_iter().chain(drains).filter(|(nothing, _)| !nothing).map(|(_, event)| event).collect()
}

/// What a step tells when it was done. `gateways` is what came of it for the `StatefulSet`: `live` may be late, and nothing is done
/// twice.
pub(super) fn of_step(step: &Step, gateways: Applied, live: Option<&LiveSet>, roll: Option<RollReason>) -> Vec<Event> {
    let mut events = Vec::new();
    let changed = live.filter(|_| gateways == Applied::Written);
    if let Some(live) = changed.filter(|live| live.replicas != step.replicas) {
        let left = |why: &Release| matches!(why, Release::Drained | Release::DeadlinePassed);
        let left: BTreeSet<_> = step.released.iter().filter(|(_, why)| left(why)).map(|(id, _)| *id).collect();
        if !left.is_empty() {
            events.push(Event::DrainFinished(left));
        }
        events.push(Event::GatewaysScaled { from: live.replicas, to: step.replicas });
    }
    if let Some(reason) = roll.filter(|_| changed.is_some() && step.template == TemplateGate::Open) {
        events.push(Event::RollStarted(reason));
    }
    events.extend(step.presumed_dead.iter().map(|id| Event::PodPresumedDead(*id)));
    events
}

/// What a report about the topics tells when it takes the place of another. `servers` is the record as it was before: a topic that
/// was made where one was recorded was lost.
pub(super) fn of_report(before: Option<&Arc<Report>>, after: &Arc<Report>, servers: &[ServerStatus]) -> Vec<Event> {
    let mut events = Vec::new();
    if before.is_some_and(|before| Arc::ptr_eq(before, after)) {
        return events;
    }
    let recorded = servers.iter().filter_map(|entry| entry.topic.as_ref());
    let lost = recorded.filter(|topic| topic.origin != TopicOrigin::Creating && after.made.contains(&topic.name));
    let lost: BTreeSet<_> = lost.map(|topic| topic.name.clone()).collect();
    if !lost.is_empty() {
        events.push(Event::TopicsRecreated(lost));
    }
    if after.auto_create && before.is_none_or(|before| !before.auto_create) {
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

#[cfg(test)]
mod tests {
    use imcluster_crds::TopicStatus;
    use k8s_openapi::jiff::Timestamp;

    use super::super::conditions::{Verdict, merge};
    use super::*;

    fn entry(id: u16, phase: ServerPhase, origin: Option<TopicOrigin>) -> ServerStatus {
        let topic = origin.map(|origin| TopicStatus { name: format!("im.{id}"), origin });
        ServerStatus { id: ServerId(id), phase, pod_uid: None, drain_start_time: None, topic }
    }

    fn topics(ids: &[u16]) -> BTreeSet<String> {
        ids.iter().map(|id| format!("im.{id}")).collect()
    }

    fn ids(ids: &[u16]) -> BTreeSet<ServerId> {
        ids.iter().copied().map(ServerId).collect()
    }

    use ServerPhase::{Draining, Provisioning, Retired, Serving};
    use TopicOrigin::{Adopted, Created, Creating};

    #[test]
    fn topics_are_told_when_it_is_known_whose_they_are() {
        let intended = [entry(0, Provisioning, Some(Creating)), entry(1, Provisioning, None)];
        assert_eq!(of_servers(&[], &intended), []);
        let known = [entry(0, Provisioning, Some(Created)), entry(1, Provisioning, Some(Adopted))];
        let told = [Event::TopicsCreated(topics(&[0])), Event::TopicsAdopted(topics(&[1]))];
        assert_eq!(of_servers(&intended, &known), told);
        let serving = [entry(0, Serving, Some(Created)), entry(1, Serving, Some(Adopted))];
        assert_eq!(of_servers(&known, &serving), []);
    }

    #[test]
    fn a_deletion_is_told_of_topics_that_the_operator_made() {
        let before = [entry(0, Retired, Some(Created)), entry(1, Draining, Some(Adopted))];
        assert_eq!(of_servers(&before, &[]), [Event::TopicsDeleted(topics(&[0]))]);
    }

    #[test]
    fn an_id_that_is_wanted_again_after_its_topic_was_deleted_lost_nothing() {
        let (before, after) = ([entry(0, Retired, Some(Created))], [entry(0, Provisioning, Some(Creating))]);
        assert_eq!(of_servers(&before, &after), []);
    }

    #[test]
    fn a_drain_is_told_when_it_begins_and_when_it_is_undone() {
        let (serving, draining) = ([entry(0, Serving, Some(Created))], [entry(0, Draining, Some(Created))]);
        assert_eq!(of_servers(&serving, &draining), [Event::DrainStarted(ids(&[0]))]);
        assert_eq!(of_servers(&draining, &serving), [Event::DrainUndone(ids(&[0]))]);
        assert_eq!(of_servers(&draining, &draining), []);
    }

    fn live(replicas: u16) -> LiveSet {
        LiveSet { replicas, observed: true, update_revision: String::new() }
    }

    #[test]
    fn another_number_of_gateways_is_told_with_those_that_nobody_is_left_on() {
        let released =
            [(ServerId(1), Release::DeadlinePassed), (ServerId(2), Release::Drained), (ServerId(3), Release::NoPod)];
        let step = Step { replicas: 1, released: released.into(), ..Step::default() };
        let told = [Event::DrainFinished(ids(&[1, 2])), Event::GatewaysScaled { from: 4, to: 1 }];
        assert_eq!(of_step(&step, Applied::Written, Some(&live(4)), None), told);
        assert_eq!(of_step(&step, Applied::AsItWas, Some(&live(4)), None), [], "it was done before");
        assert_eq!(of_step(&step, Applied::Written, Some(&live(1)), None), []);
        assert_eq!(of_step(&step, Applied::Written, None, None), [], "the first are no change");
    }

    #[test]
    fn a_roll_is_told_when_it_may_begin() {
        let of = |template, gateways| {
            of_step(&Step { template, ..Step::default() }, gateways, Some(&live(0)), Some(RollReason::Spec))
        };
        let told = [Event::RollStarted(RollReason::Spec)];
        assert_eq!(of(TemplateGate::Open, Applied::Written), told);
        assert_eq!(of(TemplateGate::Open, Applied::AsItWas), [], "it was done before");
        assert_eq!(of(TemplateGate::ReplicasFirst, Applied::Written), []);
    }

    #[test]
    fn a_pod_that_is_taken_for_dead_is_told() {
        let step = Step { presumed_dead: ids(&[4]), ..Step::default() };
        assert_eq!(of_step(&step, Applied::AsItWas, None, None), [Event::PodPresumedDead(ServerId(4))]);
    }

    fn made(ids: &[u16]) -> Arc<Report> {
        Arc::new(Report { made: topics(ids), ..Report::default() })
    }

    #[test]
    fn a_topic_that_was_made_where_one_was_recorded_was_lost() {
        let servers = [
            entry(0, Serving, Some(Created)),
            entry(1, Serving, Some(Adopted)),
            entry(2, Provisioning, Some(Creating)),
        ];
        let told = [Event::TopicsRecreated(topics(&[0, 1]))];
        assert_eq!(of_report(None, &made(&[0, 1, 2]), &servers), told);
        let report = made(&[0, 1, 2]);
        assert_eq!(of_report(Some(&report), &report, &servers), [], "it was told");
        assert_eq!(of_report(Some(&report), &made(&[0, 1, 2]), &servers), told, "lost once more");
        assert_eq!(of_report(None, &made(&[2]), &servers), []);
    }

    #[test]
    fn a_broker_that_makes_topics_by_itself_is_warned_about_once() {
        let warned = || Arc::new(Report { auto_create: true, ..Report::default() });
        assert_eq!(of_report(None, &warned(), &[]), [Event::TopicCreationByBrokers]);
        assert_eq!(of_report(Some(&made(&[])), &warned(), &[]), [Event::TopicCreationByBrokers]);
        assert_eq!(of_report(Some(&warned()), &warned(), &[]), []);
    }

    fn status(verdicts: &[(ConditionType, Verdict)]) -> ImClusterStatus {
        let verdicts: Vec<_> = verdicts.iter().map(|(kind, verdict)| (*kind, Some(verdict.clone()))).collect();
        let conditions = merge(&[], &verdicts, None, Timestamp::UNIX_EPOCH);
        ImClusterStatus { conditions, ..ImClusterStatus::default() }
    }

    #[test]
    fn a_condition_that_turns_bad_is_told_once_and_what_is_under_way_is_not() {
        let well = status(&[(ConditionType::TopicsReady, Verdict::yes(Reason::TopicsInPlace, ""))]);
        let down = status(&[(ConditionType::TopicsReady, Verdict::no(Reason::KafkaUnavailable, "no answer"))]);
        let denied = status(&[(ConditionType::TopicsReady, Verdict::no(Reason::KafkaDenied, "no right"))]);
        let making = status(&[(ConditionType::TopicsReady, Verdict::no(Reason::CreatingTopics, ""))]);
        let told = [Event::Trouble(Reason::KafkaUnavailable, "no answer".to_owned())];
        assert_eq!(of_status(&well, &down), told);
        assert_eq!(of_status(&ImClusterStatus::default(), &down), told);
        assert_eq!(of_status(&down, &down), []);
        assert_eq!(of_status(&down, &denied), [Event::Trouble(Reason::KafkaDenied, "no right".to_owned())]);
        assert_eq!(of_status(&well, &making), []);
        assert_eq!(of_status(&down, &well), []);
    }

    #[test]
    fn a_roll_is_over_when_all_gateways_are_in_place() {
        let gateways = |reason| status(&[(ConditionType::GatewaysReady, Verdict::yes(reason, ""))]);
        let (rolling, done) = (gateways(Reason::Rolling), gateways(Reason::GatewaysInPlace));
        assert_eq!(of_status(&rolling, &done), [Event::RollFinished]);
        assert_eq!(of_status(&done, &done), []);
    }

    #[test]
    fn a_pause_is_told_when_it_begins_and_when_it_ends() {
        let paused = status(&[(ConditionType::Paused, Verdict::yes(Reason::PausedInSpec, ""))]);
        let goes_on = status(&[(ConditionType::Paused, Verdict::no(Reason::NotPaused, ""))]);
        assert_eq!(of_status(&goes_on, &paused), [Event::Paused]);
        assert_eq!(of_status(&paused, &goes_on), [Event::Resumed]);
        assert_eq!(of_status(&ImClusterStatus::default(), &goes_on), []);
    }
}
