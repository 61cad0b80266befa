//! Who may change what in a group: pure functions from facts to effects. They run under the conversation's lock, so
//! what they see is what they change.

use im_protocol::notification::{Notification, Template};
use im_protocol::server::RemovedReason;
use im_protocol::{ErrorCode, TimeMs, UserId, WireError};

use super::super::Result;
use super::super::views::not_a_member;
use super::{GroupUpdate, MemberUpdate};
use crate::store::{GroupEffects, GroupFacts, GroupSettings, JoinMode, Member, NewJoinRequest, Role, Subject};

/// The acting member of a group that lives.
fn acting(facts: &GroupFacts) -> Result<&Member> {
    alive(facts)?;
    facts.actor.as_ref().ok_or_else(not_a_member)
}

fn alive(facts: &GroupFacts) -> Result<()> {
    if facts.group.settings.dissolved {
        return Err(WireError::new(ErrorCode::GroupDissolved, "the group was dissolved"));
    }
    Ok(())
}

fn forbidden(message: &str) -> WireError {
    WireError::new(ErrorCode::Forbidden, message)
}

fn manager(facts: &GroupFacts) -> Result<&Member> {
    let actor = acting(facts)?;
    if actor.role < Role::Admin {
        return Err(forbidden("only the owner and admins may do this"));
    }
    Ok(actor)
}

/// The one member a change is about.
fn subject(facts: &GroupFacts) -> Result<&Member> {
    facts
        .subjects
        .first()
        .and_then(|subject| subject.member.as_ref())
        .ok_or_else(|| WireError::new(ErrorCode::NotFound, "there is no such member in this group"))
}

fn say(template: Template, actor: &UserId, users: &[UserId], text: impl Into<String>) -> Notification {
    Notification::new(template, actor.clone(), users, text)
}

/// Sets what is asked for; what is so already is left alone and not spoken of.
pub(super) fn update(facts: &GroupFacts, update: &GroupUpdate) -> Result<GroupEffects> {
    let actor = &manager(facts)?.user;
    let before = &facts.group.settings;
    let mut after = before.clone();
    let mut notifications = Vec::new();
    if let Some(name) = &update.name
        && *name != before.name
    {
        after.name.clone_from(name);
        notifications.push(say(Template::GroupRenamed, actor, &[], name));
    }
    if let Some(announcement) = &update.announcement
        && *announcement != before.announcement
    {
        after.announcement.clone_from(announcement);
        notifications.push(say(Template::Announcement, actor, &[], announcement));
    }
    if let Some(join) = update.join {
        after.join = join;
    }
    if let Some(muted) = update.muted
        && muted != before.muted
    {
        after.muted = muted;
        let template = if muted { Template::GroupMuted } else { Template::GroupUnmuted };
        notifications.push(say(template, actor, &[], ""));
    }
    let settings = (after != *before).then_some(after);
    Ok(GroupEffects { settings, notifications, ..GroupEffects::default() })
}

/// Ends the group.
pub(super) fn dissolve(facts: &GroupFacts) -> Result<GroupEffects> {
    let actor = acting(facts)?;
    if actor.role != Role::Owner {
        return Err(forbidden("only the owner may dissolve the group"));
    }
    let settings = GroupSettings { dissolved: true, ..facts.group.settings.clone() };
    let notifications = vec![say(Template::GroupDissolved, &actor.user, &[], "")];
    Ok(GroupEffects { settings: Some(settings), notifications, ..GroupEffects::default() })
}

/// How many members and conversations there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub(super) members: u32,
    pub(super) conversations: u32,
}

impl Capacity {
    fn check(self, facts: &GroupFacts, coming: &[&Subject]) -> Result<()> {
        let count = u64::from(facts.group.members) + coming.len() as u64;
        if count > u64::from(self.members) {
            return Err(WireError::new(
                ErrorCode::TooLarge,
                format!("the group would have {count} members; at most {} are allowed", self.members),
            ));
        }
        match coming.iter().find(|subject| self.conversations > 0 && subject.conversations >= self.conversations) {
            None => Ok(()),
            Some(subject) => Err(WireError::new(
                ErrorCode::Conflict,
                format!("{} has as many conversations as there may be", subject.user),
            )),
        }
    }
}

/// Brings people in. Who is a member already stays one.
pub(super) fn invite(facts: &GroupFacts, capacity: Capacity) -> Result<GroupEffects> {
    let actor = acting(facts)?;
    if facts.group.settings.join == JoinMode::Invite && actor.role < Role::Admin {
        return Err(forbidden("only the owner and admins invite into this group"));
    }
    if let Some(nobody) = facts.subjects.iter().find(|subject| !subject.exists) {
        return Err(WireError::new(ErrorCode::NotFound, format!("there is no user {}", nobody.user)));
    }
    let coming: Vec<&Subject> = facts.subjects.iter().filter(|subject| subject.member.is_none()).collect();
    capacity.check(facts, &coming)?;
    Ok(add(&actor.user, Template::GroupInvited, coming))
}

fn add(actor: &UserId, template: Template, coming: Vec<&Subject>) -> GroupEffects {
    let users: Vec<UserId> = coming.into_iter().map(|subject| subject.user.clone()).collect();
    if users.is_empty() {
        return GroupEffects::default();
    }
    let notifications = vec![say(template, actor, &users, "")];
    GroupEffects { add: users, notifications, ..GroupEffects::default() }
}

/// Asks to come in: at once where the group is open, by a request where someone has to approve. The one who asks is
/// the only subject.
pub(super) fn ask(facts: &GroupFacts, request: NewJoinRequest, capacity: Capacity) -> Result<GroupEffects> {
    alive(facts)?;
    if facts.actor.is_some() {
        return Err(WireError::new(ErrorCode::AlreadyExists, "you are a member already"));
    }
    let coming: Vec<&Subject> = facts.subjects.iter().collect();
    capacity.check(facts, &coming)?;
    match facts.group.settings.join {
        JoinMode::Open => Ok(add(&request.user, Template::GroupJoined, coming)),
        JoinMode::Approval => Ok(GroupEffects { request: Some(request), ..GroupEffects::default() }),
        JoinMode::Invite => Err(forbidden("one comes into this group by invitation only")),
    }
}

/// Lets someone in who asked, or not. The one who asked is the only subject.
pub(super) fn answer(facts: &GroupFacts, accept: bool, capacity: Capacity) -> Result<GroupEffects> {
    manager(facts)?;
    let Some(request) = &facts.request else {
        return Err(WireError::new(ErrorCode::NotFound, "there is no such open request"));
    };
    let close_request = Some(request.id.clone());
    let coming: Vec<&Subject> = facts.subjects.iter().filter(|subject| subject.member.is_none()).collect();
    if !accept || coming.is_empty() {
        return Ok(GroupEffects { close_request, ..GroupEffects::default() });
    }
    capacity.check(facts, &coming)?;
    // Said by the one who comes: "x joined" is what the others want to read.
    Ok(GroupEffects { close_request, ..add(&request.user, Template::GroupJoined, coming) })
}

/// Someone goes: by themself, or by someone above them.
pub(super) fn remove(facts: &GroupFacts) -> Result<GroupEffects> {
    let actor = acting(facts)?;
    let subject = subject(facts)?;
    let leaves = subject.user == actor.user;
    if leaves && actor.role == Role::Owner {
        if facts.group.members <= 1 {
            return dissolve(facts);
        }
        return Err(WireError::new(
            ErrorCode::Conflict,
            "the owner makes another member the owner before leaving, or dissolves the group",
        ));
    }
    if !leaves && (actor.role < Role::Admin || subject.role >= actor.role) {
        return Err(forbidden("a member is removed by the owner, or by an admin who is above them"));
    }
    let (template, reason) = if leaves {
        (Template::GroupLeft, RemovedReason::Left)
    } else {
        (Template::GroupKicked, RemovedReason::Kicked)
    };
    Ok(GroupEffects {
        notifications: vec![say(template, &actor.user, std::slice::from_ref(&subject.user), "")],
        remove: vec![(subject.user.clone(), reason)],
        ..GroupEffects::default()
    })
}

/// Changes a member: role, silence, name in the group. What is so already is left alone.
pub(super) fn update_member(facts: &GroupFacts, update: &MemberUpdate, now: TimeMs) -> Result<GroupEffects> {
    let actor = acting(facts)?;
    let subject = subject(facts)?;
    let users = std::slice::from_ref(&subject.user);
    let mut effects = GroupEffects::default();
    // What they are once the role has changed: it decides what else this call may do.
    let (mut actors_role, mut subjects_role, mut muted_until) = (actor.role, subject.role, subject.muted_until);
    if let Some(role) = update.role
        && role != subject.role
    {
        if actor.role != Role::Owner {
            return Err(forbidden("only the owner gives roles"));
        }
        if role == Role::Owner {
            // There is one owner at any time; the old one stays on as an admin.
            effects.settings = Some(GroupSettings { owner: subject.user.clone(), ..facts.group.settings.clone() });
            effects.roles.push((actor.user.clone(), Role::Admin));
            actors_role = Role::Admin;
            effects.notifications.push(say(Template::OwnerChanged, &actor.user, users, ""));
        } else if subject.role == Role::Owner {
            return Err(WireError::new(ErrorCode::Conflict, "the owner makes another member the owner instead"));
        } else {
            let role = if role == Role::Admin { "admin" } else { "member" };
            effects.notifications.push(say(Template::RoleChanged, &actor.user, users, role));
        }
        effects.roles.push((subject.user.clone(), role));
        subjects_role = role;
        // Who cannot speak cannot lead, and nobody stands above an owner to unmute them.
        if role > Role::Member && muted_until > now {
            muted_until = 0;
            effects.mutes.push((subject.user.clone(), 0));
            effects.notifications.push(say(Template::MemberUnmuted, &actor.user, users, ""));
        }
    }
    if let Some(until) = update.muted_until {
        let until = until.max(0);
        let (is_muted, was_muted) = (until > now, muted_until > now);
        if until != muted_until && (is_muted || was_muted) {
            if actors_role < Role::Admin || subjects_role >= actors_role {
                return Err(forbidden("a member is muted by the owner, or by an admin who is above them"));
            }
            effects.mutes.push((subject.user.clone(), until));
            let template = if is_muted { Template::MemberMuted } else { Template::MemberUnmuted };
            let text = if is_muted { until.to_string() } else { String::new() };
            effects.notifications.push(say(template, &actor.user, users, text));
        }
    }
    if let Some(alias) = &update.alias
        && *alias != subject.alias
    {
        if subject.user != actor.user && (actors_role < Role::Admin || subjects_role >= actors_role) {
            return Err(forbidden("an alias is set by oneself, by the owner, or by an admin who is above them"));
        }
        effects.aliases.push((subject.user.clone(), alias.clone()));
    }
    Ok(effects)
}
