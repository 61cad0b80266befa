//! What the registry's marker is made of.
//!
//! Each bucket has a random value under the key `marker`: it is gone when the content is (FLUSHALL, an empty restart).
//! Beside it stands the replication id of the node that answered, which Redis draws anew whenever a process starts from
//! a snapshot or a replica is promoted: both may have lost the last writes and still show the old value. Both are read
//! in the same round trip as what they vouch for, on the same connection, so nobody has to notice a reconnect.
//!
//! The marker is one number over all buckets, because servers announce all they hold at once. A look-up reads the
//! buckets it needs and takes the others from the last time they were read. That is enough: for the buckets it needs
//! the number can only be the announced one if they still are what they were when it was announced; another bucket's
//! old value at worst makes the number differ, and records then go to more servers than necessary.

use ::redis::{Cmd, Value};
use parking_lot::Mutex;

use crate::redis::{Batch, Bucket, Buckets, fnv1a, value};
use crate::registry::{Marker, RegistryError};

pub(super) struct Markers {
    /// By bucket, as last read.
    known: Mutex<Vec<u64>>,
    keys: Vec<String>,
}

impl Markers {
    pub(super) fn new(buckets: &Buckets) -> Self {
        let keys: Vec<String> = buckets.all().map(|bucket| buckets.key(bucket, "marker")).collect();
        Self { known: Mutex::new(vec![0; keys.len()]), keys }
    }

    /// Gives the bucket a value if it has none.
    pub(super) fn make(&self, batch: &mut Batch, bucket: Bucket) {
        let value: u64 = rand::random();
        let mut command = ::redis::cmd("SET");
        command.arg(&self.keys[bucket.0]).arg(value).arg("NX");
        batch.add(command);
    }

    /// Asks for the bucket's part of the marker.
    pub(super) fn ask(&self, batch: &mut Batch, bucket: Bucket) {
        batch.add(Cmd::get(&self.keys[bucket.0]));
        let mut command = ::redis::cmd("INFO");
        command.arg("replication");
        batch.add(command);
    }

    /// Reads what [`Markers::ask`] asked for.
    pub(super) fn answer(answers: &mut impl Iterator<Item = Value>) -> Result<u64, RegistryError> {
        let mut next = || answers.next().unwrap_or_default();
        // None has a mark of its own, and nobody announces under it.
        let own: Option<String> = value(next())?;
        let info: String = value(next())?;
        let own = own.unwrap_or_default();
        Ok(fnv1a([own.as_bytes(), replication_id(&info).as_bytes()]))
    }

    /// The marker over all buckets, of which these have just been read.
    pub(super) fn over_all(&self, read: impl IntoIterator<Item = (Bucket, u64)>) -> Marker {
        let mut known = self.known.lock();
        for (bucket, part) in read {
            known[bucket.0] = part;
        }
        let parts: Vec<_> = known.iter().map(|part| part.to_be_bytes()).collect();
        Marker(fnv1a(parts.iter().map(<[u8; 8]>::as_slice)))
    }
}

fn replication_id(info: &str) -> &str {
    info.lines().find_map(|line| line.strip_prefix("master_replid:")).unwrap_or_default().trim_end()
}
