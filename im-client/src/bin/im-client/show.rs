//! How messages look on a terminal.

use std::fmt::Write;

use im_protocol::notification::{Notification, Template};
use im_protocol::server::ConversationView;
use im_protocol::{Kind, Message, TimeMs, UserId};

/// `text` on one line without control characters: a terminal obeys them, so a message could move its cursor, rename
/// its window or forge another line. Direction overrides go for the same reason.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .collect()
}

/// A message's line.
pub(crate) fn message(message: &Message) -> String {
    let mut line = format!("{} #{} ", clock(message.time), message.seq);
    if message.kind == Kind::Notification {
        line.push_str("* ");
        line.push_str(&notification(message));
        return line;
    }
    let said = match (message.recalled, message.kind) {
        (true, _) => "(recalled)".to_owned(),
        (false, Kind::Text) => harmless(&message.content.text_field().unwrap_or_default()),
        (false, kind) => format!("[{kind}] {}", harmless(message.content.as_str())),
    };
    if let Some(seq) = message.reply_to {
        let _ = write!(line, "(re #{seq}) ");
    }
    let _ = write!(line, "{}: {said}", message.sender);
    line
}

/// A conversation's line in the list.
pub(crate) fn conversation(n: usize, view: &ConversationView) -> String {
    let unread = if view.unread > 0 { format!(" ({} unread)", view.unread) } else { String::new() };
    let last = view.last.as_ref().map(message).unwrap_or_default();
    format!("{n:3}  {}{unread}  {}  {last}", harmless(&view.title), view.conversation)
}

fn notification(message: &Message) -> String {
    let Ok(Notification { template, actor, users, count, text }) = serde_json::from_str(message.content.as_str())
    else {
        // A template of a later version.
        return harmless(message.content.as_str());
    };
    let whom = names(&users, count);
    let text = harmless(&text);
    match template {
        Template::GroupCreated => format!("{actor} created the group with {whom}"),
        Template::GroupInvited => format!("{actor} invited {whom}"),
        Template::GroupJoined => format!("{whom} joined"),
        Template::GroupLeft => format!("{actor} left"),
        Template::GroupKicked => format!("{actor} removed {whom}"),
        Template::GroupDissolved => format!("{actor} dissolved the group"),
        Template::GroupRenamed => format!("{actor} named the group {text}"),
        Template::OwnerChanged => format!("{actor} made {whom} the owner"),
        Template::RoleChanged => format!("{actor} made {whom} {text}"),
        Template::MemberMuted => format!("{actor} muted {whom}"),
        Template::MemberUnmuted => format!("{actor} unmuted {whom}"),
        Template::GroupMuted => format!("{actor} muted the group"),
        Template::GroupUnmuted => format!("{actor} unmuted the group"),
        Template::Announcement => format!("{actor} announced: {text}"),
    }
}

fn names(users: &[UserId], count: usize) -> String {
    let mut names = users.iter().map(UserId::as_str).collect::<Vec<_>>().join(", ");
    let others = count.saturating_sub(users.len());
    if others > 0 {
        let _ = write!(names, " and {others} more");
    }
    names
}

/// Time of day, UTC: a terminal program cannot know the zone without the platform's database.
fn clock(time: TimeMs) -> String {
    let minutes = time.div_euclid(60_000).rem_euclid(24 * 60);
    format!("{:02}:{:02}Z", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_command_the_terminal_or_forge_a_line() {
        let evil = "hi\u{1b}]0;owned\u{7}\r\n12:00Z #9 bob: yes\u{9b}2J\u{202e}";
        assert_eq!(harmless(evil), "hi]0;owned 12:00Z #9 bob: yes2J");
        assert_eq!(harmless("你好 🎉"), "你好 🎉");
    }

    #[test]
    fn a_notification_counts_whom_it_does_not_name() {
        let users = ["bob".parse().unwrap(), "carol".parse().unwrap()];
        assert_eq!(names(&users, 2), "bob, carol");
        assert_eq!(names(&users, 30), "bob, carol and 28 more");
    }

    #[test]
    fn the_clock_is_the_time_of_day() {
        assert_eq!(clock(1_700_000_000_000), "22:13Z");
    }
}
