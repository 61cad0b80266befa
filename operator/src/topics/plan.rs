//! What to do to topics: a pure answer to what is wished and what is there.

use std::collections::{BTreeMap, BTreeSet};

use super::admin::{AdminError, Settings, Shape};
use super::spelling::same;
use super::trouble::{Act, Problem, Problems};
use super::{Seen, Wish};

/// What was found of a topic that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How it is laid out.
    pub shape: Shape,
    /// The settings that the wish names; `None` if nobody asked.
    pub settings: Option<Result<Settings, AdminError>>,
}

/// What was found of the topics that were looked for, by name: `None` is a topic that is not there.
pub type Sight = BTreeMap<String, Option<Found>>;

/// What there is to do, what of it cannot be done, and what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Topics to make.
    pub create: BTreeSet<String>,
    /// Settings to set, by topic; no others.
    pub repair: BTreeMap<String, BTreeMap<String, String>>,
    /// Topics to delete.
    pub delete: BTreeSet<String>,
    /// What Kafka cannot do, or does not tell.
    pub problems: Problems,
    /// What there is of each topic that was looked for.
    pub seen: BTreeMap<String, Seen>,
}

impl Plan {
    /// There is nothing to do, as far as it can be done.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.repair.is_empty() && self.delete.is_empty()
    }
}

/// The topics whose settings have to be known: those that stay, if the wish has settings.
pub(super) fn to_describe<'a>(
    wish: &'a Wish,
    is_there: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = &'a String> {
    let stays = move |topic: &&String| !wish.delete.contains(*topic) && is_there(topic);
    wish.watch.iter().filter(|_| !wish.config.is_empty()).filter(stays)
}

/// What to do about a wish. What was not looked for is left alone, and so is a topic that the wish would both make and
/// delete.
pub fn plan(wish: &Wish, sight: &Sight) -> Plan {
    let mut plan = Plan::default();
    for topic in &wish.watch {
        let Some(found) = sight.get(topic) else { continue };
        let (create, delete) = (wish.create.contains(topic), wish.delete.contains(topic));
        let seen = match found {
            None => {
                if create && !delete {
                    plan.create.insert(topic.clone());
                }
                Seen::Absent
            }
            Some(found) if delete => {
                if !create {
                    plan.delete.insert(topic.clone());
                }
                Seen::Present { as_wished: differing(wish, found).is_empty() }
            }
            Some(found) => keep(wish, topic, found, &mut plan),
        };
        plan.seen.insert(topic.clone(), seen);
    }
    plan
}

/// A topic that stays.
fn keep(wish: &Wish, topic: &str, found: &Found, plan: &mut Plan) -> Seen {
    if wish.config.is_empty() {
        return Seen::Present { as_wished: true };
    }
    if found.shape.partitions > 1 {
        plan.problems.add(Problem::Partitions, topic);
    }
    if found.shape.replication != wish.replication {
        plan.problems.add(Problem::Replication, topic);
    }
    if let Some(Err(error)) = &found.settings {
        plan.problems.add(Problem::Refused(error.clone(), Act::Describe), topic);
        return Seen::Present { as_wished: false };
    }
    let repair = differing(wish, found);
    let as_wished = repair.is_empty();
    if !as_wished {
        plan.repair.insert(topic.to_owned(), repair);
    }
    Seen::Present { as_wished }
}

/// The settings that are not as wished. One that has the value only because the brokers have it is none of the topic's: it
/// would change with theirs.
fn differing(wish: &Wish, found: &Found) -> BTreeMap<String, String> {
    let settings = found.settings.as_ref().and_then(|settings| settings.as_ref().ok());
    let as_wished = |name: &str, value: &str| {
        let setting = settings.and_then(|settings| settings.get(name));
        setting.is_some_and(|setting| setting.own && same(value, &setting.value))
    };
    let differs = wish.config.iter().filter(|(name, value)| !as_wished(name, value));
    differs.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use imcluster_crds::conditions::Reason;
    use proptest::collection::{btree_map, btree_set};
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;
    use crate::topics::admin::Setting;
    use crate::topics::model::{Model, Topic};

    fn wish(watch: &[&str]) -> Wish {
        Wish {
            watch: names(watch),
            config: BTreeMap::from([("retention.ms".to_owned(), "600000".to_owned())]),
            replication: 1,
            ..Wish::default()
        }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn found(retention: &str) -> Found {
        let setting = Setting { value: retention.to_owned(), own: true };
        let settings = Settings::from([("retention.ms".to_owned(), setting)]);
        Found { shape: Shape { partitions: 1, replication: 1 }, settings: Some(Ok(settings)) }
    }

    fn sight(of: &[(&str, Option<Found>)]) -> Sight {
        of.iter().map(|(name, found)| ((*name).to_owned(), found.clone())).collect()
    }

    fn reasons(plan: &Plan) -> Vec<Reason> {
        plan.problems.troubles().iter().map(|trouble| trouble.reason).collect()
    }

    #[test]
    fn a_missing_topic_is_made_only_where_the_intent_is_recorded() {
        let mut wish = wish(&["im.0", "im.1"]);
        wish.create = names(&["im.1"]);
        let plan = plan(&wish, &sight(&[("im.0", None), ("im.1", None)]));
        assert_eq!(plan.create, names(&["im.1"]));
        assert_eq!(plan.seen["im.0"], Seen::Absent);
    }

    #[test]
    fn a_topic_that_is_there_is_not_made_again() {
        let mut wish = wish(&["im.0"]);
        wish.create = names(&["im.0"]);
        let plan = plan(&wish, &sight(&[("im.0", Some(found("600000")))]));
        assert!(plan.is_empty() && plan.problems.is_empty());
        assert_eq!(plan.seen["im.0"], Seen::Present { as_wished: true });
    }

    #[test]
    fn a_topic_that_was_not_looked_for_is_left_alone_and_not_reported() {
        let mut wish = wish(&["im.0", "im.1"]);
        wish.create = names(&["im.0"]);
        wish.delete = names(&["im.1"]);
        assert_eq!(plan(&wish, &Sight::new()), Plan::default());
    }

    #[test]
    fn a_setting_that_differs_or_that_only_the_brokers_have_is_set_on_the_topic() {
        let mut wish = wish(&["im.0", "im.1"]);
        wish.config.insert("segment.ms".to_owned(), "60000".to_owned());
        let mut inherited = found("600000");
        inherited.settings = Some(Ok(Settings::from([
            ("retention.ms".to_owned(), Setting { value: "600000".to_owned(), own: false }),
            ("segment.ms".to_owned(), Setting { value: "060000".to_owned(), own: true }),
        ])));
        let plan = plan(&wish, &sight(&[("im.0", Some(found("5"))), ("im.1", Some(inherited))]));
        assert_eq!(plan.repair["im.0"], wish.config);
        assert_eq!(plan.repair["im.1"].keys().collect::<Vec<_>>(), ["retention.ms"]);
        assert_eq!(plan.seen["im.1"], Seen::Present { as_wished: false });
    }

    #[test]
    fn partitions_and_copies_that_cannot_change_are_not_supported_and_the_settings_go_on() {
        let mut odd = found("5");
        odd.shape = Shape { partitions: 3, replication: 2 };
        let plan = plan(&wish(&["im.0"]), &sight(&[("im.0", Some(odd))]));
        assert_eq!(reasons(&plan), [Reason::NotSupported, Reason::NotSupported]);
        assert_eq!(plan.repair.len(), 1);
    }

    #[test]
    fn settings_that_may_not_be_read_are_denied_and_not_written() {
        let mut closed = found("5");
        closed.settings = Some(Err(AdminError::Denied));
        let plan = plan(&wish(&["im.0"]), &sight(&[("im.0", Some(closed))]));
        assert_eq!(reasons(&plan), [Reason::KafkaDenied]);
        assert!(plan.is_empty());
        assert_eq!(plan.seen["im.0"], Seen::Present { as_wished: false });
    }

    #[test]
    fn a_topic_that_goes_is_not_repaired_first() {
        let mut wish = wish(&["im.0"]);
        wish.delete = names(&["im.0"]);
        let mut odd = found("5");
        odd.shape.replication = 3;
        let plan = plan(&wish, &sight(&[("im.0", Some(odd))]));
        assert_eq!(plan.delete, names(&["im.0"]));
        assert!(plan.repair.is_empty() && plan.problems.is_empty());
    }

    #[test]
    fn without_settings_to_keep_a_topic_is_as_wished_whatever_it_is_like() {
        let wish = Wish { config: BTreeMap::new(), ..wish(&["im.0"]) };
        let odd = Found { shape: Shape { partitions: 9, replication: 7 }, settings: None };
        let plan = plan(&wish, &sight(&[("im.0", Some(odd))]));
        assert!(plan.is_empty() && plan.problems.is_empty());
        assert_eq!(plan.seen["im.0"], Seen::Present { as_wished: true });
    }

    const SETTINGS: [&str; 3] = ["retention.ms", "segment.ms", "preallocate"];

    fn value() -> impl Strategy<Value = String> {
        select(vec!["600000", "0600000", "60000", "TRUE", "true", "false"]).prop_map(str::to_owned)
    }

    fn config() -> impl Strategy<Value = BTreeMap<String, String>> {
        btree_map(select(&SETTINGS[..]).prop_map(str::to_owned), value(), 0..=SETTINGS.len())
    }

    fn any_names() -> impl Strategy<Value = BTreeSet<String>> {
        let all: Vec<String> = (0..8).map(|id| format!("im.{id}")).collect();
        subsequence(all, 0..=8).prop_map(|names| names.into_iter().collect())
    }

    fn any_wish() -> impl Strategy<Value = Wish> {
        let fields = (any_names(), any_names(), any_names(), config(), 1..=3_u16);
        fields.prop_map(|(watch, create, delete, config, replication)| Wish {
            create: &create & &watch,
            delete: &delete & &watch,
            watch,
            config,
            replication,
        })
    }

    fn any_kafka() -> impl Strategy<Value = Model> {
        let topic = (1..=2_usize, 1..=3_u16, config());
        let topic = topic.prop_map(|(partitions, replication, config)| {
            let mut topic = Topic { partitions, replication, config: BTreeMap::new() };
            topic.set(&config);
            topic
        });
        let topics = (btree_set(0..8_u8, 0..8), proptest::collection::vec(topic, 8));
        topics.prop_map(|(ids, topics)| {
            let topics = ids.iter().zip(topics).map(|(id, topic)| (format!("im.{id}"), topic)).collect();
            Model { topics, brokers: 3, ..Model::default() }
        })
    }

    proptest! {
        #[test]
        fn a_plan_does_nothing_that_the_wish_does_not_name(wish in any_wish(), kafka in any_kafka()) {
            let plan = plan(&wish, &kafka.see(&wish));
            prop_assert!(plan.create.is_subset(&wish.create));
            prop_assert!(plan.delete.is_subset(&wish.delete));
            prop_assert!(plan.create.is_disjoint(&plan.delete));
            for (topic, settings) in &plan.repair {
                prop_assert!(wish.watch.contains(topic) && !wish.delete.contains(topic));
                for (name, value) in settings {
                    prop_assert_eq!(wish.config.get(name), Some(value));
                }
            }
            prop_assert_eq!(plan.seen.keys().cloned().collect::<BTreeSet<_>>(), wish.watch);
        }

        #[test]
        fn once_carried_out_nothing_is_left_to_do_and_nothing_else_has_changed(wish in any_wish(), mut kafka in any_kafka()) {
            let before = kafka.clone();
            let first = plan(&wish, &kafka.see(&wish));
            kafka.create(&first.create, wish.replication, &wish.config);
            kafka.set(&first.repair);
            kafka.delete(&first.delete);
            let then = plan(&wish, &kafka.see(&wish));
            prop_assert!(then.is_empty(), "{:?}", then);
            prop_assert_eq!(&first.problems, &then.problems);
            for (name, topic) in &before.topics {
                let Some(after) = kafka.topics.get(name) else {
                    prop_assert!(wish.delete.contains(name) && !wish.create.contains(name));
                    continue;
                };
                prop_assert_eq!(after.partitions, topic.partitions);
                prop_assert_eq!(after.replication, topic.replication);
                for setting in SETTINGS.iter().filter(|setting| !wish.config.contains_key(**setting)) {
                    prop_assert_eq!(after.config.get(*setting), topic.config.get(*setting));
                }
            }
        }

        #[test]
        fn an_unmanaged_topic_is_never_touched(watch in any_names(), kafka in any_kafka()) {
            let wish = Wish { watch, replication: 3, ..Wish::default() };
            let plan = plan(&wish, &kafka.see(&wish));
            prop_assert!(plan.is_empty() && plan.problems.is_empty());
            for (topic, seen) in &plan.seen {
                let there = kafka.topics.contains_key(topic);
                prop_assert_eq!(*seen, if there { Seen::Present { as_wished: true } } else { Seen::Absent });
            }
        }
    }
}
