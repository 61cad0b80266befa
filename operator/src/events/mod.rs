//! What people are told about an `ImCluster`, where `kubectl describe` shows it.
//!
//! The texts are made here, of names and numbers: no address and no secret has a way in. What a condition says, an event repeats,
//! and conditions have neither.

mod teller;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use imcluster_crds::ServerId;
use imcluster_crds::conditions;
use kube::runtime::events::EventType::{self, Normal, Warning};

pub use teller::Events;

use crate::cluster::build::RollReason;

/// Something that happened to an `ImCluster`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// See [`Reason::TopicsCreated`]: names.
    TopicsCreated(BTreeSet<String>),
    /// See [`Reason::TopicsRecreated`]: names.
    TopicsRecreated(BTreeSet<String>),
    /// See [`Reason::TopicsAdopted`]: names.
    TopicsAdopted(BTreeSet<String>),
    /// See [`Reason::TopicsDeleted`]: names.
    TopicsDeleted(BTreeSet<String>),
    /// See [`Reason::TopicCreationByBrokers`].
    TopicCreationByBrokers,
    /// See [`Reason::GatewaysScaled`].
    GatewaysScaled {
        /// So many there were.
        from: u16,
        /// So many there shall be.
        to: u16,
    },
    /// See [`Reason::DrainStarted`].
    DrainStarted(BTreeSet<ServerId>),
    /// See [`Reason::DrainUndone`].
    DrainUndone(BTreeSet<ServerId>),
    /// See [`Reason::DrainFinished`].
    DrainFinished(BTreeSet<ServerId>),
    /// See [`Reason::PodPresumedDead`].
    PodPresumedDead(ServerId),
    /// See [`Reason::RollStarted`].
    RollStarted(RollReason),
    /// See [`Reason::RollFinished`].
    RollFinished,
    /// See [`Reason::Paused`].
    Paused,
    /// See [`Reason::Resumed`].
    Resumed,
    /// See [`Reason::FinalizerReleased`]: names of the topics that may be left.
    FinalizerReleased(BTreeSet<String>),
    /// A condition turned bad: its reason is the event's, its message the text.
    Trouble(conditions::Reason, String),
}

/// The reasons of events with their type, what the operator was doing, and what each says.
macro_rules! reasons {
    ($($kind:ident $action:ident $reason:ident: $($meaning:literal)+;)+) => {
        /// Why an event was written, besides the reasons of conditions. They are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = concat!($($meaning),+)] $reason,)+
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)+];

            /// The word as it stands in the event.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$reason => stringify!($reason),)+ }
            }

            /// `Warning` for what a person should look at.
            pub const fn kind(self) -> EventType {
                match self { $(Self::$reason => $kind,)+ }
            }

            /// What the operator was doing, in a word.
            pub const fn action(self) -> &'static str {
                match self { $(Self::$reason => stringify!($action),)+ }
            }

            /// What it says.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$reason => concat!($($meaning),+),)+ }
            }
        }
    };
}

reasons! {
    Normal KeepTopics TopicsCreated: "Topics were made.";
    Warning KeepTopics TopicsRecreated:
        "Topics of gateways that serve were missing, and were made again. Clients are told to fetch what they missed.";
    Normal KeepTopics TopicsAdopted: "Topics were there before. They are used, and never deleted.";
    Normal KeepTopics TopicsDeleted: "Topics of gateways that are gone were deleted.";
    Warning KeepTopics TopicCreationByBrokers:
        "Kafka makes topics that somebody only asks about: with its own settings, and not the operator's. Set \
         auto.create.topics.enable=false.";
    Normal Scale GatewaysScaled: "The number of gateways changes.";
    Normal Scale DrainStarted: "Clients are moved off gateways that are to go.";
    Normal Scale DrainUndone: "Gateways that were to go stay.";
    Normal Scale DrainFinished: "Nobody is left on gateways that are to go, or their time was up.";
    Warning Scale PodPresumedDead:
        "A pod should have been gone a minute ago. It counts as dead, and its server id and topic are dealt with.";
    Normal Roll RollStarted: "Gateways are restarted one by one.";
    Normal Roll RollFinished: "All gateways are what the spec wants.";
    Normal ReadSpec Paused: "From now on everything is left as it is.";
    Normal ReadSpec Resumed: "From now on the spec is followed again.";
    Warning Delete FinalizerReleased:
        "The resource goes, though topics could not be deleted: its namespace goes with it. Delete them by hand.";
}

impl Event {
    /// The reason, type and action of the event.
    fn head(&self) -> (&'static str, EventType, &'static str) {
        let reason = match self {
            Self::TopicsCreated(_) => Reason::TopicsCreated,
            Self::TopicsRecreated(_) => Reason::TopicsRecreated,
            Self::TopicsAdopted(_) => Reason::TopicsAdopted,
            Self::TopicsDeleted(_) => Reason::TopicsDeleted,
            Self::TopicCreationByBrokers => Reason::TopicCreationByBrokers,
            Self::GatewaysScaled { .. } => Reason::GatewaysScaled,
            Self::DrainStarted(_) => Reason::DrainStarted,
            Self::DrainUndone(_) => Reason::DrainUndone,
            Self::DrainFinished(_) => Reason::DrainFinished,
            Self::PodPresumedDead(_) => Reason::PodPresumedDead,
            Self::RollStarted(_) => Reason::RollStarted,
            Self::RollFinished => Reason::RollFinished,
            Self::Paused => Reason::Paused,
            Self::Resumed => Reason::Resumed,
            Self::FinalizerReleased(_) => Reason::FinalizerReleased,
            Self::Trouble(reason, _) => return (reason.as_str(), Warning, "Reconcile"),
        };
        (reason.as_str(), reason.kind(), reason.action())
    }

    /// The text.
    fn note(&self) -> String {
        match self {
            Self::TopicsCreated(topics) => format!("Made {}", names(topics)),
            Self::TopicsRecreated(topics) => format!("Made again, because missing: {}", names(topics)),
            Self::TopicsAdopted(topics) => format!("Found, and never to be deleted: {}", names(topics)),
            Self::TopicsDeleted(topics) => format!("Deleted {}", names(topics)),
            Self::TopicCreationByBrokers => Reason::TopicCreationByBrokers.meaning().to_owned(),
            Self::GatewaysScaled { from, to } => format!("From {from} to {to} gateways"),
            Self::DrainStarted(servers) => format!("Moving clients off {}", gateways(servers)),
            Self::DrainUndone(servers) => format!("To stay after all: {}", gateways(servers)),
            Self::DrainFinished(servers) => format!("Nobody is left on {}", gateways(servers)),
            Self::PodPresumedDead(server) => {
                format!("The pod of gateway {server} should have been gone a minute ago, and counts as dead")
            }
            Self::RollStarted(reason) => reason.message().to_owned(),
            Self::RollFinished => "All gateways are restarted".to_owned(),
            Self::Paused => "Leaving everything as it is, until spec.paused is false".to_owned(),
            Self::Resumed => "Following the spec again".to_owned(),
            Self::FinalizerReleased(topics) => format!("Delete by hand: {}", names(topics)),
            Self::Trouble(_, message) => message.clone(),
        }
    }
}

/// The first few names, and how many more.
fn names(names: &BTreeSet<String>) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        // Writing into memory cannot fail.
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

/// Server ids, neighbours as a range.
fn gateways(servers: &BTreeSet<ServerId>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for ServerId(id) in servers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *id => *last = *id,
            _ => ranges.push((*id, *id)),
        }
    }
    let ranges = ranges.iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}–{to}") });
    let ranges = ranges.collect::<Vec<_>>().join(", ");
    format!("{} {ranges}", if servers.len() == 1 { "gateway" } else { "gateways" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_told_in_few_words() {
        let servers = |ids: &[u16]| ids.iter().copied().map(ServerId).collect();
        assert_eq!(Event::DrainStarted(servers(&[7])).note(), "Moving clients off gateway 7");
        assert_eq!(Event::DrainStarted(servers(&[1, 3, 4, 5, 9])).note(), "Moving clients off gateways 1, 3–5, 9");
        let topics = (1..=7).map(|id| format!("a.{id}")).collect();
        assert_eq!(Event::TopicsCreated(topics).note(), "Made a.1, a.2, a.3, a.4, a.5 and 2 more");
    }

    #[test]
    fn a_condition_that_turns_bad_is_told_in_its_own_words() {
        let trouble = Event::Trouble(conditions::Reason::ReferenceNotFound, "Secret redis is not there".to_owned());
        assert_eq!((trouble.head().0, trouble.note().as_str()), ("ReferenceNotFound", "Secret redis is not there"));
    }

    #[test]
    fn no_reason_of_an_event_is_one_of_a_condition_too() {
        for reason in Reason::ALL {
            assert!(conditions::Reason::ALL.iter().all(|other| other.as_str() != reason.as_str()), "{reason:?}");
        }
    }
}
