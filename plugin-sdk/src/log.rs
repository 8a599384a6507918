//! Notes for the rule's author. They cannot sway a decision: nothing comes back.
//!
//! A rule that writes no note imports nothing at all.

/// Writes a note to the plugin's log. The server bounds how many and how long; what is over is dropped.
#[cfg(target_arch = "wasm32")]
pub fn note(message: &str) {
    crate::bindings::log::note(message);
}

/// Writes a note to the plugin's log; outside of a server it waits for the test kit's `notes`.
#[cfg(not(target_arch = "wasm32"))]
pub fn note(message: &str) {
    NOTES.with_borrow_mut(|notes| notes.push(message.to_owned()));
}

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    /// What this thread's rules noted since the test kit last asked.
    static NOTES: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Empties this thread's notes.
#[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
pub(crate) fn take_notes() -> Vec<String> {
    NOTES.take()
}
