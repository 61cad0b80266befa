//! Sessions and refresh tokens.

use im_protocol::{DeviceId, Terminal, TimeMs, UserId};
use im_server::store::{Arriving, NewSession, Rotation, Session, SessionId};

use super::world::{Db, NOW, people};

const HOUR: TimeMs = 3_600_000;
const GRACE: i64 = 60_000;

fn session(user: &UserId, name: &str, terminal: Terminal, device: &str) -> Session {
    Session {
        id: SessionId(name.to_owned()),
        user: user.clone(),
        terminal,
        device: DeviceId::parse(device).unwrap(),
        created: NOW,
        last_seen: NOW,
        expires: NOW + HOUR,
        revoked: false,
    }
}

async fn create(store: &Db, session: &Session, token: &str) {
    let new = NewSession { session: session.clone(), refresh_hash: Some(token.as_bytes().to_vec()) };
    store.create_session(new).await.unwrap();
}

/// A session with the token `t1`.
async fn signed_in(store: &Db) -> Session {
    let [alice] = people(store, ["alice"]).await;
    let session = session(&alice, "s1", Terminal::Web, "d1");
    create(store, &session, "t1").await;
    session
}

async fn rotate(store: &Db, token: &str, successor: &str, now: TimeMs) -> Rotation {
    store.rotate(token.as_bytes(), successor.as_bytes(), now, now + HOUR, GRACE).await.unwrap()
}

async fn a_session_comes_back_as_it_was_stored(store: Db) {
    let session = signed_in(&store).await;
    assert_eq!(store.session(&session.id).await.unwrap(), Some(session));
    assert_eq!(store.session(&SessionId("s2".to_owned())).await.unwrap(), None);
}

async fn a_user_sees_the_sessions_that_live_newest_first(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let at = |name: &str, created, expires| Session { created, expires, ..session(&alice, name, Terminal::Web, "d1") };
    let sessions = [at("s1", 1, NOW), at("s2", 2, NOW + 1), at("s3", 3, NOW + 2), at("s4", 4, NOW + 3)];
    for session in &sessions {
        create(&store, session, &session.id.0).await;
    }
    create(&store, &session(&bob, "s5", Terminal::Web, "d1"), "s5").await;
    assert!(store.revoke(&alice, &sessions[2].id).await.unwrap());
    assert_eq!(store.sessions(&alice, NOW).await.unwrap(), [sessions[3].clone(), sessions[1].clone()]);
}

async fn the_current_token_is_exchanged_for_its_successor(store: Db) {
    let session = signed_in(&store).await;
    let expected = Session { last_seen: NOW + 5, expires: NOW + 5 + HOUR, ..session };
    assert_eq!(rotate(&store, "t1", "t2", NOW + 5).await, Rotation::Rotated(expected.clone()));
    assert_eq!(store.session(&expected.id).await.unwrap(), Some(expected));
    assert!(matches!(rotate(&store, "t2", "t3", NOW + 6).await, Rotation::Rotated(_)));
}

async fn the_token_before_answers_again_within_the_grace(store: Db) {
    signed_in(&store).await;
    rotate(&store, "t1", "t2", NOW).await;
    // Who asks again may not know what the successor was: the one that is stored is told.
    for asked in ["t2", "other"] {
        let Rotation::Again { successor, .. } = rotate(&store, "t1", asked, NOW + GRACE).await else {
            panic!("{asked}")
        };
        assert_eq!(successor, b"t2");
    }
    assert!(matches!(rotate(&store, "t2", "t3", NOW + GRACE).await, Rotation::Rotated(_)));
}

async fn the_token_before_ends_the_session_after_the_grace(store: Db) {
    let session = signed_in(&store).await;
    rotate(&store, "t1", "t2", NOW).await;
    let Rotation::Reused(ended) = rotate(&store, "t1", "t2", NOW + GRACE + 1).await else { panic!() };
    assert!(ended.revoked && ended.id == session.id);
    assert!(store.session(&session.id).await.unwrap().unwrap().revoked);
    assert_eq!(rotate(&store, "t2", "t3", NOW + GRACE + 2).await, Rotation::Unknown);
}

async fn an_older_token_ends_the_session_at_once(store: Db) {
    signed_in(&store).await;
    rotate(&store, "t1", "t2", NOW).await;
    rotate(&store, "t2", "t3", NOW).await;
    assert!(matches!(rotate(&store, "t1", "t2", NOW + 1).await, Rotation::Reused(_)));
    assert_eq!(rotate(&store, "t3", "t4", NOW + 2).await, Rotation::Unknown);
}

async fn tokens_of_nobody_expired_ones_and_those_of_dead_sessions_are_unknown(store: Db) {
    let session = signed_in(&store).await;
    assert_eq!(rotate(&store, "t9", "t10", NOW).await, Rotation::Unknown);
    assert_eq!(rotate(&store, "t1", "t2", NOW + HOUR).await, Rotation::Unknown);
    assert!(store.revoke(&session.user, &session.id).await.unwrap());
    assert_eq!(rotate(&store, "t1", "t2", NOW).await, Rotation::Unknown);
}

async fn a_session_without_a_refresh_token_lives_as_long_as_it_is_kept(store: Db) {
    let [alice] = people(&store, ["alice"]).await;
    let session = session(&alice, "s1", Terminal::Mobile, "d1");
    store.create_session(NewSession { session: session.clone(), refresh_hash: None }).await.unwrap();
    store.keep_session(&session.id, NOW + 5, NOW + HOUR + 5).await.unwrap();
    let kept = Session { last_seen: NOW + 5, expires: NOW + HOUR + 5, ..session };
    assert_eq!(store.sessions(&alice, NOW + HOUR).await.unwrap(), [kept]);
    assert_eq!(store.sessions(&alice, NOW + HOUR + 5).await.unwrap(), []);
}

async fn a_session_is_ended_once_by_its_user(store: Db) {
    let session = signed_in(&store).await;
    let [bob] = people(&store, ["bob"]).await;
    assert!(!store.revoke(&bob, &session.id).await.unwrap());
    assert!(store.revoke(&session.user, &session.id).await.unwrap());
    assert!(!store.revoke(&session.user, &session.id).await.unwrap());
    assert!(store.session(&session.id).await.unwrap().unwrap().revoked);
}

async fn a_new_device_ends_the_others_of_its_class(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    for (user, name, terminal, device) in [
        (&alice, "other", Terminal::Web, "d1"),
        (&alice, "other2", Terminal::Web, "d2"),
        (&alice, "same device", Terminal::Web, "d3"),
        (&alice, "new", Terminal::Web, "d3"),
        (&alice, "kept", Terminal::Web, "d4"),
        (&alice, "phone", Terminal::Mobile, "d1"),
        (&bob, "bob", Terminal::Web, "d1"),
    ] {
        create(&store, &session(user, name, terminal, device), name).await;
    }
    let end = async || {
        let device = DeviceId::parse("d3").unwrap();
        let keep = SessionId("kept".to_owned());
        let mut ended = store.revoke_other_devices(&alice, Terminal::Web, &device, &keep).await.unwrap();
        ended.sort();
        ended.into_iter().map(|id| id.0).collect::<Vec<_>>()
    };
    assert_eq!(end().await, ["other", "other2"]);
    assert_eq!(end().await, Vec::<String>::new());
    let ids = ["other", "same device", "new", "kept", "phone", "bob", "nobody's"].map(|id| SessionId(id.to_owned()));
    let dead = store.dead_sessions(&ids).await.unwrap();
    assert_eq!(dead, [SessionId("other".to_owned()), SessionId("nobody's".to_owned())]);
}

async fn who_connects_is_told_apart_by_session_and_device(store: Db) {
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let sessions = [
        session(&alice, "s1", Terminal::Web, "d1"),
        session(&alice, "s2", Terminal::Web, "d2"),
        session(&alice, "s3", Terminal::Mobile, "d3"),
        Session { expires: NOW, ..session(&alice, "s4", Terminal::Mobile, "d4") },
        session(&bob, "s5", Terminal::Mobile, "d5"),
    ];
    for session in &sessions {
        create(&store, session, &session.id.0).await;
    }
    let arrives = async |user: &UserId, n: usize| {
        let Session { id: session, terminal, device, .. } = &sessions[n];
        let arriving = Arriving { user, session, terminal: *terminal, device };
        let arrival = store.arrival(arriving, NOW).await.unwrap();
        assert_eq!(arrival.stamp, store.stamp().await.unwrap());
        (arrival.session_lives, arrival.other_devices)
    };
    assert_eq!(arrives(&alice, 0).await, (true, true));
    assert_eq!(arrives(&alice, 2).await, (true, false), "neither an expired session nor another user's counts");
    assert!(store.revoke(&alice, &sessions[1].id).await.unwrap());
    assert_eq!(arrives(&alice, 0).await, (true, false));
    assert_eq!(arrives(&alice, 1).await, (false, true));
    assert_eq!(arrives(&bob, 0).await, (false, false), "a session speaks for its own user");
}

contract!(
    who_connects_is_told_apart_by_session_and_device,
    a_session_comes_back_as_it_was_stored,
    a_user_sees_the_sessions_that_live_newest_first,
    the_current_token_is_exchanged_for_its_successor,
    the_token_before_answers_again_within_the_grace,
    the_token_before_ends_the_session_after_the_grace,
    an_older_token_ends_the_session_at_once,
    tokens_of_nobody_expired_ones_and_those_of_dead_sessions_are_unknown,
    a_session_without_a_refresh_token_lives_as_long_as_it_is_kept,
    a_session_is_ended_once_by_its_user,
    a_new_device_ends_the_others_of_its_class,
);
