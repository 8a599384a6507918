//! A core module without the component model: JSON input and output through two functions and the memory.

#![expect(
    unsafe_code,
    reason = "a core module can only receive pointers into its memory"
)]

use std::ptr;

/// Allocates `length` bytes for the input.
#[unsafe(no_mangle)]
pub extern "C" fn room(length: usize) -> *mut u8 {
    Box::leak(vec![0; length].into_boxed_slice()).as_mut_ptr()
}

/// Takes ownership of the input. Returns the address and the length of the output in the two halves of one number. The
/// output is valid until the next call.
///
/// # Safety
/// `input` must come from [`room`] with the same length, and can be passed only once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evaluate(input: *mut u8, length: usize) -> u64 {
    // SAFETY: `room` leaked this allocation.
    let input = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(input, length)) };
    let input = serde_json::from_slice(&input).expect("the host wrote it");
    let output = serde_json::to_vec(&rule::decide(&input)).expect("a decision is JSON");
    let output = output.into_boxed_slice();
    let (address, length) = (output.as_ptr().addr() as u64, output.len() as u64);
    // SAFETY: the module has one thread.
    unsafe { LAST = Some(output) };
    address << 32 | length
}

/// Stores the last output, so that a reused module does not grow with every call.
static mut LAST: Option<Box<[u8]>> = None;
