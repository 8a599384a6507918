//! The allocator of every plugin: a bump allocator.
//!
//! The server runs each evaluation in a fresh instance and then discards its memory, so freeing would be wasted work.
//! The rest of the first page after stack and data is usually enough, so memory does not even grow.
#![expect(
    unsafe_code,
    reason = "`GlobalAlloc` is an unsafe trait, and the linker tells where the heap begins"
)]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PAGE: usize = 64 * 1024;

unsafe extern "C" {
    /// Defined by the linker; only its address is used.
    static __heap_base: u8;
}

/// `next` is the first free address; 0 before the first allocation. A plugin has one thread, where a relaxed atomic is
/// a plain variable.
struct Bump {
    next: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Bump = Bump {
    next: AtomicUsize::new(0),
};

impl Bump {
    /// Makes `end` the first free address if there is, or can be made, memory up to it.
    fn reserve(&self, end: usize) -> bool {
        let missing = end.saturating_sub(memory_size(0) * PAGE);
        if missing > 0 && memory_grow(0, missing.div_ceil(PAGE)) == usize::MAX {
            return false;
        }
        self.next.store(end, Relaxed);
        true
    }

    /// Whether this block is the last one, so that it can grow, shrink or go in place.
    fn is_last(&self, block: *mut u8, size: usize) -> bool {
        block.addr() + size == self.next.load(Relaxed)
    }
}

// SAFETY: blocks are aligned, within memory and never overlap, as `next` moves back only over the end of the last block
// when that shrinks; on failure nothing moves and the result is null.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let next = match self.next.load(Relaxed) {
            0 => (&raw const __heap_base).addr(),
            next => next,
        };
        let start = next.next_multiple_of(layout.align());
        match start.checked_add(layout.size()) {
            Some(end) if self.reserve(end) => ptr::with_exposed_provenance_mut(start),
            _ => ptr::null_mut(),
        }
    }

    /// An empty function also lets the optimiser remove all code that only frees.
    unsafe fn dealloc(&self, _block: *mut u8, _layout: Layout) {}

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if self.is_last(block, layout.size()) {
            return match block.addr().checked_add(new_size) {
                Some(end) if self.reserve(end) => block,
                _ => ptr::null_mut(),
            };
        }
        if new_size <= layout.size() {
            return block;
        }
        // SAFETY: the caller guarantees `block`, `layout` and `new_size`; the new block is larger than the old one.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                ptr::copy_nonoverlapping(block, new, layout.size());
            }
            new
        }
    }
}
