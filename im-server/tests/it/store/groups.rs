//! Groups and rooms.

use im_protocol::notification::Template;
use im_protocol::server::RemovedReason;
use im_protocol::{ErrorCode, Kind, RoomId, UserId, WireError};
use im_server::store::{
    Group, GroupChange, GroupChanged, GroupEffects, GroupFacts, GroupSettings, JoinMode, JoinRequest, Member,
    NewJoinRequest, NewRoom, Role, Room, Slice, Subject,
};

use super::world::{
    Db, NOW, add, change, change_with_facts, commit_one, committed, dissolve, group, group_id, id, make_group,
    notification, page, people, remove, say, seqs, settings, text,
};

fn plain(user: &UserId, role: Role) -> Member {
    Member { user: user.clone(), role, alias: String::new(), muted_until: 0, joined: NOW }
}

async fn a_new_group_begins_with_its_notification(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let told = make_group(&store, "tea", &alice, &[&bob]).await;
    assert!(told.changed.is_empty() && told.removed.is_empty() && told.outbox.is_some());
    let [first] = &told.messages[..] else { panic!("{told:?}") };
    assert_eq!((first.members_version, first.large, first.changes.len()), (1, false, 0));
    let message = &first.message;
    assert_eq!((message.seq, message.kind, &message.sender, message.time), (1, Kind::Notification, &alice, NOW));
    assert_eq!(message.client_message_id, None);
    assert_eq!(message.content, notification(Template::GroupCreated, &alice, std::slice::from_ref(&bob)).content());
    for user in [&alice, &bob] {
        assert_eq!(
            page(&store, user, &message.conversation, Slice::Newest, 5).await.messages,
            std::slice::from_ref(message)
        );
        let list = store.list(user, None, None, 10, &[]).await.unwrap();
        assert_eq!(list.rows.iter().map(|row| &row.conversation).collect::<Vec<_>>(), [&message.conversation]);
    }
}

async fn a_group_is_found_by_its_id_dissolved_or_not(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let expected = Group { group: group_id("tea"), settings: settings(&alice), members: 2 };
    assert_eq!(store.group(&group_id("tea")).await.unwrap(), Some(expected.clone()));
    dissolve(&store, &tea, &alice).await;
    let settings = GroupSettings { dissolved: true, ..settings(&alice) };
    assert_eq!(store.group(&group_id("tea")).await.unwrap(), Some(Group { settings, members: 0, ..expected }));
    assert_eq!(store.group(&group_id("coffee")).await.unwrap(), None);
}

async fn the_groups_of_a_user_are_those_they_are_in_now(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    for name in ["g3", "g1", "g2", "g4"] {
        group(&store, name, &alice, &[&bob]).await;
    }
    let g3 = im_protocol::ConversationId::parse("g:g3").unwrap();
    remove(&store, &g3, &alice, &bob, RemovedReason::Left).await;
    say(&store, &im_protocol::ConversationId::direct(&alice, &bob), &alice, "hi").await;
    let groups = async |user, after: Option<&str>, limit| {
        let after = after.map(group_id);
        let groups = store.groups_of(user, after.as_ref(), limit).await.unwrap();
        groups.into_iter().map(|group| group.group.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(groups(&bob, None, 10).await, ["g1", "g2", "g4"]);
    assert_eq!(groups(&bob, Some("g1"), 1).await, ["g2"]);
    assert_eq!(groups(&alice, Some("g2"), 10).await, ["g3", "g4"]);
}

async fn search_finds_part_of_a_name_or_the_whole_id(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    for (name, shown) in [("g1", "Green Tea"), ("g2", "喝茶的人"), ("g3", "100% tea"), ("g4", "gone tea")] {
        let conversation = group(&store, name, &alice, &[]).await;
        let settings = GroupSettings { name: shown.to_owned(), ..settings(&alice) };
        change(&store, &conversation, &alice, GroupEffects { settings: Some(settings), ..GroupEffects::default() })
            .await;
    }
    dissolve(&store, &im_protocol::ConversationId::parse("g:g4").unwrap(), &alice).await;
    let search = async |query: &str, after: Option<&str>, limit| {
        let after = after.map(group_id);
        let groups = store.search_groups(query, after.as_ref(), limit).await.unwrap();
        groups.into_iter().map(|group| group.group.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(search("TEA", None, 10).await, ["g1", "g3"]);
    assert_eq!(search("tea", None, 1).await, ["g1"]);
    assert_eq!(search("tea", Some("g1"), 10).await, ["g3"]);
    assert_eq!(search("茶", None, 10).await, ["g2"]);
    assert_eq!(search("%", None, 10).await, ["g3"]);
    assert_eq!(search("g2", None, 10).await, ["g2"]);
    assert_eq!(search("g4", None, 10).await, Vec::<String>::new());
}

async fn members_come_by_id_with_their_names(store: Db) {
    let [alice, bob, carol] = people(&store, ["carol", "bob", "alice"]).await;
    let tea = group(&store, "tea", &alice, &[&bob, &carol]).await;
    remove(&store, &tea, &alice, &bob, RemovedReason::Left).await;
    let members = store.members(&group_id("tea"), None, 10).await.unwrap();
    let told: Vec<_> = members.iter().map(|m| (m.member.clone(), m.name.as_str())).collect();
    assert_eq!(told, [(plain(&carol, Role::Member), "alice's name"), (plain(&alice, Role::Owner), "carol's name")]);
    let rest = store.members(&group_id("tea"), Some(&id("alice")), 10).await.unwrap();
    assert_eq!(rest, members[1..]);
    assert_eq!(store.members(&group_id("tea"), None, 1).await.unwrap(), members[..1]);
    assert_eq!(store.member(&group_id("tea"), &alice).await.unwrap(), Some(plain(&alice, Role::Owner)));
    assert_eq!(store.member(&group_id("tea"), &bob).await.unwrap(), None);
}

async fn the_decision_sees_the_facts(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    group(&store, "coffee", &bob, &[]).await;
    let request = NewJoinRequest { id: "r1".to_owned(), user: carol.clone(), message: "me too".to_owned() };
    let effects = GroupEffects { request: Some(request), ..GroupEffects::default() };
    change(&store, &tea, &carol, effects).await;
    let subject =
        |user: &UserId, exists, member, conversations| Subject { user: user.clone(), exists, member, conversations };
    let request = JoinRequest {
        id: "r1".to_owned(),
        group: group_id("tea"),
        user: carol.clone(),
        message: "me too".to_owned(),
        time: NOW,
    };
    let expected = GroupFacts {
        group: Group { group: group_id("tea"), settings: settings(&alice), members: 2 },
        actor: Some(plain(&alice, Role::Owner)),
        subjects: vec![
            subject(&carol, true, None, 0),
            subject(&id("BOB"), false, None, 0),
            subject(&bob, true, Some(plain(&bob, Role::Member)), 2),
        ],
        request: Some(request),
    };
    let ask = GroupChange {
        group: group_id("tea"),
        actor: alice,
        subjects: vec![carol.clone(), id("BOB"), bob],
        request: Some("r1".to_owned()),
        time: NOW,
    };
    let no = WireError::new(ErrorCode::Forbidden, "no");
    let seen = parking_lot::Mutex::new(Vec::new());
    let decide = |facts: &GroupFacts| {
        seen.lock().push(facts.clone());
        Err(no.clone())
    };
    assert_eq!(store.change_group(ask.clone(), &decide).await.unwrap(), GroupChanged::Refused(no.clone()));
    assert_eq!(seen.lock().pop(), Some(expected));
    let stranger = GroupChange { actor: carol, request: Some("r2".to_owned()), ..ask };
    store.change_group(stranger, &decide).await.unwrap();
    let facts = seen.lock().pop().unwrap();
    assert_eq!((facts.actor, facts.request), (None, None));
}

async fn a_group_that_is_not_there_cannot_be_changed(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let ask = GroupChange { group: group_id("tea"), actor: alice, subjects: Vec::new(), request: None, time: NOW };
    assert_eq!(store.change_group(ask, &|_| unreachable!()).await.unwrap(), GroupChanged::NotFound);
}

async fn each_notification_takes_a_seq_and_does_not_count(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    say(&store, &tea, &alice, "hi").await;
    let effects = GroupEffects {
        notifications: vec![
            notification(Template::GroupRenamed, &alice, &[]),
            notification(Template::Announcement, &bob, &[]),
        ],
        ..GroupEffects::default()
    };
    let (facts, told) = change_with_facts(&store, &tea, &alice, &[], effects.clone()).await;
    assert_eq!(facts.group.members, 2);
    let named: Vec<_> = told.messages.iter().map(|m| (m.message.seq, m.message.sender.clone())).collect();
    assert_eq!(named, [(3, alice.clone()), (4, bob.clone())]);
    assert_eq!(told.messages[1].message.content, effects.notifications[1].content());
    assert!(told.messages.iter().all(|m| m.message.kind == Kind::Notification && m.members_version == 1));
    assert_eq!(super::world::unread(&store, &bob, &tea).await, 1);
    assert_eq!(super::world::unread(&store, &alice, &tea).await, 0);
    assert_eq!(say(&store, &tea, &bob, "ok").await, 5);
    assert_eq!(super::world::unread(&store, &alice, &tea).await, 1);
}

async fn who_is_added_sees_the_first_notification_and_who_is_removed_does_not(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let effects = GroupEffects {
        add: vec![carol.clone()],
        remove: vec![(bob.clone(), RemovedReason::Kicked)],
        notifications: vec![
            notification(Template::GroupKicked, &alice, std::slice::from_ref(&bob)),
            notification(Template::GroupInvited, &alice, std::slice::from_ref(&carol)),
        ],
        ..GroupEffects::default()
    };
    let told = change(&store, &tea, &alice, effects).await;
    assert_eq!(told.messages.iter().map(|m| m.members_version).collect::<Vec<_>>(), [2, 2]);
    let [removal] = &told.removed[..] else { panic!("{told:?}") };
    assert_eq!((&removal.users[..], removal.reason), (std::slice::from_ref(&bob), RemovedReason::Kicked));
    assert_eq!(seqs(&store, &bob, &tea).await, [1]);
    assert_eq!(seqs(&store, &carol, &tea).await, [2, 3]);
    assert_eq!(seqs(&store, &alice, &tea).await, [1, 2, 3]);
    assert_eq!(store.group(&group_id("tea")).await.unwrap().unwrap().members, 2);
}

async fn attributes_and_settings_change_as_told(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let new = GroupSettings {
        name: "茶".to_owned(),
        owner: bob.clone(),
        announcement: "at five".to_owned(),
        join: JoinMode::Open,
        muted: true,
        dissolved: false,
    };
    let effects = GroupEffects {
        settings: Some(new.clone()),
        roles: vec![(alice.clone(), Role::Admin), (bob.clone(), Role::Owner)],
        mutes: vec![(alice.clone(), NOW + 7)],
        aliases: vec![(bob.clone(), "Bobby".to_owned())],
        ..GroupEffects::default()
    };
    let told = change(&store, &tea, &alice, effects).await;
    assert_eq!(told, im_server::store::Committed::default());
    assert_eq!(store.group(&group_id("tea")).await.unwrap().unwrap().settings, new);
    let expected = Member { muted_until: NOW + 7, ..plain(&alice, Role::Admin) };
    assert_eq!(store.member(&group_id("tea"), &alice).await.unwrap(), Some(expected));
    let expected = Member { alias: "Bobby".to_owned(), ..plain(&bob, Role::Owner) };
    assert_eq!(store.member(&group_id("tea"), &bob).await.unwrap(), Some(expected));
    assert_eq!(store.managers(&group_id("tea")).await.unwrap(), [alice, bob]);
    assert_eq!(store.access(&id("bob"), &tea).await.unwrap().unwrap().head, 1);
}

async fn managers_are_the_owner_and_the_admins(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &carol, &[&bob, &alice]).await;
    assert_eq!(store.managers(&group_id("tea")).await.unwrap(), std::slice::from_ref(&carol));
    let roles = vec![(alice.clone(), Role::Admin)];
    change(&store, &tea, &carol, GroupEffects { roles, ..GroupEffects::default() }).await;
    assert_eq!(store.managers(&group_id("tea")).await.unwrap(), [alice.clone(), carol.clone()]);
    remove(&store, &tea, &carol, &alice, RemovedReason::Left).await;
    assert_eq!(store.managers(&group_id("tea")).await.unwrap(), [carol]);
}

async fn a_dissolved_group_ends_for_everyone_after_the_last_notification(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob, &carol]).await;
    remove(&store, &tea, &alice, &carol, RemovedReason::Left).await;
    let effects = GroupEffects {
        settings: Some(GroupSettings { dissolved: true, ..settings(&alice) }),
        notifications: vec![
            notification(Template::Announcement, &alice, &[]),
            notification(Template::GroupDissolved, &alice, &[]),
        ],
        ..GroupEffects::default()
    };
    let told = change(&store, &tea, &alice, effects).await;
    assert_eq!(told.messages.len(), 2);
    let [removal] = &told.removed[..] else { panic!("{told:?}") };
    assert_eq!((&removal.users[..], removal.reason), (&[alice.clone(), bob.clone()][..], RemovedReason::Dissolved));
    for user in [&alice, &bob] {
        assert_eq!(seqs(&store, user, &tea).await, [1, 2, 3, 4]);
        assert!(!store.access(user, &tea).await.unwrap().unwrap().is_member());
    }
    assert_eq!(seqs(&store, &carol, &tea).await, [1]);
    assert!(store.access(&bob, &tea).await.unwrap().unwrap().dissolved);
    // Those who were members when it was said are still told.
    let list = store.member_list(&tea, 4).await.unwrap().unwrap();
    assert_eq!(list.members.len(), 2);
}

async fn a_join_request_is_open_until_it_is_closed_and_replaced_by_the_next(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let ask = async |name: &str, user: &UserId, message: &str| {
        let request = NewJoinRequest { id: name.to_owned(), user: user.clone(), message: message.to_owned() };
        change(&store, &tea, user, GroupEffects { request: Some(request), ..GroupEffects::default() }).await
    };
    let open = async |before: Option<&str>, limit| {
        let requests = store.join_requests(&group_id("tea"), before, limit).await.unwrap();
        requests.into_iter().map(|request| request.id).collect::<Vec<_>>()
    };
    assert_eq!(ask("r1", &bob, "hi").await, im_server::store::Committed::default());
    ask("r2", &carol, "hi").await;
    ask("r3", &bob, "please").await;
    assert_eq!(open(None, 10).await, ["r3", "r2"]);
    assert_eq!(open(None, 1).await, ["r3"]);
    assert_eq!(open(Some("r3"), 10).await, ["r2"]);
    assert_eq!(store.join_requests(&group_id("tea"), None, 1).await.unwrap()[0].message, "please");
    let close_request = Some("r3".to_owned());
    change(&store, &tea, &alice, GroupEffects { close_request, ..GroupEffects::default() }).await;
    assert_eq!(open(None, 10).await, ["r2"]);
    // Invited meanwhile.
    add(&store, &tea, &alice, &carol).await;
    assert_eq!(open(None, 10).await, Vec::<String>::new());
}

async fn adding_a_member_and_removing_a_stranger_change_nothing(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let told = add(&store, &tea, &alice, &bob).await;
    assert_eq!(told.messages[0].members_version, 1);
    let told = remove(&store, &tea, &alice, &carol, RemovedReason::Kicked).await;
    assert_eq!((told.messages[0].members_version, told.removed.len()), (1, 0));
    assert_eq!(store.group(&group_id("tea")).await.unwrap().unwrap().members, 2);
    assert_eq!(seqs(&store, &bob, &tea).await, [1, 2, 3]);
    assert!(store.row(&carol, &tea, None).await.unwrap().is_none());
}

async fn a_change_without_a_notification_still_moves_members(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let tea = group(&store, "tea", &alice, &[]).await;
    let join = GroupEffects { add: vec![bob.clone()], ..GroupEffects::default() };
    let leave = GroupEffects { remove: vec![(bob.clone(), RemovedReason::Left)], ..GroupEffects::default() };
    let promote = GroupEffects { roles: vec![(bob.clone(), Role::Admin)], ..GroupEffects::default() };
    for _ in 0..2 {
        change(&store, &tea, &alice, join.clone()).await;
        assert_eq!(store.group(&group_id("tea")).await.unwrap().unwrap().members, 2);
        assert_eq!(store.member(&group_id("tea"), &bob).await.unwrap().unwrap().role, Role::Member);
        change(&store, &tea, &alice, promote.clone()).await;
        assert_eq!(seqs(&store, &bob, &tea).await, Vec::<u64>::new());
        change(&store, &tea, &alice, leave.clone()).await;
        assert_eq!(store.group(&group_id("tea")).await.unwrap().unwrap().members, 1);
    }
    change(&store, &tea, &alice, join).await;
    assert_eq!(say(&store, &tea, &alice, "hi").await, 2);
    assert_eq!(seqs(&store, &bob, &tea).await, [2]);
}

async fn a_room_is_there_once_made(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let lobby = RoomId::parse("lobby").unwrap();
    assert_eq!(store.room(&lobby).await.unwrap(), None);
    let new = NewRoom { room: lobby.clone(), name: "Lobby".to_owned(), owner: alice.clone(), time: NOW };
    store.create_room(new).await.unwrap();
    let expected = Room { room: lobby.clone(), name: "Lobby".to_owned(), owner: alice.clone() };
    assert_eq!(store.room(&lobby).await.unwrap(), Some(expected));
    let conversation = im_protocol::ConversationId::room(&lobby);
    let told = commit_one(&store, text(&conversation, &alice, "hi")).await;
    assert!(!committed(&told).large);
    assert_eq!(store.member_list(&conversation, 1).await.unwrap().unwrap().members, []);
}

contract!(
    a_new_group_begins_with_its_notification,
    a_group_is_found_by_its_id_dissolved_or_not,
    the_groups_of_a_user_are_those_they_are_in_now,
    search_finds_part_of_a_name_or_the_whole_id,
    members_come_by_id_with_their_names,
    the_decision_sees_the_facts,
    a_group_that_is_not_there_cannot_be_changed,
    each_notification_takes_a_seq_and_does_not_count,
    who_is_added_sees_the_first_notification_and_who_is_removed_does_not,
    attributes_and_settings_change_as_told,
    managers_are_the_owner_and_the_admins,
    a_dissolved_group_ends_for_everyone_after_the_last_notification,
    a_join_request_is_open_until_it_is_closed_and_replaced_by_the_next,
    adding_a_member_and_removing_a_stranger_change_nothing,
    a_change_without_a_notification_still_moves_members,
    a_room_is_there_once_made,
);
