//! The files of the console, embedded in the executable. `cargo xtask console` builds them; without it there are none, and the
//! server says so.

use include_dir::{Dir, include_dir};
use meed_host::console::Files;

static DIST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../console/dist");

/// The folder of the build. A checkout has only the one around it.
const BUILT: &str = "www/";

/// The files by their path in the build.
pub fn files() -> Files {
    let mut files = Vec::new();
    let mut folders = vec![&DIST];
    while let Some(folder) = folders.pop() {
        folders.extend(folder.dirs());
        files.extend(folder.files().filter_map(|file| {
            let path = file.path().to_str()?.strip_prefix(BUILT)?;
            Some((path, file.contents()))
        }));
    }
    Files::new(files)
}
