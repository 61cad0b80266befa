//! What the conditions of an `ImCluster` say: pure, from what was seen.

use imcluster_crds::conditions::{ConditionType, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Whether a condition holds, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `None` is Unknown.
    pub holds: Option<bool>,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, in a sentence without counters or addresses: a condition that changes with every look wakes everybody who watches.
    pub message: String,
}

impl Verdict {
    /// It holds.
    pub fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: Some(true), reason, message: message.into() }
    }

    /// It does not.
    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: Some(false), reason, message: message.into() }
    }

    /// Nobody knows.
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: None, reason, message: message.into() }
    }

    fn status(&self) -> &'static str {
        match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// What the topics of the ids that should serve look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicsSeen {
    /// Kafka was not asked yet.
    NotYet,
    /// All are there, as they should be.
    InPlace,
    /// Some are being made, or changed.
    Missing,
    /// Some are missing, and somebody else makes them: the first of them.
    NotOurs(String),
    /// Something does not work.
    Trouble(Reason, String),
}

/// How far gateways are of the template that should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roll {
    /// All are.
    #[default]
    Over,
    /// Not all are.
    UnderWay,
    /// All are, of those that are there, and the end was not told of: the last may be starting.
    Ending,
}

/// What the gateways look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewaysSeen<'a> {
    /// How many the spec wants.
    pub wanted: u16,
    /// Pods that are ready and not about to go, of the ids that should serve.
    pub ready: u16,
    /// How far they are of the template that should be.
    pub roll: Roll,
    /// Clients are moved off some.
    pub draining: bool,
    /// Some wait for their topics.
    pub waiting: bool,
    /// A pod that cannot run, and why.
    pub stuck: Option<&'a str>,
}

/// `TopicsReady`. Before the first look what was said last stays: an operator that starts must not alarm anybody.
pub fn topics(seen: &TopicsSeen, before: &[Condition]) -> Verdict {
    match seen {
        TopicsSeen::NotYet => last(before, ConditionType::TopicsReady)
            .unwrap_or_else(|| Verdict::unknown(Reason::Pending, "Kafka has not been asked yet")),
        TopicsSeen::InPlace => Verdict::yes(Reason::TopicsInPlace, "Every gateway has its topic"),
        TopicsSeen::Missing => Verdict::no(Reason::CreatingTopics, "Topics are being made"),
        TopicsSeen::NotOurs(first) => Verdict::no(
            Reason::TopicsMissing,
            format!(
                "Topic {first} is missing, and with kafka.topics.policy Unmanaged the operator makes none: create it with one \
                 partition"
            ),
        ),
        TopicsSeen::Trouble(reason, message) => Verdict::no(*reason, message),
    }
}

/// `GatewaysReady`. A planned roll or drain keeps it true: one gateway at a time, and its clients were moved before.
pub fn gateways(seen: &GatewaysSeen<'_>) -> Verdict {
    let GatewaysSeen { wanted, ready, roll, draining, waiting, stuck } = *seen;
    if let Some(pod) = stuck {
        return Verdict::no(Reason::PodsNotReady, pod);
    }
    if wanted == 0 && !draining {
        return Verdict::yes(Reason::ScaledToZero, "gateways.replicas is 0");
    }
    // A roll takes one gateway away at a time.
    let rolls = match roll {
        Roll::UnderWay => true,
        Roll::Ending => ready < wanted,
        Roll::Over => false,
    };
    if rolls && ready + 1 >= wanted && ready > 0 {
        return Verdict::yes(Reason::Rolling, "Gateways get new settings or a new image, one at a time");
    }
    if ready < wanted && waiting {
        return Verdict::no(Reason::WaitingForTopics, "Gateways start when their topics are there");
    }
    if ready < wanted {
        return Verdict::no(Reason::Starting, "Gateways start");
    }
    if draining {
        return Verdict::yes(Reason::Draining, "Clients are moved off gateways that are to go");
    }
    Verdict::yes(Reason::GatewaysInPlace, "Every gateway is ready")
}

/// `Ready`, of the three.
pub fn ready(accepted: &Verdict, topics: &Verdict, gateways: &Verdict) -> Verdict {
    let parts =
        [(accepted, Reason::NotAccepted), (topics, Reason::TopicsNotReady), (gateways, Reason::GatewaysNotReady)];
    for (verdict, reason) in parts {
        if verdict.holds != Some(true) {
            return Verdict { holds: verdict.holds, reason, message: verdict.message.clone() };
        }
    }
    Verdict::yes(Reason::Serving, "Clients are served")
}

/// Reasons that go away by themselves.
pub const UNDER_WAY: [Reason; 5] =
    [Reason::Starting, Reason::Rolling, Reason::Draining, Reason::WaitingForTopics, Reason::CreatingTopics];

/// `Reconciling`, which is there only while it is true.
pub fn reconciling(topics: &Verdict, gateways: &Verdict) -> Option<Verdict> {
    [gateways, topics]
        .into_iter()
        .find(|verdict| UNDER_WAY.contains(&verdict.reason))
        .map(|verdict| Verdict::yes(verdict.reason, verdict.message.clone()))
}

/// `Stalled`, which is there only while it is true: somebody has to do something.
pub fn stalled(accepted: &Verdict, topics: &Verdict, gateways: &Verdict) -> Option<Verdict> {
    const FOR_PEOPLE: [Reason; 6] = [
        Reason::NotSupported,
        Reason::TopicRejected,
        Reason::KafkaDenied,
        Reason::TopicsMissing,
        Reason::NotOurs,
        Reason::ObjectRefused,
    ];
    let refused = Some(accepted).filter(|accepted| accepted.holds == Some(false));
    let verdict = refused.or([topics, gateways].into_iter().find(|it| FOR_PEOPLE.contains(&it.reason)))?;
    Some(Verdict::yes(verdict.reason, verdict.message.clone()))
}

/// What was said last.
pub fn last(before: &[Condition], kind: ConditionType) -> Option<Verdict> {
    let condition = before.iter().find(|condition| condition.type_ == kind.as_str())?;
    let reason = reason(&condition.reason)?;
    let holds = match condition.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    };
    Some(Verdict { holds, reason, message: condition.message.clone() })
}

/// The reason that a word means.
pub fn reason(word: &str) -> Option<Reason> {
    Reason::ALL.iter().find(|reason| reason.as_str() == word).copied()
}

/// The list for the status: ours as they are now, with the time at which each changed, and those of others as they were.
pub fn merge(
    before: &[Condition],
    verdicts: &[(ConditionType, Option<Verdict>)],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let foreign = |condition: &&Condition| !ConditionType::ALL.iter().any(|kind| kind.as_str() == condition.type_);
    let ours = verdicts.iter().filter_map(|(kind, verdict)| {
        let verdict = verdict.as_ref()?;
        let was = before.iter().find(|condition| condition.type_ == kind.as_str());
        let since = was.filter(|was| was.status == verdict.status()).map(|was| was.last_transition_time.clone());
        Some(Condition {
            type_: kind.as_str().to_owned(),
            status: verdict.status().to_owned(),
            reason: verdict.reason.as_str().to_owned(),
            message: verdict.message.clone(),
            observed_generation: generation,
            last_transition_time: since.unwrap_or_else(|| Time(whole_seconds(now))),
        })
    });
    ours.chain(before.iter().filter(foreign).cloned()).collect()
}

/// The API keeps seconds: with more, what was written would differ from what is read.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVING: GatewaysSeen<'_> =
        GatewaysSeen { wanted: 3, ready: 3, roll: Roll::Over, draining: false, waiting: false, stuck: None };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_planned_roll_keeps_the_gateways_ready() {
        let verdict = gateways(&GatewaysSeen { roll: Roll::UnderWay, ready: 2, ..SERVING });
        assert_eq!((verdict.holds, verdict.reason), (Some(true), Reason::Rolling));
    }

    #[test]
    fn a_roll_that_lost_two_gateways_does_not() {
        let verdict = gateways(&GatewaysSeen { roll: Roll::UnderWay, ready: 1, ..SERVING });
        assert_eq!((verdict.holds, verdict.reason), (Some(false), Reason::Starting));
    }

    #[test]
    fn a_roll_goes_on_until_its_last_gateway_is_ready() {
        let starting = GatewaysSeen { ready: 2, ..SERVING };
        assert_eq!(gateways(&GatewaysSeen { roll: Roll::Ending, ..starting }).reason, Reason::Rolling);
        assert_eq!(gateways(&starting).reason, Reason::Starting);
        assert_eq!(gateways(&GatewaysSeen { roll: Roll::Ending, ..SERVING }).reason, Reason::GatewaysInPlace);
    }

    #[test]
    fn the_only_gateway_that_rolls_is_not_ready() {
        let verdict = gateways(&GatewaysSeen { wanted: 1, roll: Roll::UnderWay, ready: 0, ..SERVING });
        assert_eq!((verdict.holds, verdict.reason), (Some(false), Reason::Starting));
    }

    #[test]
    fn a_planned_drain_keeps_the_gateways_ready() {
        let verdict = gateways(&GatewaysSeen { draining: true, ..SERVING });
        assert_eq!((verdict.holds, verdict.reason), (Some(true), Reason::Draining));
    }

    #[test]
    fn a_pod_that_cannot_run_is_named_even_during_a_roll() {
        let verdict = gateways(&GatewaysSeen { roll: Roll::UnderWay, ready: 2, stuck: Some("pod chat-2"), ..SERVING });
        assert_eq!((verdict.holds, verdict.reason), (Some(false), Reason::PodsNotReady));
        assert!(verdict.message.contains("chat-2"), "{}", verdict.message);
    }

    #[test]
    fn gateways_without_topics_wait_for_them() {
        let verdict = gateways(&GatewaysSeen { ready: 0, waiting: true, ..SERVING });
        assert_eq!((verdict.holds, verdict.reason), (Some(false), Reason::WaitingForTopics));
    }

    #[test]
    fn scaled_to_zero_is_ready() {
        let verdict = gateways(&GatewaysSeen { wanted: 0, ready: 0, ..SERVING });
        assert_eq!((verdict.holds, verdict.reason), (Some(true), Reason::ScaledToZero));
    }

    #[test]
    fn before_the_first_look_at_kafka_what_was_said_last_stays() {
        let said = topics(&TopicsSeen::InPlace, &[]);
        let before = merge(&[], &[(ConditionType::TopicsReady, Some(said.clone()))], Some(1), at(5));
        assert_eq!(topics(&TopicsSeen::NotYet, &before), said);
        assert_eq!(topics(&TopicsSeen::NotYet, &[]).holds, None);
    }

    #[test]
    fn ready_says_what_keeps_it_from_being_true() {
        let yes = Verdict::yes(Reason::Valid, "");
        let no = Verdict::no(Reason::KafkaUnavailable, "Kafka does not answer");
        assert_eq!(ready(&yes, &yes, &yes).reason, Reason::Serving);
        assert_eq!(ready(&yes, &no, &yes), Verdict::no(Reason::TopicsNotReady, "Kafka does not answer"));
        assert_eq!(ready(&no, &yes, &yes).reason, Reason::NotAccepted);
    }

    #[test]
    fn what_nobody_can_mend_but_a_person_is_stalled() {
        let yes = Verdict::yes(Reason::Valid, "");
        let reason = |verdict: Option<Verdict>| verdict.map(|verdict| verdict.reason);
        for of_topics in [Reason::NotSupported, Reason::TopicRejected, Reason::KafkaDenied, Reason::TopicsMissing] {
            assert_eq!(reason(stalled(&yes, &Verdict::no(of_topics, ""), &yes)), Some(of_topics));
        }
        for of_gateways in [Reason::NotOurs, Reason::ObjectRefused] {
            assert_eq!(reason(stalled(&yes, &yes, &Verdict::no(of_gateways, ""))), Some(of_gateways));
        }
        for passing in [Reason::KafkaUnavailable, Reason::Starting, Reason::PodsNotReady] {
            assert_eq!(stalled(&yes, &Verdict::no(passing, ""), &Verdict::no(passing, "")), None);
        }
        let refused = Verdict::no(Reason::InvalidSpec, "");
        assert_eq!(reason(stalled(&refused, &yes, &yes)), Some(Reason::InvalidSpec));
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let kind = ConditionType::GatewaysReady;
        let first = merge(&[], &[(kind, Some(Verdict::yes(Reason::Rolling, "")))], Some(1), at(5));
        let second = merge(&first, &[(kind, Some(Verdict::yes(Reason::GatewaysInPlace, "")))], Some(2), at(9));
        assert_eq!(second[0].last_transition_time, Time(at(5)));
        assert_eq!(second[0].observed_generation, Some(2));
        let third = merge(&second, &[(kind, Some(Verdict::no(Reason::Starting, "")))], Some(2), at(12));
        assert_eq!(third[0].last_transition_time, Time(at(12)));
    }

    #[test]
    fn conditions_of_others_stay_and_ours_that_do_not_hold_any_more_go() {
        let mut before =
            merge(&[], &[(ConditionType::Stalled, Some(Verdict::yes(Reason::InvalidSpec, "")))], None, at(1));
        before.push(Condition { type_: "Theirs".to_owned(), ..before[0].clone() });
        let after = merge(&before, &[(ConditionType::Stalled, None)], None, at(2));
        assert_eq!(after.iter().map(|condition| condition.type_.as_str()).collect::<Vec<_>>(), ["Theirs"]);
    }
}
