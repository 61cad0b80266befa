//! What a line that was typed means.

use im_protocol::{ConversationId, Seq, UserId};

/// What the user wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Nothing,
    Say(String),
    Help,
    List,
    Open(Place),
    Group {
        name: String,
        users: Vec<UserId>,
    },
    History,
    Recall(Seq),
    Quit,
    /// It means nothing; this is why.
    Wrong(String),
}

/// A conversation, as people name it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Conversation(ConversationId),
    User(UserId),
    /// The line of the last `/list`, from 1.
    Line(usize),
}

pub(crate) const HELP: &str = "\
/list                    conversations, newest first
/open NUMBER|USER|g:ID   open a conversation: a line of /list, a person, an id
/group NAME USER…        create a group with these people
/history                 older messages
/recall NUMBER           take a message of yours back
/quit                    leave (Ctrl-D)
anything else is said; a line that begins with // is said with one /";

pub(crate) fn parse(line: &str) -> Input {
    let line = line.trim();
    let Some(command) = line.strip_prefix('/') else {
        return if line.is_empty() { Input::Nothing } else { Input::Say(line.to_owned()) };
    };
    if command.starts_with('/') {
        return Input::Say(command.to_owned());
    }
    let mut words = command.split_whitespace();
    let name = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.collect();
    match (name, rest.as_slice()) {
        ("help", _) => Input::Help,
        ("list", _) => Input::List,
        ("history", _) => Input::History,
        ("quit", _) => Input::Quit,
        ("open", [place]) => open(place),
        ("recall", [seq]) => match seq.trim_start_matches('#').parse() {
            Ok(seq) => Input::Recall(seq),
            Err(_) => Input::Wrong(format!("{seq} is no number of a message")),
        },
        ("group", [name, users @ ..]) if !users.is_empty() => {
            match users.iter().map(|user| user.parse()).collect::<Result<_, im_protocol::ids::IdError>>() {
                Ok(users) => Input::Group { name: (*name).to_owned(), users },
                Err(error) => Input::Wrong(error.to_string()),
            }
        }
        ("open", _) => Input::Wrong("/open NUMBER|USER|g:ID".to_owned()),
        ("recall", _) => Input::Wrong("/recall NUMBER".to_owned()),
        ("group", _) => Input::Wrong("/group NAME USER…".to_owned()),
        _ => Input::Wrong(format!("/{name} is no command; /help shows them")),
    }
}

fn open(place: &str) -> Input {
    if let Ok(line) = place.parse() {
        return Input::Open(Place::Line(line));
    }
    if place.contains(':') {
        return match place.parse() {
            Ok(conversation) => Input::Open(Place::Conversation(conversation)),
            Err(error) => Input::Wrong(error.to_string()),
        };
    }
    match place.parse() {
        Ok(user) => Input::Open(Place::User(user)),
        Err(error) => Input::Wrong(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_command_is_said() {
        assert_eq!(parse("hello there "), Input::Say("hello there".into()));
        assert_eq!(parse("//help is a command"), Input::Say("/help is a command".into()));
        assert_eq!(parse("  "), Input::Nothing);
    }

    #[test]
    fn a_place_is_a_line_a_person_or_an_id() {
        assert_eq!(parse("/open 2"), Input::Open(Place::Line(2)));
        assert_eq!(parse("/open bob"), Input::Open(Place::User("bob".parse().unwrap())));
        assert_eq!(parse("/open g:1"), Input::Open(Place::Conversation("g:1".parse().unwrap())));
        assert!(matches!(parse("/open x:1"), Input::Wrong(_)));
        assert!(matches!(parse("/open"), Input::Wrong(_)));
    }

    #[test]
    fn a_group_has_a_name_and_somebody_in_it() {
        let users = vec!["bob".parse().unwrap(), "carol".parse().unwrap()];
        assert_eq!(parse("/group team bob carol"), Input::Group { name: "team".into(), users });
        assert!(matches!(parse("/group team"), Input::Wrong(_)));
        assert!(matches!(parse("/group team b/b"), Input::Wrong(_)));
    }

    #[test]
    fn a_message_is_recalled_by_its_number() {
        assert_eq!(parse("/recall #4"), Input::Recall(4));
        assert!(matches!(parse("/recall four"), Input::Wrong(_)));
        assert!(matches!(parse("/shout"), Input::Wrong(_)));
    }
}
