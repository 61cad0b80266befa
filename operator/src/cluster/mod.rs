//! One reconcile of an `ImCluster`, in five steps: `dereference` reads what the spec refers to and what there is; `validate`
//! refuses what cannot work; `build` makes the objects, pure, and cannot fail; `apply` writes what differs; `status` tells.
//!
//! In the middle stands the machine of [`crate::drain`]: it decides what the record should be, and what follows from the record
//! as it is. The record is written until it says what it should, and only then something is done.

pub mod apply;
pub mod build;
pub mod conditions;
pub mod names;
pub mod pods;
pub mod validate;

mod conflict;
mod context;
mod delete;
mod dereference;
mod error;
mod hash;
mod last_look;
mod look;
mod memory;
mod news;
mod ownership;
mod reconcile;
mod record;
mod status;
mod strict;

pub use context::{Context, Parts, Shared};
pub use error::{ReconcileError, again};
pub use last_look::LastLook;
pub use memory::Memories;
pub use reconcile::reconcile;
pub use record::parse;
