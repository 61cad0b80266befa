//! How keys are laid out. In a Redis Cluster everything stands in a fixed number of buckets, each a hash tag and
//! therefore one slot: keys of a bucket are always on one node together, so that what is read of a bucket and the
//! bucket's marker come from the same node in the same round trip. Elsewhere there is one bucket.

use std::fmt;

use ::redis::cluster_routing::{Route, Slot, SlotAddr};

/// Buckets of a Redis Cluster: enough that three to a dozen nodes carry about the same. A constant of the format: every
/// server must find the same key in the same bucket.
const OF_A_CLUSTER: u16 = 32;

/// Slots of a Redis Cluster, by its specification.
const SLOTS: u16 = 16_384;

/// A bucket by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bucket(pub(crate) usize);

/// The buckets of one installation, and the names of keys in them.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// What a key of each bucket begins with: the prefix and the hash tag.
    heads: Vec<String>,
}

impl Buckets {
    /// One bucket.
    pub(crate) fn one(prefix: &str) -> Self {
        Self { heads: vec![format!("{prefix}{{0}}")] }
    }

    /// The buckets of a cluster, spread evenly over the slots, which nodes hold in ranges.
    pub(crate) fn spread(prefix: &str) -> Self {
        let width = SLOTS / OF_A_CLUSTER;
        let heads = (0..OF_A_CLUSTER).map(|bucket| {
            let slots = bucket * width..(bucket + 1) * width;
            let within = |tag: &u32| {
                let slot = Slot::for_key(tag.to_string());
                slots.clone().any(|number| Slot::new(number) == Some(slot))
            };
            let tag = (0..u32::MAX).find(within).expect("some number has a slot in every range");
            format!("{prefix}{{{tag}}}")
        });
        Self { heads: heads.collect() }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Bucket> + use<> {
        (0..self.heads.len()).map(Bucket)
    }

    /// Where something stands.
    pub(crate) fn of(&self, name: &str) -> Bucket {
        // The remainder is below the count.
        #[allow(clippy::cast_possible_truncation)]
        Bucket((fnv1a([name.as_bytes()]) % self.heads.len() as u64) as usize)
    }

    /// A key in a bucket.
    pub(crate) fn key(&self, bucket: Bucket, name: impl fmt::Display) -> String {
        format!("{}{name}", self.heads[bucket.0])
    }

    /// Where commands for a bucket go.
    pub(crate) fn route(&self, bucket: Bucket) -> Route {
        Route::with_key(&self.heads[bucket.0], SlotAddr::Master)
    }
}

/// FNV-1a of parts, each ended. Stable over versions and machines, as everything that several servers must agree on.
pub(crate) fn fnv1a<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let byte = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    parts.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| byte(part.iter().copied().fold(hash, byte), 0xff))
}
