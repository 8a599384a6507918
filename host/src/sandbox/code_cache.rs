//! Keeps machine code on disk across restarts, with a MAC.
//!
//! Loading machine code means trusting it completely. Therefore a file is used only if its MAC is valid under the
//! server's key for this plugin and this engine. Any other file is deleted and the plugin is compiled again.

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use aws_lc_rs::hmac;

use super::{Class, Digest};

const LABEL: &[u8] = b"meed code cache v2\0";
const MAC_BYTES: usize = 32;

/// The directory and key of the code cache. A person who can write to the directory and knows the key can run code in
/// this process, so the key must not be in the directory or in the database.
#[derive(Clone)]
pub struct CodeCache {
    pub directory: PathBuf,
    pub key: [u8; 32],
}

/// A [`CodeCache`] for one engine. Its functions block.
pub(super) struct DiskCache {
    directory: PathBuf,
    key: hmac::Key,
    /// See `engine::compatibility`.
    compatibility: u64,
}

impl DiskCache {
    pub(super) fn open(cache: CodeCache, compatibility: u64) -> io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&cache.directory)?;
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

    /// The input of the MAC. `content` is the class, in one byte, and the code.
    fn mac_input(&self, digest: Digest, content: &[u8]) -> Vec<u8> {
        [LABEL, digest.as_bytes(), &self.compatibility.to_le_bytes(), content].concat()
    }

    /// `None` if there is no file with a valid MAC.
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
        if let Some((mac, content)) = file.split_at_checked(MAC_BYTES)
            && hmac::verify(&self.key, &self.mac_input(digest, content), mac).is_ok()
            && let Some(class) = content.first().and_then(|byte| class_of(*byte))
        {
            file.drain(..=MAC_BYTES);
            return Some((class, file));
        }
        tracing::warn!(path = %path.display(), "cached code is corrupt or was written with another key; deleting it to compile it again");
        self.delete(digest);
        None
    }

    /// Logs a failure, because a missing entry only costs another compilation.
    pub(super) fn write(&self, digest: Digest, class: Class, code: &[u8]) {
        if let Err(error) = self.try_write(digest, &[&[byte_of(class)], code].concat()) {
            tracing::warn!(%error, directory = %self.directory.display(), "cannot cache compiled code");
        }
    }

    fn try_write(&self, digest: Digest, content: &[u8]) -> io::Result<()> {
        // A temporary file, readable by its owner only, is renamed: readers never see a partial file.
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(hmac::sign(&self.key, &self.mac_input(digest, content)).as_ref())?;
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

    fn disk(directory: &tempfile::TempDir, key: u8, compatibility: u64) -> DiskCache {
        DiskCache::open(
            CodeCache {
                directory: directory.path().to_owned(),
                key: [key; 32],
            },
            compatibility,
        )
        .unwrap()
    }

    #[test]
    fn written_code_is_read_again() {
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
    fn a_file_with_any_changed_byte_is_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let disk = disk(&directory, 1, 7);
        let digest = Digest::of(PLUGIN);
        for at in 0..MAC_BYTES + 5 {
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
    fn code_of_another_key_plugin_or_engine_is_rejected() {
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
