//! What a webhook says.

use im_protocol::{ConversationId, DeviceId, Kind, Message, Seq, Terminal, TimeMs, UserId};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::store::{Job, JobKey, Notice};

/// Characters of a message that are shown: more than a lock screen has room for.
const PREVIEW_CHARS: usize = 200;

/// The body of a webhook; documented in docs/push.md.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Payload<'a> {
    /// Told apart from other kinds of webhooks, should there be any.
    #[serde(rename = "type")]
    pub(super) what: &'static str,
    /// The same as in the header.
    pub(super) id: &'a str,
    pub(super) user: &'a UserId,
    pub(super) device: Option<&'a DeviceId>,
    pub(super) terminal: Option<Terminal>,
    pub(super) conversation: &'a ConversationId,
    pub(super) title: &'a str,
    pub(super) seq: Seq,
    pub(super) kind: Kind,
    pub(super) sender: &'a UserId,
    pub(super) sender_name: &'a str,
    pub(super) preview: Option<String>,
    pub(super) count: u32,
    pub(super) mentioned: bool,
    pub(super) unread: u64,
    pub(super) badge: u64,
    pub(super) time: TimeMs,
}

/// What is looked up for a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) message: &'a Message,
    pub(super) sender_name: &'a str,
    pub(super) title: &'a str,
    pub(super) unread: u64,
    pub(super) badge: u64,
}

impl<'a> Payload<'a> {
    pub(super) fn new(id: &'a str, job: &'a Job, about: About<'a>, include_content: bool) -> Self {
        let Job { key: JobKey { user, device, conversation }, notice: Notice { seq, count, mentioned }, .. } = job;
        let About { message, sender_name, title, unread, badge } = about;
        Self {
            what: "message",
            id,
            user,
            device: device.as_ref(),
            terminal: device.as_ref().map(|_| Terminal::Mobile),
            conversation,
            title,
            seq: *seq,
            kind: message.kind,
            sender: &message.sender,
            sender_name,
            preview: preview(message).filter(|_| include_content),
            count: *count,
            mentioned: *mentioned,
            unread,
            badge,
            time: message.time,
        }
    }
}

/// The id of a delivery: the same for whoever makes it, however often, so that a receiver can drop what it had before.
pub(super) fn id(key: &JobKey, message: &Message) -> String {
    let device = key.device.as_ref().map_or("", DeviceId::as_str);
    let seq = message.seq.to_string();
    let time = message.time.to_string();
    let mut hash = Sha256::new();
    for part in [key.user.as_str(), device, key.conversation.as_str(), &seq, &time] {
        hash.update(part);
        hash.update([0]);
    }
    let hash = hash.finalize();
    let number = u128::from_be_bytes(hash[..16].try_into().expect("SHA-256 has 32 bytes"));
    format!("push_{number:032x}")
}

/// The beginning of a text; `None` where there is none: the kind says what it is.
fn preview(message: &Message) -> Option<String> {
    let text = message.content.text_field()?;
    let mut shown: String = text.chars().take(PREVIEW_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    Some(shown)
}
