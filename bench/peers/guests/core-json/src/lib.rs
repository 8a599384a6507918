//! A core module as one would write it without components: JSON in, JSON out, through two functions and the memory.

#![expect(
    unsafe_code,
    reason = "pointers into the memory are all that a core module can be given"
)]

use std::ptr;

/// Room for `length` bytes of input.
#[unsafe(no_mangle)]
pub extern "C" fn room(length: usize) -> *mut u8 {
    Box::leak(vec![0; length].into_boxed_slice()).as_mut_ptr()
}

/// Takes the input back and answers with the address and the length of the output, in the halves of one number. The
/// output stays until the next call.
///
/// # Safety
/// `input` came from [`room`] with the same length, and is given once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn evaluate(input: *mut u8, length: usize) -> u64 {
    // SAFETY: it is what `room` leaked.
    let input = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(input, length)) };
    let input = serde_json::from_slice(&input).expect("the host wrote it");
    let output = serde_json::to_vec(&rule::decide(&input)).expect("a decision is JSON");
    let output = output.into_boxed_slice();
    let (address, length) = (output.as_ptr().addr() as u64, output.len() as u64);
    // SAFETY: as the module has one thread.
    unsafe { LAST = Some(output) };
    address << 32 | length
}

/// Keeps the last output, so that a module that is called again does not grow for ever.
static mut LAST: Option<Box<[u8]>> = None;
