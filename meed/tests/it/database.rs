//! What users see of a database that is busy, slow or unusable

mod conflicts;
mod read_only;
mod schema;
mod timeouts;
