//! Each rule accepts what it should and rejects what it should, and nothing else rejects it.

use serde_json::json;

use crate::admission::{broken_bounds, broken_rules, nodes, rules_of};
use crate::cases::{Case, Write, cases, merged, smallest};

/// The rules that `write` breaks. What was there before it is fine by itself, and no bound stands in for a rule.
fn broken_by(write: &Write) -> Vec<String> {
    let before = write.before.as_ref().map(|patch| merged(&smallest(), patch));
    if let Some(before) = &before {
        assert_eq!(broken_rules(before, None), Vec::<String>::new(), "{before}");
    }
    let now = merged(&smallest(), &write.now);
    assert!(broken_bounds(&now).is_empty(), "{now}: {:?}", broken_bounds(&now));
    broken_rules(&now, before.as_ref())
}

#[test]
fn every_rule_accepts_what_is_right_and_alone_rejects_what_is_wrong() {
    for Case { rule, accepts, rejects } in cases() {
        for write in accepts {
            assert_eq!(broken_by(&write), Vec::<String>::new(), "{rule}: {} after {:?}", write.now, write.before);
        }
        for write in rejects {
            let broken = broken_by(&write);
            let [message] = broken.as_slice() else {
                panic!("{rule}: {} after {:?} breaks {broken:?}", write.now, write.before)
            };
            assert!(message.starts_with(rule), "{}: {message}", write.now);
        }
    }
}

#[test]
fn every_rule_of_the_definition_has_a_case_that_it_accepts_and_one_that_it_rejects() {
    let cases = cases();
    let mut met = 0;
    for (place, node) in nodes() {
        for rule in rules_of(node) {
            let message = rule["message"].as_str().expect(&place);
            let of_it: Vec<_> = cases.iter().filter(|case| message.starts_with(case.rule)).collect();
            let [case] = of_it.as_slice() else { panic!("{place}: {} cases for {message:?}", of_it.len()) };
            assert!(!case.accepts.is_empty() && !case.rejects.is_empty(), "{message}");
            met += 1;
        }
    }
    assert_eq!(met, cases.len(), "a case is for a rule that never reached the definition");
}

#[test]
fn the_prefix_of_topics_cannot_go_with_its_parents() {
    for (patch, place) in [
        (json!({ "spec": { "kafka": { "topics": null } } }), "spec.kafka"),
        (json!({ "spec": { "kafka": null } }), "spec"),
        (json!({ "spec": null }), ""),
    ] {
        let broken = broken_bounds(&merged(&smallest(), &patch));
        assert!(broken.contains(&(place.to_owned(), "required".to_owned())), "{patch}: {broken:?}");
    }
}

#[test]
fn a_rule_tells_what_is_wrong_in_one_line() {
    for (place, node) in nodes() {
        for rule in rules_of(node) {
            let message = rule["message"].as_str().expect(&place);
            assert!(!message.contains('\n') && message.len() <= 400, "{place}: {message}");
        }
    }
}
