//! `meed keys generate`

use std::path::{Path, PathBuf};

use meed_host::clock::Clock;
use meed_host::keys::{self, KeyError, Purpose};

/// Creates a key for each purpose and returns the files. With `only_missing`, skips purposes that have a key.
pub fn generate(directory: &Path, clock: &Clock, only_missing: bool) -> Result<Vec<PathBuf>, KeyError> {
    let mut made = Vec::new();
    for purpose in [Purpose::Access, Purpose::Receipt] {
        let exists = directory.exists() && !keys::key_files(directory, purpose)?.is_empty();
        if !(only_missing && exists) {
            made.push(keys::generate(directory, purpose, clock.now())?);
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_both_keys_and_then_rotates_or_leaves_them() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        let clock = Clock::fixed("2026-03-01T12:00:00Z".parse().unwrap());
        assert_eq!(generate(&keys, &clock, true).unwrap().len(), 2);
        assert_eq!(generate(&keys, &clock, true).unwrap().len(), 0);
        clock.set("2026-03-02T12:00:00Z".parse().unwrap());
        assert_eq!(generate(&keys, &clock, false).unwrap().len(), 2);
        assert_eq!(keys::Keys::load(&keys).unwrap().access.all().count(), 2);
    }
}
