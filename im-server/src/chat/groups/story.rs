//! Groups that live: whatever people try in whatever order, on a group in memory that does what the store promises.

use std::collections::BTreeMap;

use im_protocol::{ErrorCode, GroupId, TimeMs, UserId};
use proptest::prelude::*;

use super::decide::{self, Capacity};
use super::{GroupUpdate, MemberUpdate};
use crate::chat::Result;
use crate::store::{
    Group, GroupEffects, GroupFacts, GroupSettings, JoinMode, JoinRequest, Member, NewJoinRequest, Role, Subject,
};

const NOW: TimeMs = 1_000;
const CAPACITY: Capacity = Capacity { members: 6, conversations: 10 };
const EVERYONE: [&str; 8] = ["ann", "ben", "cid", "dot", "eve", "fay", "gus", "hal"];

fn id(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// A group with its members and its open requests.
#[derive(Clone, Debug)]
struct Played {
    settings: GroupSettings,
    members: BTreeMap<UserId, Member>,
    requests: Vec<JoinRequest>,
}

impl Played {
    /// Ann owns it, Ben is an admin, Cid and Dot are members.
    fn new() -> Self {
        let settings = GroupSettings {
            name: "The Club".into(),
            owner: id("ann"),
            announcement: String::new(),
            join: JoinMode::Approval,
            muted: false,
            dissolved: false,
        };
        let member =
            |name, role| (id(name), Member { user: id(name), role, alias: String::new(), muted_until: 0, joined: 1 });
        let members = BTreeMap::from([
            member("ann", Role::Owner),
            member("ben", Role::Admin),
            member("cid", Role::Member),
            member("dot", Role::Member),
        ]);
        Self { settings, members, requests: vec![] }
    }

    fn facts(&self, actor: &str, subjects: &[&str], request: Option<&str>) -> GroupFacts {
        let subject = |name: &&str| Subject {
            user: id(name),
            exists: true,
            member: self.members.get(*name).cloned(),
            conversations: 1,
        };
        let members = u32::try_from(self.members.len()).unwrap();
        GroupFacts {
            group: Group { group: GroupId::parse("g1").unwrap(), settings: self.settings.clone(), members },
            actor: self.members.get(actor).cloned(),
            subjects: subjects.iter().map(subject).collect(),
            request: request.and_then(|asked| self.requests.iter().find(|one| one.id == asked).cloned()),
        }
    }

    /// Does what the store's documentation says it does. Asserts what it takes for granted.
    fn apply(&mut self, effects: GroupEffects) {
        for user in effects.add {
            let member =
                Member { user: user.clone(), role: Role::Member, alias: String::new(), muted_until: 0, joined: NOW };
            assert!(self.members.insert(user, member).is_none(), "no one is added twice");
        }
        for (user, _) in effects.remove {
            assert!(self.members.remove(&user).is_some(), "only members go");
        }
        for (user, role) in effects.roles {
            self.members.get_mut(&user).expect("only members have roles").role = role;
        }
        for (user, until) in effects.mutes {
            self.members.get_mut(&user).expect("only members are muted").muted_until = until;
        }
        for (user, alias) in effects.aliases {
            self.members.get_mut(&user).expect("only members have aliases").alias = alias;
        }
        if let Some(settings) = effects.settings {
            self.settings = settings;
        }
        if let Some(NewJoinRequest { id, user, message }) = effects.request {
            self.requests.retain(|one| one.user != user);
            self.requests.push(JoinRequest { id, group: GroupId::parse("g1").unwrap(), user, message, time: NOW });
        }
        if let Some(closed) = effects.close_request {
            self.requests.retain(|one| one.id != closed);
        }
        if self.settings.dissolved {
            self.members.clear();
        }
    }

    fn act(&mut self, actor: &str, action: &Action) -> Result<GroupEffects> {
        let effects = action.decide(self, actor)?;
        self.apply(effects.clone());
        Ok(effects)
    }
}

/// What someone may try.
#[derive(Clone, Debug)]
enum Action {
    Invite(Vec<&'static str>),
    Join,
    Answer(&'static str, bool),
    Leave,
    Kick(&'static str),
    Settings(GroupUpdate),
    Member(&'static str, MemberUpdate),
}

impl Action {
    fn decide(&self, group: &Played, actor: &str) -> Result<GroupEffects> {
        match self {
            Self::Invite(users) => decide::invite(&group.facts(actor, users, None), CAPACITY),
            Self::Join => {
                let request = NewJoinRequest { id: format!("r-{actor}"), user: id(actor), message: "hi".into() };
                decide::ask(&group.facts(actor, &[actor], None), request, CAPACITY)
            }
            Self::Answer(user, accept) => {
                let request = format!("r-{user}");
                decide::answer(&group.facts(actor, &[user], Some(&request)), *accept, CAPACITY)
            }
            Self::Leave => decide::remove(&group.facts(actor, &[actor], None)),
            Self::Kick(user) => decide::remove(&group.facts(actor, &[user], None)),
            Self::Settings(change) => decide::update(&group.facts(actor, &[], None), change),
            Self::Member(user, change) => decide::update_member(&group.facts(actor, &[user], None), change, NOW),
        }
    }
}

#[test]
fn who_is_muted_and_becomes_a_manager_may_speak_again() {
    for role in [Role::Admin, Role::Owner] {
        let mut group = Played::new();
        let mute = MemberUpdate { muted_until: Some(NOW + 9), ..MemberUpdate::default() };
        group.act("ann", &Action::Member("cid", mute)).unwrap();
        assert_eq!(group.members["cid"].muted_until, NOW + 9);
        group.act("ann", &Action::Member("cid", MemberUpdate { role: Some(role), ..MemberUpdate::default() })).unwrap();
        assert_eq!(group.members["cid"].muted_until, 0);
    }
}

#[test]
fn who_gives_the_group_away_cannot_mute_the_new_owner_in_the_same_breath() {
    let both = MemberUpdate { role: Some(Role::Owner), muted_until: Some(NOW + 9), alias: None };
    let mut group = Played::new();
    assert_eq!(group.act("ann", &Action::Member("cid", both)).unwrap_err().code, ErrorCode::Forbidden);
}

fn user() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&EVERYONE[..])
}

fn roles() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Member, Role::Admin, Role::Owner])
}

fn action() -> impl Strategy<Value = Action> {
    let modes = prop::sample::select(vec![JoinMode::Open, JoinMode::Approval, JoinMode::Invite]);
    let settings = (prop::option::of(modes), prop::option::of(any::<bool>())).prop_map(|(join, muted)| GroupUpdate {
        join,
        muted,
        ..GroupUpdate::default()
    });
    let member = (prop::option::of(roles()), prop::option::of(0..2 * NOW), prop::option::of("[xy]{0,1}"))
        .prop_map(|(role, muted_until, alias)| MemberUpdate { role, muted_until, alias });
    prop_oneof![
        3 => prop::sample::subsequence(&EVERYONE[..], 0..4).prop_map(Action::Invite),
        3 => Just(Action::Join),
        3 => (user(), any::<bool>()).prop_map(|(user, accept)| Action::Answer(user, accept)),
        2 => Just(Action::Leave),
        2 => user().prop_map(Action::Kick),
        1 => settings.prop_map(Action::Settings),
        4 => (user(), member).prop_map(|(user, change)| Action::Member(user, change)),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_a_living_group_has_one_owner_and_nobody_acts_above_their_role(
        story in prop::collection::vec((user(), action()), 1..60)
    ) {
        let mut group = Played::new();
        for (actor, action) in story {
            let before = group.clone();
            let Ok(effects) = group.act(actor, &action) else { continue };
            if group.settings.dissolved {
                prop_assert_eq!(before.members.len(), 1, "only the last one out dissolves by leaving");
                break;
            }
            let owners: Vec<&UserId> =
                group.members.values().filter(|member| member.role == Role::Owner).map(|member| &member.user).collect();
            prop_assert_eq!(owners, vec![&group.settings.owner]);
            prop_assert!(group.members.len() <= CAPACITY.members as usize);

            let actors_role = before.members.get(actor).map(|member| member.role);
            let touched = effects.remove.iter().map(|(user, _)| user)
                .chain(effects.mutes.iter().map(|(user, _)| user))
                .chain(effects.roles.iter().map(|(user, _)| user))
                .chain(effects.aliases.iter().map(|(user, _)| user));
            for user in touched.filter(|user| user.as_str() != actor) {
                prop_assert!(actors_role > before.members.get(user).map(|member| member.role));
            }
            if effects.settings.is_some() {
                prop_assert!(actors_role >= Some(Role::Admin));
            }
            let membership_moves = !effects.add.is_empty() || !effects.remove.is_empty();
            prop_assert!(!membership_moves || !effects.notifications.is_empty(), "whoever comes or goes takes a seq");
        }
    }
}
