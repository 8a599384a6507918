//! Limits the memory and the table elements of one call.
//!
//! A denied growth always ends the call. The guest never sees the denial, because it could decide differently because
//! of it. Therefore a decision does not depend on these limits, and replays the same under different ones.

use wasmtime::ResourceLimiter;

use super::limits::ClassLimits;

/// A growth that the limiter denied, or for which the operating system has no memory.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Denied {
    #[error("{wanted} bytes of memory exceed the limit of {limit}")]
    Memory { wanted: usize, limit: usize },
    #[error("{wanted} table elements exceed the limit of {limit}")]
    Table { wanted: usize, limit: usize },
    #[error("the operating system is out of memory")]
    System,
}

#[derive(Debug)]
pub(super) struct Limiter {
    memory_limit: usize,
    memory_bytes: usize,
    table_limit: usize,
    table_elements: usize,
    /// The growth exceeds the maximum that the module declares. By the rules of WebAssembly it fails and the call
    /// continues.
    beyond_declared: bool,
    instances: usize,
    memories: usize,
    tables: usize,
}

impl Limiter {
    pub(super) fn new(limits: &ClassLimits) -> Self {
        Self {
            memory_limit: limits.call.memory_bytes,
            memory_bytes: 0,
            table_limit: limits.call.table_elements,
            table_elements: 0,
            beyond_declared: false,
            instances: limits.upload.core_instances,
            memories: limits.upload.memories,
            tables: limits.upload.tables,
        }
    }

    /// The sum over all memories. Memories never shrink, so this is also the peak.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    fn grow_failed(&self) -> wasmtime::Result<()> {
        if self.beyond_declared {
            Ok(())
        } else {
            Err(wasmtime::Error::new(Denied::System))
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, wanted: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.beyond_declared = maximum.is_some_and(|maximum| wanted > maximum);
        let total = self.memory_bytes.saturating_add(wanted - current);
        if total > self.memory_limit {
            return Err(wasmtime::Error::new(Denied::Memory {
                wanted: total,
                limit: self.memory_limit,
            }));
        }
        if !self.beyond_declared {
            self.memory_bytes = total;
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.grow_failed()
    }

    fn table_growing(&mut self, current: usize, wanted: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.beyond_declared = maximum.is_some_and(|maximum| wanted > maximum);
        let total = self.table_elements.saturating_add(wanted - current);
        if total > self.table_limit {
            return Err(wasmtime::Error::new(Denied::Table {
                wanted: total,
                limit: self.table_limit,
            }));
        }
        if !self.beyond_declared {
            self.table_elements = total;
        }
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.grow_failed()
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.tables
    }

    fn memories(&self) -> usize {
        self.memories
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Settings;

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;

    #[test]
    fn a_growth_beyond_the_limit_ends_the_call_but_one_beyond_the_declared_maximum_does_not() {
        let mut limiter = Limiter::new(&Settings::default().standard);
        assert!(limiter.memory_growing(0, 3 * MIB, None).is_err());
        assert!(limiter.memory_growing(0, MIB, Some(64 * KIB)).is_ok());
        assert!(limiter.memory_grow_failed(wasmtime::Error::msg("declared")).is_ok());
        assert_eq!(limiter.memory_bytes(), 0);
        assert!(limiter.memory_growing(0, MIB, Some(2 * MIB)).is_ok());
        assert!(limiter.memory_grow_failed(wasmtime::Error::msg("no memory")).is_err());
    }

    #[test]
    fn the_limit_holds_for_all_tables_together() {
        let mut limiter = Limiter::new(&Settings::default().standard);
        assert!(limiter.table_growing(0, 6_000, None).is_ok());
        assert!(limiter.table_growing(0, 4_000, None).is_ok());
        assert!(limiter.table_growing(4_000, 4_001, None).is_err());
    }
}
