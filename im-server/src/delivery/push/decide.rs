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
        if let Some(skip) = reason(member, message, told.mentions_only, received) {
            last = skip;
            continue;
        }
        let one = Notice { seq: message.seq, count: 1, mentioned: is_mentioned(&member.user, message) };
        notice = Some(notice.map_or(one, |notice| notice.merged(one)));
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

#[cfg(test)]
mod tests {
    use im_protocol::{Content, ConversationId, Kind};
    use proptest::prelude::*;

    use super::*;

    fn id(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn message(seq: Seq, sender: &str) -> Message {
        Message {
            conversation: ConversationId::parse("g:tea").unwrap(),
            seq,
            rev: 0,
            incarnation: 1,
            sender: id(sender),
            client_message_id: None,
            time: 1_000,
            kind: Kind::Text,
            content: Content::text("hi"),
            mentions: Vec::new(),
            mention_all: false,
            reply_to: None,
            forwarded_from: None,
            recalled: false,
            edited: None,
            reactions: std::collections::BTreeMap::new(),
        }
    }

    fn bob() -> Candidate {
        Candidate { user: id("bob"), joined: 1, read: 0, delivered: 0, do_not_disturb: false }
    }

    fn offline() -> Presence {
        Presence { terminals: Vec::new(), sure: true }
    }

    fn on(terminals: &[Terminal]) -> Presence {
        Presence { terminals: terminals.to_vec(), sure: true }
    }

    fn phone() -> Vec<DeviceId> {
        vec![DeviceId::parse("phone").unwrap()]
    }

    fn told(member: &Candidate, messages: &[Message], mentions_only: bool) -> Verdict<Notice> {
        notice(member, &Told { messages, mentions_only }, &offline())
    }

    fn one(seq: Seq, mentioned: bool) -> Verdict<Notice> {
        Verdict::Push(Notice { seq, count: 1, mentioned })
    }

    #[test]
    fn devices_are_told_unless_the_user_is_on_one_and_nobody_is_before_that_is_sure() {
        let skip = Verdict::Skip;
        let told = |device: Option<DeviceId>| Verdict::Push(vec![device]);
        assert_eq!(targets(&offline(), &phone()), told(Some(phone().remove(0))));
        assert_eq!(targets(&offline(), &[]), told(None));
        assert_eq!(targets(&on(&[Terminal::Desktop]), &phone()), told(Some(phone().remove(0))));
        assert_eq!(targets(&on(&[Terminal::Desktop]), &[]), skip(Skip::Online));
        assert_eq!(targets(&on(&[Terminal::Web, Terminal::Mobile]), &phone()), skip(Skip::OnMobile));
        let unsure = |terminals| Presence { terminals, sure: false };
        assert_eq!(targets(&unsure(vec![]), &phone()), Verdict::Unknown);
        assert_eq!(targets(&unsure(vec![Terminal::Web]), &phone()), Verdict::Unknown);
        assert_eq!(targets(&unsure(vec![Terminal::Mobile]), &phone()), skip(Skip::OnMobile));
    }

    #[test]
    fn who_wrote_it_read_it_or_came_later_is_not_told() {
        let hi = [message(5, "alice")];
        assert_eq!(told(&bob(), &hi, false), one(5, false));
        assert_eq!(told(&Candidate { user: id("alice"), ..bob() }, &hi, false), Verdict::Skip(Skip::NotTheirs));
        assert_eq!(told(&Candidate { joined: 6, ..bob() }, &hi, false), Verdict::Skip(Skip::NotTheirs));
        assert_eq!(told(&Candidate { read: 5, ..bob() }, &hi, false), Verdict::Skip(Skip::Read));
        let recalled = [Message { recalled: true, ..message(5, "alice") }];
        assert_eq!(told(&bob(), &recalled, false), Verdict::Skip(Skip::Gone));
    }

    #[test]
    fn what_was_received_is_not_told_unless_another_device_may_have_received_it() {
        let hi = [message(5, "alice")];
        let messages = Told { messages: &hi, mentions_only: false };
        let received = Candidate { delivered: 5, ..bob() };
        assert_eq!(notice(&received, &messages, &offline()), Verdict::Skip(Skip::Received));
        assert_eq!(notice(&received, &messages, &on(&[Terminal::Desktop])), one(5, false));
    }

    #[test]
    fn only_a_mention_by_name_disturbs_who_does_not_want_to_be() {
        let quiet = Candidate { do_not_disturb: true, ..bob() };
        let by_name = [Message { mentions: vec![id("bob")], ..message(5, "alice") }];
        let all = [Message { mention_all: true, ..message(5, "alice") }];
        assert_eq!(told(&quiet, &[message(5, "alice")], false), Verdict::Skip(Skip::DoNotDisturb));
        assert_eq!(told(&quiet, &all, false), Verdict::Skip(Skip::DoNotDisturb));
        assert_eq!(told(&quiet, &by_name, false), one(5, true));
        assert_eq!(told(&bob(), &all, true), one(5, true));
        assert_eq!(told(&bob(), &[message(5, "alice")], true), Verdict::Skip(Skip::LargeGroup));
    }

    fn present(read: Seq, last: Option<Message>, unread: u64, do_not_disturb: bool) -> RowState {
        RowState::Present {
            title: String::new(),
            head: 9,
            rev: 0,
            incarnation: 1,
            read,
            unread,
            last,
            mentioned: false,
            pinned: false,
            do_not_disturb,
            draft: None,
        }
    }

    #[test]
    fn after_a_broken_connection_what_came_since_and_is_unread_is_told() {
        let doubt = |state: &RowState, since| in_doubt(&id("bob"), state, since);
        let hi = || Some(message(5, "alice"));
        let notice = Notice { seq: 5, count: 3, mentioned: false };
        assert_eq!(doubt(&present(2, hi(), 3, false), 1_000), Verdict::Push(notice));
        assert_eq!(doubt(&present(2, hi(), 3, false), 1_001), Verdict::Skip(Skip::NotTheirs));
        assert_eq!(doubt(&present(5, hi(), 0, false), 0), Verdict::Skip(Skip::Read));
        assert_eq!(doubt(&present(2, hi(), 3, true), 0), Verdict::Skip(Skip::DoNotDisturb));
        assert_eq!(doubt(&present(2, Some(message(5, "bob")), 3, false), 0), Verdict::Skip(Skip::NotTheirs));
        assert_eq!(doubt(&present(2, None, 0, false), 0), Verdict::Skip(Skip::Gone));
    }

    #[test]
    fn a_job_is_dropped_once_it_is_read_or_seen_or_its_device_is_gone() {
        let job = Notice { seq: 5, count: 1, mentioned: false };
        let hi = message(5, "alice");
        let row = present(0, None, 1, false);
        let phones = phone();
        let still = |row: Option<&RowState>, message, presence: &Presence, devices: &[DeviceId]| {
            still_wanted(phones.first(), job, message, row, (presence, devices))
        };
        assert_eq!(still(Some(&row), Some(&hi), &offline(), &phones), Verdict::Push(()));
        assert_eq!(still(Some(&present(5, None, 0, false)), Some(&hi), &offline(), &phones), Verdict::Skip(Skip::Read));
        assert_eq!(
            still(Some(&present(0, None, 1, true)), Some(&hi), &offline(), &phones),
            Verdict::Skip(Skip::DoNotDisturb)
        );
        assert_eq!(still(Some(&row), Some(&hi), &on(&[Terminal::Mobile]), &phones), Verdict::Skip(Skip::OnMobile));
        assert_eq!(still(Some(&row), Some(&hi), &offline(), &[]), Verdict::Skip(Skip::DeviceGone));
        assert_eq!(still(Some(&row), Some(&hi), &Presence::default(), &phones), Verdict::Unknown);
        assert_eq!(still(Some(&row), None, &offline(), &phones), Verdict::Skip(Skip::Gone));
        assert_eq!(still(None, Some(&hi), &offline(), &phones), Verdict::Skip(Skip::Gone));
        let recalled = Message { recalled: true, ..message(5, "alice") };
        assert_eq!(still(Some(&row), Some(&recalled), &offline(), &phones), Verdict::Skip(Skip::Gone));
    }

    fn any_terminal() -> impl Strategy<Value = Terminal> {
        proptest::sample::select(Terminal::ALL.to_vec())
    }

    fn any_messages() -> impl Strategy<Value = Vec<Message>> {
        let one = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
        proptest::collection::vec(one, 0..6).prop_map(|all| {
            let of = |(seq, (own, by_name, mention_all, recalled))| Message {
                mentions: if by_name { vec![id("bob")] } else { Vec::new() },
                mention_all,
                recalled,
                ..message(seq, if own { "bob" } else { "alice" })
            };
            (1..).zip(all).map(of).collect()
        })
    }

    proptest! {
        #[test]
        fn a_notice_counts_each_message_that_concerns_the_member_and_names_the_newest(
            messages in any_messages(), joined in 1_u64..4, read in 0_u64..4, do_not_disturb: bool, mentions_only: bool,
        ) {
            let member = Candidate { joined, read, do_not_disturb, ..bob() };
            let concerning: Vec<_> = messages.iter().filter(|message| {
                let by_name = message.mentions.contains(&member.user);
                message.sender != member.user && message.seq >= joined.max(read + 1) && !message.recalled
                    && (by_name || !do_not_disturb) && (by_name || message.mention_all || !mentions_only)
            }).collect();
            match told(&member, &messages, mentions_only) {
                Verdict::Push(notice) => {
                    prop_assert_eq!(notice.count as usize, concerning.len());
                    prop_assert_eq!(Some(notice.seq), concerning.last().map(|message| message.seq));
                    prop_assert_eq!(notice.mentioned, concerning.iter().any(|one| is_mentioned(&member.user, one)));
                }
                other => prop_assert!(concerning.is_empty(), "{other:?} of {concerning:?}"),
            }
        }

        #[test]
        fn nobody_is_told_who_is_or_may_be_on_a_mobile_device(
            terminals in proptest::collection::vec(any_terminal(), 0..4), sure: bool, has_phone: bool,
        ) {
            let devices = if has_phone { phone() } else { Vec::new() };
            let may_be = !sure || terminals.contains(&Terminal::Mobile);
            let presence = Presence { terminals, sure };
            let verdict = targets(&presence, &devices);
            prop_assert!(!(may_be && matches!(verdict, Verdict::Push(_))), "{verdict:?}");
            if let Verdict::Push(targets) = verdict {
                prop_assert!(!targets.is_empty());
                prop_assert_eq!(targets.contains(&None), devices.is_empty());
            }
        }
    }
}
