//! The opaque tokens of the list of conversations, with no state on the server.

use im_protocol::{ConversationId, TimeMs};

use crate::store::{ListCursor, Stamp};

/// "Everything committed up to here is known to me."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since(pub(super) Stamp);

impl Since {
    pub(super) fn encode(self) -> String {
        format!("s1.{}", self.0.0)
    }

    /// `None` for what is no token of this version: the client has to start over.
    pub(super) fn decode(text: &str) -> Option<Self> {
        text.strip_prefix("s1.")?.parse().ok().map(|stamp| Self(Stamp(stamp)))
    }
}

/// Where a page ended, and what its first page was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// What was committed when the first page was made: what changes while someone pages is found from there.
    pub(super) first: Stamp,
    /// The first page asked for changes since then.
    pub(super) since: Option<Stamp>,
    /// The last item.
    pub(super) after: ListCursor,
}

impl Cursor {
    pub(super) fn encode(&self) -> String {
        let since = self.since.map_or_else(|| "-".to_owned(), |stamp| stamp.0.to_string());
        format!("c1.{}.{since}.{}.{}", self.first.0, self.after.updated, self.after.conversation)
    }

    pub(super) fn decode(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("c1.")?.splitn(4, '.');
        let first = Stamp(parts.next()?.parse().ok()?);
        let since = match parts.next()? {
            "-" => None,
            stamp => Some(Stamp(stamp.parse().ok()?)),
        };
        let updated: TimeMs = parts.next()?.parse().ok()?;
        let conversation = ConversationId::parse(parts.next()?).ok()?;
        Some(Self { first, since, after: ListCursor { updated, conversation } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_were() {
        let conversation = ConversationId::parse("d:a.b:c@d.e").unwrap();
        for since in [None, Some(Stamp(7))] {
            let after = ListCursor { updated: 12, conversation: conversation.clone() };
            let cursor = Cursor { first: Stamp(9), since, after };
            assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
        assert_eq!(Since::decode(&Since(Stamp(5)).encode()), Some(Since(Stamp(5))));
    }

    #[test]
    fn rubbish_is_no_token() {
        for text in ["", "s1.", "s1.x", "s2.5", "c1.1.2.3", "c1.1.-.3.nonsense", "c1.x.-.3.g:a"] {
            assert_eq!(Since::decode(text), None, "{text}");
            assert_eq!(Cursor::decode(text), None, "{text}");
        }
    }
}
