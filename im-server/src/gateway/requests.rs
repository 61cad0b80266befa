//! What a connection asks for, after hello. One request at a time; sends only wait for their place in the queue of the
//! committer, so that many may be under way.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use im_protocol::client::{ClientFrame, Presence, Room, Sync};
use im_protocol::server::{self, Answer, Pong};
use im_protocol::{ConversationKind, ErrorCode, FrameId, ServerFrame, TimeMs, WireError};
use parking_lot::Mutex;

use super::session::Session;
use crate::chat::{Grant, Inside, MessagesQuery, Result, now_ms};

/// Between two typing frames of one connection that are passed on: milliseconds.
const TYPING_EVERY: TimeMs = 500;

/// People whose presence one connection may watch.
const WATCHED: usize = 1_000;

/// Rooms one connection may be inside.
const ROOMS: usize = 50;

/// Adds to what a connection holds, if it does not become too much.
fn hold<T: Clone + Eq + std::hash::Hash>(held: &Mutex<HashSet<T>>, more: &[T], most: usize, what: &str) -> Result<()> {
    let mut held = held.lock();
    let fresh = more.iter().filter(|&item| !held.contains(item)).count();
    if held.len() + fresh > most {
        return Err(WireError::new(ErrorCode::TooLarge, format!("{what}: at most {most} per connection")));
    }
    held.extend(more.iter().cloned());
    Ok(())
}

/// Answers a frame.
pub(super) async fn handle(session: &Session, id: Option<FrameId>, frame: ClientFrame) {
    let answered = answer(session, id.clone(), frame).await;
    match answered {
        Ok(Some(frame)) => session.outbox.answer(&frame),
        Ok(None) => {}
        Err(error) => session.outbox.answer(&ServerFrame::Error(error.answering(id))),
    }
}

async fn answer(session: &Session, id: Option<FrameId>, frame: ClientFrame) -> Result<Option<ServerFrame>> {
    let Session { gateway, hub, connection, caller, .. } = session;
    let chat = &gateway.chat;
    let user = &caller.user;
    Ok(match frame {
        ClientFrame::Ping => Some(ServerFrame::Pong(Pong { id, time: now_ms() })),
        ClientFrame::Send(send) => {
            submit(session, id, send).await?;
            None
        }
        ClientFrame::Delivered(mark) => {
            chat.delivered(user, &mark.conversation, mark.seq);
            None
        }
        ClientFrame::Read(mark) => {
            chat.read(user, &mark.conversation, mark.seq, Some(connection.id)).await?;
            Some(ok(id))
        }
        ClientFrame::Sync(sync) => {
            synchronize(session, id, sync).await;
            None
        }
        ClientFrame::History(history) => {
            let query = MessagesQuery { before: history.before, after: None, rev: None, limit: history.limit };
            let inside = session.inside(&history.conversation);
            let page = chat.messages_for(user, &history.conversation, query, inside).await?;
            Some(ServerFrame::Messages(server::Messages { id, ..page }))
        }
        ClientFrame::Conversations(list) => {
            let (cursor, since) = (list.cursor.as_deref(), list.since.as_deref());
            let page = chat.conversations(user, cursor, since, list.limit).await?;
            Some(ServerFrame::Conversations(server::Conversations { id, ..page }))
        }
        ClientFrame::Join(Room { conversation }) => {
            chat.room_exists(&conversation).await?;
            hold(&session.rooms, std::slice::from_ref(&conversation), ROOMS, "rooms")?;
            hub.enter_room(&conversation, connection).await;
            Some(ok(id))
        }
        ClientFrame::Leave(Room { conversation }) => {
            if conversation.kind() != ConversationKind::Room {
                return Err(WireError::invalid_field("conversation", "only rooms are left by this frame"));
            }
            session.rooms.lock().remove(&conversation);
            if !hub.leave_room(&conversation, connection).await {
                return Err(WireError::new(ErrorCode::NotAMember, "this connection is not inside the room"));
            }
            Some(ok(id))
        }
        ClientFrame::Typing(typing) => {
            // What comes faster says nothing new: the others show it for some seconds.
            let now = now_ms();
            if now - session.typed.load(Ordering::Relaxed) >= TYPING_EVERY {
                session.typed.store(now, Ordering::Relaxed);
                chat.typing(user, &typing.conversation, session.inside(&typing.conversation)).await;
            }
            None
        }
        ClientFrame::Presence(Presence { subscribe, unsubscribe }) => {
            session.watched.lock().retain(|user| !unsubscribe.contains(user));
            hub.unwatch(&unsubscribe, connection).await;
            hold(&session.watched, &subscribe, WATCHED, "people watched")?;
            // Watching comes first, so that no change falls between the answer and the first push.
            hub.watch(&subscribe, connection).await;
            let users = chat.presence(&subscribe).await?;
            Some(ServerFrame::Presence(server::Presence { id, users }))
        }
        ClientFrame::Auth(auth) => {
            let identity = chat.authenticate(&auth.token).await?;
            if identity.user != *user {
                return Err(WireError::new(ErrorCode::Unauthorized, "the token is of another user"));
            }
            match identity.grant {
                Grant::Session(by) => session.outbox.authorize(by, identity.expires),
                Grant::Provider { .. } => session.outbox.prolong(identity.expires),
            }
            Some(ok(id))
        }
        ClientFrame::Hello(_) => {
            return Err(WireError::invalid_frame(
                Some("type".into()),
                "hello is said once; a fresh token comes by auth",
            ));
        }
    })
}

fn ok(id: Option<FrameId>) -> ServerFrame {
    ServerFrame::Ok(Answer { id })
}

/// Hands a message to the committer. The answer is written when it is committed; meanwhile the next frame is read.
async fn submit(session: &Session, id: Option<FrameId>, send: im_protocol::client::Send) -> Result<()> {
    let permit = session.pipeline.clone().acquire_owned().await.expect("the semaphore is never closed");
    let outbox = session.outbox.clone();
    let answer = Box::new(move |result: Result<server::Sent>| {
        let frame = match result {
            Ok(sent) => ServerFrame::Sent(server::Sent { id, ..sent }),
            Err(error) => ServerFrame::Error(error.answering(id)),
        };
        outbox.answer(&frame);
        drop(permit);
    });
    let inside = match &send.target {
        im_protocol::client::Target::Conversation(conversation) => session.inside(conversation),
        im_protocol::client::Target::User(_) => Inside::No,
    };
    session.gateway.chat.submit(&session.caller, send, inside, answer).await;
    Ok(())
}

/// Answers a `sync`: one frame for each item, the last with `last`.
async fn synchronize(session: &Session, id: Option<FrameId>, sync: Sync) {
    let count = sync.items.len();
    for (n, item) in sync.items.into_iter().enumerate() {
        let last = sync.many && n + 1 == count;
        let query = MessagesQuery { before: None, after: Some(item.after), rev: Some(item.rev), limit: sync.limit };
        let inside = session.inside(&item.conversation);
        let page = session.gateway.chat.messages_for(&session.caller.user, &item.conversation, query, inside).await;
        let frame = match page {
            Ok(page) => ServerFrame::Messages(server::Messages { id: id.clone(), last, ..page }),
            Err(error) => {
                let conversation = sync.many.then_some(item.conversation);
                ServerFrame::Error(WireError { id: id.clone(), conversation, last, ..error })
            }
        };
        session.outbox.answer(&frame);
        // One item's answer may be 256 KiB: the next waits until the client has taken most of it.
        if !session.outbox.may_read() {
            session.outbox.until_may_read().await;
        }
    }
}

impl Session {
    /// Whether this connection is inside a room.
    fn inside(&self, conversation: &im_protocol::ConversationId) -> Inside {
        if conversation.kind() == ConversationKind::Room && self.hub.is_inside(conversation, self.connection.id) {
            Inside::Yes
        } else {
            Inside::No
        }
    }
}
