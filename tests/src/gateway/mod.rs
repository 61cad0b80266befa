//! Gateways that hold no client and speak the management contract of im-server (docs/operations.md, "Stop and drain"), for
//! tests of whoever manages gateways. Their connections are a number that falls at the ordered rate.
//!
//! The program is `im-test-gateway`, and runs in two ways: `serve` is one gateway, in the place of im-server in a
//! container; `play` is a gateway in every pod that kwok plays, told apart by the address that was called.
//!
//! Tests change a gateway by `PUT /test` on the management port ([`Change`]), and read by `GET /test` what it was asked
//! ([`Report`]); see [`Handle`].

mod handle;
mod http;
mod life;
mod one;
mod pods;
mod settings;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub use handle::Handle;
pub use http::{Called, Residents, router};
pub use life::{DrainOrder, DrainStatus, Life, Phase};
pub use one::{Change, Fault, Gateway, Report, Seen, Status};
pub use pods::Pods;
pub use settings::Settings;

/// Where gateways listen for whoever manages them, if nobody says otherwise.
pub const MANAGEMENT_PORT: u16 = 9090;

/// The image that has the program as its entry point, as tests call it.
pub const IMAGE: &str = "imcluster.dev/test-gateway:1";

/// The program, built beside this one.
pub fn program() -> Result<PathBuf> {
    const NAME: &str = "im-test-gateway";
    let own = std::env::current_exe().context("this program has no path")?;
    // Cargo puts tests one folder deeper than programs.
    for folder in own.ancestors().skip(1).take(2) {
        let program = folder.join(NAME);
        if program.is_file() {
            return Ok(program);
        }
    }
    bail!("{NAME} is not beside {}: cargo build -p imcluster-tests --bin {NAME}", own.display())
}
