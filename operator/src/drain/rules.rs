//! Every rule of the machine, one test each.

use imcluster_crds::ServerPhase::{Draining, Provisioning, Retired, Serving};
use imcluster_crds::TopicOrigin::{Adopted, Created, Creating};
use imcluster_crds::{Drain, MAX_REPLICAS, ServerId, ServerStatus, TopicOrigin, TopicPolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::scene::{Scene, at, entry, entry_with, ids, pod, topics, uid};
use super::{DrainReport, Release, Step, TemplateGate};

/// Three serve and one is wanted; the upper two drain since now.
fn two_of_three_drain() -> Scene {
    Scene::serving(3, 1).drains(1).drains(2)
}

/// One serves; the id after it is retired, its topic of this origin is there, and its pod is gone for so many seconds.
fn one_retired(origin: TopicOrigin, seconds: i64) -> Scene {
    Scene::serving(1, 1).sees(0..2, 0..0).record(entry_with(1, Retired, origin)).gone_for(1, seconds)
}

fn released(step: &Step) -> Vec<(u16, Release)> {
    step.released.iter().map(|(id, why)| (id.0, *why)).collect()
}

fn origin(entry: Option<ServerStatus>) -> Option<TopicOrigin> {
    entry.expect("it is recorded").topic.map(|topic| topic.origin)
}

mod growing {
    use super::*;

    #[test]
    fn an_id_that_is_wanted_is_recorded_before_anything_is_made_for_it() {
        let step = Scene::of(2).step();
        assert_eq!(step.servers, [entry(0, Provisioning), entry(1, Provisioning)]);
        assert_eq!((step.replicas, step.create.len(), step.watch), (0, 0, topics(0..2)));
    }

    #[test]
    fn a_topic_that_is_missing_is_intended_before_it_may_be_made() {
        let scene = Scene::of(1).set(0).record(entry(0, Provisioning)).sees(0..0, 0..1);
        assert_eq!(scene.step().create, topics(0..0));
        let scene = scene.recorded();
        assert_eq!(scene.recorded, [entry_with(0, Provisioning, Creating)]);
        assert_eq!(scene.step().create, topics(0..1));
        assert_eq!(scene.step().replicas, 0);
    }

    #[test]
    fn a_topic_that_appears_after_the_intent_is_the_operators() {
        let scene = Scene::of(1).record(entry_with(0, Provisioning, Creating)).sees(0..1, 0..0);
        assert_eq!(origin(scene.next(0)), Some(Created));
    }

    #[test]
    fn a_topic_that_is_found_without_an_intent_is_adopted() {
        for phase in [Provisioning, Serving] {
            let scene = Scene::of(1).record(entry(0, phase)).sees(0..1, 0..0);
            assert_eq!(origin(scene.next(0)), Some(Adopted));
        }
    }

    #[test]
    fn a_pod_is_made_when_its_topic_is_recorded_and_there() {
        let scene = Scene::of(1).set(0).sees(0..1, 0..0);
        assert_eq!(scene.clone().record(entry(0, Provisioning)).step().replicas, 0);
        for origin in [Creating, Created, Adopted] {
            let scene = scene.clone().record(entry_with(0, Provisioning, origin));
            assert_eq!(scene.step().replicas, 1);
            assert_eq!(scene.clone().sees(0..0, 0..1).step().replicas, 0, "it is not there");
            let doubted = scene.while_wishing(0..0, 0..1);
            assert_eq!(doubted.step().replicas, 0, "it was seen while it was being deleted");
        }
    }

    #[test]
    fn pods_are_made_up_to_the_first_id_whose_topic_is_missing() {
        let scene = (0..5).fold(Scene::of(5).set(1), |scene, id| scene.record(entry_with(id, Provisioning, Created)));
        assert_eq!(scene.clone().sees([0, 1, 3, 4], [2]).step().replicas, 2);
        assert_eq!(scene.clone().sees([0, 1, 2, 3, 4], 0..0).step().replicas, 5);
        assert_eq!(scene.clone().sees([1, 2, 3, 4], [0]).step().replicas, 1, "what is there stays");
        assert_eq!(scene.step().replicas, 1, "nothing is known");
    }

    #[test]
    fn an_id_serves_when_its_pod_is_ready_and_stays_so_while_it_is_replaced() {
        let scene = Scene::serving(1, 1).record(entry_with(0, Provisioning, Created));
        assert_eq!(scene.clone().change_pod(0, |pod| pod.ready = false).next(0).unwrap().phase, Provisioning);
        let scene = scene.recorded();
        assert_eq!(scene.recorded[0].phase, Serving);
        let next = scene.no_pod(0).next(0).unwrap();
        assert_eq!((next.phase, next.pod_uid), (Serving, None));
    }

    #[test]
    fn a_topic_that_vanished_under_an_id_that_serves_is_made_again() {
        for origin in [Creating, Created, Adopted] {
            let scene = Scene::serving(1, 1).record(entry_with(0, Serving, origin)).sees(0..0, 0..1);
            assert_eq!(scene.step().create, topics(0..1));
        }
    }

    #[test]
    fn a_topic_that_vanished_and_was_not_the_operators_does_not_become_so() {
        let scene = Scene::serving(1, 1).record(entry_with(0, Serving, Adopted));
        let scene = scene.sees(0..0, 0..1).recorded().sees(0..1, 0..0).while_wishing(0..1, 0..0).recorded();
        assert_eq!(origin(scene.next(0)), Some(Adopted));
    }

    #[test]
    fn more_than_an_imcluster_can_have_is_not_made() {
        let scene = Scene::of(MAX_REPLICAS + 1);
        assert_eq!(scene.step().servers.len(), usize::from(MAX_REPLICAS));
    }
}

mod draining {
    use super::*;

    #[test]
    fn all_ids_above_what_is_wanted_drain_at_once_each_for_its_pod() {
        let scene = Scene::serving(4, 2);
        let step = scene.step();
        assert_eq!((step.replicas, step.drain), (4, ids([])), "nothing is done that is not recorded");
        for id in [2, 3] {
            let next = scene.next(id).unwrap();
            assert_eq!((next.phase, next.pod_uid), (Draining, Some(uid(id))));
            assert_eq!(next.drain_start_time, Some(Time(at(0))));
        }
        assert_eq!(scene.next(1).unwrap().phase, Serving);
        assert_eq!(scene.recorded().step().drain, ids([2, 3]));
    }

    #[test]
    fn the_start_of_a_drain_is_kept_as_the_api_server_keeps_it() {
        let mut scene = Scene::serving(2, 1);
        scene.now += k8s_openapi::jiff::SignedDuration::from_millis(700);
        let scene = scene.recorded();
        assert_eq!(scene.recorded[1].drain_start_time, Some(Time(at(0))));
        assert_eq!(scene.clone().later(5).recorded().recorded, scene.recorded);
    }

    #[test]
    fn pods_go_from_the_end_as_far_as_nobody_is_left() {
        let scene = Scene::serving(5, 2).drains(2).drains(3).drains(4);
        let scene = scene.reports(2, DrainReport::Drained).reports(3, DrainReport::Draining);
        assert_eq!(scene.step().replicas, 5);
        let step = scene.clone().reports(4, DrainReport::Drained).step();
        assert_eq!((step.replicas, released(&step)), (4, vec![(4, Release::Drained)]));
        let step = scene.reports(4, DrainReport::Drained).reports(3, DrainReport::Drained).step();
        assert_eq!(step.replicas, 2);
    }

    #[test]
    fn a_gateway_that_says_nothing_goes_when_its_deadline_has_passed_by_more_than_the_margin() {
        let scene = two_of_three_drain();
        let step = scene.clone().later(69).step();
        assert_eq!((step.replicas, step.again_at), (3, Some(at(70))));
        let step = scene.later(70).step();
        assert_eq!((step.replicas, released(&step)[0]), (1, (1, Release::DeadlinePassed)));
    }

    #[test]
    fn another_deadline_counts_from_the_same_start() {
        let mut scene = two_of_three_drain().later(30);
        scene.limits = Drain { deadline_seconds: 20, ..scene.limits };
        assert_eq!(scene.step().replicas, 1);
    }

    #[test]
    fn a_pod_that_cannot_run_does_not_hold_up_the_others() {
        let step = two_of_three_drain().change_pod(2, |pod| pod.cannot_run = true).step();
        assert_eq!((released(&step), step.drain), (vec![(2, Release::CannotRun)], ids([1])));
    }

    #[test]
    fn an_id_without_a_pod_does_not_hold_up_the_others() {
        let step = two_of_three_drain().no_pod(2).step();
        assert_eq!(released(&step), [(2, Release::NoPod)]);
    }

    #[test]
    fn a_pod_that_goes_already_is_left_out_so_that_it_does_not_come_back() {
        let step = two_of_three_drain().terminate(2, 3_600).step();
        assert_eq!((released(&step), step.drain), (vec![(2, Release::Terminating)], ids([1])));
    }

    #[test]
    fn another_pod_of_the_id_gets_a_drain_of_its_own() {
        let scene = two_of_three_drain().reports(2, DrainReport::Drained).later(100).pod(2, pod("another"));
        let scene = scene.reports(1, DrainReport::Draining);
        assert_eq!((scene.step().replicas, scene.step().drain), (3, ids([1])));
        let next = scene.next(2).unwrap();
        assert_eq!((next.pod_uid.as_deref(), next.drain_start_time), (Some("another"), Some(Time(at(100)))));
        assert_eq!(scene.recorded().step().drain, ids([1, 2]));
    }

    #[test]
    fn a_drain_without_a_start_begins_now() {
        let entry = ServerStatus { pod_uid: Some(uid(1)), ..entry_with(1, Draining, Created) };
        let scene = Scene::serving(2, 1).record(entry).later(7);
        assert_eq!(scene.step().replicas, 2);
        assert_eq!(scene.next(1).unwrap().drain_start_time, Some(Time(at(7))));
    }

    #[test]
    fn wanting_it_again_undoes_a_drain_while_the_pod_runs() {
        let scene = two_of_three_drain().reports(1, DrainReport::Draining).reports(2, DrainReport::Drained);
        let scene = scene.wants(3);
        let step = scene.step();
        assert_eq!((step.replicas, step.drain, step.undrain), (3, ids([]), ids([])));
        let scene = scene.recorded();
        assert_eq!(scene.recorded, Scene::serving(3, 3).recorded);
        assert_eq!(scene.step().undrain, ids([1, 2]));
        let undone = scene.reports(1, DrainReport::Serving).reports(2, DrainReport::Serving);
        assert_eq!(undone.step().undrain, ids([]));
    }

    #[test]
    fn a_pod_that_goes_already_is_not_told_to_stay() {
        let scene = two_of_three_drain().reports(2, DrainReport::Draining).terminate(2, 3_600).wants(3).recorded();
        assert_eq!(scene.recorded[2].phase, Provisioning);
        assert_eq!(scene.step().undrain, ids([]));
        let scene = scene.pod(2, pod("another")).recorded();
        assert_eq!((scene.recorded[2].phase, scene.recorded[2].pod_uid.as_deref()), (Serving, Some("another")));
    }

    #[test]
    fn a_stateful_set_that_somebody_raised_is_brought_back() {
        let scene = Scene::serving(1, 1).set(3);
        let scene = scene.recorded();
        assert_eq!((scene.recorded[1].phase, scene.recorded[2].phase), (Draining, Draining));
        assert_eq!(scene.step().replicas, 1);
        let above = Scene::serving(1, 1).set(MAX_REPLICAS + 2).step();
        assert_eq!((above.replicas, above.released.len()), (MAX_REPLICAS, 2));
        assert!(above.released.values().all(|why| *why == Release::OutOfRange));
    }

    #[test]
    fn pods_without_their_stateful_set_keep_their_number() {
        let mut scene = Scene::serving(3, 3);
        (scene.live, scene.topics) = (None, None);
        assert_eq!((scene.step().replicas, scene.step().template), (3, TemplateGate::Open));
        assert_eq!(scene.wants(2).step().replicas, 3);
    }
}

mod retiring {
    use super::*;

    #[test]
    fn an_id_retires_when_its_pod_is_gone_and_its_controller_knows() {
        let scene = two_of_three_drain().no_pod(2);
        assert_eq!(scene.next(2).unwrap().phase, Draining, "the StatefulSet still asks for it");
        assert_eq!(scene.clone().set(2).unobserved().next(2).unwrap().phase, Draining);
        assert_eq!(scene.set(2).next(2), Some(entry_with(2, Retired, Created)));
    }

    #[test]
    fn a_pod_is_presumed_dead_a_minute_after_its_grace_period() {
        let scene = two_of_three_drain().set(2).terminate(2, 30);
        let step = scene.clone().later(89).step();
        assert_eq!((step.servers[2].phase, step.presumed_dead), (Draining, ids([])));
        assert_eq!(scene.step().again_at, Some(at(70)), "the drain of the other one");
        assert_eq!(scene.clone().later(80).step().again_at, Some(at(90)));
        let step = scene.later(90).step();
        assert_eq!((step.servers[2].phase, step.presumed_dead), (Retired, ids([2])));
    }

    #[test]
    fn a_pod_presumed_dead_does_not_bring_its_id_back() {
        let scene = Scene::serving(1, 1).pod(1, pod("dead")).terminate(1, 0).later(60);
        assert_eq!(scene.next(1), None);
    }

    #[test]
    fn a_pod_that_appears_late_is_drained() {
        let scene = one_retired(Created, 5).pod(1, pod("late"));
        assert_eq!(scene.next(1).unwrap().phase, Draining);
        assert_eq!(scene.gone_for(1, 60).step().delete, topics([]));
    }

    #[test]
    fn a_topic_stays_two_leases_after_its_pod() {
        let scene = one_retired(Created, 0);
        let step = scene.clone().later(19).step();
        assert_eq!((step.delete, step.again_at), (topics([]), Some(at(20))));
        assert_eq!(scene.later(20).step().delete, topics([1]));
    }

    #[test]
    fn a_topic_stays_while_it_is_not_known_how_long_its_pod_is_gone() {
        let mut scene = one_retired(Created, 100);
        scene.gone_since.clear();
        assert_eq!(scene.step().delete, topics([]));
        assert_eq!(scene.next(1), Some(entry_with(1, Retired, Created)));
    }

    #[test]
    fn a_record_goes_when_its_topic_is_seen_to_be_gone() {
        let scene = one_retired(Created, 20);
        assert_eq!(scene.next(1), Some(entry_with(1, Retired, Created)));
        let mut unknown = scene.clone();
        unknown.topics = None;
        assert_eq!(unknown.next(1), Some(entry_with(1, Retired, Created)));
        let before = scene.clone().sees(0..1, 1..2);
        assert_eq!(before.next(1), Some(entry_with(1, Retired, Created)), "it was looked at before it was to go");
        assert_eq!(scene.sees(0..1, 1..2).while_wishing(0..1, 1..2).next(1), None);
    }

    #[test]
    fn a_topic_of_somebody_else_stays_and_its_record_goes_with_the_pod() {
        let scene = two_of_three_drain().record(ServerStatus {
            pod_uid: Some(uid(2)),
            drain_start_time: Some(Time(at(0))),
            ..entry_with(2, Draining, Adopted)
        });
        assert_eq!(scene.next(2).unwrap().phase, Draining);
        assert_eq!(scene.no_pod(2).set(2).next(2), None);
    }

    #[test]
    fn a_topic_stays_by_policy_and_its_record_goes_with_the_pod() {
        for policy in [TopicPolicy::Retain, TopicPolicy::Unmanaged] {
            let scene = one_retired(Created, 100).policy(policy);
            assert_eq!((scene.step().delete, scene.next(1)), (topics([]), None));
        }
    }

    #[test]
    fn a_topic_that_was_about_to_be_made_counts_as_made() {
        let scene = two_of_three_drain().no_pod(2).record(entry_with(2, Draining, Creating)).sees(0..2, 2..3).set(2);
        assert_eq!(scene.step().create, topics(0..2), "it is not made any more");
        let scene = scene.recorded();
        assert_eq!(scene.recorded[2], entry_with(2, Retired, Created));
        let scene = scene.gone_for(2, 20);
        assert_eq!(scene.next(2), Some(entry_with(2, Retired, Created)), "it was looked at before it was to go");
        assert_eq!(scene.step().delete, topics([2]));
        assert_eq!(scene.while_wishing(0..2, 2..3).next(2), None);
    }

    #[test]
    fn an_id_that_is_wanted_again_keeps_a_topic_that_nobody_was_told_to_delete() {
        let scene = one_retired(Created, 19).wants(2).recorded();
        assert_eq!(scene.recorded[1], entry_with(1, Provisioning, Created));
        assert_eq!((scene.step().delete, scene.step().replicas), (topics([]), 2));
    }

    #[test]
    fn an_id_that_is_wanted_again_waits_for_a_deletion_that_may_be_under_way() {
        let scene = one_retired(Created, 20).wants(2).recorded();
        assert_eq!(scene.recorded[1], entry_with(1, Retired, Created));
        let step = scene.step();
        assert_eq!((step.delete, step.create, step.replicas), (topics([1]), topics([0]), 1));
        let scene = scene.sees(0..1, 1..2).while_wishing(0..1, 1..2).recorded();
        assert_eq!(scene.recorded[1], entry_with(1, Provisioning, Creating));
        assert_eq!((scene.step().delete, scene.step().create), (topics([]), topics(0..2)));
    }
}

mod unmanaged {
    use super::*;

    #[test]
    fn no_topic_is_made_and_pods_wait_for_those_of_somebody_else() {
        let scene = Scene::of(2).policy(TopicPolicy::Unmanaged).set(0).recorded().sees([0], [1]).recorded();
        assert_eq!(scene.recorded, [entry_with(0, Provisioning, Adopted), entry(1, Provisioning)]);
        let step = scene.step();
        assert_eq!((step.create, step.watch, step.replicas), (topics([]), topics(0..2), 1));
    }

    #[test]
    fn an_intent_is_taken_back_when_the_topic_is_not_there() {
        let scene = Scene::of(1).policy(TopicPolicy::Unmanaged).record(entry_with(0, Provisioning, Creating));
        let scene = scene.sees(0..0, 0..1).while_wishing(0..1, 0..0);
        assert_eq!(origin(scene.next(0)), Some(Creating), "it may be being made");
        assert_eq!(origin(scene.sees(0..0, 0..1).next(0)), None);
    }
}

mod kafka_unknown {
    use super::*;

    #[test]
    fn gateways_that_run_are_left_alone() {
        let mut scene = Scene::serving(3, 3);
        scene.topics = None;
        let step = scene.step();
        assert_eq!((step.replicas, step.servers), (3, scene.recorded.clone()));
        assert_eq!(scene.wants(5).step().replicas, 3);
    }

    #[test]
    fn clients_are_moved_and_pods_go_all_the_same() {
        let mut scene = two_of_three_drain().reports(2, DrainReport::Drained);
        scene.topics = None;
        assert_eq!((scene.step().replicas, scene.step().drain), (2, ids([1, 2])));
    }
}

mod lost_status {
    use super::*;

    #[test]
    fn what_is_there_is_adopted_and_nothing_moves() {
        let mut scene = Scene::serving(3, 3);
        scene.recorded.clear();
        let step = scene.step();
        assert_eq!((step.replicas, step.create, step.delete), (3, topics([]), topics([])));
        let scene = scene.recorded();
        for id in 0..3 {
            let adopted = entry_with(id, Serving, Adopted);
            assert_eq!(scene.recorded[usize::from(id)], ServerStatus { pod_uid: Some(uid(id)), ..adopted });
        }
    }

    #[test]
    fn what_is_not_wanted_is_drained_before_it_goes() {
        let mut scene = Scene::serving(3, 1);
        scene.recorded.clear();
        assert_eq!(scene.step().replicas, 3);
        let scene = scene.recorded();
        assert_eq!((scene.step().replicas, scene.step().drain), (3, ids([1, 2])));
    }
}

mod deleting {
    use super::*;

    #[test]
    fn nobody_is_drained_and_the_pods_go_at_once() {
        let scene = Scene::serving(3, 3).new_template().deleted();
        for scene in [scene.clone(), scene.recorded()] {
            let step = scene.step();
            assert_eq!((step.replicas, &step.drain, &step.undrain), (0, &ids([]), &ids([])));
            assert_eq!(released(&step)[0], (0, Release::Deleting));
            assert_eq!(step.template, TemplateGate::Deleting);
        }
    }

    #[test]
    fn topics_go_after_the_pods_and_nothing_is_made() {
        let scene = Scene::serving(1, 1).deleted().sees(0..0, 0..1).recorded();
        assert_eq!((scene.step().create, scene.step().delete), (topics([]), topics([])));
        let scene = scene.no_pod(0).set(0).recorded().sees(0..1, 0..0).gone_for(0, 20);
        assert_eq!(scene.step().delete, topics([0]));
        assert_eq!(scene.sees(0..0, 0..1).while_wishing(0..0, 0..1).step().servers, []);
    }
}

mod the_template {
    use super::*;

    #[test]
    fn is_changed_when_nobody_drains_and_no_pod_goes() {
        assert_eq!(Scene::serving(2, 2).step().template, TemplateGate::Unchanged);
        assert_eq!(Scene::serving(2, 2).new_template().step().template, TemplateGate::Open);
    }

    #[test]
    fn waits_for_the_number_of_pods() {
        let grows = Scene::serving(1, 2).record(entry_with(1, Provisioning, Created)).sees(0..2, 0..0).new_template();
        assert_eq!((grows.step().replicas, grows.step().template), (2, TemplateGate::ReplicasFirst));
        let shrinks = two_of_three_drain().reports(2, DrainReport::Drained).new_template();
        assert_eq!((shrinks.step().replicas, shrinks.step().template), (2, TemplateGate::ReplicasFirst));
    }

    #[test]
    fn does_not_wait_for_pods_that_wait_for_their_topics() {
        let scene = Scene::serving(1, 2).recorded().new_template();
        assert_eq!(scene.step().template, TemplateGate::Open);
    }

    #[test]
    fn waits_for_clients_that_are_moved() {
        let decided = Scene::serving(2, 1).new_template();
        assert_eq!(decided.step().template, TemplateGate::Draining(ServerId(1)));
        let recorded = decided.recorded();
        assert_eq!(recorded.step().template, TemplateGate::Draining(ServerId(1)));
        let undone = recorded.wants(2);
        assert_eq!(undone.step().template, TemplateGate::Draining(ServerId(1)));
        assert_eq!(undone.recorded().step().template, TemplateGate::Open);
    }

    #[test]
    fn waits_for_pods_that_go_until_they_are_presumed_dead() {
        let scene = Scene::serving(2, 2).terminate(0, 30).new_template();
        assert_eq!(scene.step().template, TemplateGate::Terminating(ServerId(0)));
        assert_eq!(scene.later(90).step().template, TemplateGate::Open);
    }

    #[test]
    fn does_not_wait_for_a_pod_that_cannot_run() {
        let draining = two_of_three_drain().change_pod(1, |pod| pod.cannot_run = true).new_template();
        assert_eq!(draining.step().template, TemplateGate::Draining(ServerId(2)));
        let draining = draining.change_pod(2, |pod| pod.cannot_run = true).set(1);
        assert_eq!(draining.step().template, TemplateGate::Open);
        let going = Scene::serving(2, 2).change_pod(1, |pod| pod.cannot_run = true).terminate(1, 30).new_template();
        assert_eq!(going.step().template, TemplateGate::Open);
    }
}
