//! The offline path: who was not reached is told by push.
//!
//! The relay leaves one piece of work per message. Five seconds later a worker of any server looks who has not got it,
//! and leaves jobs, at most one per device and conversation; another carries them out.

mod wanted;

pub use wanted::Wanted;
