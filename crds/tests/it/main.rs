//! What the definition says, and that it holds.

mod published;
