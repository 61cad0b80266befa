//! Who is told by push: plain values in, a named answer out.

use im_protocol::{DeviceId, Message, Seq, Terminal, TimeMs, UserId};

use super::presence::Presence;
use crate::store::{Candidate, Notice, RowState};

/// Why somebody is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Skip {
    /// Of all messages this member is the author, or they are from before the member came.
    NotTheirs,
    /// Has read it, on whatever device.
    Read,
    /// Has got it, and on no other device than the one that would be told.
    Received,
    /// Does not want to be disturbed, and is not mentioned by name.
    DoNotDisturb,
    /// A large group, and no mention.
    LargeGroup,
    /// Has a live connection on a mobile device: that shows it.
    OnMobile,
    /// Is connected, and has no mobile device to tell.
    Online,
    /// The mobile device was told when the message came; what has ended is a connection of another class.
    Told,
    /// The device has signed out, or there is one now where there was none.
    DeviceGone,
    /// The message was recalled, or the conversation is not in the user's list any more.
    Gone,
}

impl Skip {
    /// The name in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotTheirs => "not_theirs",
            Self::Read => "read",
            Self::Received => "received",
            Self::DoNotDisturb => "do_not_disturb",
            Self::LargeGroup => "large_group",
            Self::OnMobile => "on_mobile",
            Self::Online => "online",
            Self::Told => "told",
            Self::DeviceGone => "device_gone",
            Self::Gone => "gone",
        }
    }
}

/// What a decision came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict<T> {
    /// Tell.
    Push(T),
    /// Do not.
    Skip(Skip),
    /// Nobody can say yet whether the user is connected.
    Unknown,
}

/// Messages of one conversation that are looked at together.
#[derive(Clone, Debug)]
pub(super) struct Told<'a> {
    /// Oldest first.
    pub(super) messages: &'a [Message],
    /// Only those who are mentioned, by name or with all.
    pub(super) mentions_only: bool,
}

/// Which devices are told; `None` stands for a user without one.
pub(super) fn targets(presence: &Presence, devices: &[DeviceId]) -> Verdict<Vec<Option<DeviceId>>> {
    if presence.terminals.contains(&Terminal::Mobile) {
        Verdict::Skip(Skip::OnMobile)
    } else if !presence.sure {
        Verdict::Unknown
    } else if !devices.is_empty() {
        Verdict::Push(devices.iter().cloned().map(Some).collect())
    } else if presence.terminals.is_empty() {
        Verdict::Push(vec![None])
    } else {
        Verdict::Skip(Skip::Online)
    }
}

/// What a member is told of messages.
pub(super) fn notice(member: &Candidate, told: &Told<'_>, presence: &Presence) -> Verdict<Notice> {
    // A receipt is the user's, not a device's: with a desktop open it is the desktop that has the message, and the
    // phone in the pocket has not.
    let received = if presence.terminals.is_empty() { member.delivered } else { 0 };
    let mut notice: Option<Notice> = None;
    let mut last = Skip::NotTheirs;
    for message in told.messages {
        match reason(member, message, told.mentions_only, received) {
            Some(skip) => last = skip,
            None => {
                let one = Notice { seq: message.seq, count: 1, mentioned: is_mentioned(&member.user, message) };
                notice = Some(notice.map_or(one, |notice| notice.merged(one)));
            }
        }
    }
    notice.map_or(Verdict::Skip(last), Verdict::Push)
}

fn reason(member: &Candidate, message: &Message, mentions_only: bool, received: Seq) -> Option<Skip> {
    let by_name = message.mentions.contains(&member.user);
    if message.sender == member.user || message.seq < member.joined {
        Some(Skip::NotTheirs)
    } else if message.recalled {
        Some(Skip::Gone)
    } else if message.seq <= member.read {
        Some(Skip::Read)
    } else if message.seq <= received {
        Some(Skip::Received)
    } else if member.do_not_disturb && !by_name {
        Some(Skip::DoNotDisturb)
    } else if mentions_only && !by_name && !message.mention_all {
        Some(Skip::LargeGroup)
    } else {
        None
    }
}

/// Mentioned, by name or with all.
pub(super) fn is_mentioned(user: &UserId, message: &Message) -> bool {
    message.mention_all || message.mentions.contains(user)
}

/// What a row of a user's list is worth after a connection ended, with pushes since `since` in doubt.
pub(super) fn in_doubt(user: &UserId, state: &RowState, since: TimeMs) -> Verdict<Notice> {
    let RowState::Present { unread, last: Some(last), mentioned, do_not_disturb, .. } = state else {
        return Verdict::Skip(Skip::Gone);
    };
    if last.sender == *user || !last.kind.badges() || last.time < since {
        Verdict::Skip(Skip::NotTheirs)
    } else if last.recalled {
        Verdict::Skip(Skip::Gone)
    } else if *unread == 0 {
        Verdict::Skip(Skip::Read)
    } else if *do_not_disturb && !last.mentions.contains(user) {
        Verdict::Skip(Skip::DoNotDisturb)
    } else {
        let count = u32::try_from(*unread).unwrap_or(u32::MAX);
        Verdict::Push(Notice { seq: last.seq, count, mentioned: *mentioned })
    }
}

/// Whether a job is still wanted, just before it is sent.
pub(super) fn still_wanted(
    device: Option<&DeviceId>,
    notice: Notice,
    message: Option<&Message>,
    row: Option<&RowState>,
    (presence, devices): (&Presence, &[DeviceId]),
) -> Verdict<()> {
    let (Some(message), Some(RowState::Present { read, do_not_disturb, .. })) = (message, row) else {
        return Verdict::Skip(Skip::Gone);
    };
    if *read >= notice.seq {
        return Verdict::Skip(Skip::Read);
    }
    // Of several messages the newest is gone: the others are still worth a word.
    if message.recalled && notice.count == 1 {
        return Verdict::Skip(Skip::Gone);
    }
    if *do_not_disturb && !notice.mentioned {
        return Verdict::Skip(Skip::DoNotDisturb);
    }
    match targets(presence, devices) {
        Verdict::Push(targets) if targets.iter().any(|target| target.as_ref() == device) => Verdict::Push(()),
        Verdict::Push(_) => Verdict::Skip(Skip::DeviceGone),
        Verdict::Skip(skip) => Verdict::Skip(skip),
        Verdict::Unknown => Verdict::Unknown,
    }
}
