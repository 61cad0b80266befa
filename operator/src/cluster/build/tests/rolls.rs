//! When the template changes, and why.

use serde_json::{Value, json};

use super::*;

fn planned(patch: &Value, release_image: &str, live: &StatefulSet) -> (bool, Option<RollReason>, bool, String) {
    let (valid, release) = (valid(patch), release(release_image));
    let plan = plan(&valid, inputs(&release, Some(live)));
    (plan.template_changes, plan.roll, plan.update_available, plan.image.clone().expect("an image"))
}

fn answer(roll: Option<RollReason>, update_available: bool, image: &str) -> (bool, Option<RollReason>, bool, String) {
    (roll.is_some(), roll, update_available, image.to_owned())
}

#[test]
fn a_new_installation_gets_the_release_and_rolls_nothing() {
    let (valid, release) = (valid(&json!({})), release("im-server:2"));
    let plan = plan(&valid, inputs(&release, None));
    assert!(plan.template_changes && plan.roll.is_none() && !plan.update_available);
    assert_eq!(plan.image.as_deref(), Some("im-server:2"));
    let objects = plan.objects(&WAITS);
    assert!(objects.iter().all(|object| object.object.is_some()));
}

#[test]
fn nothing_changes_while_nobody_changes_anything() {
    for patch in options().into_iter().map(|(_, patch)| patch) {
        let before = objects(&patch);
        let after = made(&valid(&patch), Some(&set(&before)), GROWN);
        assert_eq!(before, after, "{patch}");
    }
}

#[test]
fn a_newer_release_waits_for_a_roll_that_somebody_caused() {
    let live = live(&json!({}));
    assert_eq!(planned(&json!({}), "im-server:1", &live), answer(None, false, "im-server:1"));
    assert_eq!(planned(&json!({}), "im-server:2", &live), answer(None, true, "im-server:1"));
    let changed = json!({ "spec": { "config": { "friendsOnly": false } } });
    assert_eq!(planned(&changed, "im-server:2", &live), answer(Some(RollReason::Spec), false, "im-server:2"));
}

#[test]
fn who_follows_the_operator_gets_its_release_at_once() {
    let follows = json!({ "spec": { "updatePolicy": "WithOperator" } });
    let live = live(&follows);
    assert_eq!(planned(&follows, "im-server:1", &live), answer(None, false, "im-server:1"));
    assert_eq!(planned(&follows, "im-server:2", &live), answer(Some(RollReason::Release), false, "im-server:2"));
}

#[test]
fn an_image_of_the_spec_is_the_image_whatever_the_release() {
    let pinned = json!({ "spec": { "image": "mine:1" } });
    let live = live(&pinned);
    assert_eq!(planned(&pinned, "im-server:2", &live), answer(None, false, "mine:1"));
    assert_eq!(
        planned(&json!({ "spec": { "image": "mine:2" } }), "im-server:2", &live),
        answer(Some(RollReason::Spec), false, "mine:2")
    );
    // Without it the image that runs stays, until something else is changed.
    assert_eq!(planned(&json!({}), "im-server:2", &live), answer(None, true, "mine:1"));
}

#[test]
fn a_restart_that_is_asked_for_rolls_once_and_taking_the_annotation_away_rolls_nothing() {
    let at = |time: &str| json!({ "metadata": { "annotations": { "imcluster.dev/restartedAt": time } } });
    let before = live(&json!({}));
    assert_eq!(planned(&at("1"), "im-server:1", &before), answer(Some(RollReason::RestartedAt), false, "im-server:1"));
    let restarted = set(&made(&valid(&at("1")), Some(&before), GROWN));
    assert_eq!(planned(&at("1"), "im-server:1", &restarted), answer(None, false, "im-server:1"));
    assert_eq!(planned(&json!({}), "im-server:1", &restarted), answer(None, false, "im-server:1"));
    assert_eq!(
        planned(&at("2"), "im-server:1", &restarted),
        answer(Some(RollReason::RestartedAt), false, "im-server:1")
    );
}

#[test]
fn a_rotation_rolls_once_and_one_of_a_token_s_keys_does_not() {
    let before = live(&json!({}));
    let rotated = |name: &str, key: &str, value: &str| {
        let valid = valid_with(&json!({}), &secrets_with(name, key, Some(value.as_bytes())));
        let release = release("im-server:1");
        plan(&valid, inputs(&release, Some(&before))).roll
    };
    assert_eq!(rotated("database", "url", "postgres://im:other@database/im"), Some(RollReason::Secrets));
    assert_eq!(rotated("keys", "2026-11", &"another key ".repeat(4)), None);
    let (valid, release) = (valid(&json!({})), release("im-server:1"));
    let other_token = Inputs { token: "another", ..inputs(&release, Some(&before)) };
    assert_eq!(plan(&valid, other_token).roll, Some(RollReason::Secrets));
}

#[test]
fn a_secret_that_vanishes_never_rolls_and_what_depends_on_it_stays_as_it_is() {
    let before = objects(&json!({}));
    let mut without = secrets();
    without.insert("database".to_owned(), None);
    let changed = json!({ "spec": { "image": "mine:2", "config": { "log": "debug" }, "ingress": {} } });
    let valid = valid_with(&changed, &without);
    let after = made(&valid, Some(&set(&before)), GROWN);
    assert_eq!(one(&before, Kind::StatefulSet), one(&after, Kind::StatefulSet));
    let config_map = after.iter().find(|object| object.kind == Kind::ConfigMap).expect("it is wanted");
    assert_eq!(config_map.object, None);
    assert!(after.iter().any(|object| object.kind == Kind::Ingress));
}

#[test]
fn a_template_that_may_not_change_yet_is_applied_once_more_as_it_was() {
    let before = objects(&json!({}));
    let changed = valid(&json!({ "spec": { "image": "mine:2", "config": { "log": "debug" } } }));
    let decision = Decision { replicas: 2, ..WAITS };
    let after = made(&changed, Some(&set(&before)), decision);
    let mut expected = one(&before, Kind::StatefulSet).clone();
    expected["spec"]["replicas"] = json!(2);
    assert_eq!(one(&after, Kind::StatefulSet), &expected);
    let config_map = after.iter().find(|object| object.kind == Kind::ConfigMap).expect("it is wanted");
    assert_eq!(config_map.object, None, "its content goes with the template");
    // And then it does.
    let after = made(&changed, Some(&set(&after)), GROWN);
    assert_eq!(after, made(&changed, None, GROWN));
}

#[test]
fn what_the_api_server_and_others_added_to_the_template_is_not_applied() {
    let mut live = live(&json!({}));
    let pod = live.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()).expect("a pod");
    pod.dns_policy = Some("ClusterFirst".to_owned());
    pod.containers[0].image_pull_policy = Some("IfNotPresent".to_owned());
    assert_eq!(planned(&json!({}), "im-server:1", &live), answer(None, false, "im-server:1"));
    let held = made(&valid(&json!({ "spec": { "image": "mine:2" } })), Some(&live), WAITS);
    assert_eq!(one(&held, Kind::StatefulSet)["spec"]["template"]["spec"].get("dnsPolicy"), None);
}

#[test]
fn a_template_of_a_newer_operator_gives_way_to_that_of_the_operator_that_runs() {
    let mut live = live(&json!({}));
    let annotations = live.metadata.annotations.as_mut().expect("annotations");
    annotations.insert(TEMPLATE_VERSION.to_owned(), "2".to_owned());
    // It makes the same of this resource, so nobody notices.
    assert_eq!(planned(&json!({}), "im-server:1", &live), answer(None, false, "im-server:1"));
    let other = json!({ "spec": { "config": { "log": "debug" } } });
    assert_eq!(planned(&other, "im-server:1", &live), answer(Some(RollReason::Release), false, "im-server:1"));
}

#[test]
fn a_set_whose_annotations_somebody_took_away_is_made_anew_or_left_alone() {
    let mut live = live(&json!({}));
    live.metadata.annotations = None;
    let objects = made(&valid(&json!({})), Some(&live), WAITS);
    assert_eq!(objects, self::objects(&json!({})));
    let mut without = secrets();
    without.insert("redis".to_owned(), None);
    let objects = made(&valid_with(&json!({}), &without), Some(&live), GROWN);
    let kept: Vec<_> = objects.iter().filter(|object| object.object.is_none()).map(|object| object.kind).collect();
    assert_eq!(kept, [Kind::ConfigMap, Kind::StatefulSet]);
}
