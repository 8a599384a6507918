//! What users see of a database that is busy, slow or unusable

mod conflicts;
mod files;
mod privileges;
mod read_only;
mod timeouts;
