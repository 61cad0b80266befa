//! Which characters a text on the wire may hold.

/// Where control characters may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controls {
    /// None at all: names, ids, queries.
    Refused,
    /// Tab and newline: the content of messages, announcements, drafts.
    TabAndNewline,
}

/// The first character of `text` that must not be there, if any.
///
/// Control characters are Unicode's category Cc (C0, DEL and C1): they have no glyph and have been used to forge
/// log lines and to break terminals.
pub fn forbidden_character(text: &str, controls: Controls) -> Option<char> {
    text.chars().find(|&c| match c {
        '\t' | '\n' => controls == Controls::Refused,
        c => c.is_control(),
    })
}

/// `text` without surrounding white space, if it has 1 to `max` characters and no control characters.
pub fn name(text: &str, max: usize) -> Result<&str, String> {
    // Before trimming: tab and newline are white space, and not allowed in a name all the same.
    if let Some(c) = forbidden_character(text, Controls::Refused) {
        return Err(format!("control character U+{:04X} is not allowed", u32::from(c)));
    }
    let text = text.trim();
    match text.chars().count() {
        0 => Err("must not be empty".to_owned()),
        n if n > max => Err(format!("has {n} characters; at most {max} are allowed")),
        _ => Ok(text),
    }
}

/// Checks a longer text (announcement, draft, remark): up to `max` characters, tab and newline allowed, may be empty.
pub fn free_text(text: &str, max: usize) -> Result<(), String> {
    if let Some(c) = forbidden_character(text, Controls::TabAndNewline) {
        return Err(format!("control character U+{:04X} is not allowed", u32::from(c)));
    }
    match text.chars().count() {
        n if n > max => Err(format!("has {n} characters; at most {max} are allowed")),
        _ => Ok(()),
    }
}
