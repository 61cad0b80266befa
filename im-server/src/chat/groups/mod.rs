//! Groups: the services over the decisions. Each change is decided and written under the conversation's lock, and then
//! told.

mod decide;
#[cfg(test)]
mod story;
#[cfg(test)]
mod tests;

use im_protocol::limits::{NAME_CHARS, NOTE_CHARS, TEXT_CHARS};
use im_protocol::notification::{Notification, Template};
use im_protocol::server::Event;
use im_protocol::{ConversationId, ErrorCode, GroupId, TimeMs, UserId, WireError, text};

use self::decide::Capacity;
use super::users::search_query;
use super::views::not_a_member;
use super::{Chat, Result, now_ms};
use crate::store::{
    Committed, Group, GroupChange, GroupChanged, GroupEffects, GroupFacts, GroupSettings, JoinMode, JoinRequest,
    MemberWithName, NewGroup, NewJoinRequest, Role,
};

/// What to set of a group; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupUpdate {
    /// Shown name.
    pub name: Option<String>,
    /// Pinned text; empty for none.
    pub announcement: Option<String>,
    /// How one gets in.
    pub join: Option<JoinMode>,
    /// Only the owner and admins may speak.
    pub muted: Option<bool>,
}

/// What to set of a member; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberUpdate {
    /// The role; `Owner` hands the group over.
    pub role: Option<Role>,
    /// Silent until then: Unix milliseconds; 0 to unmute.
    pub muted_until: Option<TimeMs>,
    /// The name in this group; empty for none.
    pub alias: Option<String>,
}

/// What became of a wish to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The group is open.
    AtOnce,
    /// Someone has to approve.
    Requested(JoinRequest),
}

/// Names that make up the name of a group that was given none.
const NAMES_IN_NAME: usize = 5;

impl Chat {
    /// Makes a group of `actor` and `members`. Without a name it is called by its members.
    pub async fn create_group(&self, actor: &UserId, name: Option<&str>, members: Vec<UserId>) -> Result<GroupId> {
        let limits = &self.settings.limits;
        let members = self.people(actor, "members", members).await?;
        let count = members.len() as u64 + 1;
        if count > u64::from(limits.group_members) {
            return Err(too_many("members", count, limits.group_members));
        }
        let users: Vec<UserId> = members.iter().map(|(user, _)| user.clone()).collect();
        let is_given = |name: &&str| name.contains(|c: char| c.is_control() || !c.is_whitespace());
        let name = match name.filter(is_given) {
            Some(name) => group_name(name)?,
            None => made_up_name(&self.profile(actor).await?.name, members.iter().map(|(_, name)| name.as_str())),
        };
        let group = GroupId::parse(&ulid::Ulid::generate().to_string()).expect("a ULID is a group id");
        let committed = self
            .store
            .create_group(NewGroup {
                group: group.clone(),
                settings: GroupSettings {
                    name: name.clone(),
                    owner: actor.clone(),
                    announcement: String::new(),
                    join: JoinMode::Approval,
                    muted: false,
                    dissolved: false,
                },
                notification: Notification::new(Template::GroupCreated, actor.clone(), &users, name),
                members: users,
                time: now_ms(),
            })
            .await?;
        self.publish.committed(committed);
        Ok(group)
    }

    /// A group.
    pub async fn group(&self, group: &GroupId) -> Result<Group> {
        self.store.group(group).await?.ok_or_else(no_such_group)
    }

    /// The groups a user is in, by id, those after `after`.
    pub async fn groups_of(&self, user: &UserId, after: Option<&GroupId>, limit: u32) -> Result<Vec<Group>> {
        Ok(self.store.groups_of(user, after, limit).await?)
    }

    /// Groups whose name contains `query`, by id, those after `after`; an empty query finds every one.
    pub async fn search_groups(&self, query: &str, after: Option<&GroupId>, limit: u32) -> Result<Vec<Group>> {
        Ok(self.store.search_groups(search_query(query)?, after, limit).await?)
    }

    /// The members of a group, for a member, by user id, those after `after`.
    pub async fn group_members(
        &self,
        user: &UserId,
        group: &GroupId,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<MemberWithName>> {
        self.group(group).await?;
        if self.store.member(group, user).await?.is_none() {
            return Err(not_a_member());
        }
        Ok(self.store.members(group, after, limit).await?)
    }

    /// Sets name, announcement, way in, silence.
    pub async fn update_group(&self, user: &UserId, group: &GroupId, update: GroupUpdate) -> Result<Group> {
        let name = update.name.as_deref().map(group_name).transpose()?;
        if let Some(announcement) = &update.announcement {
            text::free_text(announcement, TEXT_CHARS).map_err(|e| WireError::invalid_field("announcement", e))?;
        }
        let update = GroupUpdate { name, ..update };
        self.change(change(group, user), |facts| decide::update(facts, &update)).await?;
        self.group(group).await
    }

    /// Ends a group.
    pub async fn dissolve_group(&self, user: &UserId, group: &GroupId) -> Result<()> {
        self.change(change(group, user), decide::dissolve).await.map(drop)
    }

    /// Brings people in.
    pub async fn invite(&self, user: &UserId, group: &GroupId, users: Vec<UserId>) -> Result<()> {
        let users = self.people(user, "users", users).await?;
        let subjects = users.into_iter().map(|(user, _)| user).collect();
        let capacity = self.capacity();
        self.change(GroupChange { subjects, ..change(group, user) }, |facts| decide::invite(facts, capacity))
            .await
            .map(drop)
    }

    /// Changes a member.
    pub async fn update_member(
        &self,
        user: &UserId,
        group: &GroupId,
        member: &UserId,
        update: MemberUpdate,
    ) -> Result<()> {
        if let Some(alias) = &update.alias
            && !alias.is_empty()
        {
            text::name(alias, NAME_CHARS).map_err(|e| WireError::invalid_field("alias", e))?;
        }
        let subjects = vec![self.resolve(member).await?];
        let change = GroupChange { subjects, ..change(group, user) };
        let now = change.time;
        self.change(change, |facts| decide::update_member(facts, &update, now)).await.map(drop)
    }

    /// Someone leaves, or is removed.
    pub async fn remove_member(&self, user: &UserId, group: &GroupId, member: &UserId) -> Result<()> {
        let subjects = vec![self.resolve(member).await?];
        self.change(GroupChange { subjects, ..change(group, user) }, decide::remove).await.map(drop)
    }

    /// Asks to come in.
    pub async fn request_join(&self, user: &UserId, group: &GroupId, message: &str) -> Result<Joined> {
        text::free_text(message, NOTE_CHARS).map_err(|e| WireError::invalid_field("message", e))?;
        let id = ulid::Ulid::generate().to_string();
        let request = NewJoinRequest { id: id.clone(), user: user.clone(), message: message.to_owned() };
        let capacity = self.capacity();
        let change = GroupChange { subjects: vec![user.clone()], ..change(group, user) };
        let time = change.time;
        let (_, committed) = self.change(change, |facts| decide::ask(facts, request.clone(), capacity)).await?;
        if !committed.messages.is_empty() {
            return Ok(Joined::AtOnce);
        }
        let conversation = ConversationId::group(group);
        for manager in self.store.managers(group).await? {
            self.tell(&manager, Event::ConversationChanged { conversation: conversation.clone() });
        }
        let message = message.to_owned();
        Ok(Joined::Requested(JoinRequest { id, group: group.clone(), user: user.clone(), message, time }))
    }

    /// Open requests, for the owner and admins, newest first, those before `before`.
    pub async fn join_requests(
        &self,
        user: &UserId,
        group: &GroupId,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<JoinRequest>> {
        self.group(group).await?;
        match self.store.member(group, user).await? {
            None => Err(not_a_member()),
            Some(member) if member.role < Role::Admin => {
                Err(WireError::new(ErrorCode::Forbidden, "only the owner and admins see who wants to join"))
            }
            Some(_) => Ok(self.store.join_requests(group, before, limit).await?),
        }
    }

    /// Lets someone in who asked, or not.
    pub async fn answer_join_request(&self, user: &UserId, group: &GroupId, id: &str, accept: bool) -> Result<()> {
        let capacity = self.capacity();
        let asking = self.store.join_request(group, id).await?;
        let subjects = asking.map(|request| request.user).into_iter().collect();
        let change = GroupChange { subjects, request: Some(id.to_owned()), ..change(group, user) };
        self.change(change, |facts| decide::answer(facts, accept, capacity)).await.map(drop)
    }

    /// Decides, writes and tells.
    async fn change(
        &self,
        change: GroupChange,
        decide: impl Fn(&GroupFacts) -> Result<GroupEffects> + Send + Sync,
    ) -> Result<(GroupFacts, Committed)> {
        match self.store.change_group(change, &decide).await? {
            GroupChanged::NotFound => Err(no_such_group()),
            GroupChanged::Refused(error) => Err(error),
            GroupChanged::Done(facts, committed) => {
                self.publish.committed(committed.clone());
                Ok((*facts, committed))
            }
        }
    }

    fn capacity(&self) -> Capacity {
        let limits = &self.settings.limits;
        Capacity { members: limits.group_members, conversations: limits.conversations }
    }

    /// Accounts as registered, with their names, without `actor` and no one twice; people whom the actor may put into a
    /// group.
    async fn people(&self, actor: &UserId, field: &str, users: Vec<UserId>) -> Result<Vec<(UserId, String)>> {
        let limit = self.settings.limits.members_per_call;
        if users.len() as u64 > u64::from(limit) {
            return Err(too_many(field, users.len() as u64, limit));
        }
        let found = self.store.accounts(&users).await?;
        let mut people: Vec<(UserId, String)> = Vec::with_capacity(users.len());
        let mut seen = std::collections::HashSet::new();
        for (n, (asked, account)) in users.iter().zip(found).enumerate() {
            let account = account.ok_or_else(|| WireError {
                field: Some(format!("{field}[{n}]")),
                ..WireError::new(ErrorCode::NotFound, format!("there is no user {asked}"))
            })?;
            if account.user != *actor && seen.insert(account.user.clone()) {
                people.push((account.user, account.name));
            }
        }
        let users: Vec<UserId> = people.iter().map(|(user, _)| user.clone()).collect();
        if let Some(blocker) = self.store.blocked_by(actor, &users).await?.first() {
            return Err(WireError::new(ErrorCode::Blocked, format!("{blocker} has blocked you")));
        }
        if self.settings.invite_friends_only {
            let friends = self.store.friends_among(actor, &users).await?;
            if let Some(stranger) = users.iter().find(|user| !friends.contains(user)) {
                return Err(WireError::new(ErrorCode::NotFriends, format!("{stranger} is not your friend")));
            }
        }
        Ok(people)
    }
}

/// A change of a group by someone, now, that concerns nobody else.
fn change(group: &GroupId, actor: &UserId) -> GroupChange {
    GroupChange { group: group.clone(), actor: actor.clone(), subjects: Vec::new(), request: None, time: now_ms() }
}

fn group_name(name: &str) -> Result<String> {
    text::name(name, NAME_CHARS).map(str::to_owned).map_err(|e| WireError::invalid_field("name", e))
}

/// A name made from the first members' names, the owner's first.
fn made_up_name<'a>(owner: &'a str, members: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = std::iter::once(owner).chain(members).take(NAMES_IN_NAME).collect();
    names.join(", ").chars().take(NAME_CHARS).collect()
}

fn no_such_group() -> WireError {
    WireError::new(ErrorCode::NotFound, "there is no such group")
}

fn too_many(field: &str, count: u64, limit: u32) -> WireError {
    WireError {
        field: Some(field.to_owned()),
        ..WireError::new(ErrorCode::TooLarge, format!("{field}: {count} are too many; at most {limit} are allowed"))
    }
}
