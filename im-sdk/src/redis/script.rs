//! Lua scripts: sent by their hash, and in full only to a node that does not know them yet.

use std::sync::OnceLock;

use ::redis::{Cmd, Pipeline};

/// A script that does one thing, atomically.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    pub(crate) const fn new(code: &'static str) -> Self {
        Self { code, hash: OnceLock::new() }
    }

    /// The command that runs it. Arguments are added behind the keys.
    pub(crate) fn call(&self, keys: &[String]) -> Cmd {
        let hash = self.hash.get_or_init(|| ::redis::Script::new(self.code).get_hash().to_owned());
        let mut command = ::redis::cmd("EVALSHA");
        command.arg(hash).arg(keys.len()).arg(keys);
        command
    }

    /// Makes a node know it.
    pub(super) fn load(&self) -> Pipeline {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("SCRIPT").arg("LOAD").arg(self.code);
        pipeline
    }
}
