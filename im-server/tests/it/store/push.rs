//! Push work, jobs and dead letters.

use im_protocol::{ConversationId, DeviceId, Epoch, Seq, ServerId, Terminal, UserId};
use im_server::store::{
    Asked, Candidate, DeadLetter, Job, JobKey, JobOutcome, NewSession, NewWork, Notice, OutboxId, Preferences,
    PushItem, PushTotals, ReadPosition, Rest, Session, SessionId, Settled, Work,
};

use super::world::{Db, NOW, add, group, id, people, remove, say};

const LEASE: i64 = 60_000;

fn message(seq: Seq) -> PushItem {
    PushItem::Message(ConversationId::parse("g:tea").unwrap(), seq)
}

fn work(item: PushItem, due: i64) -> NewWork {
    NewWork { item, time: NOW, due }
}

async fn claim(store: &Db, now: i64, limit: u32) -> Vec<Work> {
    store.claim_push_work(now, now + LEASE, limit).await.unwrap()
}

fn items(work: &[Work]) -> Vec<PushItem> {
    let mut items: Vec<_> = work.iter().map(|work| work.item.clone()).collect();
    items.sort_by_key(|item| format!("{item:?}"));
    items
}

fn done(work: &Work) -> Settled {
    Settled { work: work.clone(), rest: None }
}

fn key(user: &str, device: Option<&str>) -> JobKey {
    let device = device.map(|device| DeviceId::parse(device).unwrap());
    JobKey { user: id(user), device, conversation: ConversationId::parse("g:tea").unwrap() }
}

fn notice(seq: Seq, count: u32, mentioned: bool) -> Notice {
    Notice { seq, count, mentioned }
}

/// Stores jobs, as work does that is settled.
async fn put(store: &Db, jobs: &[(JobKey, Notice)]) {
    assert!(store.settle_push_work(&[], jobs, &[], NOW).await.unwrap());
}

async fn claim_jobs(store: &Db, now: i64) -> Vec<Job> {
    let mut jobs = store.claim_push_jobs(now, now + LEASE, 100).await.unwrap();
    jobs.sort_by(|a, b| a.key.cmp(&b.key));
    jobs
}

async fn the_only_job(store: &Db, now: i64) -> Job {
    match &claim_jobs(store, now).await[..] {
        [job] => job.clone(),
        other => panic!("{other:?}"),
    }
}

async fn work_is_stored_by_what_forgets_outbox_rows(store: Db) {
    let items_of_all_kinds = [
        message(2),
        PushItem::User(id("bob"), Some(Terminal::Mobile)),
        PushItem::User(id("bob"), None),
        PushItem::Server(ServerId(3), Epoch(7)),
    ];
    let new: Vec<_> = items_of_all_kinds.iter().map(|item| work(item.clone(), NOW)).collect();
    store.forget(&[OutboxId(1)], &new).await.unwrap();
    store.forget(&[OutboxId(2)], &[]).await.unwrap();
    let claimed = claim(&store, NOW, 10).await;
    assert_eq!(items(&claimed), items(&new.iter().map(fresh).collect::<Vec<_>>()));
    assert!(claimed.iter().all(|work| (work.time, work.claims, &work.cursor) == (NOW, 1, &None)));
}

fn fresh(new: &NewWork) -> Work {
    Work { item: new.item.clone(), time: new.time, claims: 0, cursor: None }
}

async fn work_is_claimed_once_it_is_due_what_is_due_longest_first(store: Db) {
    let new: Vec<_> = [(3, 30), (1, 10), (2, 20)].map(|(seq, due)| work(message(seq), NOW + due)).into();
    store.add_push_work(&new).await.unwrap();
    assert_eq!(claim(&store, NOW + 9, 10).await, []);
    assert_eq!(items(&claim(&store, NOW + 30, 2).await), [message(1), message(2)]);
    assert_eq!(items(&claim(&store, NOW + 30, 2).await), [message(3)]);
    assert_eq!(claim(&store, NOW + 30, 2).await, [], "nobody gets what another holds");
}

async fn work_of_a_worker_that_died_is_taken_over_and_its_late_result_is_void(store: Db) {
    store.add_push_work(&[work(message(1), NOW)]).await.unwrap();
    let [first] = &claim(&store, NOW, 10).await[..] else { panic!("one") };
    assert_eq!(claim(&store, NOW + LEASE - 1, 10).await, []);
    let [second] = &claim(&store, NOW + LEASE, 10).await[..] else { panic!("one") };
    assert_eq!(second.claims, 2);
    let job = [(key("bob", Some("phone")), notice(1, 1, false))];
    assert!(!store.settle_push_work(&[done(first)], &job, &[work(message(9), NOW)], NOW).await.unwrap());
    assert_eq!(claim_jobs(&store, NOW).await, [], "nothing of a void result is stored");
    assert!(store.settle_push_work(&[done(second)], &job, &[], NOW).await.unwrap());
    assert_eq!(claim(&store, NOW + 10 * LEASE, 10).await, []);
    assert_eq!(claim_jobs(&store, NOW).await.len(), 1);
}

async fn work_goes_on_where_and_when_it_was_left(store: Db) {
    store.add_push_work(&[work(message(1), NOW), work(message(2), NOW)]).await.unwrap();
    let claimed = claim(&store, NOW, 10).await;
    let at = claimed.iter().position(|work| work.item == message(1)).unwrap();
    let rest = Rest { cursor: Some("bob".to_owned()), due: NOW + 5 };
    let settled: Vec<_> = claimed
        .iter()
        .enumerate()
        .map(|(n, work)| Settled { work: work.clone(), rest: (n == at).then(|| rest.clone()) })
        .collect();
    let further = [work(PushItem::User(id("carol"), None), NOW + 5)];
    assert!(store.settle_push_work(&settled, &[], &further, NOW).await.unwrap());
    assert_eq!(claim(&store, NOW + 4, 10).await, []);
    let again = claim(&store, NOW + 5, 10).await;
    assert_eq!(items(&again), [message(1), PushItem::User(id("carol"), None)]);
    let left = again.iter().find(|work| work.item == message(1)).unwrap();
    assert_eq!((left.cursor.as_deref(), left.claims), (Some("bob"), 2));
}

async fn an_item_that_comes_again_is_looked_at_anew_from_the_earlier_time_on(store: Db) {
    let item = PushItem::User(id("bob"), Some(Terminal::Web));
    let at = |time, due| NewWork { item: item.clone(), time, due };
    store.add_push_work(&[at(NOW, NOW)]).await.unwrap();
    let [looking] = &claim(&store, NOW, 10).await[..] else { panic!("one") };
    store.add_push_work(&[at(NOW + 7, NOW + 9), at(NOW + 5, NOW + 9)]).await.unwrap();
    assert!(!store.settle_push_work(&[done(looking)], &[], &[], NOW).await.unwrap(), "there is more to look at");
    let again = claim(&store, NOW + 9, 10).await;
    assert_eq!(again.iter().map(|work| (&work.item, work.time)).collect::<Vec<_>>(), [(&item, NOW)]);
}

async fn jobs_of_a_device_and_conversation_are_merged_while_they_wait(store: Db) {
    put(&store, &[(key("bob", Some("phone")), notice(4, 1, false)), (key("bob", Some("pad")), notice(4, 1, false))])
        .await;
    put(&store, &[(key("bob", Some("phone")), notice(6, 2, true)), (key("bob", None), notice(6, 2, false))]).await;
    // Seen before, and older: nothing new.
    put(&store, &[(key("bob", Some("phone")), notice(6, 2, false)), (key("bob", Some("phone")), notice(5, 9, false))])
        .await;
    let jobs = claim_jobs(&store, NOW).await;
    let told: Vec<_> = jobs.iter().map(|job| (job.key.clone(), job.notice, job.attempts)).collect();
    let expected = [
        (key("bob", None), notice(6, 2, false), 0),
        (key("bob", Some("pad")), notice(4, 1, false), 0),
        (key("bob", Some("phone")), notice(6, 3, true), 0),
    ];
    assert_eq!(told, expected);
}

async fn a_job_that_is_over_is_gone_unless_something_newer_came_meanwhile(store: Db) {
    put(&store, &[(key("bob", Some("phone")), notice(4, 2, false)), (key("carol", None), notice(4, 1, false))]).await;
    let jobs = claim_jobs(&store, NOW).await;
    put(&store, &[(key("bob", Some("phone")), notice(6, 3, false))]).await;
    let over: Vec<_> = jobs.into_iter().map(|job| (job, JobOutcome::Over)).collect();
    store.settle_push_jobs(&over, NOW + 1).await.unwrap();
    assert_eq!(claim_jobs(&store, NOW).await, []);
    let left = the_only_job(&store, NOW + 1).await;
    assert_eq!((left.key, left.notice.seq, left.notice.count), (key("bob", Some("phone")), 6, 3));
}

async fn a_job_that_failed_comes_again_with_its_count_and_one_that_waits_does_not_fail(store: Db) {
    put(&store, &[(key("bob", None), notice(4, 1, false))]).await;
    let job = the_only_job(&store, NOW).await;
    store.settle_push_jobs(&[(job, JobOutcome::Again { due: NOW + 5, failed: true })], NOW).await.unwrap();
    assert_eq!(claim_jobs(&store, NOW + 4).await, []);
    let job = the_only_job(&store, NOW + 5).await;
    assert_eq!((job.attempts, job.claims), (1, 2));
    store.settle_push_jobs(&[(job, JobOutcome::Again { due: NOW + 9, failed: false })], NOW).await.unwrap();
    assert_eq!(the_only_job(&store, NOW + 9).await.attempts, 1);
}

async fn a_job_of_a_worker_that_died_is_taken_over_and_its_late_result_is_void(store: Db) {
    put(&store, &[(key("bob", None), notice(4, 1, false))]).await;
    let first = the_only_job(&store, NOW).await;
    assert_eq!(claim_jobs(&store, NOW + LEASE - 1).await, []);
    let second = the_only_job(&store, NOW + LEASE).await;
    let dead = JobOutcome::Dead { id: "x".to_owned(), reason: "late".to_owned() };
    store.settle_push_jobs(&[(first, dead)], NOW).await.unwrap();
    assert_eq!(store.dead_letters(10).await.unwrap(), []);
    store.settle_push_jobs(&[(second, JobOutcome::Over)], NOW).await.unwrap();
    assert_eq!(claim_jobs(&store, NOW + 10 * LEASE).await, []);
}

async fn kill(store: &Db, user: &str, dead: &str, seq: Seq, now: i64) -> DeadLetter {
    put(store, &[(key(user, Some("phone")), notice(seq, 2, true))]).await;
    let job = the_only_job(store, now).await;
    let outcome = JobOutcome::Dead { id: dead.to_owned(), reason: "status 410".to_owned() };
    store.settle_push_jobs(&[(job.clone(), outcome)], now).await.unwrap();
    DeadLetter {
        id: dead.to_owned(),
        key: job.key,
        notice: job.notice,
        attempts: job.attempts + 1,
        reason: "status 410".to_owned(),
        time: now,
    }
}

async fn dead_letters_are_listed_newest_first_and_become_jobs_again(store: Db) {
    let a = kill(&store, "alice", "a", 4, NOW).await;
    let b = kill(&store, "bob", "b", 4, NOW + 1).await;
    let c = kill(&store, "bob", "c", 7, NOW + 2).await;
    assert_eq!(store.dead_letters(10).await.unwrap(), [c.clone(), b.clone(), a.clone()]);
    assert_eq!(store.dead_letters(1).await.unwrap(), [c]);
    assert_eq!(store.push_totals().await.unwrap(), PushTotals { pending: 0, dead: 3 });
    assert_eq!(store.replay_dead_letters(Some("nobody"), NOW).await.unwrap(), 0);
    assert_eq!(store.replay_dead_letters(Some("a"), NOW + 5).await.unwrap(), 1);
    assert_eq!(claim_jobs(&store, NOW + 4).await, []);
    let again = the_only_job(&store, NOW + 5).await;
    assert_eq!((again.key, again.notice, again.attempts), (a.key, a.notice, 0));
    assert_eq!(store.replay_dead_letters(None, NOW + 5).await.unwrap(), 2);
    assert_eq!(store.push_totals().await.unwrap(), PushTotals { pending: 2, dead: 0 });
    let merged = the_only_job(&store, NOW + 5).await;
    assert_eq!((merged.key, merged.notice), (b.key, notice(7, 4, true)), "two of one device and conversation are one");
}

async fn what_came_while_a_job_died_lives_on(store: Db) {
    put(&store, &[(key("bob", None), notice(4, 1, false))]).await;
    let job = the_only_job(&store, NOW).await;
    put(&store, &[(key("bob", None), notice(5, 1, false))]).await;
    let outcome = JobOutcome::Dead { id: "x".to_owned(), reason: "gone".to_owned() };
    store.settle_push_jobs(&[(job, outcome)], NOW).await.unwrap();
    assert_eq!(store.dead_letters(10).await.unwrap()[0].notice, notice(4, 1, false));
    assert_eq!(the_only_job(&store, NOW).await.notice, notice(5, 1, false));
}

async fn ask(store: &Db, asked: Asked, limit: u32) -> Vec<Candidate> {
    store.push_candidates(&[asked], limit).await.unwrap().pop().unwrap()
}

fn users(candidates: &[Candidate]) -> Vec<&str> {
    candidates.iter().map(|candidate| candidate.user.as_str()).collect()
}

async fn members_come_by_the_page_with_what_decides_on_a_push(store: Db) {
    let [alice, bob, carol, dave] = people(&store, ["alice", "bob", "carol", "dave"]).await;
    let tea = group(&store, "tea", &alice, &[&bob, &dave]).await;
    say(&store, &tea, &alice, "2").await;
    add(&store, &tea, &alice, &carol).await;
    let read = ReadPosition { conversation: tea.clone(), user: bob.clone(), seq: 2 };
    store.save_reads(&[read]).await.unwrap();
    let quiet = Preferences { do_not_disturb: Some(true), ..Preferences::default() };
    store.set_preferences(&dave, &tea, quiet).await.unwrap();
    store.delete_for(&carol, &tea).await.unwrap();
    let asked = |after: Option<&UserId>| Asked { conversation: tea.clone(), among: None, after: after.cloned() };
    let candidate = |user: &UserId, joined, read, do_not_disturb| Candidate {
        user: user.clone(),
        joined,
        read,
        delivered: 0,
        do_not_disturb,
    };
    let [a, b, c, d] = [
        candidate(&alice, 1, 0, false),
        candidate(&bob, 1, 2, false),
        candidate(&carol, 3, 3, false),
        candidate(&dave, 1, 0, true),
    ];
    assert_eq!(ask(&store, asked(None), 3).await, [a.clone(), b, c]);
    assert_eq!(ask(&store, asked(Some(&carol)), 3).await, std::slice::from_ref(&d));
    assert_eq!(ask(&store, asked(Some(&dave)), 3).await, []);
    let named = Asked { conversation: tea.clone(), among: Some(vec![dave, id("nobody"), alice]), after: None };
    assert_eq!(ask(&store, named, 1).await, [a, d], "those who are named all come");
}

async fn who_left_is_asked_no_more_and_who_came_back_comes_with_the_new_stay(store: Db) {
    use im_protocol::server::RemovedReason::Left;
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob, &carol]).await;
    remove(&store, &tea, &alice, &bob, Left).await;
    remove(&store, &tea, &alice, &carol, Left).await;
    add(&store, &tea, &alice, &carol).await;
    let all = Asked { conversation: tea.clone(), among: None, after: None };
    let named = Asked { among: Some(vec![bob, carol]), ..all.clone() };
    let found = store.push_candidates(&[all, named], 10).await.unwrap();
    assert_eq!((users(&found[0]), users(&found[1])), (vec!["alice", "carol"], vec!["carol"]));
    assert_eq!((found[0][1].joined, found[1][0].joined), (4, 4));
}

async fn the_two_of_a_direct_conversation_come_with_their_receipts(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let chat = ConversationId::direct(&alice, &bob);
    say(&store, &chat, &alice, "hi").await;
    store.save_delivered(&[ReadPosition { conversation: chat.clone(), user: bob.clone(), seq: 1 }]).await.unwrap();
    let asked = Asked { conversation: chat, among: Some(vec![alice, bob]), after: None };
    let both = ask(&store, asked, 10).await;
    let told: Vec<_> = both.iter().map(|one| (one.user.as_str(), one.joined, one.delivered)).collect();
    assert_eq!(told, [("alice", 1, 0), ("bob", 1, 1)]);
}

async fn devices_are_those_of_living_mobile_sessions(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let sessions = [
        ("s1", Terminal::Mobile, "phone", NOW + 100),
        ("s2", Terminal::Mobile, "phone", NOW + 100),
        ("s3", Terminal::Mobile, "old", NOW),
        ("s4", Terminal::Mobile, "lost", NOW + 100),
        ("s5", Terminal::Web, "browser", NOW + 100),
        ("s6", Terminal::Mobile, "pad", NOW + 100),
    ];
    for (n, (id, terminal, device, expires)) in (0_u8..).zip(sessions) {
        let session = Session {
            id: SessionId(id.to_owned()),
            user: alice.clone(),
            terminal,
            device: DeviceId::parse(device).unwrap(),
            created: NOW,
            last_seen: NOW,
            expires,
            revoked: false,
        };
        store.create_session(NewSession { session, refresh_hash: Some(vec![n]) }).await.unwrap();
    }
    store.revoke(&alice, &SessionId("s4".to_owned())).await.unwrap();
    let devices = store.push_devices(&[bob, alice], NOW).await.unwrap();
    let named = |device: &DeviceId| device.to_string();
    assert_eq!(devices[0], []);
    assert_eq!(devices[1].iter().map(named).collect::<Vec<_>>(), ["pad", "phone"]);
}

async fn a_badge_counts_what_others_wrote_where_pushes_are_wanted(store: Db) {
    let [alice, bob, carol] = people(&store, ["alice", "bob", "carol"]).await;
    let tea = group(&store, "tea", &alice, &[&bob]).await;
    let quiet = group(&store, "quiet", &alice, &[&bob]).await;
    let chat = ConversationId::direct(&bob, &carol);
    for conversation in [&tea, &quiet] {
        say(&store, conversation, &alice, "1").await;
        say(&store, conversation, &bob, "mine").await;
        say(&store, conversation, &alice, "2").await;
    }
    for text in ["1", "2", "3"] {
        say(&store, &chat, &carol, text).await;
    }
    let off = Preferences { do_not_disturb: Some(true), ..Preferences::default() };
    store.set_preferences(&bob, &quiet, off).await.unwrap();
    store.save_reads(&[ReadPosition { conversation: chat, user: bob.clone(), seq: 1 }]).await.unwrap();
    assert_eq!(store.badges(&[carol.clone(), bob.clone(), alice.clone()]).await.unwrap(), [0, 4, 2]);
    remove(&store, &tea, &alice, &bob, im_protocol::server::RemovedReason::Kicked).await;
    assert_eq!(store.badges(&[bob]).await.unwrap(), [2]);
}

contract!(
    work_is_stored_by_what_forgets_outbox_rows,
    work_is_claimed_once_it_is_due_what_is_due_longest_first,
    work_of_a_worker_that_died_is_taken_over_and_its_late_result_is_void,
    work_goes_on_where_and_when_it_was_left,
    an_item_that_comes_again_is_looked_at_anew_from_the_earlier_time_on,
    jobs_of_a_device_and_conversation_are_merged_while_they_wait,
    a_job_that_is_over_is_gone_unless_something_newer_came_meanwhile,
    a_job_that_failed_comes_again_with_its_count_and_one_that_waits_does_not_fail,
    a_job_of_a_worker_that_died_is_taken_over_and_its_late_result_is_void,
    dead_letters_are_listed_newest_first_and_become_jobs_again,
    what_came_while_a_job_died_lives_on,
    members_come_by_the_page_with_what_decides_on_a_push,
    who_left_is_asked_no_more_and_who_came_back_comes_with_the_new_stay,
    the_two_of_a_direct_conversation_come_with_their_receipts,
    devices_are_those_of_living_mobile_sessions,
    a_badge_counts_what_others_wrote_where_pushes_are_wanted,
);
