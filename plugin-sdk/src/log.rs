//! Notes for the plugin's author. They return nothing, so they cannot affect a decision.
//!
//! A rule that writes no note imports nothing at all.

/// Writes a note to the plugin's log. The server limits number and length, and drops the rest.
#[cfg(target_arch = "wasm32")]
pub fn note(message: &str) {
    crate::bindings::log::note(message);
}

/// Writes a note to the plugin's log; in native tests, the test kit's `notes` returns it.
#[cfg(not(target_arch = "wasm32"))]
pub fn note(message: &str) {
    NOTES.with_borrow_mut(|notes| notes.push(message.to_owned()));
}

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    /// The notes of this thread's rules since the test kit last read them.
    static NOTES: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Clears this thread's notes.
#[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
pub(crate) fn take_notes() -> Vec<String> {
    NOTES.take()
}
