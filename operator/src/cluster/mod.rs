//! One reconcile of an `ImCluster`, in five steps: `dereference` reads what the spec refers to and what there is; `validate`
//! refuses what cannot work; `build` makes the objects, pure, and cannot fail; `apply` writes what differs; `status` tells.

pub mod build;
mod hash;
pub mod names;
mod strict;
pub mod validate;
