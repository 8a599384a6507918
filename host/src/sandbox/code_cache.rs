//! Machine code on disk between restarts, authenticated.
//!
//! Loading machine code means running it, so a file is believed only if its tag was made with the server's key for
//! exactly this plugin and this engine. Anything else is deleted and compiled again.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use aws_lc_rs::hmac;

use super::{Class, Digest};

const LABEL: &[u8] = b"meed code cache v2\0";
const TAG_BYTES: usize = 32;

/// Where machine code is kept. Whoever can write there and knows the key can run code as this process, so the key
/// belongs neither into the directory nor into the database.
#[derive(Clone)]
pub struct CodeCache {
    pub directory: PathBuf,
    pub key: [u8; 32],
}

/// A [`CodeCache`] for one engine. Its functions block.
pub(super) struct Disk {
    directory: PathBuf,
    key: hmac::Key,
    /// See `engine::compatibility`.
    compatibility: u64,
}

impl Disk {
    pub(super) fn open(cache: CodeCache, compatibility: u64) -> io::Result<Self> {
        std::fs::create_dir_all(&cache.directory)?;
        Ok(Self {
            directory: cache.directory,
            key: hmac::Key::new(hmac::HMAC_SHA256, &cache.key),
            compatibility,
        })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.directory
            .join(format!("{}-{:016x}.cwasm", digest.hex(), self.compatibility))
    }

    /// `content`: the class, in one byte, and the code.
    fn authenticated(&self, digest: Digest, content: &[u8]) -> Vec<u8> {
        [LABEL, digest.as_bytes(), &self.compatibility.to_le_bytes(), content].concat()
    }

    /// `None` when there is none, or none that can be believed.
    pub(super) fn read(&self, digest: Digest) -> Option<(Class, Vec<u8>)> {
        let path = self.path(digest);
        let mut file = match std::fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot read cached code");
                return None;
            }
        };
        if let Some((tag, content)) = file.split_at_checked(TAG_BYTES)
            && hmac::verify(&self.key, &self.authenticated(digest, content), tag).is_ok()
            && let Some(class) = content.first().and_then(|byte| class_of(*byte))
        {
            file.drain(..=TAG_BYTES);
            return Some((class, file));
        }
        tracing::warn!(path = %path.display(), "cached code is damaged or was not written with this key; it is deleted and compiled again");
        self.delete(digest);
        None
    }

    /// Losing a cache entry costs a compilation, nothing else, so a failure is only logged.
    pub(super) fn write(&self, digest: Digest, class: Class, code: &[u8]) {
        if let Err(error) = self.try_write(digest, &[&[byte_of(class)], code].concat()) {
            tracing::warn!(%error, directory = %self.directory.display(), "cannot cache compiled code");
        }
    }

    fn try_write(&self, digest: Digest, content: &[u8]) -> io::Result<()> {
        // Written aside, for its owner only, then renamed: a reader sees all of it or nothing.
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(hmac::sign(&self.key, &self.authenticated(digest, content)).as_ref())?;
        file.write_all(content)?;
        file.persist(self.path(digest))?;
        Ok(())
    }

    pub(super) fn delete(&self, digest: Digest) {
        if let Err(error) = std::fs::remove_file(self.path(digest))
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot delete cached code");
        }
    }
}

fn byte_of(class: Class) -> u8 {
    match class {
        Class::Standard => 0,
        Class::Runtime => 1,
    }
}

fn class_of(byte: u8) -> Option<Class> {
    [Class::Standard, Class::Runtime]
        .into_iter()
        .find(|class| byte_of(*class) == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUGIN: &[u8] = b"plugin";

    fn disk(directory: &tempfile::TempDir, key: u8, compatibility: u64) -> Disk {
        Disk::open(
            CodeCache {
                directory: directory.path().to_owned(),
                key: [key; 32],
            },
            compatibility,
        )
        .unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let disk = disk(&directory, 1, 7);
        assert_eq!(disk.read(Digest::of(PLUGIN)), None);
        disk.write(Digest::of(PLUGIN), Class::Runtime, b"code");
        assert_eq!(
            disk.read(Digest::of(PLUGIN)).unwrap(),
            (Class::Runtime, b"code".to_vec())
        );
        assert_eq!(disk.read(Digest::of(b"other")), None);
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed_and_the_file_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let disk = disk(&directory, 1, 7);
        let digest = Digest::of(PLUGIN);
        for at in 0..TAG_BYTES + 5 {
            disk.write(digest, Class::Standard, b"code");
            let mut file = std::fs::read(disk.path(digest)).unwrap();
            file[at] ^= 1;
            std::fs::write(disk.path(digest), file).unwrap();
            assert_eq!(disk.read(digest), None, "byte {at}");
            assert!(!disk.path(digest).exists());
        }
        std::fs::write(disk.path(digest), b"short").unwrap();
        assert_eq!(disk.read(digest), None);
    }

    #[test]
    fn code_of_another_key_plugin_or_engine_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let ours = disk(&directory, 1, 7);
        let digest = Digest::of(PLUGIN);

        disk(&directory, 2, 7).write(digest, Class::Standard, b"code");
        assert_eq!(ours.read(digest), None);

        ours.write(Digest::of(b"other"), Class::Standard, b"code");
        std::fs::rename(ours.path(Digest::of(b"other")), ours.path(digest)).unwrap();
        assert_eq!(ours.read(digest), None);

        let theirs = disk(&directory, 1, 8);
        theirs.write(digest, Class::Standard, b"code");
        std::fs::rename(theirs.path(digest), ours.path(digest)).unwrap();
        assert_eq!(ours.read(digest), None);
    }
}
