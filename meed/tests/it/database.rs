//! A database that is busy, slow or of no use: what users see of it

mod conflicts;
mod read_only;
mod timeouts;
