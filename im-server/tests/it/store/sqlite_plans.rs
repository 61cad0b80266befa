//! How `SQLite` carries the statements out: every one by an index, none by walking through a table that grows.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, DeviceId, Seq, ServerId, Terminal, UserId};
use im_server::store::sqlite::SqliteStore;
use im_server::store::{
    Arriving, Asked, FriendRequest, GroupEffects, Holder, JobKey, JobOutcome, NewJoinRequest, NewSession, NewWork,
    Notice, OutboxId, Preferences, ProfileChange, PushItem, ReadPosition, Report, Rest, Role, Session, SessionId,
    Settled, Slice, Stamp,
};
use parking_lot::Mutex;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Row};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::world::{
    Db, NOW, add, befriend, body, change, client_id, dissolve, group, group_id, notification, people, recall, remove,
    say, settings, text,
};

type Statements = Arc<Mutex<BTreeSet<String>>>;

/// Collects the statements that sqlx reports.
struct Listen(Statements);

struct Statement<'a>(&'a Listen);

impl Visit for Statement<'_> {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "db.statement" && !value.trim().is_empty() {
            self.0.0.lock().insert(value.trim().to_owned());
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Listen {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut Statement(self));
    }
}

/// The statements of this process from the first call on. The connections report from threads of their own, so that
/// only a subscriber of the whole process hears them.
fn statements() -> Statements {
    static HEARD: OnceLock<Statements> = OnceLock::new();
    let heard = HEARD.get_or_init(|| {
        let heard = Statements::default();
        let subscriber = tracing_subscriber::registry().with(Listen(heard.clone()));
        tracing::subscriber::set_global_default(subscriber).expect("no other test sets a subscriber");
        heard
    });
    heard.clone()
}

/// Calls everything the store can do.
pub(super) async fn use_everything(store: &Db) {
    let [alice, bob, carol] = people(store, ["alice", "bob", "carol"]).await;
    accounts_and_sessions(store, &alice).await;
    friends(store, &alice, &bob).await;
    let tea = group(store, "tea", &alice, &[&bob]).await;
    groups(store, &tea, [&alice, &bob, &carol]).await;
    let chat = ConversationId::direct(&alice, &bob);
    say(store, &chat, &alice, "hi").await;
    say(store, &tea, &alice, "hi").await;
    for conversation in [&tea, &chat] {
        messages(store, conversation, &alice).await;
        conversations(store, conversation, &alice).await;
    }
    servers_and_outbox(store).await;
    push(store, &tea, &chat, [&alice, &bob]).await;
    dissolve(store, &tea, &alice).await;
}

async fn servers_and_outbox(store: &Db) {
    let server = ServerId(0);
    let holder = Holder { server, epoch: store.take_epoch(server, "", 60_000).await.unwrap() };
    store.write_as(holder);
    store.servers().await.unwrap();
    store.renew(holder, Report::default(), 60_000).await.unwrap();
    let rows = store.take_over(holder, 10).await.unwrap();
    store.waiting(holder, OutboxId(0), NOW + 1, 10).await.unwrap();
    store.forget(&[rows[0].id], &[]).await.unwrap();
    store.release(holder).await.unwrap();
}

async fn push(store: &Db, tea: &ConversationId, chat: &ConversationId, [alice, bob]: [&UserId; 2]) {
    let work = |due| NewWork { item: PushItem::Message(tea.clone(), 1), time: NOW, due };
    store.add_push_work(&[work(NOW)]).await.unwrap();
    let key = JobKey { user: bob.clone(), device: None, conversation: tea.clone() };
    let jobs = [(key, Notice { seq: 1, count: 1, mentioned: false })];
    let claimed = store.claim_push_work(NOW, NOW, 10).await.unwrap().remove(0);
    let rest = Some(Rest { cursor: None, due: NOW });
    store.settle_push_work(&[Settled { work: claimed, rest }], &jobs, &[work(NOW)], NOW).await.unwrap();
    let among = Some(vec![alice.clone(), bob.clone()]);
    let named = Asked { conversation: chat.clone(), among, after: None };
    let all = Asked { conversation: tea.clone(), among: None, after: Some(alice.clone()) };
    store.push_candidates(&[named, all], 10).await.unwrap();
    store.push_devices(std::slice::from_ref(alice), NOW).await.unwrap();
    store.badges(std::slice::from_ref(bob)).await.unwrap();
    let job = store.claim_push_jobs(NOW, NOW, 10).await.unwrap().remove(0);
    let dead = JobOutcome::Dead { id: "x".to_owned(), reason: String::new() };
    store.settle_push_jobs(&[(job, dead)], NOW).await.unwrap();
    store.dead_letters(10).await.unwrap();
    store.replay_dead_letters(Some("x"), NOW).await.unwrap();
    store.replay_dead_letters(None, NOW).await.unwrap();
}

async fn accounts_and_sessions(store: &Db, alice: &UserId) {
    let name = ProfileChange { name: Some("A".to_owned()), ..ProfileChange::default() };
    store.update_profile(alice, name).await.unwrap();
    store.accounts(std::slice::from_ref(alice)).await.unwrap();
    store.credentials(alice).await.unwrap();
    store.search_accounts("a", None, 10).await.unwrap();
    store.save_last_seen(&[(alice.clone(), NOW)]).await.unwrap();
    store.last_seen(std::slice::from_ref(alice)).await.unwrap();
    let device = DeviceId::parse("d").unwrap();
    let session = Session {
        id: SessionId("s".to_owned()),
        user: alice.clone(),
        terminal: Terminal::Web,
        device: device.clone(),
        created: NOW,
        last_seen: NOW,
        expires: NOW + 1000,
        revoked: false,
    };
    let id = session.id.clone();
    store.create_session(NewSession { session, refresh_hash: Some(vec![1]) }).await.unwrap();
    store.session(&id).await.unwrap();
    store.sessions(alice, NOW).await.unwrap();
    for token in [1, 2, 1] {
        store.rotate(&[token], &[token + 1], NOW, NOW + 1000, -1).await.unwrap();
    }
    store.revoke(alice, &id).await.unwrap();
    store.revoke_other_devices(alice, Terminal::Web, &device, &id).await.unwrap();
    store.dead_sessions(&[id]).await.unwrap();
}

async fn friends(store: &Db, alice: &UserId, bob: &UserId) {
    befriend(store, alice, bob).await;
    let request =
        FriendRequest { id: "r".to_owned(), from: alice.clone(), to: bob.clone(), message: String::new(), time: NOW };
    store.request_friend(request).await.unwrap();
    store.friend_requests(bob, None, 10).await.unwrap();
    store.friends(alice, None, 10).await.unwrap();
    store.friends_among(alice, std::slice::from_ref(bob)).await.unwrap();
    store.set_remark(alice, bob, "B").await.unwrap();
    store.remove_friend(alice, bob).await.unwrap();
    store.set_block(bob, alice, true, NOW).await.unwrap();
    store.blocks(bob, None, 10).await.unwrap();
    store.blocked_by(alice, std::slice::from_ref(bob)).await.unwrap();
    store.set_block(bob, alice, false, NOW).await.unwrap();
}

async fn groups(store: &Db, tea: &ConversationId, [alice, bob, carol]: [&UserId; 3]) {
    let request = NewJoinRequest { id: "j".to_owned(), user: carol.clone(), message: String::new() };
    change(store, tea, carol, GroupEffects { request: Some(request), ..GroupEffects::default() }).await;
    store.join_requests(&group_id("tea"), None, 10).await.unwrap();
    let effects = GroupEffects {
        settings: Some(settings(alice)),
        roles: vec![(bob.clone(), Role::Admin)],
        mutes: vec![(bob.clone(), 1)],
        aliases: vec![(bob.clone(), "B".to_owned())],
        close_request: Some("j".to_owned()),
        notifications: vec![notification(im_protocol::notification::Template::RoleChanged, alice, &[])],
        ..GroupEffects::default()
    };
    super::world::change_with_facts(store, tea, alice, &[bob, carol], effects).await;
    add(store, tea, alice, carol).await;
    remove(store, tea, alice, carol, RemovedReason::Left).await;
    store.group(&group_id("tea")).await.unwrap();
    store.groups_of(alice, None, 10).await.unwrap();
    store.search_groups("t", None, 10).await.unwrap();
    store.members(&group_id("tea"), None, 10).await.unwrap();
    store.member(&group_id("tea"), bob).await.unwrap();
    store.managers(&group_id("tea")).await.unwrap();
    let room = im_protocol::RoomId::parse("lobby").unwrap();
    let new = im_server::store::NewRoom { room: room.clone(), name: String::new(), owner: alice.clone(), time: NOW };
    store.create_room(new).await.unwrap();
    store.room(&room).await.unwrap();
}

async fn messages(store: &Db, conversation: &ConversationId, alice: &UserId) {
    let batch = vec![text(conversation, alice, "hi"), text(conversation, alice, "ho")];
    store.commit(batch, NOW).await.unwrap();
    store.known(conversation, alice, &client_id("c"), &body("hi")).await.unwrap();
    recall(store, conversation, 1, alice).await;
    let stints = store.access(alice, conversation).await.unwrap().unwrap().stints;
    for slice in [Slice::After(0), Slice::Newest] {
        store.page(conversation, &stints, slice, 10, 1000).await.unwrap();
    }
    store.changed(conversation, &stints, 10, 0, 10).await.unwrap();
    store.committed(&[(conversation.clone(), 1)]).await.unwrap();
}

async fn conversations(store: &Db, conversation: &ConversationId, alice: &UserId) {
    store.stamp().await.unwrap();
    let seq: Seq = 1;
    for since in [None, Some(Stamp(0))] {
        store.list(alice, since, None, 10, &[(conversation.clone(), seq)]).await.unwrap();
    }
    store.row(alice, conversation, None).await.unwrap();
    store.member_list(conversation, 0).await.unwrap();
    let (session, device) = (SessionId("s1".to_owned()), DeviceId::parse("d1").unwrap());
    let arriving = Arriving { user: alice, session: &session, terminal: Terminal::Web, device: &device };
    store.arrival(arriving, NOW).await.unwrap();
    store.set_preferences(alice, conversation, Preferences::default()).await.unwrap();
    let position = [ReadPosition { conversation: conversation.clone(), user: alice.clone(), seq }];
    store.save_reads(&position).await.unwrap();
    store.save_delivered(&position).await.unwrap();
    store.readers(conversation, 0, alice, None, 10).await.unwrap();
    store.count_readers(conversation, 0, alice).await.unwrap();
    store.position(conversation, alice).await.unwrap();
    store.delete_for(alice, conversation).await.unwrap();
}

/// A step that walks through a whole table or index, or has to build one first. Values that came with the statement
/// (`json_each`, also under the names e, p, n; the lists made of it) are as long as the call made them, and the table of
/// servers has a row per server id.
fn walks(step: &str) -> bool {
    let of_the_call = ["e", "w", "asked", "wanted", "clock", "CONSTANT", "servers", "large"];
    let scanned = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
    step.contains("AUTOMATIC")
        || scanned.is_some_and(|name| !of_the_call.contains(&name))
            && !step.contains("VIRTUAL TABLE")
            && !step.contains("VALUES CLAUSE")
}

/// Every statement of the store with the steps of its plan.
async fn plans() -> Vec<(String, Vec<String>)> {
    let heard = statements();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("im.db");
    let store: Db = Arc::new(SqliteStore::open(&path).await.unwrap());
    use_everything(&store).await;
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&path)).await.unwrap();
    let ours = |text: &&String| {
        ["select", "update", "insert", "delete", "with"].iter().any(|verb| text.starts_with(verb))
            && !["_sqlx_migrations", "sqlite_master"].iter().any(|table| text.contains(table))
            // Those of a store on PostgreSQL that another test of this process uses.
            && !["$1", "im_", "current_setting"].iter().any(|part| text.contains(part))
    };
    let heard: Vec<String> = heard.lock().iter().filter(ours).cloned().collect();
    let mut plans = Vec::with_capacity(heard.len());
    for statement in heard {
        let plan = sqlx::raw_sql(AssertSqlSafe(format!("explain query plan {statement}")));
        let steps = plan.fetch_all(&pool).await.unwrap().iter().map(|row| row.get("detail")).collect();
        plans.push((statement, steps));
    }
    assert!(plans.len() > 70, "only {} statements were heard", plans.len());
    plans
}

#[tokio::test]
async fn no_statement_walks_through_a_table() {
    for (statement, steps) in plans().await {
        let walking: Vec<_> = steps.iter().filter(|step| walks(step)).collect();
        assert!(walking.is_empty(), "{walking:?}\n{statement}");
    }
}

#[tokio::test]
async fn what_runs_for_every_message_goes_by_its_own_index() {
    let plans = plans().await;
    for (part_of_statement, step) in [
        ("m.client_message_id = e.value", "messages_known (conversation=? AND sender=? AND client_message_id=?)"),
        ("select own_count from messages", "messages_own (conversation=? AND sender=? AND seq<?)"),
        ("m.seq >= ?2 and m.seq < ?3 order by m.seq limit", "PRIMARY KEY (conversation=? AND seq>? AND seq<?)"),
        ("m.seq >= ?2 and m.seq < ?3 order by m.seq desc", "PRIMARY KEY (conversation=? AND seq>? AND seq<?)"),
        ("m.changed > ?2", "messages_changed (conversation=? AND changed>?)"),
        ("b.mention_all = 1", "messages_mentioning (conversation=? AND seq>? AND seq<?)"),
        ("uc.read_seq >= ?2", "user_conversations_read (conversation=? AND read_seq>?)"),
        ("from outbox where server", "outbox_of_holder (server=? AND epoch=? AND id>?)"),
        ("o.epoch < servers.epoch", "outbox_of_holder (server=? AND epoch<?)"),
        ("s.user = ?1 and s.left_seq is null and c.large = 1", "stints_of_user (user=?)"),
        ("role <> 'member'", "stints_managers (conversation=?)"),
        ("from friend_requests", "friend_requests_to (asked=?"),
        ("s.revoked = 0 and s.expires", "sessions_alive (user=?)"),
    ] {
        let by_it = plans.iter().any(|(statement, steps)| {
            statement.contains(part_of_statement) && steps.iter().any(|taken| taken.contains(step))
        });
        let taken: Vec<_> = plans.iter().filter(|(statement, _)| statement.contains(part_of_statement)).collect();
        assert!(by_it, "{part_of_statement}: {step}\n{taken:#?}");
    }
}
