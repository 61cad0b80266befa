//! What of a conversation stands on a page.

use im_protocol::{Message, Seq};

use super::{Page, Slice, Stint};

/// The seqs `[from, to)` that stints cover within a slice, oldest first.
pub(super) fn covered(stints: &[Stint], slice: Slice) -> Vec<(Seq, Seq)> {
    let (low, high) = match slice {
        Slice::After(seq) => (seq.saturating_add(1), Seq::MAX),
        Slice::Before(seq) => (1, seq),
        Slice::Newest => (1, Seq::MAX),
    };
    let mut covered: Vec<(Seq, Seq)> = stints
        .iter()
        .map(|stint| (stint.joined.max(low), stint.left.unwrap_or(Seq::MAX).min(high)))
        .filter(|(from, to)| from < to)
        .collect();
    covered.sort_unstable();
    covered
}

/// Whether a slice is read oldest first.
pub(super) fn is_forth(slice: Slice) -> bool {
    matches!(slice, Slice::After(_))
}

/// The seqs `[from, to)` that stints cover within a slice, in the order of reading.
pub(super) fn in_reading_order(stints: &[Stint], slice: Slice) -> Vec<(Seq, Seq)> {
    let mut ranges = covered(stints, slice);
    if !is_forth(slice) {
        ranges.reverse();
    }
    ranges
}

/// Stints without what was deleted for the user; a past one of which nothing is left goes.
pub(super) fn without_cleared(stints: Vec<Stint>, cleared: Seq) -> Vec<Stint> {
    stints
        .into_iter()
        .map(|stint| Stint { joined: stint.joined.max(cleared + 1), left: stint.left })
        .filter(|stint| stint.left.is_none_or(|left| stint.joined < left))
        .collect()
}

/// What a page has room for.
pub(super) struct Room {
    messages: Vec<Message>,
    limit: usize,
    bytes: usize,
    /// Something did not fit.
    pub(super) more: bool,
}

impl Room {
    /// For `limit` messages of `bytes` of content in all, and for at least one.
    pub(super) fn new(limit: usize, bytes: usize) -> Self {
        Self { messages: Vec::new(), limit, bytes, more: false }
    }

    /// How many messages to read: one more than fits tells whether there is more.
    pub(super) fn wanted(&self) -> usize {
        self.limit - self.messages.len() + 1
    }

    /// Takes a message, or says that there is no room for it.
    pub(super) fn take(&mut self, message: Message) -> bool {
        let bytes = message.content.as_str().len();
        self.more = self.messages.len() >= self.limit || (bytes > self.bytes && !self.messages.is_empty());
        if !self.more {
            self.bytes = self.bytes.saturating_sub(bytes);
            self.messages.push(message);
        }
        !self.more
    }

    /// The page of a slice that was read.
    pub(super) fn page(mut self, slice: Slice) -> Page {
        if !is_forth(slice) {
            self.messages.reverse();
        }
        Page { messages: self.messages, more: self.more }
    }
}
