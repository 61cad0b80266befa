//! What every client did and saw, and a checker that finds what must never happen in it.
//!
//! A history is a list of JSON lines. The checker is a pure function over it: what it knows of the server is what the
//! clients recorded.

mod check;
mod record;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use parking_lot::Mutex;

pub use check::{Violation, check};
pub use record::{Record, View};

/// Where clients write what they did and saw. Clones write into the same history.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Vec<Record>>>);

impl Recorder {
    /// Adds a line.
    pub fn add(&self, record: Record) {
        self.0.lock().push(record);
    }

    /// Everything so far, in the order in which it was written.
    pub fn history(&self) -> Vec<Record> {
        self.0.lock().clone()
    }
}

/// Writes a history as JSON lines.
pub fn write(history: &[Record], mut to: impl Write) -> io::Result<()> {
    for record in history {
        serde_json::to_writer(&mut to, record)?;
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// Reads a history from JSON lines.
pub fn read(from: impl BufRead) -> io::Result<Vec<Record>> {
    from.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}
