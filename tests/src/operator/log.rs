//! What this process logs, kept for the message of a test that fails.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that are kept.
const KEPT: usize = 20_000;

/// The last lines of this process's log.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    /// The one of this process: everything logged from the first call on. `IM_TEST_LOG` filters it.
    pub fn of_this_process() -> &'static Self {
        static LOG: LazyLock<Log> = LazyLock::new(|| {
            let log = Log::default();
            let filter = std::env::var("IM_TEST_LOG");
            let filter = EnvFilter::new(filter.as_deref().unwrap_or("info,imcluster_operator=debug"));
            let subscriber = tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter);
            // An error means that a test has one of its own; this log stays empty then.
            let _ = subscriber.with_writer(log.clone()).try_init();
            log
        });
        &LOG
    }

    /// The last lines that have `word` in them.
    pub fn tail(&self, word: &str, lines: usize) -> String {
        let kept = self.0.lock();
        let mut about: Vec<_> = kept.iter().rev().filter(|line| line.contains(word)).take(lines).cloned().collect();
        about.reverse();
        about.concat()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { log: self.clone(), text: Vec::new() }
    }
}

/// A line in the making: written in pieces, kept as a whole.
pub struct Line {
    log: Log,
    text: Vec<u8>,
}

impl io::Write for Line {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut kept = self.log.0.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(&self.text).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn write(log: &Log, pieces: &[&str]) {
        let mut line = log.make_writer();
        for piece in pieces {
            line.write_all(piece.as_bytes()).unwrap();
        }
    }

    #[test]
    fn the_last_lines_about_something_are_found_in_their_order() {
        let log = Log::default();
        for (place, number) in [("a", 1), ("b", 2), ("a", 3), ("a", 4)] {
            write(&log, &["line ", &number.to_string(), " of ", place, "\n"]);
        }
        assert_eq!(log.tail("of a", 2), "line 3 of a\nline 4 of a\n");
        assert_eq!(log.tail("of c", 2), "");
    }

    #[test]
    fn old_lines_make_room() {
        let log = Log::default();
        for number in 0..=KEPT {
            write(&log, &[&format!("line {number}\n")]);
        }
        assert_eq!(log.0.lock().len(), KEPT);
        assert_eq!(log.0.lock()[0], "line 1\n");
    }
}
