//! Fresh stores of every implementation. Their groups are large from five members up and no more below three.

use std::sync::Arc;

use im_server::store::sqlite::SqliteStore;
use im_server::store::{LargeGroups, Store};
use tempfile::TempDir;

/// Sizes that a test reaches with a handful of people.
pub(crate) const LARGE: LargeGroups = LargeGroups { from: 5, below: 3 };

/// An empty store, and what it lives in.
pub(crate) struct Fresh {
    pub(crate) store: Arc<dyn Store>,
    _folder: TempDir,
}

pub(crate) async fn sqlite() -> Fresh {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(&folder.path().join("im.db")).await.expect("a store").with_large_groups(LARGE);
    Fresh { store: Arc::new(store), _folder: folder }
}
