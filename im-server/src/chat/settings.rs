//! What an operator can set about the rules.

use std::time::Duration;

use im_protocol::TimeMs;
use im_protocol::limits::Limits;

/// Settings of the rules.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits that clients are told.
    pub limits: Limits,
    /// Only friends have direct conversations.
    pub friends_only: bool,
    /// Only friends can be put into a group.
    pub invite_friends_only: bool,
    /// Anyone may make an account.
    pub open_registration: bool,
    /// Characters of a new password at least.
    pub password_chars: usize,
    /// How long the sender may recall: milliseconds; `None` for ever.
    pub recall_within: Option<TimeMs>,
    /// Lifetime of an access token; at most 15 minutes.
    pub access_lifetime: Duration,
    /// Lifetime of a refresh token that is not used.
    pub refresh_lifetime: Duration,
    /// Devices per class; the oldest gives way.
    pub devices_per_terminal: usize,
    /// Connections per device; the oldest gives way.
    pub connections_per_device: usize,
    /// Groups up to this size get receipts; above, a coalesced count.
    pub receipts_up_to: u32,
    /// Groups up to this size show who is typing.
    pub typing_up_to: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            friends_only: true,
            invite_friends_only: false,
            open_registration: false,
            password_chars: 8,
            recall_within: Some(2 * 60 * 1000),
            access_lifetime: Duration::from_mins(15),
            refresh_lifetime: Duration::from_hours(24 * 30),
            devices_per_terminal: 1,
            connections_per_device: 5,
            receipts_up_to: 50,
            typing_up_to: 100,
        }
    }
}
