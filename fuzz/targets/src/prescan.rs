//! Fuzzes the linear scan of an upload, which runs before any step with more than linear cost.

use std::sync::LazyLock;
use std::time::Duration;

use meed_host::sandbox::{Sandbox, Settings};

use crate::{RUNTIME, within};

/// There is no compiler, so modules that pass the scan are refused right after it.
static WITHOUT_COMPILER: LazyLock<Sandbox> =
    LazyLock::new(|| Sandbox::new(&Settings::default(), "/nowhere/meed".into(), None).unwrap());

/// Any bytes are refused in linear time, with a reason that is not a panic.
pub fn prescan(bytes: &[u8]) {
    let admitted = within(Duration::from_secs(2), || {
        RUNTIME.block_on(WITHOUT_COMPILER.admit(bytes.to_vec()))
    });
    let refusal = admitted.expect_err("nothing is admitted without a compiler");
    let text = refusal.to_string();
    assert!(!text.contains("panic") && text.len() < 4096, "{text}");
}
