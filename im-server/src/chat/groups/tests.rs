//! The decisions, over plain values.

use im_protocol::notification::Template;
use im_protocol::{ErrorCode, GroupId, TimeMs, UserId};
use proptest::prelude::*;

use super::decide::{self, Capacity};
use super::{GroupUpdate, MemberUpdate, made_up_name};
use crate::chat::Result;
use crate::store::{
    Group, GroupEffects, GroupFacts, GroupSettings, JoinMode, JoinRequest, Member, NewJoinRequest, Role, Subject,
};

const NOW: TimeMs = 1_000_000;
const CAPACITY: Capacity = Capacity { members: 10, conversations: 100 };

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn member(name: &str, role: Role) -> Member {
    Member { user: user(name), role, alias: String::new(), muted_until: 0, joined: 0 }
}

fn subject(name: &str, role: Option<Role>) -> Subject {
    Subject { user: user(name), exists: true, member: role.map(|role| member(name, role)), conversations: 0 }
}

/// `alice` acts in a group of three that `olga` owns.
fn facts(role: Option<Role>, subjects: Vec<Subject>) -> GroupFacts {
    let owner = if role == Some(Role::Owner) { "alice" } else { "olga" };
    GroupFacts {
        group: Group {
            group: GroupId::parse("g").unwrap(),
            settings: GroupSettings {
                name: "old".into(),
                owner: user(owner),
                announcement: String::new(),
                join: JoinMode::Approval,
                muted: false,
                dissolved: false,
            },
            members: 3,
        },
        actor: role.map(|role| member("alice", role)),
        subjects,
        request: None,
    }
}

fn code<T>(result: Result<T>) -> Option<ErrorCode> {
    result.err().map(|error| error.code)
}

fn templates(effects: &GroupEffects) -> Vec<Template> {
    effects.notifications.iter().map(|notification| notification.template).collect()
}

#[test]
fn each_setting_that_changes_is_told_and_no_other() {
    let wish = GroupUpdate {
        name: Some("new".into()),
        announcement: Some(String::new()),
        join: Some(JoinMode::Open),
        muted: Some(true),
    };
    let effects = decide::update(&facts(Some(Role::Admin), vec![]), &wish).unwrap();
    assert_eq!(templates(&effects), [Template::GroupRenamed, Template::GroupMuted]);
    let settings = effects.settings.unwrap();
    assert_eq!((settings.name.as_str(), settings.join, settings.muted), ("new", JoinMode::Open, true));
}

#[test]
fn a_change_that_changes_nothing_writes_nothing() {
    let same = GroupUpdate { name: Some("old".into()), muted: Some(false), ..GroupUpdate::default() };
    assert_eq!(decide::update(&facts(Some(Role::Owner), vec![]), &same).unwrap(), GroupEffects::default());
    let invited = facts(Some(Role::Member), vec![subject("bob", Some(Role::Member))]);
    assert_eq!(decide::invite(&invited, CAPACITY).unwrap(), GroupEffects::default());
    let muted = facts(Some(Role::Owner), vec![subject("bob", Some(Role::Member))]);
    let unmute = MemberUpdate { muted_until: Some(0), role: Some(Role::Member), alias: Some(String::new()) };
    assert_eq!(decide::update_member(&muted, &unmute, NOW).unwrap(), GroupEffects::default());
}

#[test]
fn strangers_are_no_members_and_members_no_managers() {
    let update = GroupUpdate::default();
    assert_eq!(code(decide::update(&facts(None, vec![]), &update)), Some(ErrorCode::NotAMember));
    assert_eq!(code(decide::update(&facts(Some(Role::Member), vec![]), &update)), Some(ErrorCode::Forbidden));
    assert_eq!(code(decide::dissolve(&facts(Some(Role::Admin), vec![]))), Some(ErrorCode::Forbidden));
    assert_eq!(
        code(decide::remove(&facts(None, vec![subject("bob", Some(Role::Member))]))),
        Some(ErrorCode::NotAMember)
    );
}

#[test]
fn nothing_happens_in_a_dissolved_group() {
    let mut facts = facts(Some(Role::Owner), vec![subject("bob", None)]);
    facts.group.settings.dissolved = true;
    assert_eq!(code(decide::invite(&facts, CAPACITY)), Some(ErrorCode::GroupDissolved));
    assert_eq!(code(decide::dissolve(&facts)), Some(ErrorCode::GroupDissolved));
}

#[test]
fn a_group_takes_no_more_than_it_may_hold() {
    let subjects = (0..8).map(|n| subject(&format!("u{n}"), None)).collect();
    assert_eq!(code(decide::invite(&facts(Some(Role::Owner), subjects), CAPACITY)), Some(ErrorCode::TooLarge));
    let mut full = subject("bob", None);
    full.conversations = 100;
    assert_eq!(code(decide::invite(&facts(Some(Role::Owner), vec![full]), CAPACITY)), Some(ErrorCode::Conflict));
}

#[test]
fn one_comes_in_as_the_group_says() {
    let wish = || NewJoinRequest { id: "1".into(), user: user("bob"), message: "please".into() };
    let ask = |join| {
        let mut facts = facts(None, vec![subject("bob", None)]);
        facts.group.settings.join = join;
        decide::ask(&facts, wish(), CAPACITY)
    };
    assert_eq!(ask(JoinMode::Open).unwrap().add, [user("bob")]);
    assert_eq!(ask(JoinMode::Approval).unwrap().request, Some(wish()));
    assert_eq!(code(ask(JoinMode::Invite)), Some(ErrorCode::Forbidden));
    let inside = facts(Some(Role::Member), vec![]);
    assert_eq!(code(decide::ask(&inside, wish(), CAPACITY)), Some(ErrorCode::AlreadyExists));
}

#[test]
fn an_answered_request_is_closed_whether_accepted_or_not() {
    let mut facts = facts(Some(Role::Admin), vec![subject("bob", None)]);
    assert_eq!(code(decide::answer(&facts, true, CAPACITY)), Some(ErrorCode::NotFound));
    facts.request = Some(JoinRequest {
        id: "7".into(),
        group: facts.group.group.clone(),
        user: user("bob"),
        message: String::new(),
        time: 0,
    });
    let accepted = decide::answer(&facts, true, CAPACITY).unwrap();
    assert_eq!((accepted.add, accepted.close_request.as_deref()), (vec![user("bob")], Some("7")));
    let rejected = decide::answer(&facts, false, CAPACITY).unwrap();
    assert_eq!((rejected.add, rejected.close_request.as_deref()), (vec![], Some("7")));
}

#[test]
fn the_owner_hands_over_before_leaving_and_the_last_one_turns_off_the_light() {
    let mut leaving = facts(Some(Role::Owner), vec![subject("alice", Some(Role::Owner))]);
    assert_eq!(code(decide::remove(&leaving)), Some(ErrorCode::Conflict));
    leaving.group.members = 1;
    assert!(decide::remove(&leaving).unwrap().settings.unwrap().dissolved);
}

#[test]
fn a_group_without_a_name_is_called_by_its_first_members() {
    assert_eq!(made_up_name("Ann", ["Bo", "Cy"].into_iter()), "Ann, Bo, Cy");
    let long = "名".repeat(60);
    assert_eq!(made_up_name(&long, [long.as_str()].into_iter()).chars().count(), 100);
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Member), Just(Role::Admin), Just(Role::Owner)]
}

proptest! {
    #[test]
    fn nobody_acts_on_someone_of_the_same_or_a_higher_role(actor in role(), other in role()) {
        prop_assume!(!(actor == Role::Owner && other == Role::Owner));
        let facts = facts(Some(actor), vec![subject("bob", Some(other))]);
        let allowed = actor >= Role::Admin && actor > other;
        prop_assert_eq!(decide::remove(&facts).is_ok(), allowed);
        let mute = MemberUpdate { muted_until: Some(NOW + 1), ..MemberUpdate::default() };
        prop_assert_eq!(decide::update_member(&facts, &mute, NOW).is_ok(), allowed);
    }

    #[test]
    fn there_is_exactly_one_owner_after_every_change_of_roles(actor in role(), other in role(), to in role()) {
        prop_assume!(!(actor == Role::Owner && other == Role::Owner));
        let facts = facts(Some(actor), vec![subject("bob", Some(other))]);
        let wish = MemberUpdate { role: Some(to), ..MemberUpdate::default() };
        if let Ok(effects) = decide::update_member(&facts, &wish, NOW) {
            let role_of = |name: &str, before| {
                effects.roles.iter().rev().find(|(who, _)| *who == user(name)).map_or(before, |(_, role)| *role)
            };
            let mut owners = usize::from(actor != Role::Owner && other != Role::Owner);
            owners += usize::from(role_of("alice", actor) == Role::Owner);
            owners += usize::from(role_of("bob", other) == Role::Owner);
            prop_assert_eq!(owners, 1);
            if let Some(settings) = effects.settings {
                prop_assert_eq!(settings.owner, user("bob"));
            }
        }
    }
}
