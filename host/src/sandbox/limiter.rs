//! Counts the memory and the table elements of one call.
//!
//! What is denied to a running plugin always ends the call. It is never reported to the guest, which could answer
//! differently because of it: so a decision that was reached does not depend on any limit, and replays under others.

use wasmtime::ResourceLimiter;

use super::limits::ClassLimits;

/// A growth that the limiter denied, or that the operating system could not give.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Denied {
    #[error("{wanted} bytes of memory are more than {limit}")]
    Memory { wanted: usize, limit: usize },
    #[error("{wanted} table elements are more than {limit}")]
    Table { wanted: usize, limit: usize },
    #[error("the operating system has no memory left")]
    System,
}

#[derive(Debug)]
pub(super) struct Limiter {
    memory_limit: usize,
    memory_bytes: usize,
    table_limit: usize,
    table_elements: usize,
    /// A growth beyond what the module itself declared fails by the rules of WebAssembly; it is no lack of memory.
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

    /// All memories together. They only grow, so this is the most that there was.
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
    fn a_growth_beyond_the_limit_ends_the_call_but_one_beyond_the_declaration_is_the_guests_affair() {
        let mut limiter = Limiter::new(&Settings::default().standard);
        assert!(limiter.memory_growing(0, 3 * MIB, None).is_err());
        assert!(limiter.memory_growing(0, MIB, Some(64 * KIB)).is_ok());
        assert!(limiter.memory_grow_failed(wasmtime::Error::msg("declared")).is_ok());
        assert_eq!(limiter.memory_bytes(), 0);
        assert!(limiter.memory_growing(0, MIB, Some(2 * MIB)).is_ok());
        assert!(limiter.memory_grow_failed(wasmtime::Error::msg("no memory")).is_err());
    }

    #[test]
    fn tables_are_counted_together() {
        let mut limiter = Limiter::new(&Settings::default().standard);
        assert!(limiter.table_growing(0, 6_000, None).is_ok());
        assert!(limiter.table_growing(0, 4_000, None).is_ok());
        assert!(limiter.table_growing(4_000, 4_001, None).is_err());
    }
}
