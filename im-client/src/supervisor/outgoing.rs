//! What is sent, and what comes of it.

use std::time::{Duration, Instant};

use im_protocol::client::{Send, Target};
use im_protocol::server::Sent;
use im_protocol::{ClientFrame, ConversationId, ServerFrame};

use super::{Done, Supervisor};
use crate::backoff::full_jitter;
use crate::connection::{Connection, RequestError};
use crate::cursor::Position;
use crate::events::Event;
use crate::outbox::SendError;
use crate::store::{StoreError, Unsent};
use crate::timelines::beginning;

impl Supervisor {
    pub(super) fn send(&mut self, connection: &Connection) {
        if self.send_at.is_some() {
            return;
        }
        for unsent in self.outbox.take() {
            let connection = connection.clone();
            self.running.spawn(async move {
                let Unsent { target, client_message_id, body } = unsent.clone();
                let frame = ClientFrame::Send(Send { target, client_message_id, body });
                let result = match connection.ask(frame).await {
                    Ok(ServerFrame::Sent(sent)) => Ok(sent),
                    Ok(_) => Err(RequestError::Answer),
                    Err(error) => Err(error),
                };
                Done::Sent(Box::new(unsent), result)
            });
        }
    }

    pub(super) async fn sent(&mut self, unsent: &Unsent, result: Result<Sent, RequestError>) -> Result<(), StoreError> {
        let Unsent { target, client_message_id, .. } = unsent;
        let result = match result {
            Err(RequestError::Refused(error)) if error.retryable => {
                let wait = error
                    .retry_after_ms
                    .map_or_else(|| full_jitter(self.send_failures, rand::random()), Duration::from_millis);
                self.send_failures += 1;
                self.send_at = Some(Instant::now() + wait);
                self.outbox.again(target, client_message_id);
                return Ok(());
            }
            Err(RequestError::Disconnected | RequestError::Timeout) => {
                // Whether it was committed is not known, and need not be: the same id again gets the first ack.
                self.outbox.again(target, client_message_id);
                return Ok(());
            }
            result => result,
        };
        self.send_failures = 0;
        self.store.drop_unsent(target, client_message_id).await?;
        if let Ok(sent) = &result {
            // It is pushed to this connection as well; if it is not, it is pulled.
            let known = Position::default();
            let start = beginning(sent.seq - 1, self.config.initial_history, known);
            self.timelines.cursor(&sent.conversation, start).heard(sent.seq, 0);
            self.timelines.touched(&sent.conversation, Instant::now(), false);
        }
        let Some(entry) = self.outbox.settle(target, client_message_id) else { return Ok(()) };
        match (entry.reply, result) {
            (Some(reply), result) => drop(reply.send(result.map_err(SendError::from))),
            (None, Err(RequestError::Refused(error))) => self.events.emit(Event::Refused {
                conversation: self.conversation_of(target),
                client_message_id: client_message_id.clone(),
                error,
            }),
            (None, _) => {}
        }
        Ok(())
    }

    pub(super) fn conversation_of(&self, target: &Target) -> ConversationId {
        match target {
            Target::Conversation(conversation) => conversation.clone(),
            Target::User(user) => ConversationId::direct(&self.me, user),
        }
    }
}
