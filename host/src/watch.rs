//! Watching: sends the outbox messages about a user to the listeners of this process, as they happen in any process.
//!
//! One reader per process reads new messages once, and only while there are listeners; `listeners` hands them out by user.
//! `changes` is what a stream uses: the messages of one user, each exactly once, also across connections, with the `cursor`
//! after which a client continues. A listener costs the database nothing while nothing happens.
//!
//! Knows outbox messages only. Must not know: any feature, HTTP.

mod change;
mod changes;
mod cursor;
mod listeners;
mod reader;

pub use change::Change;
pub use changes::Changes;
pub use cursor::Cursor;
pub use listeners::{Closed, Full, Interest, Listener, Watch};
pub use reader::Reader;

use std::time::Duration;

/// How much later than its id a message may become visible: ids are minted before the commit, and clocks differ.
const WINDOW: Duration = Duration::from_mins(1);
