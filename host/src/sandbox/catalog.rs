//! Loaded plugins by digest. Claims never compile, and a restart compiles only plugins whose code on disk is missing.

use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::Component;

use super::abi::v1::{self, Linked};
use super::code_cache::DiskCache;
use super::{Class, Digest, UploadRefusal, text};

const MESSAGE_BYTES: usize = 1024;

/// A plugin that can be called. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Loaded>);

struct Loaded {
    digest: Digest,
    class: Class,
    linked: Linked,
    code_bytes: usize,
}

impl Plugin {
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    pub fn class(&self) -> Class {
        self.0.class
    }

    pub(super) fn linked(&self) -> &Linked {
        &self.0.linked
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plugin({})", self.digest())
    }
}

pub(super) struct Catalog {
    engine: Engine,
    loaded: moka::sync::Cache<Digest, Plugin>,
    disk: Option<DiskCache>,
}

impl Catalog {
    pub(super) fn new(engine: Engine, loaded_code_bytes: u64, disk: Option<DiskCache>) -> Self {
        let loaded = moka::sync::Cache::builder()
            .max_capacity(loaded_code_bytes)
            // The default policy may reject a new entry; then every claim would compile the plugin.
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .weigher(|_, plugin: &Plugin| u32::try_from(plugin.0.code_bytes).unwrap_or(u32::MAX))
            .build();
        Self { engine, loaded, disk }
    }

    pub(super) fn get(&self, digest: Digest) -> Option<Plugin> {
        self.loaded.get(&digest)
    }

    /// Loads the code on disk, if the class is still enabled. Blocks.
    pub(super) fn load_from_disk(&self, digest: Digest, is_enabled: impl Fn(Class) -> bool) -> Option<Plugin> {
        let disk = self.disk.as_ref()?;
        let (class, code) = disk.read(digest).filter(|(class, _)| is_enabled(*class))?;
        let plugin = self
            .deserialize(&code)
            .and_then(|component| self.link(digest, class, &component, code.len()));
        match plugin {
            Ok(plugin) => {
                self.loaded.insert(digest, plugin.clone());
                Some(plugin)
            }
            Err(error) => {
                tracing::warn!(%digest, %error, "cached code does not load; deleting it to compile it again");
                disk.delete(digest);
                None
            }
        }
    }

    /// Loads code that the compile process returned, without storing it. Blocks.
    pub(super) fn load(&self, digest: Digest, class: Class, code: &[u8]) -> Result<Plugin, UploadRefusal> {
        // The plugin is not the cause: for example, the executable was replaced by another version while this process
        // runs.
        let component = self.deserialize(code).map_err(|error| {
            UploadRefusal::Unavailable(text::line(
                &format!("the compiled code does not load: {error:#}"),
                MESSAGE_BYTES,
            ))
        })?;
        self.link(digest, class, &component, code.len())
            .map_err(|error| UploadRefusal::World(text::line(&format!("{error:#}"), MESSAGE_BYTES)))
    }

    pub(super) fn store(&self, plugin: &Plugin, code: &[u8]) {
        if let Some(disk) = &self.disk {
            disk.write(plugin.digest(), plugin.class(), code);
        }
        self.loaded.insert(plugin.digest(), plugin.clone());
    }

    /// Blocks.
    pub(super) fn remove(&self, digest: Digest) {
        self.loaded.invalidate(&digest);
        if let Some(disk) = &self.disk {
            disk.delete(digest);
        }
    }

    fn deserialize(&self, code: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: our own compiler wrote `code`. It comes directly from the standard output of a process that this
        // process started, or from a file whose MAC was just verified with the server's key.
        #[expect(unsafe_code, reason = "machine code cannot be validated, only authenticated")]
        let component = unsafe { Component::deserialize(&self.engine, code) }?;
        component.initialize_copy_on_write_image()?;
        Ok(component)
    }

    fn link(&self, digest: Digest, class: Class, component: &Component, code_bytes: usize) -> wasmtime::Result<Plugin> {
        let linked = v1::link(&self.engine, component)?;
        Ok(Plugin(Arc::new(Loaded {
            digest,
            class,
            linked,
            code_bytes,
        })))
    }
}
