//! The offline path, from work to a receiver that really listens. Time is given to each step, so nothing is waited for.

mod receiver;
mod scene;

use im_protocol::{Terminal, UserId};
use im_sdk::registry::Marker;
use im_server::store::{NewWork, Preferences, PushItem, PushTotals, ReadPosition};
use serde_json::json;

use crate::store::world::{NOW, body, recall, text};
use receiver::{Receiver, Reply};
use scene::{DUE, Scene, chat};

#[tokio::test]
async fn somebody_offline_is_told_once_after_the_delay() {
    let scene = Scene::new().await;
    scene.phone("bob", "phone").await;
    let talk = chat("alice", "bob");
    scene.say(&talk, "alice", "hello there").await;
    scene.turn(DUE - 1).await;
    assert_eq!(scene.receiver.taken(), []);
    scene.turn(DUE).await;
    let [told] = &scene.receiver.taken()[..] else { panic!("one webhook") };
    let id = told.body["id"].as_str().unwrap().to_owned();
    assert_eq!(
        told.body,
        json!({
            "type": "message", "id": id, "user": "bob", "device": "phone", "terminal": "mobile",
            "conversation": "d:alice:bob", "title": "alice's name", "seq": 1, "kind": "text",
            "sender": "alice", "sender_name": "alice's name", "preview": "hello there", "count": 1,
            "mentioned": false, "unread": 1, "badge": 1, "time": NOW,
        })
    );
    assert_eq!(told.id, id);
    scene.turn(DUE + 3_600_000).await;
    assert_eq!(scene.receiver.taken(), []);
    assert_eq!(scene.store.push_totals().await.unwrap(), PushTotals::default());
}

#[tokio::test]
async fn who_is_on_a_mobile_device_is_not_told_and_who_is_on_another_is_told_there() {
    let scene = Scene::new().await;
    for (user, terminal) in [("bob", Terminal::Mobile), ("carol", Terminal::Desktop)] {
        scene.phone(user, "phone").await;
        scene.connect(user, terminal).await;
    }
    scene.connect("dave", Terminal::Web).await;
    let tea = scene.group("tea", &["alice", "bob", "carol", "dave"]).await;
    scene.say(&tea, "alice", "hello").await;
    scene.turn(DUE).await;
    assert_eq!(scene.receiver.whom(), ["carol/phone"], "dave is connected and has no phone");
}

#[tokio::test]
async fn somebody_without_a_mobile_device_and_without_a_connection_is_told_without_a_device() {
    let scene = Scene::new().await;
    let talk = chat("alice", "bob");
    scene.say(&talk, "alice", "hello").await;
    scene.turn(DUE).await;
    let [told] = &scene.receiver.taken()[..] else { panic!("one webhook") };
    assert_eq!((&told.body["device"], &told.body["terminal"]), (&json!(null), &json!(null)));
}

#[tokio::test]
async fn what_was_read_on_another_device_within_the_delay_is_not_told() {
    let scene = Scene::new().await;
    scene.phone("bob", "phone").await;
    scene.connect("bob", Terminal::Web).await;
    let talk = chat("alice", "bob");
    scene.say(&talk, "alice", "hello").await;
    scene.read(&talk, "bob", 1).await;
    scene.turn(DUE).await;
    assert_eq!(scene.receiver.taken(), []);
}

#[tokio::test]
async fn a_job_is_dropped_that_was_read_or_came_online_or_was_recalled_before_it_was_sent() {
    let scene = Scene::new().await;
    for user in ["bob", "carol", "dave"] {
        scene.phone(user, "phone").await;
    }
    let alice = UserId::parse("alice").unwrap();
    let chats = ["bob", "carol", "dave"].map(|user| chat("alice", user));
    for talk in &chats {
        scene.say(talk, "alice", "hello").await;
    }
    scene.push.look(DUE).await.unwrap();
    assert_eq!(scene.store.push_totals().await.unwrap().pending, 3);
    scene.read(&chats[0], "bob", 1).await;
    scene.connect("carol", Terminal::Mobile).await;
    recall(&scene.store, &chats[2], 1, &alice).await;
    scene.turn(DUE).await;
    assert_eq!(scene.receiver.taken(), []);
    assert_eq!(scene.store.push_totals().await.unwrap().pending, 0);
}

#[tokio::test]
async fn who_does_not_want_to_be_disturbed_is_told_of_mentions_by_name_only() {
    let scene = Scene::new().await;
    let tea = scene.group("tea", &["alice", "bob", "carol"]).await;
    let bob = UserId::parse("bob").unwrap();
    let quiet = Preferences { do_not_disturb: Some(true), ..Preferences::default() };
    scene.store.set_preferences(&bob, &tea, quiet).await.unwrap();
    scene.say(&tea, "alice", "hello").await;
    scene.turn(DUE).await;
    assert_eq!(scene.receiver.whom(), ["carol/"]);
    let mut message = text(&tea, &UserId::parse("alice").unwrap(), "bob, are you there?");
    message.body.mentions = vec![bob];
    scene.commit(message).await;
    scene.turn(DUE).await;
    let taken = scene.receiver.taken();
    let mentioned: Vec<_> =
        taken.iter().map(|told| (told.body["user"].clone(), told.body["mentioned"].clone())).collect();
    assert!(mentioned.contains(&(json!("bob"), json!(true))), "{mentioned:?}");
    assert!(mentioned.contains(&(json!("carol"), json!(false))), "{mentioned:?}");
}

#[tokio::test]
async fn quick_messages_are_one_push_with_their_number_and_the_newest_text() {
    let scene = Scene::new().await;
    scene.phone("bob", "phone").await;
    let talk = chat("alice", "bob");
    for what in ["one", "two", "three"] {
        scene.say(&talk, "alice", what).await;
    }
    scene.turn(DUE).await;
    let [told] = &scene.receiver.taken()[..] else { panic!("one webhook") };
    assert_eq!((&told.body["count"], &told.body["seq"]), (&json!(3), &json!(3)));
    assert_eq!((&told.body["preview"], &told.body["unread"]), (&json!("three"), &json!(3)));
}

#[tokio::test]
async fn what_comes_while_a_push_is_tried_again_is_merged_into_it() {
    let scene = Scene::new().await;
    scene.phone("bob", "phone").await;
    let talk = chat("alice", "bob");
    scene.receiver.answer(Reply::status(503));
    scene.say(&talk, "alice", "one").await;
    scene.turn(DUE).await;
    scene.say(&talk, "alice", "two").await;
    scene.turn(DUE).await;
    assert_eq!(scene.store.push_totals().await.unwrap().pending, 1, "one pending job per device and conversation");
    scene.receiver.answer(Reply::status(204));
    scene.turn(DUE + 60_000).await;
    let taken = scene.receiver.taken();
    let told: Vec<_> = taken.iter().map(|told| (told.body["seq"].clone(), told.body["count"].clone())).collect();
    assert_eq!(told, [(json!(1), json!(1)), (json!(2), json!(2))]);
    assert_ne!(taken[0].id, taken[1].id, "what says something else is another delivery");
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_and_then_leaves_a_dead_letter_that_can_be_replayed() {
    let scene = Scene::new().await;
    scene.phone("bob", "phone").await;
    let talk = chat("alice", "bob");
    scene.receiver.answer(Reply { body: "the vendor is down", ..Reply::status(500) });
    scene.say(&talk, "alice", "hello").await;
    let mut now = DUE;
    for attempt in 1..=scene.attempts() {
        scene.turn(now).await;
        let taken = scene.receiver.taken();
        assert_eq!(taken.len(), 1, "attempt {attempt}");
        scene.turn(now).await;
        assert_eq!(scene.receiver.taken(), [], "not before a pause");
        now += 600_000;
    }
    scene.turn(now).await;
    assert_eq!(scene.receiver.taken(), []);
    let [dead] = &scene.store.dead_letters(10).await.unwrap()[..] else { panic!("one dead letter") };
    assert_eq!((dead.attempts, dead.reason.as_str()), (scene.attempts(), "status 500: the vendor is down"));
    scene.receiver.answer(Reply::status(200));
    assert_eq!(scene.store.replay_dead_letters(Some(&dead.id), now).await.unwrap(), 1);
    scene.turn(now).await;
    let [told] = &scene.receiver.taken()[..] else { panic!("one webhook") };
    assert_eq!(told.id, dead.id, "the id is the same for the same notice");
    assert_eq!(scene.store.push_totals().await.unwrap(), PushTotals::default());
}

#[tokio::test]
async fn a_refusal_is_a_dead_letter_at_once_and_a_busy_receiver_gets_the_time_it_asks_for() {
    let scene = Scene::new().await;
    let talk = chat("alice", "bob");
    scene.receiver.answer(Reply { retry_after: Some("120"), ..Reply::status(429) });
    scene.say(&talk, "alice", "hello").await;
    scene.turn(DUE).await;
    assert_eq!(scene.receiver.taken().len(), 1);
    scene.turn(DUE + 119_000).await;
    assert_eq!(scene.receiver.taken(), []);
    scene.receiver.answer(Reply::status(410));
    scene.turn(DUE + 180_000).await;
    assert_eq!(scene.receiver.taken().len(), 1);
    assert_eq!(scene.store.dead_letters(10).await.unwrap()[0].reason, "status 410");
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_tried_again() {
    let scene = Scene::new().await;
    let talk = chat("alice", "bob");
    scene.say(&talk, "alice", "hello").await;
    scene.receiver.stop().await;
    scene.turn(DUE).await;
    assert_eq!(scene.store.push_totals().await.unwrap(), PushTotals { pending: 1, dead: 0 });
}

#[tokio::test]
async fn unknown_is_not_offline() {
    let scene = Scene::new().await;
    scene.phone("bob", "phone").await;
    let talk = chat("alice", "bob");
    scene.say(&talk, "alice", "hello").await;
    for announced in [None, Some(Marker(1))] {
        scene.server(1, announced).await;
        for minutes in 0..5 {
            scene.turn(DUE + minutes * 60_000).await;
        }
        assert_eq!(scene.receiver.taken(), [], "a live server may hold a connection of bob");
        assert_eq!(scene.store.push_totals().await.unwrap().pending, 1);
    }
    let marker = scene.marker().await;
    scene.server(1, Some(marker)).await;
    scene.turn(DUE + 600_000).await;
    assert_eq!(scene.receiver.whom(), ["bob/phone"]);
}

#[tokio::test]
async fn in_a_large_group_those_who_are_mentioned_are_told_and_with_all_everyone_by_the_page() {
    // More than one page of members.
    let names: Vec<String> = (0..1_100).map(|n| format!("u{n:04}")).collect();
    let scene = Scene::new().await;
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    let tea = scene.group("tea", &members).await;
    let sender = UserId::parse("u0000").unwrap();
    scene.commit(text(&tea, &sender, "to nobody")).await;
    scene.turn(DUE).await;
    assert_eq!(scene.receiver.taken(), []);
    let mut by_name = text(&tea, &sender, "to two");
    by_name.body.mentions = vec![UserId::parse("u0700").unwrap(), UserId::parse("u0007").unwrap()];
    scene.commit(by_name).await;
    scene.turn(DUE).await;
    assert_eq!(scene.receiver.whom(), ["u0007/", "u0700/"]);
    let mut all = text(&tea, &sender, "to all");
    all.body = im_protocol::message::Body { mention_all: true, ..body("to all") };
    scene.commit(all).await;
    scene.push.look(DUE).await.unwrap();
    assert_eq!(scene.store.push_totals().await.unwrap().pending, 1_099, "a job each, and the work is over");
}

#[tokio::test]
async fn a_mobile_connection_that_ended_with_pushes_in_doubt_is_told_what_came_since() {
    let scene = Scene::new().await;
    for user in ["bob", "carol"] {
        scene.phone(user, "phone").await;
    }
    let [with_bob, with_carol] = ["bob", "carol"].map(|user| chat("alice", user));
    for talk in [&with_bob, &with_carol] {
        // Told already when it came: only the doubt is left.
        scene.say_unheard(talk, "alice", "hello").await;
    }
    for (user, terminal) in [("bob", Terminal::Mobile), ("carol", Terminal::Web)] {
        let item = PushItem::User(UserId::parse(user).unwrap(), Some(terminal));
        scene.store.add_push_work(&[NewWork { item, time: NOW, due: DUE }]).await.unwrap();
    }
    scene.turn(DUE).await;
    assert_eq!(scene.receiver.whom(), ["bob/phone"], "carol's phone was told when the message came");
    scene.turn(DUE).await;
    assert_eq!(scene.store.push_totals().await.unwrap(), PushTotals::default());
}

#[tokio::test]
async fn users_of_a_dead_server_who_do_not_come_back_are_told_what_came_meanwhile() {
    let scene = Scene::new().await;
    for user in ["bob", "carol"] {
        scene.phone(user, "phone").await;
        scene.connect_to(1, user, Terminal::Mobile).await;
        scene.say_unheard(&chat("alice", user), "alice", "hello").await;
    }
    scene.bury(1).await;
    scene.connect("carol", Terminal::Mobile).await;
    scene.turn(DUE).await;
    scene.turn(DUE).await;
    assert_eq!(scene.receiver.whom(), ["bob/phone"], "carol has come back");
    assert_eq!(scene.store.push_totals().await.unwrap(), PushTotals::default());
}

#[tokio::test]
async fn two_workers_share_the_jobs_and_none_is_delivered_twice() {
    let scene = Scene::new().await;
    let names: Vec<String> = (0..200).map(|n| format!("u{n:03}")).collect();
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    let tea = scene.group("tea", &members).await;
    let mut all = text(&tea, &UserId::parse("u000").unwrap(), "to all");
    all.body.mention_all = true;
    scene.commit(all).await;
    let other = scene.another_worker();
    let (one, two) = (scene.turn(DUE), scene.turn_of(&other, DUE));
    tokio::join!(one, two);
    scene.turn(DUE).await;
    let whom = scene.receiver.whom();
    assert_eq!(whom.len(), 199);
    assert!(whom.windows(2).all(|pair| pair[0] != pair[1]));
}

#[tokio::test]
async fn a_webhook_carries_no_text_where_content_is_left_out() {
    let scene = Scene::with(|config| config.include_content = false).await;
    let talk = chat("alice", "bob");
    scene.say(&talk, "alice", "a secret").await;
    scene.turn(DUE).await;
    let [told] = &scene.receiver.taken()[..] else { panic!("one webhook") };
    assert_eq!(told.body["preview"], json!(null));
    assert!(!told.body.to_string().contains("a secret"));
}

#[tokio::test]
async fn a_delivered_message_is_not_told() {
    let scene = Scene::new().await;
    scene.phone("bob", "phone").await;
    let talk = chat("alice", "bob");
    scene.say(&talk, "alice", "hello").await;
    let delivered = ReadPosition { conversation: talk, user: UserId::parse("bob").unwrap(), seq: 1 };
    scene.store.save_delivered(&[delivered]).await.unwrap();
    scene.turn(DUE).await;
    assert_eq!(scene.receiver.taken(), []);
}

#[tokio::test]
async fn the_body_and_its_id_are_what_is_signed() {
    let scene = Scene::new().await;
    let talk = chat("alice", "bob");
    scene.say(&talk, "alice", "hello").await;
    scene.turn(DUE).await;
    let [told] = &scene.receiver.taken()[..] else { panic!("one webhook") };
    assert_eq!(told.signature, Receiver::signature(&told.id, told.timestamp, &told.text));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(told.timestamp) < 300, "receivers refuse old ones");
}
