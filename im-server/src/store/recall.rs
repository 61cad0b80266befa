//! Taking a message's content away: what stands against it, and what is left.

use im_protocol::{Content, Message, Rev};

use super::{CommittedMessage, DecideRecall, RecallFacts, Recalled};

/// The answer to a recall that changes nothing; `None` if the message is to be recalled.
pub(super) fn answer(facts: &RecallFacts, decide: DecideRecall<'_>) -> Option<Recalled> {
    match decide(facts) {
        Err(error) => Some(Recalled::Refused(error)),
        Ok(()) => facts.message.recalled.then_some(Recalled::Already),
    }
}

/// A message as it is after its recall, which raised the conversation's rev to `rev`.
pub(super) fn recalled(message: Message, rev: Rev, members_version: u64, large: bool) -> CommittedMessage {
    let message =
        Message { rev, content: Content::empty(), mentions: Vec::new(), mention_all: false, recalled: true, ..message };
    CommittedMessage { message, members_version, large, changes: Vec::new() }
}

#[cfg(test)]
mod tests {
    use im_protocol::message::Body;
    use im_protocol::{ConversationId, ErrorCode, Kind, UserId, WireError};

    use super::super::tail::Tail;
    use super::*;

    fn facts() -> RecallFacts {
        let alice = UserId::parse("alice").unwrap();
        let body = Body {
            kind: Kind::Text,
            content: serde_json::from_str(r#"{"text":"oh"}"#).unwrap(),
            mentions: vec![alice.clone()],
            mention_all: true,
            reply_to: Some(1),
        };
        let mut tail = Tail::empty(ConversationId::parse("g:tea").unwrap(), 2);
        let message = tail.append(5, &alice, &mut 0, None, body).message;
        RecallFacts { message, role: None, stints: Vec::new(), dissolved: false }
    }

    #[test]
    fn what_was_recalled_before_is_answered_so_to_those_who_may_recall_it() {
        let (mut facts, refused) = (facts(), WireError::new(ErrorCode::Forbidden, "not yours"));
        assert_eq!(answer(&facts, &|_| Ok(())), None);
        facts.message.recalled = true;
        assert_eq!(answer(&facts, &|_| Ok(())), Some(Recalled::Already));
        assert_eq!(answer(&facts, &|_| Err(refused.clone())), Some(Recalled::Refused(refused.clone())));
    }

    #[test]
    fn a_recalled_message_keeps_its_place_and_loses_what_it_said() {
        let before = facts().message;
        let after = recalled(before.clone(), 9, 3, true);
        assert_eq!((after.members_version, after.large), (3, true));
        let said = (after.message.content.as_str(), after.message.mentions.len(), after.message.mention_all);
        assert_eq!((said, after.message.rev, after.message.recalled), (("{}", 0, false), 9, true));
        assert_eq!((after.message.seq, after.message.reply_to), (before.seq, before.reply_to));
    }
}
