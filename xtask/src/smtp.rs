//! The SMTP server of the tests: a Python that has aiosmtpd. It is the program in `MEED_TEST_SMTP`, or an environment with the
//! package in `pins`.

use std::path::PathBuf;

use anyhow::Result;

use crate::pins::SMTP_SERVER;
use crate::python;
use crate::workspace::Workspace;

/// Names a Python that has aiosmtpd.
const PROGRAM: &str = "MEED_TEST_SMTP";

pub(crate) fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(program) = std::env::var_os(PROGRAM) {
        return Ok(program.into());
    }
    let folder = workspace.target.join("smtp");
    python::install(&folder, &[SMTP_SERVER])?;
    Ok(folder.join("bin/python"))
}
