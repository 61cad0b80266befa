//! `im-cluster run`: a command beside a cluster that lives at least as long.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use imcluster_tests::attend::{Wishes, ended_by};
use imcluster_tests::cluster::{Found, Image, Kubernetes};

use crate::{given, keeper};

/// The name of the image that the tests' own pods run.
const TEST_IMAGE: &str = "imcluster.dev/busybox:1";

/// KUBECONFIG that is set already names a cluster of the user's own, which is used as it is.
#[derive(Args)]
pub(crate) struct Run {
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Run {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        // From the first moment on, so that nothing is left behind when the start is cut short.
        let mut wishes = Wishes::new()?;
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        let own = Kubernetes::here()?;
        if given(&own).is_some() {
            return wishes.attend(command).await;
        }
        let found = tokio::select! {
            found = own.up(keeper()?) => found?,
            wish = wishes.next() => {
                own.down()?;
                return Ok(ended_by(wish));
            }
        };
        let image = Image::of_program(TEST_IMAGE, "/bin/busybox".as_ref());
        let image = image.context("run scripts/need cluster")?;
        let code = match own.import(&image) {
            Ok(()) => {
                command.env("KUBECONFIG", own.kubeconfig()).env("IM_TEST_IMAGE", TEST_IMAGE);
                wishes.attend(command).await
            }
            Err(error) => Err(error),
        };
        if found == Found::Started {
            own.down()?;
        }
        code
    }
}
