//! `meed keys generate`, `meed keys list`

use std::path::{Path, PathBuf};

use meed_host::clock::Clock;
use meed_host::keys::{self, KeyError, Purpose};

/// Creates a key for each purpose and returns the files. With `only_missing`, skips purposes that have a key.
pub fn generate(directory: &Path, clock: &Clock, only_missing: bool) -> Result<Vec<PathBuf>, KeyError> {
    let mut made = Vec::new();
    for purpose in Purpose::ALL {
        let exists = directory.exists() && !keys::key_files(directory, purpose)?.is_empty();
        if !(only_missing && exists) {
            made.push(keys::generate(directory, purpose, clock.now())?);
        }
    }
    Ok(made)
}

/// The files of all keys with their ids, those in use first.
pub fn list(directory: &Path) -> Result<Vec<(PathBuf, String)>, KeyError> {
    let mut found = Vec::new();
    for purpose in Purpose::ALL {
        for path in keys::key_files(directory, purpose)?.into_iter().rev() {
            let id = keys::id_of_file(&path, purpose)?;
            found.push((path, id));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_key_of_each_kind_and_then_rotates_or_leaves_them() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        let clock = Clock::fixed("2026-03-01T12:00:00Z".parse().unwrap());
        assert_eq!(generate(&keys, &clock, true).unwrap().len(), 3);
        assert_eq!(generate(&keys, &clock, true).unwrap().len(), 0);
        clock.set("2026-03-02T12:00:00Z".parse().unwrap());
        assert_eq!(generate(&keys, &clock, false).unwrap().len(), 3);
        let loaded = keys::Keys::load(&keys, &clock).unwrap();
        assert_eq!(loaded.access.all().count(), 2);
        let listed = list(&keys).unwrap();
        assert_eq!(listed.len(), 6);
        assert_eq!(listed[0].1, loaded.access.signing().id());
        assert_eq!(listed[4].1, loaded.sealing.newest());
    }
}
