//! Watching: tells listeners in this process what the outbox says about a user, in any process, as it happens.
//!
//! One reader per process reads new messages once, and only while there are listeners; `listeners` hands them out by user.
//! `changes` is what a stream uses: the messages of one user, each exactly once, also across connections, with the `cursor`
//! after which a client continues. A listener costs the database nothing while nothing happens.
//!
//! Knows outbox messages only. Must not know: any feature, HTTP.

mod changes;
mod cursor;
mod listeners;
mod reader;

pub use changes::{Change, Changes};
pub use cursor::Cursor;
pub use listeners::{Closed, Full, Interest, Listener, Watch};
pub use reader::Reader;

use std::time::Duration;

/// How much later than its id a message may become visible: ids are minted before the commit, and clocks differ.
const WINDOW: Duration = Duration::from_mins(1);
